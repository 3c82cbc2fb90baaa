from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handgraph import COCO, HAND, INTERHAND, RHD, RemovalSets, Skeleton

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "nothing": ()})


@st.composite
def removals(draw, max_joints=7):
    """Draw a random graph and a set of removed joints that keeps some."""
    count = draw(st.integers(2, max_joints))
    joints = [f"j{i}" for i in range(count)]
    pairs = [(u, v) for i, u in enumerate(joints) for v in joints[:i]]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True))
    lost = draw(st.lists(st.sampled_from(joints), unique=True, max_size=count - 1))
    return RemovalSets(Skeleton("random", joints, edges), {"lost": lost, "nothing": ()})


def bridged_by_paths(skeleton, kept):
    """Return edges u-v with a path of removed inner joints between them, by trying all paths."""
    graph = skeleton.to_networkx()
    edges = set()
    for i, u in enumerate(kept):
        for v in kept[:i]:
            inside = graph.subgraph([j for j in graph if j not in kept or j in (u, v)])
            if any(True for _ in networkx.all_simple_paths(inside, u, v)):
                edges.add(frozenset((u, v)))
    return edges


def as_sets(edges):
    return {frozenset(edge) for edge in edges}


# The remaining graphs


@settings(max_examples=200)
@given(removals())
def test_bridged_subgraph_meets_the_enumeration_of_paths(removal):
    sub = removal.subgraph("lost")
    assert as_sets(sub.edges) == bridged_by_paths(removal.skeleton, sub.joints)
    assert len(as_sets(sub.edges)) == len(sub.edges)


@settings(max_examples=100)
@given(removals())
def test_induced_subgraph_meets_networkx(removal):
    sub = removal.subgraph("lost", "induced")
    expected = removal.skeleton.to_networkx().subgraph(sub.joints)
    assert as_sets(sub.edges) == as_sets(expected.edges)
    full = removal.skeleton
    assert [full.joints[i] for i in sub.keep] == list(sub.joints)
    assert as_sets(sub.edges) <= as_sets(removal.subgraph("lost").edges)


@pytest.mark.parametrize(
    ("level", "link", "count"),
    [
        ("TIP", ("middle_pip", "middle_dip"), 15),
        ("DIP", ("middle_pip", "middle_tip"), 15),
        ("PIP", ("middle_mcp", "middle_dip"), 15),
        ("MCP", ("wrist", "middle_pip"), 15),
    ],
)
def test_bridges_close_the_gap_that_a_level_leaves(level, link, count):
    sub = LEVELS.subgraph(level)
    assert frozenset(link) in as_sets(sub.edges)
    assert len(sub.edges) == count
    assert sub.root == "wrist"
    assert len(sub.parents) == 16
    induced = LEVELS.subgraph(level, "induced")
    assert len(induced.edges) == (15 if level == "TIP" else 10)


def test_removing_the_wrist_links_all_fingers():
    sub = RemovalSets(HAND, {"wrist": "wrist", "nothing": ()}).subgraph("wrist")
    assert len(sub.edges) == 15 + 5 * 4 // 2
    assert sub.root is None


def test_removing_from_a_cycle_keeps_it_closed():
    sub = RemovalSets(COCO, {"hips": ["left_hip"], "nothing": ()}).subgraph("hips")
    expected = {("left_knee", "right_hip"), ("left_knee", "left_shoulder")}
    assert as_sets([*expected, ("right_hip", "left_shoulder")]) <= as_sets(sub.edges)


def test_subgraph_keeps_edges_and_groups_of_kept_joints():
    sub = LEVELS.subgraph("PIP")
    assert sub.name == "HAND - PIP"
    assert sub.select("TIP") == [3, 6, 9, 12, 15]
    assert sub.select("thumb") == [1, 2, 3]
    assert "PIP" not in sub.groups
    assert sub.index("thumb_cmc") == 1
    assert sub.keep == tuple(LEVELS.kept[2].tolist())
    assert RHD.index_from(HAND)[list(RemovalSets.by_level(RHD).subgraph("PIP").keep)].tolist() == [
        HAND.index(joint) for joint in RHD.joints if not joint.endswith("pip")
    ]


def test_subgraph_of_an_empty_set_is_the_skeleton():
    sub = RAGGED.subgraph("nothing")
    assert sub.joints == HAND.joints
    assert as_sets(sub.edges) == as_sets(HAND.edges)
    assert RAGGED.subgraph(2) == sub
    assert RAGGED.subgraph(-1) == sub


# The sets


def test_levels_are_the_sets_of_the_paper():
    assert LEVELS.names == ("TIP", "DIP", "PIP", "MCP")
    assert len(LEVELS) == 4
    assert LEVELS.kept.shape == (4, 16)
    assert LEVELS.num_nodes == 16
    assert LEVELS.num_kept.tolist() == [16] * 4
    assert LEVELS.node_mask.all()
    for name, kept in zip(LEVELS.names, LEVELS.kept.tolist(), strict=True):
        joints = [HAND.joints[i] for i in kept]
        assert joints == [j for j in HAND.joints if not j.endswith(name.lower())]


def test_levels_count_64_hypotheses():
    assert LEVELS.keep_mask.sum(dim=0).tolist() == [4] + [3] * 20
    assert len(LEVELS.hypotheses()[0]) == 64


def test_fingers_are_one_set_each():
    fingers = RemovalSets.by_finger(HAND)
    assert fingers.names == ("thumb", "index", "middle", "ring", "pinky")
    assert fingers.kept.shape == (5, 17)
    for name, mask in zip(fingers.names, fingers.keep_mask, strict=True):
        assert [j for j, m in zip(HAND.joints, mask, strict=True) if not m] == [
            j for j in HAND.joints if j.startswith(name)
        ]


def test_two_hands_lose_levels_together():
    assert RemovalSets.by_level(INTERHAND).num_kept.tolist() == [32] * 4


def test_none_removes_no_joints():
    none = RemovalSets.none(HAND, 3)
    assert none.keep_mask.all()
    assert none.keep_mask.shape == (3, 21)
    assert torch.equal(none.kept, torch.arange(21).expand(3, 21))


def test_ragged_sets_are_padded():
    assert RAGGED.num_kept.tolist() == [16, 15, 21]
    assert RAGGED.kept.shape == (3, 21)
    for n in range(3):
        count = int(RAGGED.num_kept[n])
        expected = RAGGED.keep_mask[n].nonzero().flatten().tolist()
        assert RAGGED.kept[n].tolist() == expected + [-1] * (21 - count)
        assert RAGGED.node_mask[n].tolist() == [True] * count + [False] * (21 - count)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 7), st.integers(1, 4))
def test_index_tables_meet_loops(data, joints, sets):
    row = st.lists(st.booleans(), min_size=joints, max_size=joints).filter(any)
    rows = data.draw(st.lists(row, min_size=sets, max_size=sets))
    masks = torch.tensor(rows)
    masks[0] |= ~masks.any(dim=0)
    rows = masks.tolist()
    removal = RemovalSets.from_keep_masks(Skeleton.edgeless(joints), masks)
    kept = [[j for j in range(joints) if row[j]] for row in rows]
    width = max(map(len, kept))
    assert removal.kept.tolist() == [k + [-1] * (width - len(k)) for k in kept]
    assert removal.position.tolist() == [
        [k.index(j) if j in k else -1 for j in range(joints)] for k in kept
    ]
    index, ptr = removal.hypotheses()
    lists = [[n * width + k.index(j) for n, k in enumerate(kept) if j in k] for j in range(joints)]
    assert [index[a:b].tolist() for a, b in pairwise(ptr)] == lists


def test_sets_accept_groups_and_joints():
    removal = RemovalSets(HAND, {"a": ["TIP", "wrist"], "b": "thumb_cmc", "c": ()})
    lost = [[HAND.joints[i] for i in (~m).nonzero().flatten().tolist()] for m in removal.keep_mask]
    assert lost[0] == ["wrist", *HAND.groups["TIP"]]
    assert lost[1:] == [["thumb_mcp"], []]


# Random sets


def test_random_sets_follow_the_generator():
    def draw(seed):
        return RemovalSets.random(HAND, 4, 5, torch.Generator().manual_seed(seed))

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    state = torch.get_rng_state()
    draw(2)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("seed", range(5))
def test_random_sets_have_their_size_and_spare_the_root(seed):
    removal = RemovalSets.random(RHD, 4, 10, torch.Generator().manual_seed(seed))
    assert removal.num_kept.tolist() == [11] * 4
    assert removal.keep_mask[:, RHD.index("wrist")].all()
    assert removal.keep_mask.any(dim=0).all()
    assert removal.names == ("random_0", "random_1", "random_2", "random_3")


def test_random_sets_stay_among_the_joints_given():
    generator = torch.Generator().manual_seed(0)
    removal = RemovalSets.random(HAND, 2, 3, generator, among=["TIP", "wrist"])
    lost = set((~removal.keep_mask).nonzero()[:, 1].tolist())
    assert lost <= {0, 4, 8, 12, 16, 20}


def test_random_sets_are_uniform_over_those_that_keep_every_joint():
    generator = torch.Generator().manual_seed(0)
    graph = Skeleton.edgeless(3)  # 2 sets of 1 joint: 6 of the 9 pairs
    draws = [RemovalSets.random(graph, 2, 1, generator).keep_mask for _ in range(600)]
    pairs, counts = torch.stack([(~d).float().argmax(1) for d in draws]).unique(
        dim=0, return_counts=True
    )
    assert len(pairs) == 6
    assert ((counts - 100).abs() < 40).all()


# Values


def test_removal_sets_are_values():
    same = RemovalSets.by_level(HAND)
    assert same == LEVELS
    assert hash(same) == hash(LEVELS)
    assert RemovalSets.by_level(RHD) != LEVELS
    assert RemovalSets.by_finger(HAND) != LEVELS
    assert LEVELS != "TIP"
    renamed = RemovalSets.from_keep_masks(HAND, LEVELS.keep_mask)
    assert renamed != LEVELS
    named = RemovalSets.from_keep_masks(HAND, LEVELS.keep_mask, LEVELS.names)
    assert named == LEVELS
    for other in (copy.deepcopy(RAGGED), pickle.loads(pickle.dumps(RAGGED))):
        assert other == RAGGED


def test_repr_has_the_number_of_removed_joints():
    assert repr(RAGGED) == "RemovalSets(HAND, tips: -5, palm: -6, nothing: -0)"


def test_sets_of_groups():
    arms = RemovalSets.by_groups(COCO, ["left_arm", "right_arm"])
    for name, mask in zip(arms.names, arms.keep_mask, strict=True):
        assert (~mask).nonzero().flatten().tolist() == COCO.select(name)
    assert RemovalSets.by_groups(COCO).names == tuple(COCO.groups)
    with pytest.raises(ValueError, match="COCO has no group 'fist'"):
        RemovalSets.by_groups(COCO, ["fist"])


# Errors


def test_invalid_sets_raise():
    with pytest.raises(ValueError, match=r"^HAND: expected at least one removal set, got none$"):
        RemovalSets(HAND, {})
    with pytest.raises(ValueError, match="expected num_sets to be from 1 to 4096, got 0"):
        RemovalSets.none(HAND, 0)
    with pytest.raises(
        ValueError, match=r"^removal set 'all' keeps none of the 21 joints of HAND$"
    ):
        RemovalSets(HAND, {"all": HAND.joints, "nothing": ()})
    with pytest.raises(
        ValueError, match=r"every one of the 2 removal sets of HAND removes wrist, t"
    ):
        RemovalSets(HAND, {"a": ["wrist", "thumb"], "b": ["wrist", "thumb"]})
    with pytest.raises(ValueError, match=r"HAND has no joint 'FOOT'"):
        RemovalSets(HAND, {"a": "FOOT"})
    with pytest.raises(TypeError, match=r"HAND: expected joint names as str, got 3"):
        RemovalSets(HAND, {"a": [3]})


def test_skeletons_without_levels_or_fingers_are_errors():
    with pytest.raises(ValueError, match=r"^COCO has no group 'TIP'; it has head, left_arm"):
        RemovalSets.by_level(COCO)
    with pytest.raises(ValueError, match=r"edgeless\(3\) has no group 'thumb'; it has none"):
        RemovalSets.by_finger(Skeleton.edgeless(3))


def test_random_sets_that_cannot_be_are_errors():
    with pytest.raises(ValueError, match=r"^HAND: cannot draw 2 sets of 21 joints from 20 candid"):
        RemovalSets.random(HAND, 2, 21)
    with pytest.raises(ValueError, match="expected size to be at least 0, got -1"):
        RemovalSets.random(HAND, 2, -1)
    with pytest.raises(ValueError, match=r"HAND: cannot draw 2 sets of 6 joints from 5"):
        RemovalSets.random(HAND, 2, 6, among="TIP")
    with pytest.raises(
        ValueError, match=r"HAND: in each of 1000 draws, all 1 sets of 1 joints remove some"
    ):
        RemovalSets.random(HAND, 1, 1)
    with pytest.raises(ValueError, match="expected num_sets to be from 1 to 4096, got 0"):
        RemovalSets.random(HAND, 0, 1)


def test_masks_that_do_not_fit_are_errors():
    with pytest.raises(TypeError, match=r"expected masks as torch.bool, got torch.float32"):
        RemovalSets.from_keep_masks(HAND, torch.ones(2, 21))
    for shape in [(2, 20), (21,), (1, 2, 21)]:
        with pytest.raises(ValueError, match=r"masks: expected \[N, 21\] for HAND, got"):
            RemovalSets.from_keep_masks(HAND, torch.ones(shape, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"expected 2 different names, got \['a', 'a'\]"):
        RemovalSets.from_keep_masks(HAND, torch.ones(2, 21, dtype=torch.bool), ["a", "a"])
    with pytest.raises(ValueError, match=r"expected 2 different names, got \['a', 'b', 'a'\]"):
        RemovalSets.from_keep_masks(HAND, torch.ones(2, 21, dtype=torch.bool), ["a", "b", "a"])


def test_unknown_subgraphs_raise():
    with pytest.raises(ValueError, match=r"^expected one of the sets TIP, .*, MCP, got 'tip'$"):
        LEVELS.subgraph("tip")
    for which in (4, -5):
        with pytest.raises(ValueError, match=f"the sets TIP, DIP, PIP, MCP, got {which}"):
            LEVELS.subgraph(which)
    with pytest.raises(ValueError, match=r"edges: expected 'bridged' or 'induced', got 'cut'"):
        LEVELS.subgraph("TIP", "cut")


def test_the_attributes_of_removal_sets_are_in_the_api():
    """Sphinx reads the docstrings of attributes in ``__init__`` only."""
    pycode = pytest.importorskip("sphinx.pycode")
    documented = pycode.ModuleAnalyzer.for_module("handgraph.subgraph").find_attr_docs()
    assert {name for owner, name in documented if owner == "RemovalSets"} == set(
        vars(RemovalSets.by_level(HAND))
    ) - {"skeleton"}
