from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import (
    ConsistencyMerger,
    GatedMerger,
    GraphMerger,
    HypothesisGraphMerger,
    MeanMerger,
    Merger,
    SubgraphMask,
)
from handgraph.testing import assert_compiles, assert_relabelling

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(
    HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"], "nothing": ()}
)
WEIGHTED = [MeanMerger, GatedMerger, ConsistencyMerger]
ALL = [*WEIGHTED, GraphMerger, HypothesisGraphMerger]
LEARNED = [GatedMerger, GraphMerger, HypothesisGraphMerger]
by_name = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)


def trained(merge, *, seed=1):
    """Perturb all parameters as training does, so that none is zero or the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in merge.parameters():
            noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 0.4
            parameter.add_(noise.to(parameter.dtype))
    return merge


def partial_poses(removal, lead=(3,), *, channels=2, dtype=torch.float32):
    return torch.randn(*lead, len(removal), removal.num_nodes, channels, dtype=dtype)


def mask_for(removal, lead=(3,), *, seed=0):
    """Draw about half of the hypotheses; the first sample has none of thumb_mcp."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(*lead, len(removal), removal.num_nodes, generator=generator) < 0.6
    first = mask.reshape(-1, *mask.shape[-2:])[0]
    for n, k in where(removal, "thumb_mcp"):
        first[n, k] = False
    return mask


def where(removal, joint):
    """Return branch and node of all hypotheses of a joint."""
    kept = [
        [j for j, m in zip(removal.skeleton.joints, row, strict=True) if m]
        for row in removal.keep_mask.tolist()
    ]
    return [(n, joints.index(joint)) for n, joints in enumerate(kept) if joint in joints]


def listed(removal):
    """Return all hypotheses, sorted by joint and then by branch."""
    return [(j, n, k) for j, joint in enumerate(removal.skeleton.joints) for n, k in
            where(removal, joint)]  # fmt: skip


# Slow references, for one sample


def slow_mean(merge, partial, feature, mask):
    rows = []
    for joint in merge.removal.skeleton.joints:
        said = [partial[n, k] for n, k in where(merge.removal, joint) if mask[n, k]]
        rows.append(
            sum(said) / len(said) if said else partial.new_full((partial.shape[-1],), torch.nan)
        )
    return torch.stack(rows)


def slow_gate(merge, partial, feature, mask):
    mean = slow_mean(merge, partial, feature, mask)
    exponentials = {}
    for h, (j, n, k) in enumerate(listed(merge.removal)):
        if mask[n, k]:
            inputs = [partial[n, k], partial[n, k] - mean[j]]
            inputs += [] if feature is None else [feature[j]]
            hidden = merge.lin.weight @ torch.cat(inputs) + merge.lin.bias + merge.bias[h, 0]
            exponentials[j, n, k] = (hidden.relu() @ merge.score[h, :, 0]).exp()
    rows = []
    for j in range(merge.removal.skeleton.num_joints):
        mine = {(n, k): e for (i, n, k), e in exponentials.items() if i == j}
        said = [e / sum(mine.values()) * partial[n, k] for (n, k), e in mine.items()]
        rows.append(sum(said) if said else partial.new_full((partial.shape[-1],), torch.nan))
    return torch.stack(rows)


def slow_consistency(merge, partial, feature, mask):
    rows = []
    for joint in merge.removal.skeleton.joints:
        said = [partial[n, k] for n, k in where(merge.removal, joint) if mask[n, k]]
        exponentials = []
        for h, one in enumerate(said):
            others = said[:h] + said[h + 1 :]
            away = (one - sum(others) / len(others)) / merge.temperature if others else 0 * one
            exponentials.append((-away.square().sum().sqrt()).exp())
        total = sum(exponentials)
        row = [e / total * one for e, one in zip(exponentials, said, strict=True)]
        rows.append(sum(row) if said else partial.new_full((partial.shape[-1],), torch.nan))
    return torch.stack(rows)


def slow_graph(merge, partial, feature, mask):
    rows = []
    for j, joint in enumerate(merge.removal.skeleton.joints):
        there = {n: k for n, k in where(merge.removal, joint) if mask[n, k]}
        row = []
        for n in range(len(merge.removal)):
            said = partial[n, there[n]] if n in there else partial.new_zeros(partial.shape[-1])
            row += [said, partial.new_tensor([float(n in there)])]
        rows.append(torch.cat(row if feature is None else [*row, feature[j]]))
    return merge.unet(torch.stack(rows))


def slow_literal(merge, partial, feature, mask):
    nodes = [
        partial[n, k] if mask[n, k] else partial.new_zeros(partial.shape[-1])
        for _, n, k in listed(merge.removal)
    ]
    nodes += [] if feature is None else list(feature)
    return merge.pool(merge.unet(torch.stack(nodes)))


TWINS = {
    MeanMerger: slow_mean,
    GatedMerger: slow_gate,
    ConsistencyMerger: slow_consistency,
    GraphMerger: slow_graph,
    HypothesisGraphMerger: slow_literal,
}


def build(cls, removal, *, featured=False, channels=2):
    """Return the merger and a function that creates matching features."""
    if cls in (MeanMerger, ConsistencyMerger) or not featured:
        return cls(channels, channels, removal), lambda *lead: None
    if cls is HypothesisGraphMerger:
        return cls(channels, channels, removal, feature_nodes=5), lambda *lead: torch.randn(
            *lead, 5, channels
        )
    joints = removal.skeleton.num_joints
    merge = cls(channels, channels, removal, feature_channels=3)
    return merge, lambda *lead: torch.randn(*lead, joints, 3)


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("featured", [False, True], ids=["plain", "feature"])
@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
@by_name
def test_merger_equals_a_slow_reference(cls, removal, featured, masked):
    merge, make_feature = build(cls, removal, featured=featured)
    merge = trained(merge.double())
    partial, feature = partial_poses(removal, dtype=torch.float64), make_feature(3)
    feature = None if feature is None else feature.double()
    mask = mask_for(removal)
    ours = merge(partial, feature, node_mask=mask if masked else None)
    mask = mask if masked else torch.ones_like(mask)
    for b in range(3):
        mine = None if feature is None else feature[b]
        expected = TWINS[cls](merge, partial[b], mine, mask[b])
        assert_close(ours[b], expected, rtol=1e-10, atol=1e-10, equal_nan=True)


# Missing hypotheses


@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
@by_name
def test_missing_hypotheses_have_no_influence_even_if_nan(cls, removal):
    merge = trained(cls(2, 2, removal))
    mask, partial = mask_for(removal), partial_poses(removal)
    poisoned = partial.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_()
    pose = merge(poisoned, node_mask=mask)
    assert_close(pose, merge(partial, node_mask=mask), rtol=0, atol=0, equal_nan=True)
    pose.nansum().backward()
    assert (poisoned.grad[~mask] == 0).all()
    assert (poisoned.grad[mask & removal.node_mask] != 0).any()
    assert all(torch.isfinite(p.grad).all() for p in merge.parameters())


@by_name
def test_padding_has_no_influence_even_if_nan(cls):
    merge = trained(cls(2, 2, RAGGED))
    partial = partial_poses(RAGGED)
    poisoned = partial.masked_fill(~RAGGED.node_mask.unsqueeze(-1), torch.nan)
    assert torch.equal(merge(poisoned), merge(partial))
    everything = torch.ones(3, 4, 21, dtype=torch.bool)
    assert_close(merge(poisoned, node_mask=everything), merge(partial))


@by_name
def test_a_joint_without_hypotheses_is_nan_or_inferred(cls):
    merge, mask = cls(2, 2, LEVELS), mask_for(LEVELS)
    lost = merge(partial_poses(LEVELS), node_mask=mask)[0, HAND.index("thumb_mcp")]
    assert lost.isnan().all() if cls in WEIGHTED else lost.isfinite().all()
    nothing = merge(partial_poses(LEVELS), node_mask=torch.zeros_like(mask))
    assert nothing.isnan().all() if cls in WEIGHTED else nothing.isfinite().all()


@by_name
def test_nan_of_an_unmasked_node_reaches_the_output(cls):
    merge, partial = cls(2, 2, LEVELS), partial_poses(LEVELS)
    partial[1, 0, LEVELS.position[0, HAND.index("ring_mcp")]] = torch.nan
    for mask in (None, torch.ones(3, 4, 16, dtype=torch.bool)):
        pose = merge(partial, node_mask=mask)
        assert pose[1, HAND.index("ring_mcp")].isnan().all()
        assert pose[[0, 2]].isfinite().all()


@pytest.mark.parametrize("cls", WEIGHTED)
def test_one_hypothesis_left_is_the_output(cls):
    merge, partial = trained(cls(2, 2, LEVELS)), partial_poses(LEVELS)
    mask = torch.zeros(3, 4, 16, dtype=torch.bool)
    expected = torch.empty(3, 21, 2)
    for j, joint in enumerate(HAND.joints):
        n, k = where(LEVELS, joint)[j % 3]
        mask[:, n, k] = True
        expected[:, j] = partial[:, n, k]
    assert_close(merge(partial, node_mask=mask), expected)


# Properties of each merger


def test_mean_of_equal_hypotheses_is_the_pose():
    pose = torch.randn(3, 21, 2)
    split = SubgraphMask(LEVELS)
    assert_close(MeanMerger(2, 2, LEVELS)(split(pose)), pose)
    assert_close(trained(GatedMerger(2, 2, LEVELS))(split(pose)), pose)


def test_mean_is_the_scatter_of_the_mask():
    partial = partial_poses(RAGGED)
    assert torch.equal(MeanMerger(2, 2, RAGGED)(partial), SubgraphMask(RAGGED).scatter(partial))


def test_gate_equals_the_mean_at_initialisation():
    partial, mask = partial_poses(RAGGED), mask_for(RAGGED)
    gate, mean = GatedMerger(2, 2, RAGGED), MeanMerger(2, 2, RAGGED)
    assert_close(gate(partial), mean(partial))
    assert_close(gate(partial, node_mask=mask), mean(partial, node_mask=mask), equal_nan=True)


def test_weights_of_the_gate_average_to_its_output():
    merge, partial, mask = (
        trained(GatedMerger(2, 2, RAGGED)),
        partial_poses(RAGGED),
        mask_for(RAGGED),
    )
    for node_mask in (None, mask):
        pose, weights = merge(partial, node_mask=node_mask, return_weights=True)
        there = RAGGED.node_mask if node_mask is None else RAGGED.node_mask & mask
        assert weights.shape == (3, 4, 21)
        assert (weights[~there.expand(3, 4, 21)] == 0).all()
        assert (weights[there.expand(3, 4, 21)] > 0).all()
        split = SubgraphMask(RAGGED)
        total = split.scatter(weights.unsqueeze(-1), "sum")
        assert_close(total, (~pose.isnan()).any(dim=-1, keepdim=True).float())
        mine = split.scatter(weights.unsqueeze(-1) * partial, "sum")
        assert_close(mine.where(~pose.isnan(), torch.nan), pose, equal_nan=True)


def test_gate_depends_on_the_feature():
    merge = trained(GatedMerger(2, 2, LEVELS, feature_channels=3))
    partial = partial_poses(LEVELS)
    feature = torch.randn(3, 21, 3, requires_grad=True)
    merge(partial, feature).square().sum().backward()
    assert (feature.grad != 0).any(dim=-1).any(dim=0).all()


def test_graph_merger_has_the_channels_of_decision_7():
    assert GraphMerger(3, 3, LEVELS, feature_channels=3).unet.in_channels == 4 * 3 + 4 + 3
    assert GraphMerger(3, 5, LEVELS)(partial_poses(LEVELS, channels=3)).shape == (3, 21, 5)


def test_literal_merger_has_64_or_80_nodes():
    assert HypothesisGraphMerger(3, 3, LEVELS).unet.nodes[0] == 64
    assert HypothesisGraphMerger(3, 3, LEVELS, feature_nodes=16).unet.nodes[0] == 80


def test_mean_merger_matches_joints_by_name():
    def layer(x, skeleton):
        removal = RemovalSets.by_level(skeleton)
        partial = SubgraphMask(removal)(x) * torch.arange(1.0, 5).reshape(4, 1, 1)
        return MeanMerger(2, 2, removal)(partial)

    assert_relabelling(layer, HAND, in_channels=2)


# Shapes and layouts


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@by_name
def test_any_leading_dimensions(cls, lead, masked):
    merge, make_feature = build(cls, RAGGED, featured=True)
    merge = trained(merge)
    partial, feature = partial_poses(RAGGED, lead), make_feature(*lead)
    mask = torch.rand(*lead, 4, 21) < 0.9 if masked else None
    pose = merge(partial, feature, node_mask=mask)
    assert pose.shape == (*lead, 21, 2)
    for b, expected in enumerate(pose.reshape(-1, 21, 2)):
        mine = [None if t is None else t.reshape(-1, *t.shape[len(lead) :])[b]
                for t in (partial, feature, mask)]  # fmt: skip
        assert_close(merge(*mine[:2], node_mask=mine[2]), expected, equal_nan=True)


@by_name
def test_strides_do_not_matter(cls):
    merge, make_feature = build(cls, LEVELS, featured=True)
    partial = torch.randn(2, 16, 4, 3).permute(3, 2, 1, 0)
    mask = (torch.rand(16, 4, 3) < 0.9).permute(2, 1, 0)
    feature = make_feature(3)
    feature = None if feature is None else feature.mT.contiguous().mT
    expected = merge(partial.contiguous(), feature, node_mask=mask.contiguous())
    assert_close(merge(partial, feature, node_mask=mask), expected, equal_nan=True)


# PyTorch features


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@by_name
def test_gradcheck(cls, masked):
    removal = RemovalSets(Skeleton.edgeless(3), {"a": "node_0", "b": ["node_1", "node_2"]})
    merge = trained(cls(2, 2, removal).double(), seed=5)
    partial = partial_poses(removal, (2,), dtype=torch.float64).requires_grad_()
    mask = torch.tensor([[[True, True], [True, False]], [[True, False], [True, True]]])
    kwargs = {"node_mask": mask} if masked else {}
    names = [name for name, _ in merge.named_parameters()]

    def call(partial, *parameters):
        parameters = dict(zip(names, parameters, strict=True))
        pose = torch.func.functional_call(merge, parameters, (partial,), kwargs)
        return pose.nan_to_num()

    assert gradcheck(call, (partial, *merge.parameters()), fast_mode=True)


@by_name
def test_copies_compute_the_same(cls):
    merge, make_feature = build(cls, RAGGED, featured=True)
    merge = trained(merge)
    partial, feature = partial_poses(RAGGED), make_feature(3)
    loaded, _ = build(cls, RAGGED, featured=True)
    loaded.load_state_dict(merge.state_dict())
    for other in (copy.deepcopy(merge), pickle.loads(pickle.dumps(merge)), loaded):
        assert torch.equal(other(partial, feature), merge(partial, feature))
    names = {name for name in merge.state_dict() if not name.endswith("_extra_state")}
    assert names == {name for name, _ in merge.named_parameters()}


@pytest.mark.parametrize("cls", LEARNED, ids=lambda cls: cls.__name__)
def test_reset_parameters_depends_on_the_seed(cls):
    merge, before = cls(2, 2, LEVELS), {}
    for _ in range(2):
        torch.manual_seed(1)
        trained(merge).reset_parameters()
        before = before or copy.deepcopy(dict(merge.state_dict()))
    assert_close(dict(merge.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@by_name
def test_bfloat16_autocast_is_finite_and_close(cls, masked):
    merge, make_feature = build(cls, LEVELS, featured=True)
    merge = trained(merge)
    partial, feature = partial_poses(LEVELS).requires_grad_(), make_feature(3)
    mask = torch.rand(3, 4, 16) < 0.9 if masked else None
    with torch.autocast("cpu", torch.bfloat16):
        pose = merge(partial, feature, node_mask=mask)
    expected = merge(partial, feature, node_mask=mask)
    scale = expected.abs().nan_to_num().max().item()
    assert_close(pose.float(), expected, rtol=0, atol=0.1 * scale, equal_nan=True)
    pose.float().nansum().backward()
    assert partial.grad.isfinite().all()


def check_compiled(cls, *, masked, featured):
    merge, make_feature = build(cls, RAGGED, featured=featured)
    merge = trained(merge).double()  # compiled sums use another order
    mask = mask_for(RAGGED) if masked else None
    inputs = [t.double() for t in (partial_poses(RAGGED), make_feature(3)) if t is not None]
    call = (lambda *inputs: merge(*inputs, node_mask=mask)) if masked else merge
    assert_compiles(call, *inputs)


@pytest.mark.parametrize("cls", WEIGHTED, ids=lambda cls: cls.__name__)
def test_compiled_equals_eager(cls):
    check_compiled(cls, masked=True, featured=True)


@pytest.mark.slow
def test_compiled_graph_merger_equals_eager():
    check_compiled(GraphMerger, masked=True, featured=True)


def test_compiled_weights_equal_eager():
    merge = trained(GatedMerger(2, 2, RAGGED))
    assert_compiles(lambda x: merge(x, return_weights=True), partial_poses(RAGGED))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("featured", "masked"), [(True, False), (False, True)], ids=["feature", "masked"]
)
@by_name
def test_every_compiled_merger_equals_eager(cls, featured, masked):
    """``test_core.py`` compiles the mergers without feature and mask."""
    check_compiled(cls, masked=masked, featured=featured)


@pytest.mark.slow
def test_compiled_literal_merger_equals_eager():
    check_compiled(HypothesisGraphMerger, masked=True, featured=True)


# Errors


@by_name
def test_input_of_other_branches_is_an_error(cls):
    merge = cls(2, 2, LEVELS)
    message = (
        rf"partial of {cls.__name__}: expected \[\*, 4, 16, 2\] for RemovalSets\(HAND, .*got \["
    )
    for shape in [(3, 4, 15, 2), (3, 1, 16, 2), (3, 4, 16, 3), (16, 2), (2,), ()]:
        with pytest.raises(ValueError, match=message):
            merge(torch.ones(shape))


@by_name
def test_masks_that_do_not_fit_are_errors(cls):
    merge, partial = cls(2, 2, LEVELS), partial_poses(LEVELS)
    message = r"node_mask of .* of shape \[3, 4, 16\] for RemovalSets\(HAND, .*got \["
    for shape in [(4, 16), (1, 4, 16), (3, 4, 16, 1)]:
        with pytest.raises(ValueError, match=message):
            merge(partial, node_mask=torch.ones(shape, dtype=torch.bool))
    with pytest.raises(
        TypeError, match=r"expected node_mask of .* as torch.bool, got torch.float32"
    ):
        merge(partial, node_mask=torch.ones(3, 4, 16))


@by_name
def test_features_that_were_not_announced_are_errors(cls):
    with pytest.raises(ValueError, match=r"expected a feature of 0 channels, got \[3, 21, 2\]"):
        cls(2, 2, LEVELS)(partial_poses(LEVELS), torch.ones(3, 21, 2))


@pytest.mark.parametrize("cls", LEARNED, ids=lambda cls: cls.__name__)
def test_features_that_do_not_fit_are_errors(cls):
    merge, make_feature = build(cls, LEVELS, featured=True)
    with pytest.raises(ValueError, match=r"expected a feature of [23] channels, got none"):
        merge(partial_poses(LEVELS))
    for lead in [(), (1,), (2,)]:
        with pytest.raises(
            ValueError, match=r"feature of .* of shape \[3, (21, 3|5, 2)\] for Rem.*got"
        ):
            merge(partial_poses(LEVELS), make_feature(*lead))


@by_name
def test_invalid_channels_raise(cls):
    with pytest.raises(ValueError, match=rf"{cls.__name__}: expected positive sizes, got in_"):
        cls(0, 2, LEVELS)
    with pytest.raises(ValueError, match=r"expected positive sizes.*out_channels=-1"):
        cls(2, -1, LEVELS)


def test_invalid_options_raise():
    for cls in WEIGHTED:
        with pytest.raises(ValueError, match=rf"{cls.__name__}: expected out_ch.*got 2 and 3"):
            cls(2, 3, LEVELS)
    for cls in (MeanMerger, ConsistencyMerger):
        message = rf"{cls.__name__}: expected feature_channels=0, got 3"
        with pytest.raises(ValueError, match=message):
            cls(2, 2, LEVELS, feature_channels=3)
    with pytest.raises(ValueError, match=r"expected feature_channels to be at least 0, got -1"):
        GatedMerger(2, 2, LEVELS, feature_channels=-1)
    with pytest.raises(ValueError, match=r"expected positive sizes.*out_channels=0"):
        GatedMerger(2, 2, LEVELS, hidden_channels=0)
    with pytest.raises(ValueError, match=r"expected positive sizes.*out_channels=0"):
        GraphMerger(2, 2, LEVELS, channels=0)
    with pytest.raises(ValueError, match=r"expected feature_nodes to be at least 0, got -1"):
        HypothesisGraphMerger(2, 2, LEVELS, feature_nodes=-1)


@by_name
def test_repr_shows_sizes_and_sets(cls):
    sets = "RemovalSets(HAND, TIP: -5, DIP: -5, PIP: -5, MCP: -5)"
    assert repr(cls(2, 2, LEVELS)) == f"{cls.__name__}(2, 2, {sets})"
    assert isinstance(cls(2, 2, LEVELS), Merger)
