from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handgraph import (
    COCO,
    H36M,
    HAND,
    INTERHAND,
    MANO,
    RHD,
    Coarsening,
    RemovalSets,
    Skeleton,
    coarsen,
)
from handgraph.coarsening import restrict_ladder
from handgraph.skeleton import chain

LEVELS = RemovalSets.by_level(HAND)
CHAIN = Skeleton.from_parents("chain", {"a": None, "b": "a", "c": "b", "d": "c", "e": "d"})


@st.composite
def skeletons(draw, max_joints=12):
    """Draw a random graph with a random order of joints."""
    count = draw(st.integers(1, max_joints))
    joints = draw(st.permutations([f"j{i}" for i in range(count)]))
    pairs = [(u, v) for i, u in enumerate(joints) for v in joints[:i]]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    root = draw(st.sampled_from([None, *joints]))
    return Skeleton("random", joints, edges, root=root)


@st.composite
def forests(draw, max_joints=14):
    count = draw(st.integers(1, max_joints))
    parents = {"j0": None}
    for i in range(1, count):
        parent = draw(st.integers(-1, i - 1))
        parents[f"j{i}"] = None if parent < 0 else f"j{parent}"
    return Skeleton.from_parents("forest", parents)


def as_sets(edges):
    return {frozenset(edge) for edge in edges}


def quotient_edges(level):
    """Return the edges between clusters, computed by networkx."""
    graph = level.fine.to_networkx()
    blocks = [set(joints) for joints in level.clusters.values()]
    quotient = networkx.quotient_graph(graph, blocks)
    names = {frozenset(joints): name for name, joints in level.clusters.items()}
    return {frozenset((names[u], names[v])) for u, v in quotient.edges}


# Clusters found by coarsen


def test_hand_pairs_joints_from_the_tips():
    first, second = coarsen(HAND)
    fingers = ["thumb", "index", "middle", "ring", "pinky"]
    pairs = {"wrist": ("wrist",)}
    for f in fingers:
        pairs |= {
            f"{f}_mcp": (f"{f}_mcp", f"{f}_pip"),
            f"{f}_dip": (f"{f}_dip", f"{f}_tip"),
        }
    assert first.clusters == pairs
    assert second.clusters == {"wrist": ("wrist",)} | {
        f"{f}_mcp": (f"{f}_mcp", f"{f}_dip") for f in fingers
    }
    assert as_sets(second.coarse.edges) == as_sets(("wrist", f"{f}_mcp") for f in fingers)
    assert first.coarse.root == second.coarse.root == "wrist"
    assert (first.coarse.name, second.coarse.name) == ("HAND/11", "HAND/11/6")


def test_cluster_maps_each_joint_to_its_coarse_joint():
    level = coarsen(RHD)[0]
    for joint, coarse in zip(RHD.joints, level.cluster.tolist(), strict=True):
        assert joint in level.clusters[level.coarse.joints[coarse]]
    assert level.cluster.dtype == torch.long


@pytest.mark.parametrize(
    ("skeleton", "counts"),
    [
        (HAND, [11, 6]),
        (INTERHAND, [22, 12]),
        (COCO, [9, 5, 3, 2, 1]),
        (H36M, [10, 6, 4, 2, 1]),
        (CHAIN, [3, 2, 1]),
        (Skeleton.edgeless(3), [3]),
        (Skeleton.edgeless(1), [1]),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_ladder_halves_as_long_as_it_can(skeleton, counts):
    assert [level.coarse.num_joints for level in coarsen(skeleton)] == counts


def test_ladder_has_at_most_the_levels_asked_for():
    assert [level.coarse.num_joints for level in coarsen(HAND, 3)] == [11, 6, 5]
    assert len(coarsen(COCO, 2)) == 2
    every = [level.coarse.num_joints for level in coarsen(INTERHAND, 99)]
    assert every == [22, 12, 10, 8, 6, 4, 2]
    assert len(coarsen(Skeleton.edgeless(3), 5)) == 1


def test_ladder_continues_if_at_most_three_quarters_are_kept():
    edges = [edge for tip in "abc" for edge in chain("root", f"{tip}_base", tip)]
    joints = sorted({joint for edge in edges for joint in edge})
    ladder = coarsen(Skeleton("tripod", joints, edges))
    assert [level.coarse.num_joints for level in ladder] == [4, 3, 2, 1]


def test_joints_are_paired_with_the_neighbour_that_has_fewest():
    edges = ["ab", "bc", "ce", "ea", "bd", "dc"]
    square = Skeleton("square with a roof", "abcde", edges)
    assert coarsen(square, 1)[0].clusters["e"] == ("a", "e")  # b has three neighbours


@pytest.mark.parametrize("other", [RHD, MANO])
def test_order_of_the_joints_plays_no_part(other):
    for ours, theirs in zip(coarsen(HAND), coarsen(other), strict=True):
        assert {n: set(j) for n, j in ours.clusters.items()} == {
            n: set(j) for n, j in theirs.clusters.items()
        }


@pytest.mark.parametrize(("root", "alone"), [("a", "a"), ("e", "e"), ("c", "c"), (None, "e")])
def test_root_at_an_end_is_no_tip(root, alone):
    level = coarsen(Skeleton("chain", CHAIN.joints, CHAIN.edges, root=root))[0]
    assert [joints for joints in level.clusters.values() if len(joints) == 1] == [(alone,)]


@settings(max_examples=150)
@given(skeletons())
def test_levels_are_maximal_matchings_that_keep_the_edges(skeleton):
    level = coarsen(skeleton)[0]
    graph = skeleton.to_networkx()
    assert sorted(j for joints in level.clusters.values() for j in joints) == sorted(
        skeleton.joints
    )
    assert all(networkx.is_connected(graph.subgraph(c)) for c in level.clusters.values())
    matching = {c for c in level.clusters.values() if len(c) == 2}
    assert max(map(len, level.clusters.values())) <= 2
    assert networkx.is_maximal_matching(graph, matching)
    assert as_sets(level.coarse.edges) == quotient_edges(level)
    assert all(name in joints for name, joints in level.clusters.items())


@settings(max_examples=100)
@given(forests())
def test_no_matching_of_a_forest_is_larger(forest):
    largest = len(networkx.max_weight_matching(forest.to_networkx(), maxcardinality=True))
    assert coarsen(forest)[0].coarse.num_joints == forest.num_joints - largest


@settings(max_examples=60)
@given(skeletons())
def test_full_ladder_ends_at_the_components(skeleton):
    ladder = coarsen(skeleton, 100)
    last = ladder[-1].coarse
    assert last.num_joints == networkx.number_connected_components(skeleton.to_networkx())
    for fine, coarse in pairwise(ladder):
        assert coarse.fine == fine.coarse
        assert coarse.coarse.num_joints < fine.coarse.num_joints


@settings(max_examples=60)
@given(skeletons(), st.randoms(use_true_random=False))
def test_shuffled_joints_have_the_same_clusters(skeleton, random):
    shuffled = skeleton.reorder("shuffled", random.sample(skeleton.joints, skeleton.num_joints))
    for ours, theirs in zip(coarsen(skeleton), coarsen(shuffled), strict=True):
        assert {n: set(j) for n, j in ours.clusters.items()} == {
            n: set(j) for n, j in theirs.clusters.items()
        }
        assert as_sets(ours.coarse.edges) == as_sets(theirs.coarse.edges)


# Given clusters


def test_clusters_accept_groups_and_joints():
    pinch = {"pinch": ["thumb", "wrist", "index"]}
    level = Coarsening(HAND, pinch | {"m": "middle", "r": HAND.groups["ring"], "p": "pinky"})
    assert level.clusters["pinch"] == HAND.joints[:9]
    assert level.coarse.joints == ("pinch", "m", "r", "p")
    assert level.coarse.edges == (("pinch", "m"), ("pinch", "r"), ("pinch", "p"))
    assert level.coarse.root == "pinch"


def test_cycle_of_clusters_stays_a_cycle():
    torso = ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    limbs = {limb: COCO.groups[limb][1:] for limb in COCO.groups if limb != "head"}
    level = Coarsening(COCO, {"head": "head", "torso": torso, **limbs})
    assert as_sets(level.coarse.edges) == as_sets(("torso", x) for x in ("head", *limbs))
    assert level.coarse.root is None


def test_coarsenings_are_values():
    level = coarsen(HAND)[0]
    for other in (coarsen(HAND)[0], copy.deepcopy(level), pickle.loads(pickle.dumps(level))):
        assert other == level
        assert hash(other) == hash(level)
    assert coarsen(RHD)[0] != level
    assert Coarsening(HAND, {"all": HAND.joints}) != level
    assert Coarsening(HAND, level.clusters) == level


CLUSTERS = {"ab": ["a", "b"], "cd": ["c", "d"], "e": "e"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ab": ["a", "x"]}, r"^chain has no joint 'x'; it has a, b, c, d, e$"),
        ({"e": ["d", "e"]}, r"^chain: d is in two clusters, 'cd' and 'e'$"),
        ({"cd": ["d"]}, r"^chain: no cluster contains c$"),
        ({"cd": ()}, r"^chain: cluster 'cd' is empty$"),
        (
            {"ab": ["b", "e", "d"], "cd": "c", "e": "a"},
            r"^chain: cluster 'ab' is not connected: it contains no path from b to d, e$",
        ),
    ],
)
def test_invalid_clusters_raise(change, message):
    Coarsening(CHAIN, CLUSTERS)
    with pytest.raises(ValueError, match=message):
        Coarsening(CHAIN, CLUSTERS | change)


@pytest.mark.parametrize("levels", [0, -1])
def test_ladders_without_levels_are_errors(levels):
    with pytest.raises(ValueError, match=f"^expected max_levels to be at least 1, got {levels}$"):
        coarsen(HAND, levels)
    with pytest.raises(ValueError, match=r"^HAND: expected a ladder of at least one level, got n"):
        restrict_ladder((), HAND)


# Restriction to sub-skeletons


def test_restriction_drops_lost_joints_and_empty_clusters():
    pairs = coarsen(HAND)[0]
    thumbless = pairs.restrict(RemovalSets.by_finger(HAND).subgraph("thumb"))
    assert thumbless.clusters == {
        name: joints for name, joints in pairs.clusters.items() if "thumb" not in name
    }
    tipless = pairs.restrict(LEVELS.subgraph("TIP"))
    assert tipless.clusters["ring_dip"] == ("ring_dip",)
    assert tipless.coarse.joints == pairs.coarse.joints
    assert tipless.fine.name == "HAND - TIP"


@settings(max_examples=100)
@given(skeletons(), st.data())
def test_restricted_clusters_are_those_of_the_whole(skeleton, data):
    lost = data.draw(st.sets(st.sampled_from(skeleton.joints), max_size=skeleton.num_joints - 1))
    removal = RemovalSets(skeleton, {"lost": lost, "nothing": ()})
    whole = coarsen(skeleton)
    for edges in ("bridged", "induced"):
        sub = removal.subgraph("lost", edges)
        ladder = restrict_ladder(whole, sub)
        assert len(ladder) == len(whole)
        home = {joint: joint for joint in skeleton.joints}
        for level, full in zip(ladder, whole, strict=True):
            up = {joint: name for name, joints in full.clusters.items() for joint in joints}
            home = {joint: up[cluster] for joint, cluster in home.items()}
            assert set(level.coarse.joints) == {home[joint] for joint in sub.joints}
            assert as_sets(level.coarse.edges) == quotient_edges(level)
            graph = level.fine.to_networkx()
            for joints in level.clusters.values():
                assert edges == "induced" or networkx.is_connected(graph.subgraph(joints))


def test_restriction_to_all_joints_changes_nothing():
    assert restrict_ladder(coarsen(COCO), COCO) == coarsen(COCO)
    by_name = restrict_ladder(coarsen(HAND), RHD)
    assert [level.clusters.keys() for level in by_name] == [
        level.clusters.keys() for level in coarsen(HAND)
    ]
    assert by_name[0].fine == RHD


def test_induced_cluster_may_lose_its_middle():
    thirds = Coarsening(CHAIN, {"abc": ["a", "b", "c"], "de": ["d", "e"]})
    removal = RemovalSets(CHAIN, {"b": "b", "nothing": ()})
    sub = thirds.restrict(removal.subgraph("b", "induced"))
    assert sub.clusters == {"abc": ("a", "c"), "de": ("d", "e")}
    assert sub.coarse.edges == (("abc", "de"),)


def test_restriction_to_another_skeleton_is_an_error():
    with pytest.raises(ValueError, match=r"^COCO: expected joints of HAND, .* got nose, left_eye"):
        coarsen(HAND)[0].restrict(COCO)
    with pytest.raises(
        ValueError, match=r"^HAND: expected joints of HAND - TIP, .* thumb_tip, index"
    ):
        coarsen(LEVELS.subgraph("TIP"))[0].restrict(HAND)
