from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.nn import ChebConv, GATConv, GCNConv

from handgraph import COCO, HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, SubgraphMask
from handgraph.testing import (
    assert_compiles,
    assert_no_leak,
    assert_relabelling,
    assert_static_matches_disjoint,
)

LEVELS = RemovalSets.by_level(HAND)
SPLIT = SubgraphMask(LEVELS)


# No leak


def test_sound_branches_pass():
    net = AdaptiveGraphUNet(2, 3, LEVELS)
    assert_no_leak(lambda x: net(SPLIT(x)), LEVELS, in_channels=2)
    assert_no_leak(SPLIT, LEVELS, in_channels=5)


def test_random_pose_depends_on_the_generator():
    seen = []

    def branches(x):
        seen.append(x.detach().clone())
        return SPLIT(x)

    for _ in range(2):
        assert_no_leak(branches, LEVELS, 2, generator=torch.Generator().manual_seed(3))
    assert torch.equal(seen[0], seen[5])


def leaks_by_mean(x):
    return SPLIT(x + 1e-6 * x.mean(dim=-2, keepdim=True))


def leaks_by_product(x):
    """Mask by multiplication: the gradient is 0, but NaN is not removed."""
    lost = (~LEVELS.keep_mask).float().unsqueeze(-1)
    return SPLIT(x) + (x.unsqueeze(-3).detach() * lost).sum(dim=-2, keepdim=True) * 0


def leaks_from_another_branch(x):
    y = SPLIT(x)
    return y + y.roll(1, dims=-3).mean(dim=-2, keepdim=True)


def leaks_without_gradient(x):
    return SPLIT(x) + x.detach().sum(dim=-2)[:, None, None]


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        (
            leaks_by_mean,
            r"^expected branch 'TIP' to have gradient 0 at its .* joint thumb_tip$",
        ),
        (leaks_from_another_branch, r"'TIP' to have gradient 0 at its removed joint thumb_tip"),
        (leaks_by_product, r"NaN in the joints .* 'TIP' removes reaches branch 'TIP', which"),
        (leaks_without_gradient, r"'TIP' removes reaches branch 'TIP', which keeps none of them"),
    ],
)
def test_leaks_are_found(branches, message):
    with pytest.raises(AssertionError, match=message):
        assert_no_leak(branches, LEVELS, in_channels=2)


def test_branches_without_gradients_fail():
    with pytest.raises(AssertionError, match=r"'TIP' to have a gradient at some kept joint, got 0"):
        assert_no_leak(lambda x: 0 * SPLIT(x), LEVELS, in_channels=2)


def test_hidden_nan_does_not_pass():
    with pytest.raises(AssertionError, match=r"'TIP' removes does not reach branch 'DIP', which"):
        assert_no_leak(lambda x: SPLIT(x.nan_to_num()), LEVELS, in_channels=2)


def test_swapped_branches_are_found():
    with pytest.raises(AssertionError, match=r"'TIP' to have gradient 0 at its removed joint"):
        assert_no_leak(lambda x: SPLIT(x).flip(-3), LEVELS, in_channels=2)


def test_branches_of_another_shape_are_errors():
    for branches in (lambda x: x, lambda x: SPLIT(x)[:, :3], lambda x: SPLIT(x).flatten(2)):
        with pytest.raises(AssertionError, match=r"expected branches of shape \[8, 4, 16, C\] for"):
            assert_no_leak(branches, LEVELS, in_channels=2)


# Relabelling


def test_layer_that_depends_on_names_passes():
    assert_relabelling(lambda x, s: s.hops().neg().exp() @ x, HAND, in_channels=3)
    gcn = GCNConv(3, 4)
    assert_relabelling(lambda x, s: gcn(x, s.edge_index), COCO, in_channels=3)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda x, s: x.cumsum(-2), r"expected the output to be permuted like the joints of HAND"),
        (lambda x, s: HAND.adjacency() @ x, r"output to be permuted like the joints of HAND"),
        (lambda x, s: x.mean(-2, keepdim=True) + 0 * x, r"an output that differs between joints"),
        (lambda x, s: x.sum(-2), r"expected an output of shape \[4, 21, C\], got \[4, 3\]"),
    ],
)
def test_layers_that_depend_on_indices_fail(layer, message):
    with pytest.raises(AssertionError, match=message):
        assert_relabelling(layer, HAND, in_channels=3)


@pytest.mark.parametrize("num_joints", [2, 3, 7])
def test_a_layer_that_singles_out_one_number_is_found(num_joints):
    skeleton = Skeleton.edgeless(num_joints)
    for seed in range(20):
        for number in range(num_joints):
            weight = torch.ones(num_joints, 1).index_fill(0, torch.tensor(number), 2)
            with pytest.raises(AssertionError, match="to be permuted like the joints"):
                assert_relabelling(
                    lambda x, s: weight * x,  # noqa: B023
                    skeleton,
                    in_channels=1,
                    generator=torch.Generator().manual_seed(seed),
                )


def test_a_skeleton_of_one_joint_has_one_order():
    assert_relabelling(lambda x, s: x, Skeleton.edgeless(1), in_channels=3)


# Layouts


@pytest.mark.parametrize("conv", [GCNConv(2, 4), ChebConv(2, 4, K=3)], ids=["gcn", "cheb"])
@pytest.mark.parametrize("skeleton", [HAND, COCO], ids=lambda s: s.name)
def test_layers_with_equal_layouts_pass(conv, skeleton):
    assert_static_matches_disjoint(conv, skeleton, in_channels=2)


def test_layouts_that_differ_are_found():
    with pytest.raises(AssertionError, match=r"static and disjoint graphs of HAND give different"):
        assert_static_matches_disjoint(
            lambda x, e: x - x.mean(dim=-2, keepdim=True), HAND, in_channels=2
        )
    with pytest.raises(AssertionError, match=r"output that differs between samples"):
        assert_static_matches_disjoint(lambda x, e: 0 * x, HAND, in_channels=2)
    conv = GATConv(2, 4)  # refuses static graphs
    with pytest.raises(AssertionError, match="Static graphs not supported"):
        assert_static_matches_disjoint(conv, HAND, in_channels=2)


# Compilation


class Doubles(nn.Module):
    """Layer that is correct in eager mode and omits a factor of values or gradients if compiled."""

    def __init__(self, wrong: str):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))
        self.wrong = wrong

    def forward(self, x):
        if not torch.compiler.is_compiling():
            return self.weight * x
        if self.wrong == "value":
            return 2 * self.weight * x
        return self.weight.detach() * x if self.wrong == "parameter" else self.weight * x.detach()


@pytest.mark.parametrize("wrong", ["value", "parameter", "input"])
def test_compiled_differences_are_found(wrong):
    with pytest.raises(AssertionError, match=r"Tensor-likes are not close|Scalars are not close"):
        assert_compiles(Doubles(wrong), torch.rand(3), backend="eager")


def test_graph_breaks_are_errors():
    def breaks(x):
        torch._dynamo.graph_break()
        return x

    with pytest.raises(torch._dynamo.exc.Unsupported):
        assert_compiles(breaks, torch.rand(3), backend="eager")


def test_functions_tuples_and_integers_compile():
    assert_compiles(lambda x, i: (x[i], x.sum()), torch.rand(5), torch.arange(3), backend="eager")


def test_outputs_without_a_gradient_compile():
    assert_compiles(lambda x: x > 0.5, torch.rand(5), backend="eager")
    assert_compiles(lambda i: (i + 1, i > 1), torch.arange(3), backend="eager")

    def differs(x):
        return x > 0.5 if torch.compiler.is_compiling() else x > 0

    with pytest.raises(AssertionError, match="Tensor-likes are not equal"):
        assert_compiles(differs, torch.tensor([0.25, 1.0]), backend="eager")


def test_inputs_are_left_alone():
    x = torch.rand(3)
    layer = nn.Linear(3, 2)
    assert_compiles(layer, x, backend="eager")
    assert not x.requires_grad
    assert all(p.grad is None for p in layer.parameters())
