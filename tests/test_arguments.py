"""Arguments that are not tensors: a name in place of a skeleton, a list in place of a tensor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from handgraph import HAND, RemovalSets
from handgraph.datasets import KeypointDataset, SyntheticHands
from handgraph.detectors import HeatmapDetector, Missing
from handgraph.geometry import absolute_depth, camera_to_uvd, keybone_length, relative_depth
from handgraph.masks import cover, drop_set, keep_always
from handgraph.metrics import (
    MPJPE,
    PCK,
    joint_auc,
    pck_counts,
    pck_curve,
    per_group,
    per_joint,
    thresholds,
)
from handgraph.plot import (
    draw_adjacency,
    draw_adjacency_edges,
    draw_pck,
    draw_pose,
    draw_pose_3d,
    draw_poses,
    draw_removal_set,
    draw_skeleton,
    draw_sparsification,
    skeleton_layout,
)
from handgraph.transforms import RemoveJoints, SimulateOcclusion, sample_region

ONE, UV, XYZ, K = torch.ones(21), torch.rand(21, 2), torch.rand(21, 3), torch.eye(3)

TAKES_SKELETON = {
    "keybone_length": lambda s: keybone_length(XYZ, s),
    "relative_depth": lambda s: relative_depth(XYZ, torch.tensor(1.0), s),
    "camera_to_uvd": lambda s: camera_to_uvd(XYZ, K, s),
    "keep_always": lambda s: keep_always(ONE > 0, s, "wrist"),
    "per_joint": lambda s: per_joint(ONE, skeleton=s),
    "per_group": lambda s: per_group(ONE, skeleton=s),
    "MPJPE": lambda s: MPJPE(skeleton=s),
    "PCK": lambda s: PCK(skeleton=s),
    "Missing": lambda s: Missing(skeleton=s),
    "sample_region": lambda s: sample_region(UV, skeleton=s),
    "SimulateOcclusion": lambda s: SimulateOcclusion(skeleton=s),
    "RemoveJoints": lambda s: RemoveJoints(skeleton=s),
    "KeypointDataset": lambda s: KeypointDataset({"uv": UV[None]}, s),
    "draw_pose": lambda s: draw_pose(UV, s),
    "draw_pose_3d": lambda s: draw_pose_3d(XYZ, s),
    "draw_poses": lambda s: draw_poses({"a": UV}, s),
    "draw_adjacency": lambda s: draw_adjacency(HAND.adjacency(), s),
    "draw_adjacency_edges": lambda s: draw_adjacency_edges(HAND.adjacency(), s),
    "draw_skeleton": lambda s: draw_skeleton(s),
    "skeleton_layout": lambda s: skeleton_layout(s),
}


@pytest.mark.parametrize("call", TAKES_SKELETON.values(), ids=TAKES_SKELETON)
@pytest.mark.parametrize("given", ["HAND", None, list(HAND.joints)], ids=["name", "None", "joints"])
def test_a_skeleton_is_neither_its_name_nor_its_joints(call, given):
    with pytest.raises(TypeError, match=f"a Skeleton, such as HAND, got {type(given).__name__}"):
        call(given)


TAKES_REMOVAL = {
    "drop_set": lambda removal: drop_set(removal, (2,)),
    "draw_removal_set": lambda removal: draw_removal_set(removal, 0),
}


@pytest.mark.parametrize("call", TAKES_REMOVAL.values(), ids=TAKES_REMOVAL)
@pytest.mark.parametrize("given", ["TIP", HAND, 3])
def test_removal_sets_are_no_names(call, given):
    with pytest.raises(TypeError, match=f"expected RemovalSets, .*got {type(given).__name__}"):
        call(given)


TAKES_TENSOR = {
    "absolute_depth": (lambda x: absolute_depth(x, torch.tensor(1.0), torch.tensor(1.0)), "d"),
    "keep_always": (lambda x: keep_always(x, HAND, "wrist"), "mask"),
    "cover": (lambda x: cover(x), "mask"),
    "pck_counts": (lambda x: pck_counts(x, thresholds()), "errors"),
    "pck_curve": (lambda x: pck_curve(x, thresholds()), "errors"),
    "joint_auc": (lambda x: joint_auc(x, thresholds()), "errors"),
    "PCK": (lambda x: PCK(x), "thresholds"),
}


@pytest.mark.parametrize(("call", "name"), TAKES_TENSOR.values(), ids=TAKES_TENSOR)
@pytest.mark.parametrize("kind", [np.array, list])
def test_arrays_and_lists_are_converted_by_the_caller(call, name, kind):
    with pytest.raises(TypeError, match=f"expected {name} as torch.Tensor, got .*: call torch"):
        call(kind([0.01] * 21))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_pck(ONE, thresholds()), "expected curves by name, .* got Tensor"),
        (lambda: draw_sparsification([ONE]), "expected curves by name, .* got list"),
        (lambda: draw_poses(UV), "expected poses by name, .* got Tensor"),
        (lambda: Missing(joints=2.5), "joints of Missing as int, got float"),
        (lambda: Missing(fingers=1.0), "fingers of Missing as int, got float"),
        (lambda: SyntheticHands(1, missing="joints"), "missing must be a Missing or None, got 'jo"),
        (lambda: SyntheticHands(1, detector=HeatmapDetector), "detector must be a detector, such"),
        (lambda: HAND.select(3), "HAND: expected names of joints or groups, got 3"),
        (lambda: RemovalSets(HAND, {"a": 3}), "HAND: expected names of joints or groups, got 3"),
    ],
)
def test_other_types_are_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()
