"""Walking stick figures and their detected joints: the data of ``body.py``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from handgraph import H36M, RemovalSets

LIMBS = RemovalSets(H36M, {x: x for x in ("left_arm", "right_arm", "left_leg", "right_leg")})
LENGTH = {  # of the bone that ends at the joint, in metres
    **{"hip": 0.13, "knee": 0.45, "ankle": 0.43, "spine": 0.23, "thorax": 0.25},
    **{"neck": 0.1, "head": 0.15, "shoulder": 0.16, "elbow": 0.28, "wrist": 0.25},
}


def walkers(num_samples: int, rng: torch.Generator) -> Tensor:
    """Give figures in mid-stride, ``[n, 17, 3]``.

    Arms swing against legs, so what one limb does can be told from the others.

    Units:
        Metres from the pelvis: x to the figure's left, y up, z ahead of one that faces the camera.
        The figures are turned by up to one radian.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(num_samples, generator=rng)

    zero = torch.zeros(num_samples)
    swing = uniform(0.3, 0.8) * torch.sin(uniform(-math.pi, math.pi))
    torso = (math.pi - uniform(-0.1, 0.3), zero)
    angles = dict.fromkeys(("spine", "thorax", "neck", "head"), torso)
    for side, sign in (("left", 1), ("right", -1)):
        splay = sign * uniform(0.0, 0.3)
        thigh, arm = uniform(-0.1, 0.1) + sign * swing, uniform(-0.1, 0.1) - sign * swing
        angles[f"{side}_hip"] = angles[f"{side}_shoulder"] = (zero, zero + sign * math.pi / 2)
        angles[f"{side}_knee"] = (thigh, zero)
        angles[f"{side}_ankle"] = (thigh - swing.abs() - uniform(0.0, 0.2), zero)
        angles[f"{side}_elbow"] = (arm, splay)
        angles[f"{side}_wrist"] = (arm + swing.abs() + uniform(0.2, 0.6), splay)
    return turned(pose(angles), uniform(-1.0, 1.0))


def pose(angles: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Place the joints, given the pitch (forward from hanging down) and the roll of each bone."""
    place: dict[str, Tensor] = {"pelvis": torch.tensor(0.0)}
    for parent, joint in H36M.edges:
        pitch, roll = angles[joint]
        bone = [roll.sin(), -roll.cos() * pitch.cos(), roll.cos() * pitch.sin()]
        place[joint] = place[parent] + LENGTH[joint.split("_")[-1]] * torch.stack(bone, dim=-1)
    return torch.stack(torch.broadcast_tensors(*(place[j] for j in H36M.joints)), dim=-2)


def turned(xyz: Tensor, angle: Tensor) -> Tensor:
    """Turn the figures about the vertical axis."""
    x, y, z = xyz.unbind(-1)
    cos, sin = angle.cos().unsqueeze(-1), angle.sin().unsqueeze(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], dim=-1)


def detect(xyz: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give 2D joints, those of one limb off by about 30 cm, the others by 1 cm.

    Returns:
        Their x and y in metres, ``[n, 17, 2]``, and which are of that limb, Bool ``[n, 17]``.
    """
    wrong = ~LIMBS.keep_mask[torch.randint(len(LIMBS), (len(xyz),), generator=rng)]
    noise = torch.randn(*xyz.shape[:2], 2, generator=rng)
    return xyz[..., :2] + noise * torch.where(wrong, 0.3, 0.01).unsqueeze(-1), wrong
