"""The methods: the paper's, its baselines, and the controls that the paper lacks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import torch
from torch import nn
from torch_geometric.nn import ChebConv, GATv2Conv, GCNConv, GraphConv, TransformerConv

import handgraph.nn as hnn
from handgraph import HAND, RemovalSets
from occlusion.masked import MaskedLifter, with_head
from shared.lifters import FINGERS, FULL, LEVELS, RANDOM, PSJNetCore, count

WIDTH = 8  # of the finest level of every graph U-Net, unless sizes are matched
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
    """A row of the table. If training images have no hidden joints, random joints are zeroed."""

    title: str
    build: Callable[[int], nn.Module]  # from the number of input channels
    hide: Hide = "nothing"  # the joints that are zeroed and flagged in an additional channel
    simulate: Simulate | None = None  # the occlusion of clean detections in training


def of_psjnet_size(build: Callable[[int, int], nn.Module]) -> Callable[[int], nn.Module]:
    """Choose the width for which the number of parameters is closest to PSJNet's."""

    @cache
    def width_for(in_channels: int) -> int:
        with torch.random.fork_rng(devices=[]):
            wanted = count(_psjnet(in_channels))
            sizes = {width: count(build(in_channels, width)) for width in range(3, 20)}
        return min(sizes, key=lambda width: abs(sizes[width] - wanted))

    return lambda in_channels: build(in_channels, width_for(in_channels))


def _unet(in_channels: int, width: int = WIDTH) -> nn.Module:
    return hnn.AdaptiveGraphUNet(in_channels, 3, HAND, channels=width)


def _psjnet(
    in_channels: int,
    merger: type[hnn.Merger] = hnn.GraphMerger,
    removal: RemovalSets = LEVELS,
    width: int = WIDTH,
) -> nn.Module:
    sized = {"channels": width} if merger in (hnn.GraphMerger, hnn.HypothesisGraphMerger) else {}
    branches = hnn.AdaptiveGraphUNet(in_channels, 3, removal, channels=width)
    return PSJNetCore(branches, merger(3, 3, removal, **sized), removal)


def _masked(title: str, law: str, simulate: Simulate | None = None, **options: bool) -> Method:
    build = of_psjnet_size(lambda c, width: MaskedLifter(c, width, law, **options))
    return Method(title, build, simulate=simulate)


def _layer(title: str, conv: Callable[..., nn.Module] | hnn.PerLevel) -> Method:
    return Method(f"skeleton U-Net of {title}", lambda c: hnn.SkeletonUNet(c, 3, HAND, conv=conv))


METHODS = {
    "cai": Method("Cai-style direct regression", direct_regression),
    "hopenet": Method("HopeNet: one graph U-Net", _unet),
    "psjnet": Method("PSJNet: the paper's removal sets", _psjnet),
    "ensemble": Method(
        "4 full graphs, PSJNet's size",
        of_psjnet_size(lambda c, width: _psjnet(c, removal=FULL, width=width)),
    ),
    "unet": Method("one graph U-Net, PSJNet's size", of_psjnet_size(_unet)),
    "random": Method("PSJNet, 4 random sets of 5", lambda c: _psjnet(c, removal=RANDOM)),
    "finger": Method("PSJNet, one set for each finger", lambda c: _psjnet(c, removal=FINGERS)),
    "dropout": Method("one graph U-Net, random joints zeroed", of_psjnet_size(_unet), "at random"),
    "visible": Method("one graph U-Net, hidden joints zeroed", of_psjnet_size(_unet), "the hidden"),
    "mean": Method("PSJNet, mean of branches", lambda c: _psjnet(c, hnn.MeanMerger)),
    "gate": Method("PSJNet, gated merger", lambda c: _psjnet(c, hnn.GatedMerger)),
    "literal": Method(
        "PSJNet, 64 hypotheses as nodes", lambda c: _psjnet(c, hnn.HypothesisGraphMerger)
    ),
    "gcn": _layer("GCNConv", GCNConv),
    "graph": _layer("GraphConv", GraphConv),
    "cheb": _layer("ChebConv, K = 3", partial(ChebConv, K=3)),
    "gat": _layer("GATv2Conv, 4 heads", partial(GATv2Conv, heads=4, concat=False)),
    "transformer": _layer(
        "TransformerConv, 4 heads", partial(TransformerConv, heads=4, concat=False)
    ),
    "sem": _layer("SemGraphConv", hnn.PerLevel(hnn.SemGraphConv)),
    "modulated": _layer("ModulatedGraphConv", hnn.PerLevel(hnn.ModulatedGraphConv)),
    "agcn": _layer("AGCNConv", hnn.PerLevel(hnn.AGCNConv)),
    "head": Method("one graph U-Net, a head for each joint", of_psjnet_size(with_head)),
    "mask_threshold": _masked("joint dropout: score up to 0.5 removed", "threshold"),
    "mask_dropout": _masked("joint dropout: 8 draws by score", "dropout"),
    "mask_region": _masked("region dropout: 8 draws by score", "region"),
    "mask_finger": _masked("finger dropout: 8 draws by score", "finger"),
    "mask_level": _masked("level dropout: the paper's 4 sets", "level"),
    "mask_truth": _masked("oracle: hidden joints removed", "truth"),
    "simulate": Method(
        "simulated occlusions: no joints removed", of_psjnet_size(with_head), simulate="detector"
    ),
    "mask_score": _masked("simulated occlusions: 8 draws by score", "score", "detector"),
    "learned": _masked(
        "learned visibility: 8 draws (VisibilityLifter)", "score", "detector", learned=True
    ),
    "learned_gate": _masked("learned visibility as soft gates", "gate", "detector", learned=True),
    "learned_channel": _masked(
        "learned visibility as an input", "nothing", "detector", learned=True, as_input=True
    ),
    "learned_crude": _masked(
        "learned visibility, crude simulation: 8 draws", "score", "crude", learned=True
    ),
}
"""All methods by name."""
