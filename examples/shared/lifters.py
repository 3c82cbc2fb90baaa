"""What the examples share that lift detected joints: inputs, targets, errors, PSJNet."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from handgraph import HAND, RemovalSets
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera
from handgraph.losses import branch_losses, pose_loss, psjnet_loss
from handgraph.metrics import joint_errors
from handgraph.nn import Merger, SubgraphMask

Hands = dict[str, Tensor]
"""Tensors of many hands by name, as ``SyntheticHands.tensors``."""

PoseLoss = Callable[[object, Tensor], tuple[Tensor, Tensor]]
"""From a net's inputs and the wanted pose to a loss and the poses behind it."""


def inputs(hands: Hands, *more: str) -> Tensor:
    """Detected (u, v) in [-1, 1], and more of each joint, such as ``"cue"``. ``[n, J, C]``."""
    return torch.cat([normalize_uv(hands["uv"], 256), *(hands[name] for name in more)], dim=-1)


def target(hands: Hands, image_size: int = 256) -> Tensor:
    """True (u, v) in [-1, 1] and relative depth d (Eq. 1). ``[n, J, 3]``."""
    uv = normalize_uv(hands["uv_true"], image_size)
    return torch.cat([uv, hands["d"].unsqueeze(-1)], dim=-1)


def to_pixels(pose: Tensor) -> Tensor:
    """Scale (u, v) to pixels of an image of 256 (decision 17), from its centre: Eq. 3's units."""
    return pose.float() * pose.new_tensor([128.0, 128.0, 1.0]).float()


def camera_space(pose: Tensor, hands: Hands, image_size: int = 256) -> Tensor:
    """Poses in the camera frame; scale, root depth and K are known, as in the paper (3.1)."""
    pose, root_depth = pose.float(), hands["xyz"][:, HAND.index("wrist"), 2]
    uvd = torch.cat([denormalize_uv(pose[..., :2], image_size), pose[..., 2:]], dim=-1)
    return uvd_to_camera(uvd, hands["K"], hands["s"], root_depth)


def errors(pose: Tensor, hands: Hands, image_size: int = 256) -> Tensor:
    """Distance of each joint from the truth in metres. ``[n, J]``."""
    return joint_errors(camera_space(pose, hands, image_size), hands["xyz"])


def psjnet_losses(net: nn.Module) -> tuple[PoseLoss, PoseLoss, PoseLoss]:
    """Steps 2 to 4 of the paper (2.2): the sum of Eq. 3 over branches, Eq. 3 of the merger, Eq. 4.

    Args:
        net: Has ``branch_poses(x)``, ``merged(partial, x)`` and ``split``.
    """
    removal = net.split.removal

    def branches(x: object, wanted: Tensor) -> tuple[Tensor, Tensor]:
        partial = net.branch_poses(x)
        return branch_losses(to_pixels(partial), wanted, removal).sum(), partial

    def merger(x: object, wanted: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():  # the branches stand still
            partial = net.branch_poses(x)
        pose = net.merged(partial, x)
        return pose_loss(to_pixels(pose), wanted), pose

    def everything(x: object, wanted: Tensor) -> tuple[Tensor, Tensor]:
        partial = net.branch_poses(x)
        pose = net.merged(partial, x)
        return psjnet_loss(to_pixels(pose), to_pixels(partial), wanted, removal), pose

    return branches, merger, everything


class PSJNetCore(nn.Module):
    """The graph part of the paper: branches that each lost a removal set, and a merger."""

    def __init__(self, branches: nn.Module, merge: Merger, removal: RemovalSets):
        super().__init__()
        self.split, self.branches, self.merge = SubgraphMask(removal), branches, merge

    def branch_poses(self, x: Tensor) -> Tensor:
        """Lift what each branch kept. ``[*, N, K, 3]``."""
        return self.branches(self.split(x))

    def merged(self, partial: Tensor, x: Tensor) -> Tensor:
        """Merge the branches' poses. ``[*, J, 3]``."""
        return self.merge(partial)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[*, J, C]`` to ``[*, J, 3]``."""
        return self.merge(self.branch_poses(x))


def count(net: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in net.parameters())
