from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear
from torch.testing import assert_close

from handgraph import HAND, RHD, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, SubgraphMask, halving_ladder
from handgraph.testing import assert_compiles, assert_no_leak

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(
    HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"], "nothing": ()}
)
VERY_RAGGED = RemovalSets(HAND, {"most": HAND.joints[4:], "few": ["wrist"], "nothing": ()})
PUBLISHED = (29, 15, 7, 4, 2, 1)
LEADS = [(), (0,), (1,), (8,), (2, 3), (0, 2)]


# A reference of the published network from its description, one net and one sample at a time


def twin_laplacian(adj):
    """Compute D^-1/2 A D^-1/2 with degrees from signed column sums."""
    degree = [sum(adj[i, j] for i in range(len(adj))) + 1e-5 for j in range(len(adj))]
    rows = [
        torch.stack([adj[i, j] / (degree[i] * degree[j]) ** 0.5 for j in range(len(adj))])
        for i in range(len(adj))
    ]
    return torch.stack(rows)


def twin(p, x, laplacian=twin_laplacian):
    """Run the graph U-Net on one sample [J, C]; p holds parameters as torch.nn.Linear has them."""
    levels = len(p["adjacency"])
    laplacians = [laplacian(adj) for adj in p["adjacency"]]
    skips = []
    for level in range(levels):
        x = linear(laplacians[level] @ x, *p["encoder"][level]).relu()
        skips.append(x)
        x = linear(x.t(), *p["pool"][level]).t()
    x = linear(x, *p["squeeze"]).relu()
    x = linear(x, *p["expand"]).relu()
    for level in reversed(range(levels)):
        x = linear(x.t(), *p["unpool"][level]).t()
        x = linear(laplacians[level] @ torch.cat([skips[level], x], 1), *p["decoder"][level])
        x = x.relu() if level > 0 else x
    return x


def twin_parameters(net, branch=0):
    """Return the parameters of one branch under the names of the reference."""

    def pick(lin):
        return lin.weight[branch], lin.bias[branch].flatten()

    return {
        "adjacency": [adj[branch] for adj in net.adjacency],
        "encoder": [pick(conv.lin) for conv in net.encoder],
        "pool": [pick(pool) for pool in net.pools],
        "squeeze": pick(net.squeeze),
        "expand": pick(net.expand),
        "unpool": [pick(pool) for pool in net.unpools],
        "decoder": [pick(conv.lin) for conv in net.decoder],
    }


def trained(net, *, seed=1):
    """Perturb all parameters as training does, with positive column sums."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adj in net.adjacency:
            noise = torch.rand(adj.shape, generator=generator, dtype=torch.float64) - 0.3
            adj.add_(noise.to(adj.dtype))
    return net


def test_published_network_has_13400_parameters():
    net = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(29), nodes=PUBLISHED)
    assert sum(p.numel() for p in net.parameters()) == 13_400
    assert [conv.out_channels for conv in net.encoder] == [4, 8, 16, 32, 64]


def test_published_network_uses_every_parameter():
    net = trained(AdaptiveGraphUNet(2, 3, Skeleton.edgeless(29), nodes=PUBLISHED))
    net(torch.randn(64, 29, 2)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.parametrize("joints", [29, 5])
def test_signed_network_computes_the_published_function(joints):
    nodes = PUBLISHED if joints == 29 else None
    graph = Skeleton.edgeless(joints)
    net = AdaptiveGraphUNet(2, 3, graph, nodes=nodes, normalization="signed")
    net = trained(net.double())
    x = torch.randn(3, joints, 2, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([twin(twin_parameters(net), sample) for sample in x])
    assert_close(net(x), expected, rtol=1e-12, atol=1e-12)
    leaves = [x, *net.parameters()]
    weights = torch.randn_like(expected)
    ours = torch.autograd.grad((weights * net(x)).sum(), leaves)
    theirs = torch.autograd.grad((weights * expected).sum(), leaves)
    assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_default_degree_is_from_absolute_values():
    net = trained(AdaptiveGraphUNet(2, 3, Skeleton.edgeless(6)).double(), seed=2)
    x = torch.randn(6, 2, dtype=torch.float64)

    def absolute(adj):
        scale = (adj.abs().sum(0) + 1e-5) ** -0.5
        return torch.diag(scale) @ adj @ torch.diag(scale)

    assert_close(net(x), twin(twin_parameters(net), x, absolute), rtol=1e-12, atol=1e-12)


def test_old_weights_load_into_both_normalizations():
    old = AdaptiveGraphUNet(2, 3, HAND, normalization="signed")
    x = torch.rand(2, 21, 2)
    new = AdaptiveGraphUNet(2, 3, HAND)
    new.load_state_dict(old.state_dict())
    assert_close(new(x), old(x))  # equal if no entry is negative


# The stack of branches


def separate(net, n):
    """Build branch n as a separate net with its slices of the parameters."""
    removal = net.graph
    count = int(removal.num_kept[n])
    graph = removal.subgraph(n)
    alone = AdaptiveGraphUNet(
        net.in_channels, net.out_channels, graph, nodes=(count, *net.nodes[1:])
    ).to(net.squeeze.weight.dtype)
    shapes = {name: value.shape[1:] for name, value in alone.named_parameters()}
    slices = {
        name: value[n][tuple(slice(size) for size in shapes[name])].unsqueeze(0)
        for name, value in net.named_parameters()
    }
    alone.load_state_dict(slices)
    return alone, count


@pytest.mark.parametrize("removal", [LEVELS, RAGGED, VERY_RAGGED, RemovalSets.none(HAND, 2)])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_stack_equals_separate_nets(removal, dtype, rtol):
    net = trained(AdaptiveGraphUNet(2, 3, removal).to(dtype))
    x = torch.randn(16, len(removal), removal.num_nodes, 2, dtype=dtype, requires_grad=True)
    outputs = net(x)
    weights = torch.randn_like(outputs)
    (weights * outputs).sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    for n in range(len(removal)):
        alone, count = separate(net, n)
        mine = x.detach()[:, n, :count].clone().requires_grad_()
        expected = alone(mine)
        assert_relative(outputs[:, n, :count], expected, rtol)
        assert (outputs[:, n, count:] == 0).all()
        (weights[:, n, :count] * expected).sum().backward()
        assert_relative(x.grad[:, n, :count], mine.grad, rtol)
        assert (x.grad[:, n, count:] == 0).all()
        for name, parameter in alone.named_parameters():
            slices = tuple(slice(size) for size in parameter.shape[1:])
            assert_relative(gradients[name][n][slices], parameter.grad[0], rtol)
            rest = gradients[name][n].clone()
            rest[slices] = 0
            assert (rest == 0).all()


def assert_relative(value, expected, rtol):
    """Check errors relative to the largest entry, because single entries may cancel."""
    scale = expected.detach().abs().max().item()
    assert_close(value, expected, rtol=0, atol=rtol * max(scale, 1e-3))


@pytest.mark.parametrize("removal", [RAGGED, VERY_RAGGED])
def test_every_branch_starts_with_its_own_fan_in(removal):
    torch.manual_seed(3)
    net = AdaptiveGraphUNet(2, 3, removal, nodes=(removal.num_nodes, 400, 1))
    for n, count in enumerate(removal.num_kept.tolist()):
        alone = nn.Linear(count, 400)
        for ours, theirs in [
            (net.pools[0].weight[n, :, :count], alone.weight),
            (net.pools[0].bias[n], alone.bias),
        ]:
            bound = count**-0.5
            assert theirs.abs().max() <= bound
            assert 0.97 * bound < ours.abs().max() <= bound
            assert ours.std().item() == pytest.approx(bound / 3**0.5, rel=0.08)
        assert 0.97 * 400**-0.5 < net.unpools[0].weight[n].abs().max() <= 400**-0.5


def test_linear_pieces_start_as_torch_does():
    net = AdaptiveGraphUNet(200, 3, HAND, channels=64)
    for lin, fan_in in [(net.encoder[0].lin, 200), (net.decoder[1].lin, 256), (net.squeeze, 1024)]:
        bound = fan_in**-0.5
        assert 0.97 * bound < lin.weight.abs().max() <= bound
        assert lin.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert lin.bias.abs().max() <= bound
    assert all((adj == torch.eye(adj.shape[-1])).all() for adj in net.adjacency)


# Removed joints have no influence


def check_no_leak(removal, *, seed=0):
    split = SubgraphMask(removal)
    net = trained(AdaptiveGraphUNet(2, 3, removal), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    assert_no_leak(lambda pose: net(split(pose)), removal, 2, generator=generator)


@pytest.mark.parametrize(
    "removal",
    [
        LEVELS,
        RemovalSets.by_level(RHD),
        RemovalSets.by_finger(HAND),
        RAGGED,
        VERY_RAGGED,
        RemovalSets.none(HAND, 2),
    ],
    ids=["levels", "rhd", "fingers", "ragged", "very ragged", "none"],
)
def test_removed_joints_have_no_influence(removal):
    check_no_leak(removal)


@settings(max_examples=15)
@given(data=st.data(), joints=st.integers(2, 9), sets=st.integers(1, 4))
def test_joints_removed_at_random_have_no_influence(data, joints, sets):
    row = st.lists(st.booleans(), min_size=joints, max_size=joints).filter(any)
    masks = torch.tensor(data.draw(st.lists(row, min_size=sets, max_size=sets)))
    masks[0] |= ~masks.any(dim=0)
    torch.manual_seed(0)
    check_no_leak(RemovalSets.from_keep_masks(Skeleton.edgeless(joints), masks))


def test_uniform_random_sets_have_no_influence():
    check_no_leak(RemovalSets.random(HAND, 3, 6, torch.Generator().manual_seed(0)))


def test_every_kept_joint_of_a_branch_reaches_every_other():
    net = trained(AdaptiveGraphUNet(2, 3, LEVELS))
    x = torch.randn(32, 4, 16, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[:, :, 0].sum(), x)
    assert (gradient.abs().sum(dim=(0, 3)) > 0).all()


# The degree


finite = st.floats(-(2.0**50), 2.0**50, width=32)


@settings(max_examples=50)
@given(st.lists(finite, min_size=16, max_size=16), st.floats(-1024, 1024, width=32))
def test_degree_is_finite_for_every_adjacency(entries, value):
    net = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(4))
    with torch.no_grad():
        net.adjacency[0].copy_(torch.tensor(entries).reshape(1, 4, 4))
        net.adjacency[1].fill_(-abs(entries[0]))
    assert all(torch.isfinite(adj).all() for adj in net.adjacencies())
    assert not net(torch.full((1, 4, 2), value)).isnan().any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lr", [0.01, 1.0])
def test_degree_is_finite_during_training(seed, lr):
    torch.manual_seed(seed)
    net = AdaptiveGraphUNet(2, 3, LEVELS)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(20):
        optimizer.zero_grad()
        push = sum(adj.sum() for adj in net.adjacency)  # toward negative entries
        (net(torch.randn(4, 4, 16, 2)).square().mean() + push).backward()
        optimizer.step()
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert all(torch.isfinite(adj).all() for adj in net.adjacencies())
    if lr == 1.0:
        assert (net.adjacency[0].sum(dim=-2) < 0).any()  # for which the published root is NaN


def test_published_degree_fails_on_negative_columns():
    net = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(4), normalization="signed")
    with torch.no_grad():
        net.adjacency[0].neg_()
    assert net(torch.rand(4, 2)).isnan().any()


# Shapes and layouts


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("graph", [HAND, LEVELS, RAGGED], ids=["skeleton", "levels", "ragged"])
def test_any_leading_dimensions(graph, lead):
    net = AdaptiveGraphUNet(2, 3, graph)
    nodes = (21,) if graph is HAND else (len(graph), graph.num_nodes)
    x = torch.randn(*lead, *nodes, 2)
    y = net(x)
    assert y.shape == (*lead, *nodes, 3)
    for sample, expected in zip(x.reshape(-1, *nodes, 2), y.reshape(-1, *nodes, 3), strict=True):
        assert_close(net(sample), expected)
    y.sum().backward()


@pytest.mark.parametrize(
    ("count", "ladder"),
    [(21, (21, 11, 6, 3, 2, 1)), (16, (16, 8, 4, 2, 1)), (2, (2, 1)), (1, (1, 1))],
)
def test_ladder_halves_rounding_up(count, ladder):
    assert halving_ladder(count) == ladder
    net = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(count))
    assert net.nodes == ladder
    assert net(torch.rand(5, count, 2)).shape == (5, count, 3)


def test_sixteen_nodes_have_widths_4_to_32():
    net = AdaptiveGraphUNet(2, 3, LEVELS)
    assert [conv.out_channels for conv in net.encoder] == [4, 8, 16, 32]


def test_ladder_may_grow():
    net = AdaptiveGraphUNet(2, 3, HAND, nodes=(21, 30, 5))
    assert net(torch.rand(2, 21, 2)).shape == (2, 21, 3)


def test_adjacencies_are_one_per_level():
    one, four = AdaptiveGraphUNet(2, 3, HAND), AdaptiveGraphUNet(2, 3, LEVELS)
    assert [tuple(a.shape) for a in one.adjacencies()] == [(n, n) for n in (21, 11, 6, 3, 2)]
    assert [tuple(a.shape) for a in four.adjacencies()] == [(4, n, n) for n in (16, 8, 4, 2)]
    assert_close(one.adjacencies()[0], torch.eye(21), rtol=0, atol=2e-5)


def test_permuting_joints_and_parameters_permutes_the_output():
    net = trained(AdaptiveGraphUNet(2, 3, HAND))
    order = RHD.index_from(HAND)
    other = AdaptiveGraphUNet(2, 3, RHD)
    state = {name: value.detach() for name, value in net.named_parameters()}
    state["adjacency.0"] = state["adjacency.0"][:, order][:, :, order]
    state["pools.0.weight"] = state["pools.0.weight"][:, :, order]
    state["unpools.0.weight"] = state["unpools.0.weight"][:, order]
    state["unpools.0.bias"] = state["unpools.0.bias"][:, order]
    other.load_state_dict(state)
    x = torch.randn(2, 21, 2)
    assert_close(other(x[:, order]), net(x)[:, order])


# PyTorch features


def test_copies_compute_the_same():
    net = trained(AdaptiveGraphUNet(2, 3, RAGGED))
    x = torch.randn(2, 4, 21, 2)
    loaded = AdaptiveGraphUNet(2, 3, RAGGED)
    loaded.load_state_dict(net.state_dict())
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), loaded):
        assert torch.equal(other(x), net(x))


def test_state_holds_parameters_and_joints_only():
    net = AdaptiveGraphUNet(2, 3, RAGGED)
    names = {name for name, _ in net.named_parameters()}
    assert set(net.state_dict()) == {*names, "_extra_state"}


def test_reset_draws_anew_from_the_seed():
    torch.manual_seed(5)
    net = AdaptiveGraphUNet(2, 3, RAGGED)
    first = copy.deepcopy(net.state_dict())
    trained(net).reset_parameters()
    assert not torch.equal(net.squeeze.weight, first["squeeze.weight"])
    torch.manual_seed(5)
    again = AdaptiveGraphUNet(2, 3, RAGGED)
    assert_close(dict(again.state_dict()), dict(first), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["skeleton", "ragged"])
def test_compiled_equals_eager(graph):
    nodes = (21,) if graph is HAND else (4, 21)
    assert_compiles(trained(AdaptiveGraphUNet(2, 3, graph)), torch.randn(3, *nodes, 2))


# Errors


def test_errors_name_the_expected_value():
    with pytest.raises(TypeError, match=r"graph: expected a Skeleton or RemovalSets, got int"):
        AdaptiveGraphUNet(2, 3, 21)
    with pytest.raises(
        ValueError, match=r"normalization: expected 'abs' or 'signed', got 'softmax'"
    ):
        AdaptiveGraphUNet(2, 3, HAND, normalization="softmax")
    with pytest.raises(ValueError, match=r"expected positive sizes, got in_channels=0"):
        AdaptiveGraphUNet(0, 3, HAND)
    with pytest.raises(ValueError, match=r"expected positive sizes.*out_channels=0"):
        AdaptiveGraphUNet(2, 3, HAND, channels=0)
    with pytest.raises(ValueError, match=r"expected positive sizes.*out_channels=-1"):
        AdaptiveGraphUNet(2, 3, HAND, bottleneck_channels=-1)


@pytest.mark.parametrize("nodes", [(20, 10), (21,), (), (21, 0), (21, -1, 1)])
def test_a_ladder_that_does_not_fit_is_an_error(nodes):
    message = r"nodes: expected two or more positive.*the first 21 as in HAND"
    with pytest.raises(ValueError, match=message):
        AdaptiveGraphUNet(2, 3, HAND, nodes=nodes)


@pytest.mark.parametrize("shape", [(8, 20, 2), (8, 21, 3), (21,), (2,), ()])
def test_input_of_another_skeleton_is_an_error(shape):
    with pytest.raises(ValueError, match=r"UNet: expected \[\*, 21, 2\] for HAND, got"):
        AdaptiveGraphUNet(2, 3, HAND)(torch.rand(shape))


@pytest.mark.parametrize("shape", [(8, 4, 21, 2), (8, 1, 16, 2), (8, 16, 2), (16, 2)])
def test_input_of_other_branches_is_an_error(shape):
    with pytest.raises(ValueError, match=r"expected \[\*, 4, 16, 2\] for RemovalSets\(HAND, .*got"):
        AdaptiveGraphUNet(2, 3, LEVELS)(torch.rand(shape))


def test_repr_shows_graph_and_ladder():
    expected = "AdaptiveGraphUNet(2, 3, HAND, nodes=(21, 11, 6, 3, 2, 1))"
    assert repr(AdaptiveGraphUNet(2, 3, HAND)) == expected
