"""Values and all derivatives of each engine against the readable forward."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.functional import hessian, jacobian
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import SubgraphMask, engines
from handgraph.testing import assert_no_leak
from tests.nn.nets import (
    ENGINES,
    EXACT,
    LEVELS,
    RAGGED,
    core,
    engines_of,
    pose,
    readable,
    soft_mask,
    unet,
    values_and_gradients,
)

TOY = RemovalSets.from_keep_masks(
    Skeleton.edgeless(3), torch.tensor([[True, True, False], [True] * 3])
)


@pytest.fixture(params=ENGINES)
def engine(request):
    """Use one engine during a test."""
    with engines.use(request.param):
        yield request.param


def compare(engine, net, *args):
    """Compare the value, with and without autograd, and all gradients."""
    with engines.use(engine):
        assert set(engines_of(net, *args)) == {engine}
        found = values_and_gradients(net, *args)
        with torch.no_grad():
            assert_close(net(*args), found[0], rtol=1e-12, atol=1e-12)
    expected = readable(values_and_gradients, net, *args)
    assert all(t.isfinite().all() for t in expected)
    assert_close(found, expected, **EXACT)


# Nets


@st.composite
def problems(draw):
    """Draw a small net, a batch and sometimes a mask."""
    joints, branches = draw(st.integers(1, 7)), draw(st.sampled_from([None, 1, 3]))
    nodes = draw(st.none() | st.lists(st.integers(1, 7), min_size=1, max_size=3))
    seed = draw(st.integers(0, 99))
    generator = torch.Generator().manual_seed(seed)
    graph = Skeleton.edgeless(joints)
    if branches is not None:
        keep = torch.rand(branches, joints, generator=generator) < 0.6
        keep[:, 0], keep[0] = True, True  # no set is empty and no joint is removed everywhere
        graph = RemovalSets.from_keep_masks(graph, keep)
        joints = graph.num_nodes
    net = unet(
        graph,
        sizes=(draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        nodes=None if nodes is None else (joints, *nodes),
        channels=draw(st.integers(1, 5)),
        bottleneck_channels=draw(st.integers(1, 6)),
        normalization=draw(st.sampled_from(["abs", "signed"])),
        renormalize=draw(st.booleans()),
    )
    torch.manual_seed(seed)
    x = pose(net, draw(st.sampled_from([0, 1, 3, 67])))
    mask = draw(st.sampled_from(["none", "hard", "soft"]))
    if mask == "none":
        return net, x
    return net, x, soft_mask(x) if mask == "soft" else torch.rand(x.shape[:-1]) < 0.6


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=50)
@given(problem=problems())
def test_any_net(engine, problem):
    compare(engine, *problem)


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 67, 300])
@pytest.mark.parametrize("graph", [HAND, LEVELS, RAGGED], ids=["skeleton", "levels", "ragged"])
def test_batches(engine, graph, batch):
    net = unet(graph)
    compare(engine, net, pose(net, batch))


@pytest.mark.parametrize("options", [{"nodes": (21, 4)}, {"nodes": (21, 30, 5)}, {"channels": 24}])
@pytest.mark.parametrize("normalization", ["abs", "signed"])
def test_ladders_and_widths(engine, normalization, options):
    net = unet(normalization=normalization, **options)
    compare(engine, net, pose(net, 40))


@pytest.mark.parametrize("batch", [1, 3, 67])
@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["skeleton", "ragged"])
def test_masks(engine, graph, renormalize, batch):
    net = unet(graph, renormalize=renormalize)
    x = pose(net, batch)
    gate = soft_mask(x)
    compare(engine, net, x, gate > 0)
    compare(engine, net, x, gate)


@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (2, 0), (2, 1, 3)])
@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["skeleton", "ragged"])
def test_leading_dimensions(engine, graph, lead):
    net = unet(graph)
    x = pose(net, *lead)
    compare(engine, net, x)
    compare(engine, net, x, soft_mask(x))


@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
@pytest.mark.parametrize("batch", [1, 40])
def test_core(engine, removal, batch):
    compare(engine, core(removal), torch.randn(batch, 21, 2, dtype=torch.float64))


@pytest.mark.parametrize("normalization", ["abs", "signed"])
@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["skeleton", "ragged"])
@pytest.mark.parametrize("masked", [False, True])
def test_single_precision(engine, graph, normalization, masked):
    net = unet(graph, normalization=normalization)
    x = pose(net, 40)
    masks = (soft_mask(x),) if masked else ()
    expected = readable(values_and_gradients, net, x, *masks)
    single = copy.deepcopy(net).float()
    found = values_and_gradients(single, x.float(), *(mask.float() for mask in masks))
    assert engines_of(single, x.float()) == [engine]
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - exact).abs().max() < 2e-5 * exact.abs().max().clamp(min=1)


@pytest.mark.parametrize("normalization", ["abs", "signed"])
def test_entries_of_0_and_below(engine, normalization):
    """The derivative of ``abs`` at 0 is 0, and the root of a negative degree is NaN."""
    net = unet(normalization=normalization, nodes=(21, 4))
    with torch.no_grad():
        net.adjacency[0].copy_(-torch.rand(21, 21).round() / 9 - 1e-3 * torch.eye(21))
    x = pose(net, 3)
    found = values_and_gradients(net, x)
    assert_close(found, readable(values_and_gradients, net, x), equal_nan=True, **EXACT)
    assert bool(found[0].isnan().all()) == (normalization == "signed")


# Memory


LAYOUTS = {
    "transposed": lambda x: x.mT.contiguous().mT,
    "every other": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    "rows of more": lambda x: torch.cat([x, x], dim=-2)[..., : x.shape[-2], :],
    "first dimension last": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "negative": lambda x: torch._neg_view(-x),
}
IN_ANY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS)


@IN_ANY_LAYOUT
@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["skeleton", "ragged"])
def test_inputs_in_any_layout(engine, graph, layout):
    net = unet(graph)
    x = pose(net, 10)
    view = LAYOUTS[layout](x)
    assert view.is_neg() or not view.is_contiguous()
    expected = values_and_gradients(net, x)
    with torch.no_grad():
        assert_close(net(view), expected[0], rtol=1e-12, atol=1e-12)
    leaf = view.detach().requires_grad_()
    (found,) = torch.autograd.grad(net(leaf).sin().sum(), leaf)
    x.requires_grad_()
    assert_close(found, torch.autograd.grad(net(x).sin().sum(), x)[0], **EXACT)


def test_views_of_inputs(engine):
    net = unet(LEVELS)
    x = pose(net, 10)
    for view in (x[::3], x.flip(0), x[:1].expand(5, -1, -1, -1)):
        compare(engine, net, view)


@IN_ANY_LAYOUT
def test_gradients_in_any_layout(engine, layout):
    net = unet(LEVELS)
    x, weights = pose(net, 5).requires_grad_(), torch.randn(5, 4, 16, 3, dtype=torch.float64)
    leaves = [x, *net.parameters()]
    expected = readable(lambda: torch.autograd.grad(net(x), leaves, weights))
    view = LAYOUTS[layout](weights)
    assert_close(torch.autograd.grad(net(x), leaves, view), expected, **EXACT)


def test_gradients_that_are_expanded(engine):
    """The gradient of a sum is an expanded tensor."""
    net = unet(LEVELS)
    x = pose(net, 5).requires_grad_()
    leaves = [x, *net.parameters()]
    expected = readable(lambda: torch.autograd.grad(net(x).sum(), leaves))
    assert_close(torch.autograd.grad(net(x).sum(), leaves), expected, **EXACT)


@IN_ANY_LAYOUT
def test_parameters_in_any_layout(engine, layout):
    net, x = unet(LEVELS), pose(unet(LEVELS), 3)
    expected = values_and_gradients(net, x)
    for module in net.modules():
        for name, parameter in list(module._parameters.items()):
            view = LAYOUTS[layout](parameter.detach().clone())
            module._parameters[name] = nn.Parameter(view)
    assert not all(p.is_contiguous() and not p.is_neg() for p in net.parameters())
    if layout != "negative":
        assert engines_of(net, x) == [engine]
    assert_close(values_and_gradients(net, x), expected, **EXACT)
    with torch.no_grad():
        assert_close(net(x), expected[0], **EXACT)


def test_parameters_that_are_expanded(engine):
    """All strides are 0."""
    net, x = unet(LEVELS), pose(unet(LEVELS), 3)
    names = ["squeeze.weight", "expand.bias", "adjacency.1", "pools.0.weight", "unpools.1.bias"]
    ones = [torch.rand((), dtype=torch.float64, requires_grad=True) for _ in names]

    def call(x):
        wide = (one.expand_as(net.get_parameter(n)) for n, one in zip(names, ones, strict=True))
        return functional_call(net, dict(zip(names, wide, strict=True)), (x,))

    found = torch.autograd.grad(call(x).square().sum(), ones)
    expected = readable(lambda: torch.autograd.grad(call(x).square().sum(), ones))
    assert_close(found, expected, **EXACT)


def test_parameters_that_are_shared(engine):
    net = unet(LEVELS)
    net.decoder[2].lin.bias = net.encoder[1].lin.bias
    net.encoder[0].lin.bias = net.decoder[1].lin.bias
    net.expand.bias = net.encoder[3].lin.bias
    compare(engine, net, pose(net, 3))


# Isolation of samples, branches and nodes


@pytest.mark.parametrize("batch", [1, 3, 40, 300])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_values_do_not_reach_other_samples(engine, batch, value):
    net = unet()
    x, last = pose(net, batch), batch - 1
    clean = net(x).detach()
    x[last, 4, 1] = value
    out, grad, *_ = values_and_gradients(net, x)
    assert_close(out[:last], clean[:last], rtol=1e-12, atol=1e-12)
    assert grad[:last].isfinite().all()
    expected, other, *_ = readable(values_and_gradients, net, x)
    assert not out[last].isfinite().all()
    assert_close(out, expected, equal_nan=True, **EXACT)
    assert torch.equal(grad.isnan(), other.isnan())


def test_nan_in_a_parameter_reaches_its_branch_and_no_other(engine):
    net = unet(LEVELS)
    with torch.no_grad():
        net.expand.bias[1, 0] = torch.nan
    found = values_and_gradients(net, pose(net, 3))
    assert found[0][:, 1].isnan().all()
    assert found[0][:, [0, 2, 3]].isfinite().all()
    assert all(gradient[[0, 2, 3]].isfinite().all() for gradient in found[2:])


@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
def test_removed_joints_have_no_influence(engine, removal):
    net = nn.Sequential(SubgraphMask(removal), unet(removal, dtype=torch.float32))
    assert_no_leak(net, removal, 2)


def test_padding_gives_0_and_has_no_influence(engine):
    net, padding = unet(RAGGED), ~RAGGED.node_mask.unsqueeze(-1)
    x = pose(net, 5)
    out = net(x)
    assert (out.masked_select(padding) == 0).all()
    found = values_and_gradients(net, x.masked_fill(padding, torch.nan))
    assert torch.equal(found[0], out)
    assert (found[1].masked_select(padding) == 0).all()
    assert all(gradient.isfinite().all() for gradient in found)
    both = ~(RAGGED.node_mask.unsqueeze(1) & RAGGED.node_mask.unsqueeze(2))
    at_adjacency = [n for n, _ in net.named_parameters()].index("adjacency.0")
    assert (found[2 + at_adjacency][both] == 0).all()


def test_samples_are_alone(engine):
    net = unet(RAGGED)
    x = pose(net, 300)
    together = net(x)
    for i in (0, 255, 256, 299):
        assert_close(net(x[i]), together[i], **EXACT)
    parameters = list(net.parameters())
    whole = torch.autograd.grad(together.square().sum(), parameters)
    parts = [torch.autograd.grad(net(part).square().sum(), parameters) for part in x.split(77)]
    assert_close([sum(part) for part in zip(*parts, strict=True)], list(whole), **EXACT)


# Derivatives


def small(graph, **options):
    """Return a net, and the net as a function of its parameters."""
    net = unet(graph, channels=2, bottleneck_channels=3, **options)
    names = [name for name, _ in net.named_parameters()]

    def call(x, gate, *parameters):
        args = (x,) if gate is None else (x, gate)
        return functional_call(net, dict(zip(names, parameters, strict=True)), args)

    return net, call


@pytest.mark.parametrize("normalization", ["abs", "signed"])
@pytest.mark.parametrize("graph", [Skeleton.edgeless(4), TOY], ids=["skeleton", "ragged"])
@pytest.mark.parametrize("masked", [False, True])
def test_derivatives_are_those_of_differences(engine, graph, normalization, masked):
    net, call = small(graph, normalization=normalization)
    x = pose(net, 2).requires_grad_()
    gate = (0.2 + 0.7 * torch.rand(x.shape[:-1]).double()).requires_grad_() if masked else None
    assert engines_of(net, *(x, gate)[: 1 + masked]) == [engine]
    assert gradcheck(call, (x, gate, *net.parameters()), fast_mode=True)
    assert gradgradcheck(call, (x, gate, *net.parameters()), fast_mode=True)


@pytest.mark.parametrize("masked", [False, True])
def test_second_derivatives(engine, masked):
    """Second derivatives with respect to everything, only the input, or only parameters."""
    net, call = small(Skeleton.edgeless(4))
    x = pose(net, 2)
    gate = soft_mask(x) if masked else None
    parameters = [parameter.detach() for parameter in net.parameters()]

    def loss(x, *parameters):
        return call(x, gate, *parameters).square().sum()

    def of_input(x):
        return loss(x, *parameters)

    expected = readable(hessian, loss, (x, *parameters))
    assert_close(hessian(loss, (x, *parameters)), expected, **EXACT)
    assert_close(hessian(of_input, x), expected[0][0], **EXACT)
    leaves = list(net.parameters())
    first = torch.autograd.grad(loss(x, *leaves), leaves[-1], create_graph=True)[0]
    found = torch.autograd.grad(first.sum(), leaves)
    sums = [part.sum(dim=tuple(range(first.dim()))) for part in expected[-1][1:]]
    assert_close(found, tuple(sums), **EXACT)


def test_a_penalty_on_gradients(engine):
    """WGAN-GP: gradients of a loss that contains gradients."""
    net, x = core(), torch.randn(5, 21, 2, dtype=torch.float64)

    def penalty():
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(net(leaf).sum(), leaf, create_graph=True)
        loss = slope.square().sum()
        return torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)

    assert_close(penalty(), readable(penalty), **EXACT)


def test_rows_of_a_jacobian_at_once(engine):
    net = unet(nodes=(21, 4))
    x = pose(net)
    assert_close(jacobian(net, x, vectorize=True), jacobian(net, x), **EXACT)


CALLS = {
    "once": lambda net, x: net(x),
    "masked": lambda net, x: net(x, x[..., 0].detach() > 0),
    "with a gate of the input": lambda net, x: net(x, x[..., 0].sigmoid()),
    "twice": lambda net, x: net(net(x)),
}


@pytest.mark.parametrize("call", CALLS)
def test_gradients_with_a_graph_are_those_without(engine, call):
    """This also holds if one tensor of a plan depends on another."""
    net, call = unet(LEVELS, sizes=(2, 2)), CALLS[call]
    x = pose(net, 5).requires_grad_()
    leaves, out = [x, *net.parameters()], call(net, x).square().sum()
    first = torch.autograd.grad(out, leaves, create_graph=True)
    assert_close(first, torch.autograd.grad(out, leaves), **EXACT)


@pytest.mark.parametrize(
    "name", ["squeeze.bias", "adjacency.0", "pools.1.weight", "encoder.0.lin.weight"]
)
def test_only_tensors_that_require_grad_get_a_gradient(engine, name):
    net, x = unet().requires_grad_(False), pose(unet(), 4)
    assert not net(x).requires_grad
    parameter = net.get_parameter(name).requires_grad_()
    net(x).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is not None] == [name]
    (expected,) = readable(lambda: torch.autograd.grad(net(x).square().sum(), parameter))
    assert_close(parameter.grad, expected, **EXACT)


@pytest.mark.parametrize("frozen", [True, False])
def test_gradient_of_the_input_alone(engine, frozen):
    net = unet(LEVELS).requires_grad_(not frozen)
    x = pose(net, 4).requires_grad_()
    (found,) = torch.autograd.grad(net(x).square().sum(), x)
    (expected,) = readable(lambda: torch.autograd.grad(net(x).square().sum(), x))
    assert_close(found, expected, **EXACT)


def test_gradients_can_be_taken_twice(engine):
    net, x = unet(), pose(unet(), 4).requires_grad_()
    leaves, out = [x, *net.parameters()], net(x).square().sum()
    first = torch.autograd.grad(out, leaves, retain_graph=True)
    assert_close(torch.autograd.grad(out, leaves), first, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(out, leaves)


def test_hooks_on_saved_tensors(engine):
    """Hooks on saved tensors may return other tensor objects with equal values."""
    net, x = unet(LEVELS), pose(unet(LEVELS), 4).requires_grad_()
    leaves = [x, *net.parameters()]
    expected = torch.autograd.grad(net(x).square().sum(), leaves)
    anew = checkpoint(net, x, use_reentrant=False).square().sum()
    assert_close(torch.autograd.grad(anew, leaves), expected, rtol=0, atol=0)
    with saved_tensors_hooks(torch.clone, torch.clone):
        copied = net(x).square().sum()
    assert_close(torch.autograd.grad(copied, leaves), expected, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["input", "parameter"])
def test_what_changes_before_the_derivative(engine, change):
    """An error is raised, or the derivative is that of the original values, if they are copied."""
    net, x = unet(), pose(unet(), 3)
    leaves = list(net.parameters())
    expected = torch.autograd.grad(net(x).sum(), leaves)
    out = net(x).sum()
    with torch.no_grad():
        (x if change == "input" else net.expand.weight).mul_(2)
    try:
        found = torch.autograd.grad(out, leaves)
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
    else:
        assert_close(found, expected, rtol=0, atol=0)


def test_arguments_are_left_alone(engine):
    net, x = unet(RAGGED), pose(unet(RAGGED), 3)
    gate = soft_mask(x)
    before = [t.detach().clone() for t in (x, gate, *net.parameters())]
    for args in ((x,), (x, gate)):
        values_and_gradients(net, *args)
        with torch.no_grad():
            net(*args).zero_()
    assert all(map(torch.equal, (x, gate, *net.parameters()), before))


def test_the_result_is_not_shared(engine):
    """Writing to a result does not affect later results."""
    net, x = unet(), pose(unet(), 3)
    with torch.no_grad():
        expected = net(x).clone()
        net(x).zero_()
        assert torch.equal(net(x), expected)


def test_same_bits_where_memory_is_filled_with_nan(engine):
    """PyTorch fills memory with NaN if deterministic algorithms are enabled."""
    net, x = unet(RAGGED), pose(unet(RAGGED), 40)
    found = []
    for switch in (True, False):
        torch.use_deterministic_algorithms(switch)
        try:
            found.append((*values_and_gradients(net, x), net(x, x[..., 0] > 0)))
        finally:
            torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *found))
