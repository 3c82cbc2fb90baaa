"""The methods: the paper's, its baselines, and the controls that the paper lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import torch
from torch import nn
from torch_geometric.nn import ChebConv, GATv2Conv, GCNConv, GraphConv, TransformerConv

from handgraph import HAND, RemovalSets
from handgraph.nn import (
    AdaptiveGraphUNet,
    AGCNConv,
    GatedMerger,
    GraphMerger,
    HypothesisGraphMerger,
    MeanMerger,
    Merger,
    ModulatedGraphConv,
    PerLevel,
    SemGraphConv,
    SkeletonUNet,
)
from occlusion.masked import MaskedLifter, with_head
from shared.lifters import PSJNetCore, count

WIDTH = 8
"""Width of the finest level of every graph U-Net, unless sizes are matched."""

Hide = Literal["nothing", "at random", "the hidden"]
Simulate = Literal["detector", "crude"]


def direct_regression(in_channels: int, hidden_channels: int = 256) -> nn.Sequential:
    """Regress all joints from all inputs by fully connected layers, as Cai et al. regress depth."""
    joints = HAND.num_joints
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(joints * in_channels, hidden_channels),
        nn.ReLU(),
        nn.Linear(hidden_channels, hidden_channels),
        nn.ReLU(),
        nn.Linear(hidden_channels, joints * 3),
        nn.Unflatten(1, (joints, 3)),
    )


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Args:
        title: Name in the table.
        build: Builds a net for a number of input channels.
        hide: Which joints are zeroed and flagged in an additional channel. Where training images
            have no hidden joints, random joints are zeroed in training instead.
        simulate: How clean detections are occluded in training, if they are.
    """

    title: str
    build: Callable[[int], nn.Module]
    hide: Hide = "nothing"
    simulate: Simulate | None = None


def of_psjnet_size(build: Callable[[int, int], nn.Module]) -> Callable[[int], nn.Module]:
    """Choose the width for which the number of parameters is closest to PSJNet's."""

    @cache
    def width_for(in_channels: int) -> int:
        with torch.random.fork_rng(devices=[]):
            wanted = count(_psjnet(in_channels))
            sizes = {width: count(build(in_channels, width)) for width in range(3, 20)}
        return min(sizes, key=lambda width: abs(sizes[width] - wanted))

    return lambda in_channels: build(in_channels, width_for(in_channels))


_LEVELS = RemovalSets.by_level(HAND)
_FULL = RemovalSets.none(HAND, len(_LEVELS))
_FINGERS = RemovalSets.by_finger(HAND)
_RANDOM = RemovalSets.random(HAND, 4, 5, torch.Generator().manual_seed(0))


def _unet(in_channels: int, width: int = WIDTH) -> nn.Module:
    return AdaptiveGraphUNet(in_channels, 3, HAND, channels=width)


def _psjnet(
    in_channels: int,
    merger: type[Merger] = GraphMerger,
    removal: RemovalSets = _LEVELS,
    width: int = WIDTH,
) -> nn.Module:
    sized = {"channels": width} if merger in (GraphMerger, HypothesisGraphMerger) else {}
    branches = AdaptiveGraphUNet(in_channels, 3, removal, channels=width)
    return PSJNetCore(branches, merger(3, 3, removal, **sized), removal)


def _masked(law: str, **options: bool) -> Callable[[int], nn.Module]:
    return of_psjnet_size(lambda c, width: MaskedLifter(c, width, law, **options))


def _layer(title: str, conv: Callable[..., nn.Module] | PerLevel) -> Method:
    return Method(f"skeleton U-Net of {title}", lambda c: SkeletonUNet(c, 3, HAND, conv=conv))


METHODS = {
    "cai": Method("Cai-style direct regression", direct_regression),
    "hopenet": Method("HopeNet: one graph U-Net", _unet),
    "psjnet": Method("PSJNet: the paper's removal sets", _psjnet),
    "ensemble": Method(
        "4 full graphs, PSJNet's size",
        of_psjnet_size(lambda c, width: _psjnet(c, removal=_FULL, width=width)),
    ),
    "unet": Method("one graph U-Net, PSJNet's size", of_psjnet_size(_unet)),
    "random": Method("PSJNet, 4 random sets of 5", lambda c: _psjnet(c, removal=_RANDOM)),
    "finger": Method("PSJNet, one set for each finger", lambda c: _psjnet(c, removal=_FINGERS)),
    "dropout": Method("one graph U-Net, random joints zeroed", of_psjnet_size(_unet), "at random"),
    "visible": Method("one graph U-Net, hidden joints zeroed", of_psjnet_size(_unet), "the hidden"),
    "mean": Method("PSJNet, mean of branches", lambda c: _psjnet(c, MeanMerger)),
    "gate": Method("PSJNet, gated merger", lambda c: _psjnet(c, GatedMerger)),
    "literal": Method(
        "PSJNet, 64 hypotheses as nodes", lambda c: _psjnet(c, HypothesisGraphMerger)
    ),
    "gcn": _layer("GCNConv", GCNConv),
    "graph": _layer("GraphConv", GraphConv),
    "cheb": _layer("ChebConv, K = 3", partial(ChebConv, K=3)),
    "gat": _layer("GATv2Conv, 4 heads", partial(GATv2Conv, heads=4, concat=False)),
    "transformer": _layer(
        "TransformerConv, 4 heads", partial(TransformerConv, heads=4, concat=False)
    ),
    "sem": _layer("SemGraphConv", PerLevel(SemGraphConv)),
    "modulated": _layer("ModulatedGraphConv", PerLevel(ModulatedGraphConv)),
    "agcn": _layer("AGCNConv", PerLevel(AGCNConv)),
    "head": Method("one graph U-Net, a head for each joint", of_psjnet_size(with_head)),
    "mask_threshold": Method("joint dropout: score up to 0.5 removed", _masked("threshold")),
    "mask_dropout": Method("joint dropout: 8 draws by score", _masked("dropout")),
    "mask_region": Method("region dropout: 8 draws by score", _masked("region")),
    "mask_finger": Method("finger dropout: 8 draws by score", _masked("finger")),
    "mask_level": Method("level dropout: the paper's 4 sets", _masked("level")),
    "mask_truth": Method("oracle: hidden joints removed", _masked("truth")),
    "simulate": Method(
        "simulated occlusions: no joints removed", of_psjnet_size(with_head), simulate="detector"
    ),
    "mask_score": Method(
        "simulated occlusions: 8 draws by score", _masked("score"), simulate="detector"
    ),
    "learned": Method(
        "learned visibility: 8 draws (VisibilityLifter)",
        _masked("score", learned=True),
        simulate="detector",
    ),
    "learned_gate": Method(
        "learned visibility as soft gates", _masked("gate", learned=True), simulate="detector"
    ),
    "learned_channel": Method(
        "learned visibility as an input",
        _masked("nothing", learned=True, as_channel=True),
        simulate="detector",
    ),
    "learned_crude": Method(
        "learned visibility, crude simulation: 8 draws",
        _masked("score", learned=True),
        simulate="crude",
    ),
}
"""All methods by name."""
