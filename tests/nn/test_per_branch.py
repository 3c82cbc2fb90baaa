from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch_geometric.nn import GATv2Conv, GCNConv, SAGEConv, TransformerConv

from handgraph import COCO, HAND, RHD, RemovalSets, coarsen
from handgraph.nn import (
    AdaptiveGraphUNet,
    GraphMerger,
    MeanMerger,
    PerBranch,
    PerLevel,
    SemGraphConv,
    SkeletonConv,
    SkeletonUNet,
    SubgraphMask,
)
from handgraph.testing import assert_compiles, assert_no_leak

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(
    HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"], "nothing": ()}
)
VERY_RAGGED = RemovalSets(HAND, {"most": HAND.joints[4:], "few": ["wrist"], "nothing": ()})
LIMBS = RemovalSets(COCO, {limb: limb for limb in COCO.groups})
SETS = [LEVELS, RAGGED, VERY_RAGGED, LIMBS, RemovalSets.by_finger(RHD), RemovalSets.none(HAND, 2)]
IDS = ["levels", "ragged", "very ragged", "limbs", "fingers", "none"]


def unets(removal, conv=GATv2Conv, edges="bridged"):
    ladder = coarsen(removal.skeleton)
    return PerBranch(
        removal,
        lambda s: SkeletonUNet(2, 3, s, conv=conv, channels=4, ladder=ladder),
        edges=edges,
    )


@pytest.mark.parametrize("removal", SETS, ids=IDS)
@pytest.mark.parametrize("lead", [(), (0,), (5,), (2, 3)])
def test_branches_equal_each_module_on_its_joints(removal, lead):
    net = unets(removal)
    pose = torch.randn(*lead, removal.skeleton.num_joints, 2)
    y = net(SubgraphMask(removal)(pose))
    assert y.shape == (*lead, len(removal), removal.num_nodes, 3)
    for n, branch in enumerate(net.branches):
        joints = removal.keep_mask[n].nonzero().flatten()
        assert_close(y[..., n, : len(joints), :], branch(pose[..., joints, :]))
        assert (y[..., n, len(joints) :, :] == 0).all()


def test_the_line_of_the_design():
    net = PerBranch(LEVELS, lambda s: SkeletonUNet(2, 3, s, conv=GATv2Conv))
    assert net(torch.rand(8, 4, 16, 2)).shape == (8, 4, 16, 3)


@pytest.mark.parametrize("edges", ["bridged", "induced"])
def test_factory_is_called_with_the_skeleton_of_its_branch(edges):
    seen = []

    def factory(skeleton):
        seen.append(skeleton)
        return nn.Linear(2, 3)

    PerBranch(RAGGED, factory, edges=edges)
    assert seen == [RAGGED.subgraph(name, edges) for name in RAGGED.names]
    if edges == "bridged":
        PerBranch(RAGGED, factory)
        assert seen[4:] == seen[:4]


def test_native_unets_equal_the_stack():
    """N nets and one net with N branches agree if their parameters are equal."""
    stack = AdaptiveGraphUNet(2, 3, LEVELS)
    net = PerBranch(LEVELS, lambda s: AdaptiveGraphUNet(2, 3, s))
    for n, branch in enumerate(net.branches):
        branch.load_state_dict({k: v[n : n + 1] for k, v in stack.named_parameters()})
    x = torch.randn(8, 4, 16, 2)
    assert_close(net(x), stack(x))


@pytest.mark.parametrize("removal", SETS, ids=IDS)
@pytest.mark.parametrize("edges", ["bridged", "induced"])
def test_removed_joints_have_no_influence(removal, edges):
    net, split = unets(removal, PerLevel(SemGraphConv), edges), SubgraphMask(removal)
    assert_no_leak(lambda pose: net(split(pose)), removal, in_channels=2)


@pytest.mark.parametrize("value", [torch.nan, 1e6])
def test_padding_is_not_read(value):
    net = unets(RAGGED)
    x = torch.randn(2, 4, 21, 2)
    poisoned = x.masked_fill(~RAGGED.node_mask.unsqueeze(-1), value).requires_grad_()
    assert torch.equal(net(poisoned), net(x))
    net(poisoned).sum().backward()
    assert (poisoned.grad[:, ~RAGGED.node_mask] == 0).all()


@pytest.mark.parametrize("merger", [MeanMerger, GraphMerger], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("conv", [GATv2Conv, SAGEConv, PerLevel(SemGraphConv)])
def test_core_of_psjnet_trains_with_any_convolution(merger, conv):
    split, branches, merge = SubgraphMask(LIMBS), unets(LIMBS, conv), merger(3, 3, LIMBS)
    net = nn.Sequential(split, branches, merge)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    x = torch.randn(64, 17, 2)
    target = torch.cat([x, x.sum(dim=-1, keepdim=True)], dim=-1)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = (net(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_branches_share_no_parameters():
    net = unets(LEVELS)
    x = torch.randn(2, 4, 16, 2)
    net(x)[:, 1].sum().backward()
    felt = [any(p.grad.any() for p in branch.parameters()) for branch in net.branches]
    assert felt == [False, True, False, False]


def test_copies_compute_the_same():
    net, x = unets(RAGGED), torch.randn(2, 4, 21, 2)
    loaded = unets(RAGGED)
    loaded.load_state_dict(net.state_dict())
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), loaded):
        assert torch.equal(other(x), net(x))


def test_reset_draws_every_branch_anew():
    net = unets(LEVELS)
    before = copy.deepcopy(net.state_dict())
    net.reset_parameters()
    weights = [n for n in before if n.endswith("att")]
    assert not any(torch.equal(net.state_dict()[n], before[n]) for n in weights)


@pytest.mark.parametrize("conv", [GATv2Conv, TransformerConv, GCNConv])
def test_hands_with_nan_send_no_gradient_back(conv):
    """Gradients of poses and parameters are those of hands and branches without NaN."""
    net, split = unets(LEVELS, conv).double(), SubgraphMask(LEVELS)
    pose = torch.randn(3, 21, 2, dtype=torch.float64)
    clean = pose.clone().requires_grad_()
    pose[1, ~LEVELS.keep_mask[0]] = torch.nan
    y, expected = net(split(pose.requires_grad_())), net(split(clean))
    assert y[1, 1:].isnan().all()
    loss = expected[[0, 2]].square().sum() + expected[1, 0].square().sum()
    inputs = list(net.parameters())
    wanted = torch.autograd.grad(loss, [clean, *inputs])
    assert_close(torch.autograd.grad(y.square().nansum(), [pose, *inputs]), wanted)


def test_compiled_equals_eager():
    net = PerBranch(RAGGED, lambda s: SkeletonConv(GCNConv(2, 3), s))
    assert_compiles(net, torch.randn(3, 4, 21, 2))


# Errors


@pytest.mark.parametrize("shape", [(8, 4, 21, 2), (8, 1, 16, 2), (8, 16, 2), (16, 2)])
def test_input_of_other_branches_is_an_error(shape):
    with pytest.raises(ValueError, match=r"PerBranch: expected \[\*, 4, 16, C\] for RemovalSets"):
        unets(LEVELS)(torch.rand(shape))


class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(-2)


def test_branches_of_another_shape_are_errors():
    net = PerBranch(LEVELS, lambda s: nn.Linear(2, 3 + ("TIP" in s.name)))
    with pytest.raises(ValueError, match=r"expected branches of one width, got \[4, 3, 3, 3\]"):
        net(torch.rand(8, 4, 16, 2))
    net = PerBranch(LEVELS, lambda s: Flat())
    with pytest.raises(ValueError, match=r"branch 'TIP' to give \[8, 16, C\], got \[8, 32\]"):
        net(torch.rand(8, 4, 16, 2))
    with pytest.raises(ValueError, match=r"edges: expected 'bridged' or 'induced', got 'cut'"):
        PerBranch(LEVELS, lambda s: Flat(), edges="cut")


def test_repr_shows_the_sets_and_a_branch():
    expected = r"PerBranch(RemovalSets(HAND, TIP: -5, DIP: -5, PIP: -5, MCP: -5), Flat(), ...)"
    assert repr(PerBranch(LEVELS, lambda s: Flat())) == expected
