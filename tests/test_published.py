"""With published weights, the nets return the values of the published code."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from handgraph import COCO, H36M, HAND, RemovalSets, Skeleton
from handgraph.nn import ModulatedGraphConv, SemGraphConv
from handgraph.published import ResidualGCN, load_gcn_weights, load_graph_net_weights

RNG = torch.Generator()


def rand(*size):
    return torch.randn(*size, generator=RNG)


def adjacency(skeleton):
    """Return the 0/1 adjacency of the bones, without self-loops."""
    adj = torch.zeros(skeleton.num_joints, skeleton.num_joints)
    for u, v in skeleton.edges:
        i, j = skeleton.index(u), skeleton.index(v)
        adj[i, j] = adj[j, i] = 1
    return adj


def layer(name, skeleton, ins, outs, modulated):
    joints = skeleton.num_joints
    state = {f"{name}.W": rand(2, ins, outs), f"{name}.bias": rand(outs)}
    if modulated:
        return state | {f"{name}.M": rand(joints, outs), f"{name}.adj2": rand(joints, joints)}
    return state | {f"{name}.e": rand(1, 2 * len(skeleton.edges) + joints)}


def block(name, skeleton, ins, outs, modulated):
    state = layer(f"{name}.gconv", skeleton, ins, outs, modulated)
    for key in ("weight", "bias", "running_mean"):
        state[f"{name}.bn.{key}"] = rand(outs)
    state[f"{name}.bn.running_var"] = rand(outs).square() + 0.1
    state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)
    return state


def published_state(skeleton, modulated, channels=5, blocks=2):
    RNG.manual_seed(0)
    state = block("gconv_input.0", skeleton, 2, channels, modulated)
    for n in range(blocks):
        for part in ("gconv1", "gconv2"):
            state |= block(f"gconv_layers.{n}.{part}", skeleton, channels, channels, modulated)
    return state | layer("gconv_output", skeleton, channels, 3, modulated)


def conv(state, name, x, skeleton):
    """Compute a published layer, in which the joint itself has separate weights."""
    adj, eye = adjacency(skeleton), torch.eye(skeleton.num_joints)
    h0, h1 = x @ state[f"{name}.W"][0], x @ state[f"{name}.W"][1]
    if f"{name}.M" in state:
        a = adj / adj.sum(1, keepdim=True).clamp(min=1) + eye + state[f"{name}.adj2"]
        a = (a + a.T) / 2
        h0, h1 = state[f"{name}.M"] * h0, state[f"{name}.M"] * h1
    else:
        a = torch.full_like(adj, -9e15)
        a[(adj + eye) > 0] = state[f"{name}.e"][0]
        a = a.softmax(dim=1)
    return (a * eye) @ h0 + (a * (1 - eye)) @ h1 + state[f"{name}.bias"]


def run_block(state, name, x, skeleton):
    x = conv(state, f"{name}.gconv", x, skeleton)
    norm = {key: state[f"{name}.bn.{key}"] for key in ("weight", "bias")}
    mean, var = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
    return ((x - mean) / (var + 1e-5).sqrt() * norm["weight"] + norm["bias"]).relu()


def twin(state, x, skeleton, blocks=2):
    x = run_block(state, "gconv_input.0", x, skeleton)
    for n in range(blocks):
        y = run_block(state, f"gconv_layers.{n}.gconv1", x, skeleton)
        x = x + run_block(state, f"gconv_layers.{n}.gconv2", y, skeleton)
    return conv(state, "gconv_output", x, skeleton)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("modulated", [False, True], ids=["SemGCN", "ModulatedGCN"])
@pytest.mark.parametrize("skeleton", [HAND, H36M, COCO], ids=lambda s: s.name)
def test_published_weights_give_published_values(skeleton, modulated, prefix):
    state = published_state(skeleton, modulated)
    net = load_gcn_weights({prefix + name: v for name, v in state.items()}, skeleton)
    x = rand(4, skeleton.num_joints, 2)
    expected = twin(state, x, skeleton)
    assert_close(net(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert_close(net(x[0]), net(x)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("gconv_output.bias"), "missing or unexpected: gconv_output.bias"),
        (lambda s: s.update(extra=rand(1)), "unexpected: extra"),
        (lambda s: s.update({"gconv_output.e": rand(1, 60)}), "gconv_output.e .* does not fit"),
        (lambda s: s.update({"gconv_layers.0.non_local.g.weight": rand(1)}), "non-local layers"),
        (lambda s: s.clear(), "expected a SemGCN or a ModulatedGCN"),
    ],
)
def test_errors_name_the_invalid_argument(change, message):
    state = published_state(HAND, modulated=False)
    change(state)
    with pytest.raises(ValueError, match=message):
        load_gcn_weights(state, HAND)


def test_another_skeleton_is_refused():
    with pytest.raises(ValueError, match="does not fit COCO"):
        load_gcn_weights(published_state(HAND, modulated=True), COCO)


def graph_net_state(nodes=29):
    RNG.manual_seed(1)
    state = {"A_hat": rand(nodes, nodes).abs()}
    for name, (ins, outs) in {"gconv1": (2, 128), "gconv2": (128, 16), "gconv3": (16, 3)}.items():
        state |= {f"{name}.fc.weight": rand(outs, ins), f"{name}.fc.bias": rand(outs)}
    return state


@pytest.mark.parametrize("prefix", ["", "graphnet.", "module.graphnet."])
def test_graph_net_gives_published_values(prefix):
    state = graph_net_state()
    more = {} if not prefix else {"resnet.conv1.weight": rand(1)}
    net = load_graph_net_weights({prefix + name: v for name, v in state.items()} | more)
    x = rand(4, 29, 2)
    scale = (state["A_hat"].sum(0) + 1e-5) ** -0.5
    laplacian = scale[:, None] * state["A_hat"] * scale
    y = x
    for name in ("gconv1", "gconv2", "gconv3"):
        y = laplacian @ y @ state[f"{name}.fc.weight"].T + state[f"{name}.fc.bias"]
        y = y if name == "gconv3" else y.relu()
    assert_close(net(x), y, rtol=1e-5, atol=1e-5 * float(y.abs().max()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("gconv2.fc.bias"), "expected one GraphNet, with A_hat"),
        (lambda s: s.update({"gconv2.fc.weight": rand(16, 7)}), "expected gconv2.fc.weight"),
    ],
)
def test_a_graph_net_that_does_not_fit_is_refused(change, message):
    state = graph_net_state()
    change(state)
    with pytest.raises(ValueError, match=message):
        load_graph_net_weights(state)


def test_skeletons_must_be_skeletons():
    with pytest.raises(TypeError, match="expected a Skeleton"):
        load_gcn_weights(published_state(HAND, modulated=False), "HAND")
    assert isinstance(HAND, Skeleton)


@pytest.mark.parametrize(
    ("conv", "size", "published"),
    [(SemGraphConv, 267_343, 0.27), (ModulatedGraphConv, 287_923, 0.29)],
)
def test_nets_have_the_published_sizes(conv, size, published):
    """Human3.6M has 17 joints; both papers leave out the neck (or nose)."""
    skeleton = RemovalSets(H36M, {"without neck": "neck", "all": ()}).subgraph("without neck")
    net = ResidualGCN(2, 3, skeleton, conv=conv)
    assert sum(p.numel() for p in net.parameters()) == size
    assert round(size / 1e6, 2) == published
