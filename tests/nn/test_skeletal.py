from __future__ import annotations

import pickle

import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

from handgraph import COCO, HAND, INTERHAND, RHD, Coarsening, RemovalSets, Skeleton, coarsen
from handgraph.nn import SkeletalPool, SkeletalUnpool
from handgraph.testing import assert_compiles, assert_relabelling

PAIRS = coarsen(HAND)[0]
UNEVEN = Coarsening(HAND, {"palm": ["wrist", "MCP"], "ring": HAND.groups["ring"][1:]} | {
    f: HAND.groups[f][1:] for f in ("pinky", "thumb", "index", "middle")
})  # fmt: skip
LOST = PAIRS.restrict(RemovalSets.by_level(HAND).subgraph("PIP"))
LEVELS = [PAIRS, UNEVEN, LOST, coarsen(COCO)[1], coarsen(INTERHAND)[0]]
IDS = ["pairs", "uneven", "lost", "coco", "two hands"]


def naive_pool(x, coarsening, reduce):
    """Pool one cluster at a time, with joints by name."""
    rows = []
    for joints in coarsening.clusters.values():
        members = torch.stack([x[..., coarsening.fine.index(joint), :] for joint in joints])
        rows.append(members.mean(dim=0) if reduce == "mean" else members.amax(dim=0))
    return torch.stack(rows, dim=-2)


@pytest.mark.parametrize("coarsening", LEVELS, ids=IDS)
@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3), (3, 0)])
def test_pool_equals_one_cluster_after_the_other(coarsening, reduce, lead):
    x = torch.randn(*lead, coarsening.fine.num_joints, 4, dtype=torch.float64)
    pooled = SkeletalPool(coarsening, reduce)(x)
    assert_close(pooled, naive_pool(x, coarsening, reduce), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("coarsening", LEVELS, ids=IDS)
def test_unpool_copies_to_the_joints_of_the_cluster(coarsening):
    x = torch.randn(2, coarsening.coarse.num_joints, 4)
    y = SkeletalUnpool(coarsening)(x)
    assert y.shape == (2, coarsening.fine.num_joints, 4)
    for c, joints in enumerate(coarsening.clusters.values()):
        for joint in joints:
            assert torch.equal(y[:, coarsening.fine.index(joint)], x[:, c])


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("coarsening", [PAIRS, LOST, coarsen(COCO)[0]], ids=["hand", "lost", "co"])
def test_constants_are_kept_exactly(coarsening, reduce):
    pool, unpool = SkeletalPool(coarsening, reduce), SkeletalUnpool(coarsening)
    constant = torch.randn(8, 1, 5).expand(8, coarsening.fine.num_joints, 5)
    assert torch.equal(unpool(pool(constant)), constant)
    coarse = torch.randn(8, coarsening.coarse.num_joints, 5)
    assert torch.equal(pool(unpool(coarse)), coarse)


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_constants_of_large_clusters_are_kept(reduce):
    pool, unpool = SkeletalPool(UNEVEN, reduce), SkeletalUnpool(UNEVEN)
    x = torch.randn(8, 6, 5)
    assert_close(pool(unpool(x)), x, rtol=3e-7, atol=0)


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_values_do_not_reach_other_clusters(reduce, value):
    x = torch.randn(3, 21, 2)
    x[1, HAND.index("ring_tip"), 0] = value
    pool, unpool = SkeletalPool(PAIRS, reduce), SkeletalUnpool(PAIRS)
    reached = ~unpool(pool(x)).isfinite()
    expected = torch.zeros_like(reached)
    expected[1, HAND.select(["ring_dip", "ring_tip"]), 0] = True
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_gradcheck(reduce):
    pool, unpool = SkeletalPool(UNEVEN, reduce), SkeletalUnpool(UNEVEN)
    x = torch.randn(2, 21, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: unpool(pool(x)), (x,))


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_joints_are_matched_by_name(reduce):
    def through(x, skeleton):
        level = coarsen(skeleton)[0]
        return SkeletalUnpool(level)(SkeletalPool(level, reduce)(x))

    assert_relabelling(through, HAND, in_channels=3)
    assert_relabelling(through, COCO, in_channels=3)


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_compiled_equals_eager(reduce):
    net = torch.nn.Sequential(SkeletalPool(UNEVEN, reduce), SkeletalUnpool(UNEVEN))
    assert_compiles(net, torch.randn(3, 21, 2))


def test_layers_have_no_state():
    for layer in (SkeletalPool(PAIRS), SkeletalUnpool(PAIRS)):
        assert layer.state_dict() == {}
        again = pickle.loads(pickle.dumps(layer))
        x = torch.randn(2, layer.cluster.max() + 1 if "Un" in repr(layer) else 21, 3)
        assert torch.equal(again(x), layer(x))


def test_strides_and_dtypes_do_not_matter():
    x = torch.randn(21, 3, 8).permute(2, 0, 1)
    pool = SkeletalPool(PAIRS)
    assert torch.equal(pool(x), pool(x.contiguous()))
    assert pool(x.bfloat16()).dtype == torch.bfloat16


def test_errors_name_the_expected_value():
    with pytest.raises(ValueError, match=r"^reduce: expected 'mean' or 'max', got 'sum'$"):
        SkeletalPool(PAIRS, "sum")
    message = r"SkeletalPool: expected \[\*, 21, C\] for the 21 joints of HAND, got 17 joints: \["
    with pytest.raises(ValueError, match=message):
        SkeletalPool(PAIRS)(torch.rand(8, 17, 2))
    message = r"SkeletalUnpool: expected \[\*, 11, C\] for the 11 joints of HAND/11, got 21 join"
    with pytest.raises(ValueError, match=message):
        SkeletalUnpool(PAIRS)(torch.rand(8, 21, 2))
    with pytest.raises(ValueError, match=r"expected \[\*, 21, C\] .*, got \[21\]$"):
        SkeletalPool(PAIRS)(torch.rand(21))


def test_repr_shows_the_nodes():
    assert repr(SkeletalPool(PAIRS, "max")) == "SkeletalPool(HAND: 21, 11, reduce='max')"
    assert repr(SkeletalUnpool(coarsen(RHD)[0])) == "SkeletalUnpool(RHD: 21, 11)"
    assert repr(SkeletalUnpool(coarsen(Skeleton.edgeless(2))[0])).endswith("edgeless(2): 2, 2)")
