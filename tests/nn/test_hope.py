"""Weights in the layout of the published code, and a slow reference of its function."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.testing import assert_close

from handgraph.nn import load_hope_weights

NODES = (29, 15, 7, 4, 2, 1)
WIDTHS = {  # (in, out) of every gconv, named as in the published code
    1: (2, 4), 2: (4, 8), 3: (8, 16), 4: (16, 32), 5: (32, 64),
    6: (128, 32), 7: (64, 16), 8: (32, 8), 9: (16, 4), 10: (8, 3),
}  # fmt: skip


def published_state(seed=0, prefix=""):
    """Return a state dict like that of the published net, with other numbers."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(shape, generator=generator) - 0.4

    state = {f"A_{i}": torch.eye(n) + 0.2 * draw(n, n).abs() for i, n in enumerate(NODES)}
    state["A_1"][0, 1] = -0.3  # entries may be negative, but column sums may not
    shapes = {f"gconv{i}.fc": pair for i, pair in WIDTHS.items()}
    shapes |= {f"pool{i + 1}.fc": NODES[i : i + 2] for i in range(5)}
    shapes |= {f"unpool{6 + i}.fc": (NODES[5 - i], NODES[4 - i]) for i in range(5)}
    shapes |= {"fc1": (64, 20), "fc2": (20, 64)}
    for name, (ins, outs) in shapes.items():
        state |= {f"{name}.weight": draw(outs, ins), f"{name}.bias": draw(outs)}
    return {f"{prefix}{name}": value for name, value in state.items()}


def published_forward(state, x):
    """Run the published net on one hand [29, 2], step by step."""

    def fc(name, x):
        return linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def over_nodes(name, x):
        return fc(f"{name}.fc", x.t()).t()

    def convolve(name, x, adj):
        degree = (adj.sum(dim=0) + 1e-5) ** -0.5
        return fc(f"{name}.fc", torch.diag(degree) @ adj @ torch.diag(degree) @ x)

    skips = []
    for i in range(5):
        x = convolve(f"gconv{i + 1}", x, state[f"A_{i}"]).relu()
        skips.append(x)
        x = over_nodes(f"pool{i + 1}", x)
    x = fc("fc2", fc("fc1", x).relu()).relu()
    for i in range(5):
        both = torch.cat([skips[4 - i], over_nodes(f"unpool{6 + i}", x)], dim=1)
        x = convolve(f"gconv{6 + i}", both, state[f"A_{4 - i}"])
        x = x.relu() if i < 4 else x
    return x


def test_loaded_net_computes_the_published_function():
    state = {name: value.double() for name, value in published_state().items()}
    x = torch.randn(5, 29, 2, dtype=torch.float64)
    net = load_hope_weights(state)
    expected = torch.stack([published_forward(state, hand) for hand in x])
    assert expected.abs().max() > 1e-3
    assert_close(net(x), expected, rtol=1e-10, atol=1e-12)


def test_loaded_net_agrees_in_single_precision_too():
    state = published_state(seed=1)
    x = torch.randn(5, 29, 2)
    expected = torch.stack([published_forward(state, hand) for hand in x])
    assert_close(load_hope_weights(state)(x), expected, rtol=1e-5, atol=1e-5)


def test_sizes_are_those_of_the_published_net():
    net = load_hope_weights(published_state())
    assert net.nodes == NODES
    assert net.normalization == "signed"
    assert sum(p.numel() for p in net.parameters()) == 13_401 - 1  # without the unused A_5


def test_negative_degree_gives_nan_as_in_the_published_code():
    state = published_state()
    state["A_2"][:, 3] = -1.0
    x = torch.randn(29, 2)
    assert published_forward(state, x).isnan().all()
    assert load_hope_weights(state)(x).isnan().all()


@pytest.mark.parametrize("prefix", ["graphunet.", "module.", "module.graphunet."])
def test_whole_checkpoints_load(prefix):
    whole = published_state(prefix=prefix) | {"resnet.conv1.weight": torch.rand(1)}
    x = torch.randn(2, 29, 2)
    expected = load_hope_weights(published_state())(x)
    assert torch.equal(load_hope_weights(whole)(x), expected)


def test_other_sizes_follow_from_the_shapes():
    nodes, channels = (21, 10, 1), 6
    net = {"gconv1": (3, 6), "gconv2": (6, 12), "gconv3": (24, 6), "gconv4": (12, 2)}
    net |= {"pool1": (21, 10), "pool2": (10, 1), "unpool3": (1, 10), "unpool4": (10, 21)}
    modules = nn.ModuleDict({n: nn.ModuleDict({"fc": nn.Linear(*s)}) for n, s in net.items()})
    modules.update({"fc1": nn.Linear(12, 7), "fc2": nn.Linear(7, 12)})
    state = modules.state_dict() | {f"A_{i}": torch.eye(n) for i, n in enumerate(nodes)}
    loaded = load_hope_weights(state)
    assert loaded.nodes == nodes
    assert (loaded.in_channels, loaded.out_channels) == (3, 2)
    assert loaded.encoder[0].out_channels == channels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("A_0"), "one GraphUNet"),
        (lambda s: s.pop("pool3.fc.bias"), "missing or unexpected: pool3.fc.bias"),
        (lambda s: s.update(extra=torch.ones(1)), "missing or unexpected: extra"),
        (lambda s: s.update({"fc2.weight": torch.ones(64, 21)}), r"fc2.weight \[64, 20\]"),
        (lambda s: s.pop("gconv10.fc.weight"), "gconv10.fc.weight"),
        (lambda s: s.update({"net.A_0": torch.eye(29)}), "got 2"),
    ],
)
def test_foreign_weights_are_refused(change, message):
    state = published_state()
    change(state)
    with pytest.raises(ValueError, match=message):
        load_hope_weights(state)
