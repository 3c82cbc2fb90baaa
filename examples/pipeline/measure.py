"""How good poses are: 2D and 3D scores over the visible joints of all batches and processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from handgraph.geometry import denormalize_uv
from handgraph.metrics import MPJPE, PCK, OcclusionAUC
from pipeline.step import StepModule
from pipeline.targets import Hands, camera_space, pixel_errors

REACH = 0.05
"""A 2D joint is correct within this share of the image's side: 12.8 pixels of 256."""


def hits_2d(uv: Tensor, hands: Hands, image_size: int) -> tuple[Tensor, Tensor]:
    """Count the visible joints that lie within the reach, and all visible ones."""
    close = pixel_errors(uv, hands, image_size) <= REACH * image_size
    return (close & hands["visible"]).sum(), hands["visible"].sum()


class Scores:
    """Sums over batches and processes.

    Args:
        image_size: Side of the images.
        device: Where the sums are.
    """

    def __init__(self, image_size: int, device: torch.device):
        self.image_size = image_size
        self.pck = PCK(torch.tensor([0.0, REACH * image_size])).to(device)
        self.pixels, self.metres = MPJPE().to(device), MPJPE().to(device)
        self.auc = OcclusionAUC().to(device)

    def update(self, pose: Tensor, hands: Hands) -> None:
        """Add poses ``[B, J, 3]``, or (u, v) alone; (u, v) in [-1, 1]."""
        visible, found = hands["visible"], denormalize_uv(pose[..., :2].float(), self.image_size)
        self.pck.update(found, hands["uv_true"], visible)
        self.pixels.update(found, hands["uv_true"], visible)
        if pose.shape[-1] == 3:
            xyz = camera_space(pose, hands, self.image_size)
            self.metres.update(xyz, hands["xyz"], visible)
            self.auc.update(xyz, hands["xyz"], visible)

    def compute(self, *, lifted: bool) -> dict[str, float]:
        """PCK in percent, errors in pixels; if lifted, in mm, and 100 x AUC by Table 2's groups."""
        found = {"pck_2d": 100 * self.pck.compute()[-1], "pixels_2d": self.pixels.compute()}
        if lifted:
            found["mm"] = 1000 * self.metres.compute()
            found |= {f"auc_{name}": 100 * value for name, value in self.auc.compute().items()}
            found["auc_relative"] /= 100
        return {name: round(value.item(), 4) for name, value in found.items()}


@torch.no_grad()
def score(module: StepModule, batches: Iterable[Hands], image_size: int) -> dict[str, float]:
    """Score the poses of a step, with the model in eval mode."""
    module.eval()
    scores = Scores(image_size, next(module.parameters()).device)
    for hands in batches:
        pose = module(hands)[1]
        scores.update(pose, hands)
    return scores.compute(lifted=pose.shape[-1] == 3)
