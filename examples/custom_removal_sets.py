"""Your own removal sets: on the hand, ragged ones, and on another skeleton altogether."""

from __future__ import annotations

import torch

from handgraph import COCO, HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, MeanMerger, SubgraphMask


def lift(removal: RemovalSets) -> None:
    """Lift random 2D joints through branches over these sets, and say what happened."""
    torch.manual_seed(0)
    split = SubgraphMask(removal)
    branches = AdaptiveGraphUNet(2, 3, removal)
    merge = MeanMerger(3, 3, removal)
    joints = removal.skeleton.num_joints
    pose = merge(branches(split(torch.rand(8, joints, 2))))
    kept = ", ".join(
        f"{name} keeps {count}"
        for name, count in zip(removal.names, removal.num_kept.tolist(), strict=True)
    )
    print(f"{removal.skeleton.name}: {kept} of {joints} joints -> pose {list(pose.shape)}")


# A group, single joints, or both; sets need not have the same size.
lift(RemovalSets.by_finger(HAND))
lift(RemovalSets(HAND, {"grip": ["thumb", "index"], "outer tips": ["ring_tip", "pinky_tip"]}))

# What remains of the graph: neighbours of a removed joint become neighbours of each other.
middle = RemovalSets.by_level(HAND).subgraph("PIP")
print(f"{middle.name}: {len(middle.edges)} edges, such as {middle.edges[5]}")

# Limbs of a body, without a line of new code.
lift(RemovalSets(COCO, {limb: limb for limb in ("left_arm", "right_arm", "left_leg", "right_leg")}))

# Any skeleton of your own.
robot = Skeleton.from_parents(
    "gripper",
    {"base": None, "left": "base", "left_tip": "left", "right": "base", "right_tip": "right"},
    groups={"left side": ["left", "left_tip"], "right side": ["right", "right_tip"]},
)
lift(RemovalSets(robot, {"left": "left side", "right": "right side"}))

# A mistake is named, not computed with.
try:
    RemovalSets(robot, {"one": "left side", "two": ["left", "right side"]})
except ValueError as error:
    print(f"ValueError: {error}")
