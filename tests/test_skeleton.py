from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handgraph import COCO, H36M, HAND, INTERHAND, MANO, RHD, Skeleton
from handgraph.detectors import Missing
from handgraph.skeleton import chain

ALL = [HAND, RHD, MANO, INTERHAND, COCO, H36M]
FINGERS = ["thumb", "index", "middle", "ring", "pinky"]
LEVELS = ["MCP", "PIP", "DIP", "TIP"]

# 17 keypoints and 19 limbs, as in the person category of COCO's annotation files (from 1)
COCO_NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip
COCO_LIMBS = [
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9),
    (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
]  # fmt: skip
H36M_PARENTS = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]
MANOPTH = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
RHD_TO_HAND = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]


def arm(**kwargs):
    joints = ["shoulder", "elbow", "wrist"]
    return Skeleton("arm", joints, [("shoulder", "elbow"), ("elbow", "wrist")], **kwargs)


@st.composite
def graphs(draw):
    """Draw a random graph as a skeleton, with edges in any order and direction."""
    joints = [f"j{i}" for i in range(draw(st.integers(1, 8)))]
    pairs = [(u, v) for i, u in enumerate(joints) for v in joints[:i]]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return Skeleton("random", joints, draw(st.permutations(edges)))


# The named skeletons


def test_hand_starts_at_the_wrist_with_fingers_from_base_to_tip():
    expected = ["wrist"] + [f"{f}_{level.lower()}" for f in FINGERS for level in LEVELS]
    assert list(HAND.joints) == expected


def test_hand_is_a_tree_of_five_chains():
    parents = [-1]
    for finger in range(5):
        first = 1 + 4 * finger
        parents += [0, first, first + 1, first + 2]
    assert list(HAND.parents) == parents
    assert HAND.bones.tolist() == [parents[1:], list(range(1, 21))]
    assert HAND.root == "wrist"


def test_hand_groups_are_levels_and_fingers():
    for i, level in enumerate(LEVELS):
        assert HAND.select(level) == [1 + i + 4 * f for f in range(5)]
    for f, finger in enumerate(FINGERS):
        assert HAND.select(finger) == [1 + 4 * f + i for i in range(4)]
    assert set(HAND.groups) == {*LEVELS, *FINGERS}


def test_thumb_has_aliases():
    assert HAND.index("thumb_cmc") == HAND.index("thumb_mcp") == 1
    assert HAND.index("thumb_ip") == HAND.index("thumb_dip") == 3
    assert HAND.select(["thumb_ip", "thumb_dip"]) == [3]


def test_rhd_order_is_its_own_inverse():
    assert HAND.index_from(RHD).tolist() == RHD_TO_HAND
    assert RHD.index_from(HAND).tolist() == RHD_TO_HAND


def test_rhd_levels_are_those_of_the_paper():
    assert RHD.select("TIP") == [1, 5, 9, 13, 17]
    assert RHD.select("DIP") == [2, 6, 10, 14, 18]
    assert RHD.select("PIP") == [3, 7, 11, 15, 19]
    assert RHD.select("MCP") == [4, 8, 12, 16, 20]
    assert RHD.select(["middle_mcp", "middle_pip"]) == [11, 12]


def test_mano_order_is_that_of_manopth():
    assert HAND.index_from(MANO).tolist() == MANOPTH


def test_interhand_runs_from_tip_to_wrist_right_then_left():
    one = [f"{f}_{level.lower()}" for f in FINGERS for level in reversed(LEVELS)] + ["wrist"]
    assert list(INTERHAND.joints) == [f"{s}_{j}" for s in ("right", "left") for j in one]
    assert INTERHAND.index("right_wrist") == 20
    assert INTERHAND.index("left_wrist") == 41
    assert INTERHAND.select("right") == list(range(21))
    assert INTERHAND.select("TIP") == [0, 4, 8, 12, 16, 21, 25, 29, 33, 37]
    assert INTERHAND.select("thumb") == [0, 1, 2, 3, 21, 22, 23, 24]


def test_interhand_is_two_hands():
    hands = [INTERHAND.to_networkx().subgraph(INTERHAND.groups[side]) for side in ("left", "right")]
    expected = HAND.to_networkx()
    for side, hand in zip(("left", "right"), hands, strict=True):
        plain = networkx.relabel_nodes(hand, lambda joint, s=side: joint.removeprefix(f"{s}_"))
        assert networkx.utils.graphs_equal(
            networkx.Graph(plain.edges), networkx.Graph(expected.edges)
        )
    assert INTERHAND.hops()[20, 41] == torch.inf


@pytest.mark.parametrize("side", ["left", "right"])
def test_one_hand_is_taken_out_of_two(side):
    index = HAND.index_from(INTERHAND, side=side)
    assert [INTERHAND.joints[i] for i in index] == [f"{side}_{joint}" for joint in HAND.joints]


def test_unknown_sides_raise():
    with pytest.raises(ValueError, match="RHD lacks joints of HAND: left_wrist"):
        HAND.index_from(RHD, side="left")
    with pytest.raises(ValueError, match="expected side to be left or right, got 'both'"):
        HAND.index_from(INTERHAND, side="both")


def test_coco_has_the_published_names_and_limbs():
    assert list(COCO.joints) == COCO_NAMES
    ours = {frozenset(edge) for edge in COCO.edges}
    assert ours == {frozenset((COCO_NAMES[u - 1], COCO_NAMES[v - 1])) for u, v in COCO_LIMBS}
    assert len(COCO.edges) == 19


def test_h36m_has_the_parents_of_the_lifters():
    assert list(H36M.parents) == H36M_PARENTS
    assert H36M.root == "pelvis"
    assert H36M.select("right_leg") == [1, 2, 3]
    assert H36M.select("left_leg") == [4, 5, 6]
    assert H36M.select("torso") == [0, 7, 8, 9, 10]
    assert H36M.select("left_arm") == [11, 12, 13]
    assert H36M.select("right_arm") == [14, 15, 16]


@pytest.mark.parametrize("skeleton", [RHD, MANO], ids=lambda s: s.name)
def test_other_orders_are_the_same_graph(skeleton):
    assert {frozenset(e) for e in skeleton.edges} == {frozenset(e) for e in HAND.edges}
    assert skeleton.num_joints == 21
    for group in HAND.groups:
        names = {skeleton.joints[i] for i in skeleton.select(group)}
        assert names == set(HAND.groups[group])
    assert skeleton.index("thumb_ip") == skeleton.index("thumb_dip")


# Properties of every skeleton


@pytest.mark.parametrize("skeleton", ALL, ids=lambda s: s.name)
def test_edge_index_is_sorted_and_symmetric(skeleton):
    edges = list(zip(*skeleton.edge_index.tolist(), strict=True))
    names = {(skeleton.joints[u], skeleton.joints[v]) for u, v in edges}
    assert edges == sorted(edges, key=lambda edge: edge[::-1])  # PyG sorts by target
    assert names == {*skeleton.edges, *((v, u) for u, v in skeleton.edges)}
    assert len(edges) == 2 * len(skeleton.edges)


@settings(max_examples=60)
@given(graphs())
def test_matrices_meet_networkx(skeleton):
    graph = skeleton.to_networkx()
    nodes = list(skeleton.joints)
    assert list(graph.nodes) == nodes
    assert skeleton.adjacency().tolist() == networkx.to_numpy_array(graph, nodes).tolist()
    lengths = dict(networkx.all_pairs_shortest_path_length(graph))
    hops = [[lengths[u].get(v, float("inf")) for v in nodes] for u in nodes]
    assert skeleton.hops().tolist() == hops
    assert skeleton.edge_index.flip(0).tolist() == skeleton.adjacency().nonzero().t().tolist()


def test_matrices_are_on_the_default_device():
    with torch.device("meta"):
        matrices = HAND.edge_index, HAND.adjacency(), HAND.hops()
    assert {matrix.device.type for matrix in matrices} == {"meta"}
    assert HAND.hops().device.type == "cpu"


@settings(max_examples=40)
@given(st.data(), st.integers(1, 8))
def test_trees_give_their_parents_back(data, count):
    numbers = [-1] + [data.draw(st.integers(0, i - 1)) for i in range(1, count)]
    names = [f"j{i}" for i in range(count)]
    parents = {name: None if p < 0 else names[p] for name, p in zip(names, numbers, strict=True)}
    tree = Skeleton.from_parents("tree", parents)
    assert list(tree.parents) == numbers
    shuffled = tree.reorder("shuffled", data.draw(st.permutations(names)))
    for child, parent in zip(shuffled.joints, shuffled.parents, strict=True):
        assert parents[child] == (None if parent < 0 else shuffled.joints[parent])


@settings(max_examples=30)
@given(st.permutations(HAND.joints))
def test_reordering_back_and_forth_is_the_identity(joints):
    other = HAND.reorder("other", joints)
    x = torch.arange(21)
    there, back = other.index_from(HAND), HAND.index_from(other)
    assert [HAND.joints[i] for i in x[there].tolist()] == list(joints)
    assert torch.equal(x[there][back], x)


def test_part_of_a_skeleton_can_be_taken_from_it():
    right = Skeleton("right", [f"right_{joint}" for joint in HAND.joints], ())
    index = right.index_from(INTERHAND)
    assert [INTERHAND.joints[i] for i in index.tolist()] == list(right.joints)


def test_adjacency_has_the_dtype_asked_for():
    assert HAND.adjacency().dtype == torch.float32
    assert HAND.adjacency(dtype=torch.float64).dtype == torch.float64
    assert HAND.adjacency(dtype=torch.bool).sum() == 40
    assert HAND.edge_index.dtype == HAND.index_from(RHD).dtype == HAND.bones.dtype == torch.long


def test_empty_edges_are_fine():
    skeleton = Skeleton.edgeless(3)
    assert skeleton.edge_index.shape == (2, 0)
    assert skeleton.adjacency().sum() == 0
    assert Skeleton.edgeless(1).to_data(x=torch.zeros(1, 2)).num_edges == 0
    single = Skeleton.from_parents("dot", {"a": None})
    assert single.parents == (-1,)
    assert single.bones.shape == (2, 0)


def test_select_accepts_joints_and_groups():
    assert HAND.select("wrist") == [0]
    assert HAND.select(["TIP", "index", "wrist"]) == [0, 4, 5, 6, 7, 8, 12, 16, 20]
    assert HAND.select(joint for joint in ("pinky_tip", "wrist")) == [0, 20]
    assert HAND.select([]) == []


def test_data_holds_graph_and_attributes():
    data = HAND.to_data(x=torch.ones(21, 2), s=torch.ones(1))
    assert data.validate()
    assert data.num_nodes == 21
    assert torch.equal(data.edge_index, HAND.edge_index)
    assert data.s.shape == (1,)
    assert not data.is_directed()


def test_skeletons_are_values():
    assert arm() == arm()
    assert arm() != arm(root="elbow")
    assert arm(groups={"all": ["elbow"]}) != arm()
    assert hash(arm()) == hash(arm())
    with pytest.raises(dataclasses.FrozenInstanceError):
        HAND.name = "other"
    for other in (copy.deepcopy(HAND), pickle.loads(pickle.dumps(HAND))):
        assert other == HAND
        assert hash(other) == hash(HAND)


def test_containers_given_are_not_kept():
    joints, groups = ["a", "b"], {"all": ["a", "b"]}
    skeleton = Skeleton("s", joints, [["a", "b"]], groups=groups)
    joints.append("c")
    groups["all"].append("c")
    assert skeleton.joints == ("a", "b")
    assert skeleton.groups == {"all": ("a", "b")}
    assert skeleton.edges == (("a", "b"),)


def test_root_of_a_tree_is_the_joint_without_parent():
    assert Skeleton.from_parents("one", {"a": None, "b": "a"}).root == "a"
    forest = Skeleton.from_parents("two", {"a": None, "b": None})
    assert forest.root is None
    chosen = Skeleton.from_parents("one", {"a": None, "b": "a"}, root="b")
    assert chosen.parents == (1, -1)


def test_chain_links_neighbours():
    assert chain("a", "b", "c") == [("a", "b"), ("b", "c")]
    assert chain("a") == []


# Errors


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"joints": []}, "s: a skeleton needs at least one joint, got none"),
        ({"joints": ["a", "b", "a"]}, "s: the name 'a' is used twice"),
        ({"groups": {"a": ["b"]}}, "s: the name 'a' is used twice"),
        ({"aliases": {"b": "a"}}, "s: the name 'b' is used twice"),
        ({"groups": {"g": ["a"]}, "aliases": {"g": "a"}}, "s: the name 'g' is used twice"),
        ({"groups": {"g": ["c"]}}, "s: g names 'c', which is not a joint"),
        ({"aliases": {"other": "c"}}, "s: aliases names 'c', which is not a joint"),
        ({"root": "c"}, "s: the root 'c' is not a joint"),
        ({"edges": [("a", "c")]}, r"s: edge \('a', 'c'\): 'c' is not a joint"),
        ({"edges": [("a", "a")]}, r"s: edge \('a', 'a'\) is a self-loop"),
        ({"edges": [("a", "b"), ("b", "a")]}, r"s: edge \('b', 'a'\) is given twice"),
    ],
)
def test_invalid_skeletons_raise(kwargs, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Skeleton("s", **{"joints": ["a", "b"], "edges": [], **kwargs})


def test_groups_named_aliases_are_checked_too():
    with pytest.raises(ValueError, match=r"aliases names 'c', which is not a joint"):
        Skeleton("s", ["a"], [], groups={"aliases": ["c"]})


def test_unknown_names_are_errors_that_list_the_known():
    with pytest.raises(
        ValueError, match=r"^arm has no joint 'hand'; it has shoulder, elbow, wrist$"
    ):
        arm().index("hand")
    with pytest.raises(ValueError, match=r"arm has no joint 'TIP'"):
        arm().select(["elbow", "TIP"])
    with pytest.raises(TypeError, match=r"arm: expected joint names as str, got 0"):
        arm().select([0])


def test_names_in_the_place_of_a_skeleton():
    names = list(RHD.joints)
    with pytest.raises(TypeError, match="expected a Skeleton, got list: with the names") as caught:
        HAND.index_from(names)
    call = caught.value.args[0].split("call ")[1]
    found = eval(call, {"HAND": HAND, "Skeleton": Skeleton, "names": names})
    assert torch.equal(found, HAND.index_from(RHD))


def test_orders_that_lack_joints_are_errors():
    with pytest.raises(
        ValueError, match=r"^COCO lacks joints of arm: shoulder, elbow, wrist; it has nose, "
    ):
        arm().index_from(COCO)
    with pytest.raises(
        ValueError, match=r"b: expected the 3 joints of arm, each once, got 2: wrist"
    ):
        arm().reorder("b", ["wrist", "elbow"])
    with pytest.raises(ValueError, match=r"expected the 3 joints of arm, each once, got 3"):
        arm().reorder("b", ["wrist", "elbow", "elbow"])


def test_parents_and_bones_raise_without_a_tree():
    with pytest.raises(ValueError, match=r"^COCO has no root, so its joints have no parents$"):
        _ = COCO.parents
    loop = Skeleton("loop", "abc", [("a", "b"), ("b", "c"), ("c", "a")], root="a")
    with pytest.raises(ValueError, match=r"^loop is not a tree: 3 joints, 3 edges"):
        _ = loop.bones
    apart = Skeleton("apart", "abcd", [("a", "b"), ("b", "c"), ("c", "a")], root="a")
    with pytest.raises(ValueError, match=r"^apart is not a tree: 4 joints, 3 edges"):
        _ = apart.parents


def test_edgeless_needs_a_joint():
    with pytest.raises(
        ValueError, match=r"edgeless: expected num_joints to be from 1 to 1048576, got 0"
    ):
        Skeleton.edgeless(0)


def test_a_parent_that_is_no_joint_is_an_error():
    with pytest.raises(ValueError, match=r"'x' is not a joint"):
        Skeleton.from_parents("s", {"a": None, "b": "x"})


@pytest.mark.parametrize(
    ("parents", "circle"),
    [
        ({"a": "a"}, "a, a"),
        ({"a": "b", "b": "a"}, "a, b, a"),
        ({"r": None, "a": "b", "b": "c", "c": "a"}, "a, b, c, a"),
        ({"a": "b", "b": "c", "c": "b"}, "a, b, c, b"),
    ],
)
def test_parents_that_lead_to_no_root_are_errors(parents, circle):
    with pytest.raises(ValueError, match=f"^s: the parents form a cycle: {circle}$"):
        Skeleton.from_parents("s", parents)


def test_repr_is_short():
    """The repr is used in signatures, ``help()`` and error messages."""
    assert repr(HAND) == "HAND"
    assert repr(Skeleton("two hands", "ab", [])) == "Skeleton('two hands')"
    assert str(inspect.signature(Missing)).endswith("skeleton: 'Skeleton' = HAND) -> None")
