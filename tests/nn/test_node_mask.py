"""Per-sample removal: hidden nodes neither send nor receive messages, exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, SubgraphMask
from handgraph.testing import assert_compiles
from tests.nn.nets import LEVELS, RAGGED, unet


def masks(*shape, keep=0.6, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < keep


def cut(net, kept):
    """Build the net over the kept joints only, with slices of the same parameters."""
    nodes = (len(kept), *net.nodes[1:])
    small = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(len(kept)), nodes=nodes).double()
    state = {name: value.detach() for name, value in net.named_parameters()}
    state["adjacency.0"] = state["adjacency.0"][:, kept][:, :, kept]
    state["pools.0.weight"] = state["pools.0.weight"][:, :, kept]
    state["unpools.0.weight"] = state["unpools.0.weight"][:, kept]
    state["unpools.0.bias"] = state["unpools.0.bias"][:, kept]
    small.load_state_dict(state)
    return small


def by_hand(net, x, mask):
    """Run each sample through the net over its own kept joints."""
    out = torch.zeros(*x.shape[:-1], 3, dtype=x.dtype)
    for sample, keep, result in zip(x, mask, out, strict=True):
        kept = keep.nonzero().flatten()
        if len(kept):
            result[kept] = cut(net, kept)(sample[kept])
    return out


@pytest.mark.parametrize("nodes", [None, (21, 4), (21, 30, 2)])
def test_masked_net_equals_the_net_over_the_remaining_joints(nodes):
    net, x, mask = unet(nodes=nodes), torch.randn(9, 21, 2).double(), masks(9, 21)
    mask[0], mask[1] = True, False
    with torch.no_grad():
        assert_close(net(x, mask), by_hand(net, x, mask), rtol=1e-10, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**21 - 1))
def test_any_mask_is_the_net_over_the_joints_that_it_leaves(bits):
    net, x = unet(), torch.randn(1, 21, 2, generator=torch.Generator().manual_seed(bits)).double()
    mask = torch.tensor([[bool(bits >> joint & 1) for joint in range(21)]])
    with torch.no_grad():
        assert_close(net(x, mask), by_hand(net, x, mask), rtol=1e-9, atol=1e-11)


def test_one_mask_for_all_samples_is_subgraph_mask():
    removal = RemovalSets(HAND, {"no tips": "TIP", "nothing": ()})
    net, x = unet(), torch.randn(4, 21, 2).double()
    kept = removal.kept[0][removal.node_mask[0]]
    branch = SubgraphMask(removal)(x)[:, 0, : len(kept)]
    out = net(x, removal.keep_mask[0].expand(4, 21))
    assert_close(out[:, kept], cut(net, kept)(branch))
    assert out[:, ~removal.keep_mask[0]].eq(0).all()


@pytest.mark.parametrize("graph", [HAND, LEVELS, RAGGED])
@pytest.mark.parametrize("renormalize", [True, False])
def test_full_mask_does_not_change_the_output(graph, renormalize):
    net = unet(graph, renormalize=renormalize)
    shape = (5, 21) if graph is HAND else (5, *graph.node_mask.shape)
    x = torch.randn(*shape, 2).double()
    assert_close(net(x, torch.ones(shape, dtype=torch.bool)), net(x))


def test_all_hidden_is_zero():
    assert unet()(torch.full((2, 21, 2), torch.nan).double(), masks(2, 21, keep=0)).eq(0).all()


@pytest.mark.parametrize("graph", [HAND, RAGGED])
@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("normalization", ["abs", "signed"])
def test_hidden_nodes_have_no_influence(graph, renormalize, normalization):
    net = AdaptiveGraphUNet(
        2, 3, graph, renormalize=renormalize, normalization=normalization
    ).double()
    shape = (6, 21) if graph is HAND else (6, *graph.node_mask.shape)
    x = torch.randn(*shape, 2).double().requires_grad_()
    mask = masks(*shape)
    out = net(x, mask)
    out.square().sum().backward()
    there = mask if graph is HAND else mask & graph.node_mask
    assert x.grad[~there].eq(0).all()
    assert x.grad[there].ne(0).double().mean() > 0.5
    assert out[~there].eq(0).all()
    poisoned = x.detach().where(there.unsqueeze(-1), torch.nan).requires_grad_()
    again = net(poisoned, mask)
    assert torch.equal(again, out)
    again.sum().backward()
    assert poisoned.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("renormalize", [True, False])
def test_renormalize_selects_degrees_of_remaining_or_all_joints(renormalize):
    """Closed form of the output of one joint, if the other is hidden, for levels (2, 1)."""
    net = AdaptiveGraphUNet(
        1, 1, Skeleton.edgeless(2), nodes=(2, 1), channels=1, renormalize=renormalize
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.adjacency[0].copy_(torch.tensor([[[4.0, 1.0], [5.0, 1.0]]]))
        net.encoder[0].lin.weight.fill_(1)
        net.decoder[0].lin.weight.copy_(torch.tensor([[[1.0, 0.0]]]))  # only the skip connection
    x = torch.tensor([[[3.0], [7.0]]])
    weight = 4 / (4 if renormalize else 9)
    out = net(x, torch.tensor([[True, False]]))
    assert_close(out, torch.tensor([[[weight**2 * 3.0], [0.0]]]), rtol=1e-4, atol=0)


def test_signed_degrees_of_hidden_nodes_may_be_negative():
    net = AdaptiveGraphUNet(2, 3, HAND, normalization="signed").double()
    with torch.no_grad():
        net.adjacency[0][0, :, 3] -= 1  # all edges into joint 3
    x, mask = torch.randn(4, 21, 2).double(), torch.ones(4, 21, dtype=torch.bool)
    assert net(x, mask).isnan().any()
    mask[:, 3] = False
    out = net(x, mask)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_branches_accept_one_mask_each():
    net, x = unet(LEVELS), torch.randn(3, 4, 16, 2).double()
    mask = masks(3, 4, 16)
    out = net(x, mask)
    for n in range(4):
        alone = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(16)).double()
        alone.load_state_dict({k: v[n : n + 1] for k, v in net.named_parameters()})
        assert_close(out[:, n], alone(x[:, n], mask[:, n]))


def test_a_gate_of_one_and_zero_is_a_mask_and_between_it_is_smooth():
    net, x, mask = unet(), torch.randn(3, 21, 2).double(), masks(3, 21)
    assert_close(net(x, mask.double()), net(x, mask))
    gate = (0.2 + 0.7 * torch.rand(3, 21).double()).requires_grad_()
    small = AdaptiveGraphUNet(1, 1, Skeleton.edgeless(3), channels=1).double()
    assert gradcheck(
        lambda z, g: small(z, g), (torch.randn(2, 3, 1).double().requires_grad_(), gate[:2, :3])
    )


def test_a_gate_that_is_nan_gives_nan():
    gate = torch.ones(1, 21).double()
    gate[0, 3] = torch.nan
    assert unet()(torch.rand(1, 21, 2).double(), gate).isnan().all()


def test_leading_dimensions_are_free():
    net, x, mask = unet(), torch.randn(2, 3, 21, 2).double(), masks(2, 3, 21)
    flat = net(x.flatten(0, 1), mask.flatten(0, 1))
    assert_close(net(x, mask), flat.unflatten(0, (2, 3)))
    assert_close(net(x[0, 0], mask[0, 0]), flat[0])
    assert net(x[:0], mask[:0]).shape == (0, 3, 21, 3)


@pytest.mark.slow
def test_masked_nets_compile():
    assert_compiles(AdaptiveGraphUNet(2, 3, HAND), torch.randn(4, 21, 2), masks(4, 21))


def test_masks_of_another_shape_or_kind_are_refused():
    net, x = unet(), torch.randn(3, 21, 2).double()
    with pytest.raises(ValueError, match=r"node_mask .* \[3, 21\] for HAND, got \[21\]"):
        net(x, masks(21))
    with pytest.raises(ValueError, match=r"node_mask .* \[3, 4, 16\] for Rem.*got \[3, 21\]"):
        unet(LEVELS)(torch.randn(3, 4, 16, 2).double(), masks(3, 21))
    with pytest.raises(TypeError, match=r"expected Bool or floating, got torch\.int64"):
        net(x, torch.ones(3, 21, dtype=torch.long))
