"""Common properties of the three skeleton convolutions."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.testing import assert_close
from torch_geometric.data import Batch
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.loader import DataLoader
from torch_geometric.nn import Sequential

from handgraph import COCO, HAND, INTERHAND, RHD, RemovalSets, Skeleton
from handgraph.nn import (
    AGCNConv,
    ModulatedGraphConv,
    SemGraphConv,
    SkeletonEdges,
    from_dense,
    to_dense,
)
from handgraph.testing import assert_compiles, assert_relabelling, assert_static_matches_disjoint

LAYERS = [SemGraphConv, ModulatedGraphConv, AGCNConv]
each = pytest.mark.parametrize("layer", LAYERS)
Y = Skeleton.from_parents("Y", {"stem": None, "knot": "stem", "left": "knot", "right": "knot"})
SKELETONS = [Y, COCO, INTERHAND, RemovalSets.by_level(HAND).subgraph("PIP", "induced"),
             Skeleton.edgeless(3), Skeleton.edgeless(1)]  # fmt: skip


def make(layer, skeleton=HAND, sizes=(2, 4), **kwargs):
    """Build a layer with random parameters, so that none has a special value."""
    conv = layer(*sizes, skeleton, **kwargs)
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    return conv


# Layouts


@each
@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda s: s.name)
def test_static_and_disjoint_graphs_agree(layer, skeleton):
    assert_static_matches_disjoint(make(layer, skeleton), skeleton, in_channels=2)


@each
@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
def test_any_leading_dimensions(layer, lead):
    conv, x = make(layer), torch.randn(*lead, 21, 2)
    y = conv(x, HAND.edge_index)
    assert y.shape == (*lead, 21, 4)
    for pose, expected in zip(x.reshape(-1, 21, 2), y.reshape(-1, 21, 4), strict=True):
        assert_close(conv(pose, HAND.edge_index), expected)


@each
def test_order_of_the_edges_does_not_matter(layer):
    conv, batch = make(layer), from_dense(torch.randn(3, 21, 2), HAND)
    shuffled = batch.edge_index[:, torch.randperm(120)]
    assert_close(conv(batch.x, shuffled), conv(batch.x, batch.edge_index))


def test_order_of_many_short_integers_does_not_matter():
    """The square of the number of nodes exceeds 32 bits."""
    copies = 20_000
    edge_index = Y.edge_index.repeat(1, copies).view(2, copies, -1)
    edge_index = (edge_index + 4 * torch.arange(copies).unsqueeze(1)).flatten(1)
    shuffled = edge_index[:, torch.randperm(edge_index.shape[1])].int()
    assert SkeletonEdges("layer", 2, Y)(torch.ones(4 * copies, 2), shuffled) == copies


@each
def test_strided_input(layer):
    conv, x = make(layer), torch.randn(2, 21, 5).permute(2, 1, 0)
    assert_close(conv(x, HAND.edge_index), conv(x.contiguous(), HAND.edge_index))


@each
def test_stack_in_a_sequential_accepts_both_layouts(layer):
    net = Sequential(
        "x, edge_index",
        [
            (make(layer), "x, edge_index -> x"),
            nn.ReLU(),
            (make(layer, sizes=(4, 3)), "x, edge_index -> x"),
        ],
    )
    x = torch.randn(4, 21, 2)
    (batch,) = DataLoader([HAND.to_data(x=pose) for pose in x], batch_size=4)
    batch.x = net(batch.x, batch.edge_index)
    assert_close(to_dense(batch, HAND), net(x, HAND.edge_index))


# Joints by name


def relabel(conv, skeleton):
    """Return the same layer on a skeleton with another order of joints."""
    index = skeleton.index_from(conv.skeleton)
    other = type(conv)(conv.in_channels, conv.out_channels, skeleton)
    state = {name: value.detach() for name, value in conv.named_parameters()}
    if isinstance(conv, SemGraphConv):
        rows = {tuple(pair): row for row, pair in enumerate(conv.link.t().tolist())}
        order = [rows[tuple(pair)] for pair in index[other.link].t().tolist()]
        state["edge_logit"] = state["edge_logit"][order]
    elif isinstance(conv, ModulatedGraphConv):
        state["weight_modulation"] = state["weight_modulation"][index]
        state["affinity_modulation"] = state["affinity_modulation"][index][:, index]
    else:
        state["learned"] = state["learned"][:, index][:, :, index]
    other.load_state_dict(state)
    return other


@each
@pytest.mark.parametrize("skeleton", [HAND, COCO], ids=lambda s: s.name)
def test_parameters_belong_to_names(layer, skeleton):
    conv = make(layer, skeleton)
    assert_relabelling(lambda x, s: relabel(conv, s)(x, s.edge_index), skeleton, in_channels=2)


# Derivatives and copies


@each
def test_gradcheck(layer):
    conv = make(layer, Y, (2, 3)).double()
    names, values = zip(*conv.named_parameters(), strict=True)

    def call(x, *values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(conv, parameters, (x, Y.edge_index))

    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(call, (x, *values))


@each
@pytest.mark.parametrize("batched", [False, True])
def test_compiled_equals_eager(layer, batched):
    x, edge_index = torch.randn(3, 21, 2), HAND.edge_index
    if batched:
        batch = from_dense(x, HAND)
        x, edge_index = batch.x, batch.edge_index
    assert_compiles(make(layer), x, edge_index)


@each
def test_exported_program_accepts_any_batch_size(layer):
    conv, batch = make(layer), torch.export.Dim("batch", min=2)
    example = torch.randn(3, 21, 2), HAND.edge_index
    program = torch.export.export(conv, example, dynamic_shapes=({0: batch}, None))
    x = torch.randn(7, 21, 2)
    assert_close(program.module()(x, HAND.edge_index), conv(x, HAND.edge_index))


@each
def test_copies_compute_the_same(layer):
    conv, x = make(layer), torch.randn(21, 2)
    loaded = layer(2, 4, HAND)
    loaded.load_state_dict(conv.state_dict())
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv)), loaded):
        assert torch.equal(other(x, HAND.edge_index), conv(x, HAND.edge_index))


@each
def test_state_holds_parameters_and_joints_only(layer):
    conv = layer(2, 4, HAND)
    names = {name for name, _ in conv.named_parameters()}
    assert set(conv.state_dict()) == {*names, "edges._extra_state"}


@each
def test_autocast_and_other_dtypes(layer):
    conv, x = layer(2, 4, HAND), torch.randn(3, 21, 2)
    expected = conv(x, HAND.edge_index)
    with torch.autocast("cpu", torch.bfloat16):
        low = conv(x, HAND.edge_index)
    assert not torch.equal(low.float(), expected)
    assert_close(low.float(), expected, rtol=0.05, atol=0.05)
    assert_close(conv.double()(x.double(), HAND.edge_index).float(), expected)
    assert conv.bfloat16()(x.bfloat16(), HAND.edge_index).dtype == torch.bfloat16


@each
def test_reset_parameters_depends_on_the_seed(layer):
    conv, states = make(layer), []
    for _ in range(2):
        torch.manual_seed(1)
        conv.reset_parameters()
        states.append(copy.deepcopy(conv.state_dict()))
        for parameter in conv.parameters():
            nn.init.normal_(parameter)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@each
def test_bias_can_be_left_out(layer):
    with_bias, without = make(layer), layer(2, 4, HAND, bias=False)
    state = with_bias.state_dict()
    bias = state.pop("bias")
    without.load_state_dict(state)
    x = torch.randn(21, 2)
    assert_close(without(x, HAND.edge_index) + bias, with_bias(x, HAND.edge_index))


# Explainers


def explain(conv, edge_mask_type, index):
    explainer = Explainer(
        conv,
        GNNExplainer(epochs=3),
        explanation_type="model",
        node_mask_type="object",
        edge_mask_type=edge_mask_type,
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )
    return explainer(torch.randn(21, 2), HAND.edge_index, index=index)


def test_explained_edges_are_those_into_the_joint():
    tip = HAND.index("index_tip")
    explanation = explain(make(SemGraphConv, sizes=(2, 1)), "object", tip)
    assert torch.equal(explanation.edge_mask > 0, HAND.edge_index[1] == tip)
    seen = explanation.node_mask.flatten().nonzero().flatten().tolist()
    assert seen == HAND.select(["index_dip", "index_tip"])


@pytest.mark.parametrize("layer", [ModulatedGraphConv, AGCNConv])
def test_dense_layers_take_node_masks_only(layer):
    assert (explain(make(layer, sizes=(2, 1)), None, 8).node_mask > 0).all()
    with pytest.raises(ValueError, match=r"Could not compute gradients for edges"):
        explain(make(layer, sizes=(2, 1)), "object", 8)


# Errors and repr


@each
@pytest.mark.parametrize("shape", [(20, 2), (8, 22, 2), (21, 3), (2,), (), (21,)])
def test_input_that_does_not_fit_is_an_error(layer, shape):
    message = rf"{layer.__name__} over HAND: expected x \[\*, 21, 2\] or \[B \* 21, 2\], got \["
    with pytest.raises(ValueError, match=message):
        layer(2, 4, HAND)(torch.ones(shape), HAND.edge_index)


@each
@pytest.mark.parametrize("count", [38, 42, 80])
def test_other_numbers_of_edges_are_errors(layer, count):
    edge_index = HAND.edge_index.repeat(1, 2)[:, :count]
    message = rf"has 1 x 21 joints, so expected edge_index \[2, 1 \* 40\], got \[2, {count}\]"
    with pytest.raises(ValueError, match=message):
        layer(2, 4, HAND)(torch.ones(5, 21, 2), edge_index)


@each
def test_mismatched_layouts_raise(layer):
    conv, batch = layer(2, 4, HAND), from_dense(torch.ones(3, 21, 2), HAND)
    with pytest.raises(ValueError, match=r"expected edge_index \[2, 3 \* 40\], got \[2, 40\]"):
        conv(batch.x, HAND.edge_index)
    with pytest.raises(ValueError, match=r"expected edge_index \[2, 1 \* 40\], got \[2, 120\]"):
        conv(torch.ones(3, 21, 2), batch.edge_index)


def wrong_edges():
    """Return edges of the right number that are not those of two hands."""
    right = from_dense(torch.ones(2, 21, 2), HAND).edge_index
    yield "other order of joints", from_dense(torch.ones(2, 21, 2), RHD).edge_index, 60
    twice = right.clone()
    twice[:, 1] = twice[:, 0]
    yield "an edge twice", twice, 79
    across = right.clone()
    across[0, 0] += 21
    yield "from another copy", across, 79
    outside = right.clone()
    outside[:, -1] += 21
    yield "of a third copy", outside, 79
    unknown = right.clone()
    unknown[:, 39] = torch.tensor([21, 21 + HAND.index("thumb_pip")])
    yield "no edge of the hand", unknown, 79
    yield "all in a third copy", torch.cat([right[:, :40], right[:, :40] + 42], dim=1), 40
    yield "before the first copy", torch.cat([right[:, :40], right[:, :40] - 21], dim=1), 40


@pytest.mark.parametrize(("edge_index", "found"), [case[1:] for case in wrong_edges()],
                         ids=[case[0] for case in wrong_edges()])  # fmt: skip
def test_other_edges_are_errors(edge_index, found):
    message = rf"layer over HAND: the edges .* expected 2 x 40, of which only {found} are present"
    with pytest.raises(ValueError, match=message):
        SkeletonEdges("layer", 2, HAND)(torch.ones(42, 2), edge_index)


@each
def test_layers_check_the_edges(layer):
    with pytest.raises(ValueError, match=rf"{layer.__name__} over HAND: the edges are not those"):
        layer(2, 4, HAND)(torch.ones(21, 2), RHD.edge_index)


def test_edge_index_determines_the_number_of_copies():
    edges = SkeletonEdges("layer", 2, Y)
    assert edges(torch.ones(7, 4, 2), Y.edge_index) == 1
    for copies in (1, 3):
        batch = Batch.from_data_list([Y.to_data(x=torch.ones(4, 2))] * copies)
        assert edges(batch.x, batch.edge_index) == copies


@each
def test_invalid_layer_arguments_raise(layer):
    for sizes in [(0, 4), (2, 0)]:
        with pytest.raises(ValueError, match=rf"{layer.__name__}: expected positive sizes, got in"):
            layer(*sizes, HAND)
    with pytest.raises(
        TypeError, match=rf"{layer.__name__}: expected a Skeleton, such as HAND, got RemovalSets"
    ):
        layer(2, 4, RemovalSets.by_level(HAND))


@each
def test_repr_shows_sizes_and_skeleton(layer):
    assert repr(layer(2, 4, HAND)) == f"{layer.__name__}(2, 4, HAND)"
    assert repr(layer(2, 4, HAND).edges) == "SkeletonEdges(HAND)"


def test_edges_must_be_integers():
    with pytest.raises(TypeError, match="edge_index: expected integers, got torch.float32"):
        SkeletonEdges("layer", 2, HAND)(torch.ones(21, 2), HAND.edge_index.float())
