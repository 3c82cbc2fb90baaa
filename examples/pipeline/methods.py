"""The methods: the paper's, its rivals, controls that the paper lacks, and literal readings."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from baselines import CaiLifter, FeatureNodes, HopeNetLifter, PoseMachine
from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, HypothesisGraphMerger, Merger
from handgraph.vision import HeatmapGenerator, load_pose_checkpoint
from pipeline.objectives import cai_steps, hopenet_steps, psjnet_steps
from pipeline.settings import Settings
from pipeline.step import Step
from psjnet import PoseNet, PSJNetLifter


class Method(NamedTuple):
    """A method.

    Args:
        title: What tables call it.
        lifter: From channels of the feature map and settings to the part behind the generator.
        steps: What its steps train.
        reads: What losses and lifter read of a ``Detection`` and of hands, beyond 2D joints and
            poses: what a cache must hold.
    """

    title: str
    lifter: Callable[[int, Settings], nn.Module]
    steps: Callable[[PoseNet, int], dict[int, Step]] = psjnet_steps
    reads: tuple[str, ...] = ("features",)


def psjnet_lifter(
    in_channels: int,
    settings: Settings,
    removal: RemovalSets,
    *,
    merge: Merger | None = None,
    branches: nn.Module | None = None,
    refine_uv: bool = True,
) -> nn.Module:
    """PSJNet's lifter with the widths of the settings."""
    width = {"channels": settings.channels}
    return PSJNetLifter(
        in_channels,
        removal,
        branches or AdaptiveGraphUNet(4, 3, removal, **width),
        merge or GraphMerger(3, 3, removal, feature_channels=3, **width),
        encoder_channels=settings.encoder_channels,
        refine_uv=refine_uv,
    )


def _sets(removal: RemovalSets) -> Callable[[int, Settings], nn.Module]:
    return lambda c, settings: psjnet_lifter(c, settings, removal)


_LEVELS = RemovalSets.by_level(HAND)
_RANDOM = RemovalSets.random(HAND, 4, 5, torch.Generator().manual_seed(0))


def _literal(in_channels: int, settings: Settings) -> nn.Module:
    """64 hypotheses and 16 x 3 features as nodes of the ensemble network (decisions 5 and 7)."""
    nodes = _LEVELS.num_nodes
    merge = HypothesisGraphMerger(3, 3, _LEVELS, feature_nodes=nodes, channels=settings.channels)
    return psjnet_lifter(in_channels, settings, _LEVELS, merge=merge)


def _feature_nodes(in_channels: int, settings: Settings) -> nn.Module:
    branches = FeatureNodes(_LEVELS, settings.channels)
    return psjnet_lifter(in_channels, settings, _LEVELS, branches=branches)


def _hopenet(in_channels: int, settings: Settings) -> nn.Module:
    return HopeNetLifter(None, settings.channels)


def _hopenet_features(in_channels: int, settings: Settings) -> nn.Module:
    return HopeNetLifter(in_channels, settings.channels, settings.encoder_channels)


def _cai(in_channels: int, settings: Settings) -> nn.Module:
    return CaiLifter(in_channels)


_ALL = ("features", "heatmaps", "depth", "mask")

METHODS = {
    "psjnet": Method("PSJNet", _sets(_LEVELS)),
    "hopenet": Method("HopeNet", _hopenet, hopenet_steps, ()),
    "hopenet_features": Method("HopeNet with PSJNet's features", _hopenet_features, hopenet_steps),
    "ensemble": Method("4 full graphs", _sets(RemovalSets.none(HAND, 4))),
    "cai": Method("Cai et al., HRNet as trunk", _cai, cai_steps, _ALL),
    "cai_literal": Method("Cai et al., pose machine", _cai, cai_steps, _ALL),
    "random": Method("PSJNet, 4 random sets of 5", _sets(_RANDOM)),
    "finger": Method("PSJNet, a set per finger", _sets(RemovalSets.by_finger(HAND))),
    "psjnet_literal": Method("PSJNet, 64 hypotheses and 16 x 3 features as nodes", _literal),
    "psjnet_feature_nodes": Method("PSJNet, features as nodes of the branches", _feature_nodes),
    "psjnet_uv_kept": Method(
        "PSJNet, 2D of the heatmaps", lambda c, s: psjnet_lifter(c, s, _LEVELS, refine_uv=False)
    ),
}
"""All methods by the names that ``train.py --method`` takes."""


def build(settings: Settings) -> PoseNet:
    """Build the model of a run, its weights drawn by the seed of the run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = make_generator(settings)
        torch.manual_seed(settings.seed + 1)  # lifters start alike, whatever comes before
        lifter = METHODS[settings.method].lifter(generator.feature_channels, settings)
    return PoseNet(generator, lifter)


def make_generator(settings: Settings) -> HeatmapGenerator | PoseMachine:
    """A backbone with its head, from the weights of a checkpoint if there is one."""
    if settings.method == "cai_literal":
        return PoseMachine(HAND.num_joints)
    generator = HeatmapGenerator(HAND.num_joints, settings.backbone)
    if settings.weights:
        load_pose_checkpoint(generator, settings.weights)
    return generator.to(memory_format=torch.channels_last)  # on a CPU 1.25 times as fast


def steps_of(model: PoseNet, settings: Settings) -> dict[int, Step]:
    """What each step of the method trains."""
    return METHODS[settings.method].steps(model, settings.image_size)


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())
