"""All tensors of a module are created on the default device.

The device ``meta`` represents a GPU: its tensors have no values and do not mix with others.
"""

import pytest
import torch

from handgraph import HAND, RemovalSets, coarsen
from handgraph.masks import drop_set
from handgraph.nn import (
    AdaptiveGraphUNet,
    AGCNConv,
    ConsistencyMerger,
    GatedMerger,
    GraphMerger,
    HypothesisGraphMerger,
    MeanMerger,
    ModulatedGraphConv,
    NodePool,
    PrecisionMerger,
    SemGraphConv,
    SkeletalPool,
    SkeletalUnpool,
    SubgraphMask,
    VisibilityLifter,
)
from handgraph.vision import BranchFeatureEncoder, FeatureEncoder, SharedFeatureEncoder

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"grip": ["thumb", "index"], "tip": ["ring_tip"]})
MERGERS = (ConsistencyMerger, GatedMerger, GraphMerger, HypothesisGraphMerger, MeanMerger)
CONVS = (AGCNConv, ModulatedGraphConv, SemGraphConv)

MODULES = {
    **{f"{conv.__name__}": lambda conv=conv: conv(2, 3, HAND) for conv in CONVS},
    **{
        f"{layer}, {name}": lambda make=make, removal=removal: make(removal)
        for name, removal in (("levels", LEVELS), ("ragged", RAGGED))
        for layer, make in {
            "SubgraphMask": SubgraphMask,
            "AdaptiveGraphUNet": lambda removal: AdaptiveGraphUNet(2, 3, removal),
            "BranchFeatureEncoder": lambda removal: BranchFeatureEncoder(4, 2, removal),
            "SharedFeatureEncoder": lambda removal: SharedFeatureEncoder(4, 2, removal),
            "PrecisionMerger": lambda removal: PrecisionMerger(4, 3, removal),
            **{m.__name__: lambda removal, m=m: m(3, 3, removal) for m in MERGERS},
        }.items()
    },
    "AdaptiveGraphUNet": lambda: AdaptiveGraphUNet(2, 3, HAND),
    "FeatureEncoder": lambda: FeatureEncoder(4, 2, 21),
    "NodePool": lambda: NodePool(16, 8, node_mask=RAGGED.node_mask[:, :16]),
    "SkeletalPool": lambda: SkeletalPool(coarsen(HAND)[0]),
    "SkeletalUnpool": lambda: SkeletalUnpool(coarsen(HAND)[0]),
    "VisibilityLifter": lambda: VisibilityLifter(4, 3, HAND),
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_modules_are_created_on_the_default_device(make):
    with torch.device("meta"):
        net = make()
    assert {tensor.device.type for tensor in tensors(net)} <= {"meta"}
    assert [t.shape for t in tensors(net)] == [t.shape for t in tensors(make())]


def tensors(net):
    return [*net.parameters(), *(b for _, b in net.named_buffers(remove_duplicate=False))]


def test_removal_sets_are_on_the_cpu():
    with torch.device("meta"):
        sets = RemovalSets.by_level(HAND)
        drawn = RemovalSets.random(HAND, 4, 5, torch.Generator("cpu").manual_seed(0))
        assert drop_set(sets, (2, 3)).device.type == "meta"
        subgraph, hypotheses = sets.subgraph("PIP"), sets.hypotheses()
    assert sets == LEVELS
    assert drawn == RemovalSets.random(HAND, 4, 5, torch.Generator("cpu").manual_seed(0))
    assert subgraph == LEVELS.subgraph("PIP")
    assert all(map(torch.equal, hypotheses, LEVELS.hypotheses()))
