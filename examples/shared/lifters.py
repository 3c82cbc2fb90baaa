"""Inputs, targets, errors and PSJNet of the examples that lift detected joints."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from handgraph import HAND, RemovalSets
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera
from handgraph.losses import branch_losses, pose_loss, psjnet_loss
from handgraph.metrics import joint_errors
from handgraph.nn import Merger, SubgraphMask

LEVELS, FINGERS = RemovalSets.by_level(HAND), RemovalSets.by_finger(HAND)
FULL = RemovalSets.none(HAND, len(LEVELS))
RANDOM = RemovalSets.random(HAND, 4, 5, torch.Generator().manual_seed(0))
"""Removal sets of the methods: the paper's, one set for each finger, no joints, random joints."""

Hands = dict[str, Tensor]
"""Tensors of many hands by name, as ``SyntheticHands.tensors``."""

PoseLoss = Callable[[object, Tensor], tuple[Tensor, Tensor]]
"""Maps the inputs of a net and the target to a loss and the estimated poses."""


def inputs(hands: Hands, *more: str) -> Tensor:
    """Return detected (u, v) in [-1, 1] and other inputs, such as ``"cue"``. ``[n, J, C]``."""
    return torch.cat([normalize_uv(hands["uv"], 256), *(hands[name] for name in more)], dim=-1)


def target(hands: Hands, image_size: int = 256) -> Tensor:
    """Return true (u, v) in [-1, 1] and relative depth d (Eq. 1). ``[n, J, 3]``."""
    uv = normalize_uv(hands["uv_true"], image_size)
    return torch.cat([uv, hands["d"].unsqueeze(-1)], dim=-1)


def to_pixels(pose: Tensor) -> Tensor:
    """Scale (u, v) to pixels from the centre of an image of 256 (decision 17), as in Eq. 3."""
    return pose.float() * pose.new_tensor([128.0, 128.0, 1.0]).float()


def camera_space(pose: Tensor, hands: Hands, image_size: int = 256) -> Tensor:
    """Return poses in the camera frame; scale, root depth and K are known as in the paper (3.1)."""
    pose, root_depth = pose.float(), hands["xyz"][:, HAND.index("wrist"), 2]
    uvd = torch.cat([denormalize_uv(pose[..., :2], image_size), pose[..., 2:]], dim=-1)
    return uvd_to_camera(uvd, hands["K"], hands["s"], root_depth)


def camera(focal: float, image: Tensor) -> Tensor:
    """Return the camera matrix of a focal length in pixels, centred in an image ``[3, H, W]``."""
    height, width = image.shape[-2:]
    return torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def name_joints(values: Tensor) -> dict[str, object]:
    """Return values by joint name, rounded to four decimals."""
    return dict(zip(HAND.joints, values.double().round(decimals=4).tolist(), strict=True))


def errors(pose: Tensor, hands: Hands, image_size: int = 256) -> Tensor:
    """Return the distance of each joint from the truth in metres. ``[n, J]``."""
    return joint_errors(camera_space(pose, hands, image_size), hands["xyz"])


def psjnet_losses(net: nn.Module) -> tuple[PoseLoss, PoseLoss, PoseLoss]:
    """Return the losses of steps 2 to 4 (2.2): Eq. 3 of all branches, of the merger, and Eq. 4.

    The net has ``branch_poses(x)``, ``merged(partial, x)`` and ``split``.
    """
    removal = net.split.removal

    def branches(x: object, wanted: Tensor) -> tuple[Tensor, Tensor]:
        partial = net.branch_poses(x)
        return branch_losses(to_pixels(partial), wanted, removal).sum(), partial

    def merger(x: object, wanted: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():  # the branches are frozen
            partial = net.branch_poses(x)
        pose = net.merged(partial, x)
        return pose_loss(to_pixels(pose), wanted), pose

    def everything(x: object, wanted: Tensor) -> tuple[Tensor, Tensor]:
        partial = net.branch_poses(x)
        pose = net.merged(partial, x)
        return psjnet_loss(to_pixels(pose), to_pixels(partial), wanted, removal), pose

    return branches, merger, everything


class PSJNetCore(nn.Module):
    """The graph part of the paper: branches that each remove a set of joints, and a merger."""

    def __init__(self, branches: nn.Module, merge: Merger, removal: RemovalSets):
        super().__init__()
        self.split, self.branches, self.merge = SubgraphMask(removal), branches, merge

    def branch_poses(self, x: Tensor) -> Tensor:
        """Lift the joints that each branch keeps. ``[*, N, K, 3]``."""
        return self.branches(self.split(x))

    def merged(self, partial: Tensor, x: Tensor) -> Tensor:
        """Merge the branches' poses. ``[*, J, 3]``."""
        return self.merge(partial)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[*, J, C]`` to ``[*, J, 3]``."""
        return self.merge(self.branch_poses(x))


def count(net: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in net.parameters())
