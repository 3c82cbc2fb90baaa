"""Constants move with a module and are neither saved nor averaged."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn
from torch.testing import assert_close
from torch_geometric.nn import GCNConv

from handgraph import HAND, coarsen
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
    SemGraphConv,
    SkeletalPool,
    SkeletalUnpool,
    SkeletonConv,
    SkeletonUNet,
    SubgraphMask,
    fold,
)
from handgraph.nn.constants import HasConstants
from tests.nn.nets import LEVELS, RAGGED, core

LAYERS = {
    "mask": lambda: SubgraphMask(RAGGED),
    "net": lambda: AdaptiveGraphUNet(2, 3, RAGGED),
    "pool": lambda: NodePool(21, 4, node_mask=RAGGED.node_mask),
    "mean": lambda: MeanMerger(3, 3, RAGGED),
    "gated": lambda: GatedMerger(3, 3, RAGGED),
    "consistency": lambda: ConsistencyMerger(3, 3, RAGGED),
    "graph": lambda: GraphMerger(3, 3, RAGGED),
    "literal": lambda: HypothesisGraphMerger(3, 3, RAGGED),
    "skeletal pool": lambda: SkeletalPool(coarsen(HAND)[0]),
    "skeletal unpool": lambda: SkeletalUnpool(coarsen(HAND)[0]),
    "AGCN": lambda: AGCNConv(2, 4, HAND),
    "modulated": lambda: ModulatedGraphConv(2, 4, HAND),
    "semantic": lambda: SemGraphConv(2, 4, HAND),
    "adapter": lambda: SkeletonConv(GCNConv(2, 4), HAND),
    "skeleton net": lambda: SkeletonUNet(2, 3, HAND, conv=GCNConv),
    "folded": lambda: fold(core(RAGGED)),
    "core": lambda: core(LEVELS),
}
AVERAGES = {"ema": get_ema_multi_avg_fn(0.9999), "swa": get_swa_multi_avg_fn()}


def constants(net):
    """Return all tensors that are attributes of a module but not parameters."""
    return [
        value
        for module in net.modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    ]


LEARNED = [name for name, make in LAYERS.items() if list(make().parameters())]


@pytest.mark.parametrize("average", AVERAGES.values(), ids=AVERAGES)
@pytest.mark.parametrize("name", [*LEARNED, "folded"])
def test_averages_leave_constants_alone(name, average):
    """The average of a net that does not change is the net."""
    net = LAYERS[name]()
    averaged = AveragedModel(net, multi_avg_fn=average, use_buffers=True)
    for _ in range(10):
        averaged.update_parameters(net)
    assert_close(constants(averaged.module), constants(net), rtol=0, atol=0)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_no_index_or_mask_is_a_buffer(make):
    buffers = {name: b for name, b in make().named_buffers() if "num_batches" not in name}
    assert all(buffer.is_floating_point() for buffer in buffers.values())


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_constants_are_restored_from_the_meta_device(make):
    net = make()
    before = copy.deepcopy(constants(net))
    net.to("meta")
    assert all(constant.is_meta for constant in constants(net))
    assert_close(constants(net.to_empty(device="cpu")), before, rtol=0, atol=0)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_constants_keep_their_dtype_unless_they_are_floating(make):
    net = make()
    before = constants(net)
    for was, now in zip(before, constants(pickle.loads(pickle.dumps(net)).half()), strict=True):
        assert now.dtype == (torch.float16 if was.is_floating_point() else was.dtype)


def test_constants_are_created_on_the_device_of_the_parameters():
    class Layer(HasConstants):
        def __init__(self):
            super().__init__()
            index = torch.tensor([1, 2], device="cpu")
            self.register_constants(index=index, nothing=None)

    with torch.device("meta"):
        layer = Layer()
    assert layer.index.is_meta
    assert layer.nothing is None
    assert layer.to_empty(device="cpu").index.tolist() == [1, 2]
