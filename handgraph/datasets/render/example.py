"""An example hand for the renderer."""

from __future__ import annotations

import numpy as np
import torch

from handgraph.datasets.hand_shape import HandShape
from handgraph.datasets.kinematics import HandAngles, finger_hinges, forward_kinematics
from handgraph.datasets.render.stage import Stage


def open_hand(distance: float = 0.55) -> Stage:
    """Return a flat right hand of mean size, with the palm facing the camera and fingers up."""
    flat, bones = HandAngles(np.zeros((5, 3)), np.zeros(5)), HandShape.narrow().mean()
    hand = forward_kinematics(flat, bones)
    palm = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    xyz = torch.from_numpy(hand).float() @ palm.T + torch.tensor([0.0, 0.08, distance])
    return Stage(
        xyz=xyz[None],
        scale=torch.ones(1),
        palm=palm[None],
        hinge=torch.from_numpy(finger_hinges(flat, bones.frames)).float()[None] @ palm.T,
        forearm=-palm[None, :, 1],
        kind=torch.zeros(1, dtype=torch.long),
        capsule=torch.zeros(1, 2, 3),
        radius=torch.ones(1),
        box=torch.zeros(1, 3),
        axes=torch.eye(3)[None],
        half=torch.ones(1, 3),
    )
