"""The methods: the paper's, its baselines, controls that the paper lacks, and literal readings."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, HypothesisGraphMerger
from handgraph.vision import HeatmapGenerator, load_pose_checkpoint
from pipeline.baselines import CaiLifter, FeatureNodes, HopeNetLifter, PoseMachine
from pipeline.objectives import Step, cai_steps, hopenet_steps, psjnet_steps
from pipeline.settings import Settings
from psjnet import PoseNet, PSJNetLifter
from shared.lifters import FINGERS, FULL, LEVELS, RANDOM


class Method(NamedTuple):
    """A method: its title in tables, its lifter, its steps, and the tensors that these read."""

    title: str
    lifter: Callable[[int, Settings], nn.Module]  # from channels of the feature map
    steps: Callable[[PoseNet, int], dict[int, Step]] = psjnet_steps
    reads: tuple[str, ...] = ("features",)  # besides 2D joints and poses; also cached


def psjnet(
    in_channels: int, settings: Settings, removal: RemovalSets = LEVELS, **parts: Any
) -> nn.Module:
    """Build PSJNet's lifter with the widths of the settings, or one with other parts."""
    width = {"channels": settings.channels}
    if "branches" not in parts:
        parts["branches"] = AdaptiveGraphUNet(4, 3, removal, **width)
    if "merge" not in parts:
        parts["merge"] = GraphMerger(3, 3, removal, feature_channels=3, **width)
    return PSJNetLifter(in_channels, removal, encoder_channels=settings.encoder_channels, **parts)


def literal(in_channels: int, settings: Settings) -> nn.Module:
    """Build PSJNet with 64 hypotheses and 16 x 3 features as ensemble nodes (decisions 5 and 7)."""
    options = {"feature_nodes": LEVELS.num_nodes, "channels": settings.channels}
    return psjnet(in_channels, settings, merge=HypothesisGraphMerger(3, 3, LEVELS, **options))


_ALL = ("features", "heatmaps", "depth", "mask")

METHODS = {
    "psjnet": Method("PSJNet", psjnet),
    "hopenet": Method("HopeNet", lambda c, s: HopeNetLifter(None, s.channels), hopenet_steps, ()),
    "hopenet_features": Method(
        "HopeNet with PSJNet's features",
        lambda c, s: HopeNetLifter(c, s.channels, s.encoder_channels),
        hopenet_steps,
    ),
    "ensemble": Method("4 full graphs", partial(psjnet, removal=FULL)),
    "cai": Method("Cai et al., HRNet as trunk", lambda c, s: CaiLifter(c), cai_steps, _ALL),
    "cai_literal": Method("Cai et al., pose machine", lambda c, s: CaiLifter(c), cai_steps, _ALL),
    "random": Method("PSJNet, 4 random sets of 5", partial(psjnet, removal=RANDOM)),
    "finger": Method("PSJNet, a set per finger", partial(psjnet, removal=FINGERS)),
    "psjnet_literal": Method("PSJNet, 64 hypotheses and 16 x 3 features as nodes", literal),
    "psjnet_feature_nodes": Method(
        "PSJNet, features as nodes of the branches",
        lambda c, s: psjnet(c, s, branches=FeatureNodes(LEVELS, s.channels)),
    ),
    "psjnet_uv_kept": Method("PSJNet, 2D of the heatmaps", partial(psjnet, refine_uv=False)),
}
"""All methods by the names that ``train.py --method`` takes."""


def build(settings: Settings) -> PoseNet:
    """Build the model of a run, with weights that are drawn by its seed."""
    if settings.method not in METHODS:
        raise ValueError(f"method: expected one of {[*METHODS]}, got {settings.method!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = make_generator(settings)
        torch.manual_seed(settings.seed + 1)  # the initial lifter does not depend on the generator
        lifter = METHODS[settings.method].lifter(generator.feature_channels, settings)
    return PoseNet(generator, lifter)


def make_generator(settings: Settings) -> HeatmapGenerator | PoseMachine:
    """Build a backbone with its head, and load a checkpoint if there is one."""
    if settings.method == "cai_literal":
        return PoseMachine(HAND.num_joints)
    generator = HeatmapGenerator(HAND.num_joints, settings.backbone)
    if settings.weights:
        load_pose_checkpoint(generator, settings.weights)
    return generator.to(memory_format=torch.channels_last)  # on a CPU 1.25 times as fast
