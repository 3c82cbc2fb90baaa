"""From samples to what the losses want, and back from poses to camera space."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph import HAND
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera

Hands = dict[str, Tensor]
"""A batch: ``image`` uint8 ``[B, 3, S, S]``, ``uv_true [B, J, 2]``, ``d``, ``visible [B, J]``,
``xyz [B, J, 3]``, ``K [B, 3, 3]``, ``s [B]``, ``depth``, ``mask [B, S, S]``; with a cache
``uv [B, J, 2]``, ``features``, ``heatmaps`` in place of images."""

LOSS_SIZE = 256
"""Side of the crop whose pixels Eq. 3 counts (decision 17), whatever the images' side."""

RIGHT_HAND = 18
"""RHD's mask: from here on, it is the right hand (left ones are mirrored)."""


def to_pixels(pose: Tensor) -> Tensor:
    """Scale u and v from [-1, 1] to the pixels of Eq. 3; where 0 lies makes no difference."""
    return pose.float() * pose.new_tensor([LOSS_SIZE / 2, LOSS_SIZE / 2, 1.0]).float()


def pose_target(hands: Hands, image_size: int) -> Tensor:
    """Wanted u, v in the pixels of Eq. 3, and relative depth d (Eq. 1). ``[B, J, 3]``."""
    uv = normalize_uv(hands["uv_true"], image_size)
    return to_pixels(torch.cat([uv, hands["d"].unsqueeze(-1)], dim=-1))


def pixel_errors(uv: Tensor, hands: Hands, image_size: int) -> Tensor:
    """Distance in the image of (u, v) in [-1, 1] from the truth, in pixels. ``[B, J]``."""
    wanted = normalize_uv(hands["uv_true"], image_size)
    return torch.linalg.vector_norm(uv.float() - wanted, dim=-1) * image_size / 2


def camera_space(pose: Tensor, hands: Hands, image_size: int) -> Tensor:
    """Put poses into the camera's frame: scale, root depth and K known, as in the paper (3.1)."""
    uv = denormalize_uv(pose[..., :2].float(), image_size)
    uvd = torch.cat([uv, pose[..., 2:].float()], dim=-1)
    root_depth = hands["xyz"][:, HAND.index("wrist"), 2]
    return uvd_to_camera(uvd, hands["K"], hands["s"], root_depth)


def depth_map_target(hands: Hands, stride: int = 4) -> tuple[Tensor, Tensor]:
    """Depth behind the wrist in keybone lengths at every fourth pixel; where the hand is seen."""
    depth, mask = (hands[name][:, ::stride, ::stride] for name in ("depth", "mask"))
    root_depth = hands["xyz"][:, HAND.index("wrist"), 2]
    relative = (depth - root_depth[:, None, None]) / hands["s"][:, None, None]
    return relative, mask >= RIGHT_HAND
