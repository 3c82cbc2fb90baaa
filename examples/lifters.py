"""What the gallery draws: small nets that lift detected joints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph import HAND
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera


def inputs(hands: dict[str, Tensor]) -> Tensor:
    """Detected positions in [-1, 1] and a depth cue."""
    return torch.cat([normalize_uv(hands["uv"], 256), hands["cue"]], dim=-1)


def fit(net: nn.Module, hands: dict[str, Tensor], epochs: int) -> None:
    """Learn positions in [-1, 1] and relative depth."""
    target = torch.cat([normalize_uv(hands["uv_true"], 256), hands["d"].unsqueeze(-1)], dim=-1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for batch in (b for _ in range(epochs) for b in torch.randperm(len(target)).split(64)):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(inputs(hands)[batch]), target[batch]).backward()
        optimizer.step()
    net.requires_grad_(False)


def lift(net: nn.Module, hands: dict[str, Tensor]) -> Tensor:
    """Metres in the camera frame, with the true root depth and scale."""
    pose = net(inputs(hands))
    uvd = torch.cat([denormalize_uv(pose[..., :2], 256), pose[..., 2:]], dim=-1)
    root = hands["xyz"][:, HAND.index("wrist"), 2]
    return uvd_to_camera(uvd, hands["K"], hands["s"].flatten(), root)
