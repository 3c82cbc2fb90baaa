"""The losses of all steps (sections 2.1 and 2.2), for PSJNet, HopeNet and Cai et al."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor
from torch.nn.functional import l1_loss, smooth_l1_loss

from baselines import CaiLifter, PoseMachine
from handgraph.losses import branch_losses, heatmap_loss, pose_loss, psjnet_loss
from handgraph.vision import gaussian_heatmaps
from pipeline.step import Step
from pipeline.targets import Hands, depth_map_target, pose_target, to_pixels
from psjnet import Detection, PoseNet, PSJNetLifter, detection

DEPTH_WEIGHT = 0.1
"""Weight of the depths in the loss of Cai et al."""


def generator_step(model: PoseNet, image_size: int) -> Step:
    """Step 1: heatmaps of all joints (Eq. 2); of a pose machine, the mean over its stages.

    A Gaussian is as wide in the image as at the paper's 256 pixels (decision 19), where heatmaps
    are not too coarse for it.
    """
    sigma = max(1.0, 2.0 * image_size / 256)

    def loss(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        wanted = gaussian_heatmaps(hands["uv_true"], image_size, sigma=sigma)
        maps = found.heatmaps.float()
        return heatmap_loss(maps, wanted.expand_as(maps)), found.uv

    generator = model.generator
    detect = stage_detector(generator) if isinstance(generator, PoseMachine) else None
    return Step([generator], loss, detect)


def stage_detector(generator: PoseMachine) -> Callable[[Tensor], Detection]:
    """Give the heatmaps of all stages, where joints are those of the last."""

    def detect(image: Tensor) -> Detection:
        stages, features = generator.all_stages(image)
        return detection(stages[-1], features)._replace(heatmaps=stages)

    return detect


def psjnet_steps(model: PoseNet, image_size: int) -> dict[int, Step]:
    """Steps 1 to 4 of the paper; a merger without parameters has no step 3."""
    lifter = cast("PSJNetLifter", model.lifter)
    branches, merger, everything = psjnet_losses(lifter, image_size)
    first = [lifter.branches, lifter.encode]
    second = [part for part in (lifter.merge, lifter.merge_encode) if part is not None]
    steps = {1: generator_step(model, image_size), 2: Step(first, branches)}
    if next(lifter.merge.parameters(), None) is not None:
        steps[3] = Step(second, merger)
    return {**steps, 4: Step([*first, *second], everything)}


Loss = Callable[[Detection, Hands], tuple[Tensor, Tensor]]


def psjnet_losses(lifter: PSJNetLifter, image_size: int) -> tuple[Loss, Loss, Loss]:
    """Eq. 3 summed over branches, Eq. 3 of the merger on branches that stand still, Eq. 4."""
    removal = lifter.split.removal

    def branches(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        partial = lifter.branch_poses(found)
        losses = branch_losses(to_pixels(partial), pose_target(hands, image_size), removal)
        return losses.sum(), lifter.split.scatter(partial)

    def merger(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        pose = lifter.merged(lifter.branch_poses(found).detach(), found)
        return pose_loss(to_pixels(pose), pose_target(hands, image_size)), pose

    def everything(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        pose, partial = lifter(found)
        target = pose_target(hands, image_size)
        return psjnet_loss(to_pixels(pose), to_pixels(partial), target, removal), pose

    return branches, merger, everything


def hopenet_steps(model: PoseNet, image_size: int) -> dict[int, Step]:
    """Heatmaps, then one graph U-Net on Eq. 3."""

    def loss(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        pose = model.lifter(found)[0]
        return pose_loss(to_pixels(pose), pose_target(hands, image_size)), pose

    return {1: generator_step(model, image_size), 2: Step([model.lifter], loss)}


def cai_steps(model: PoseNet, image_size: int) -> dict[int, Step]:
    """Heatmaps; then depths and regulariser on them; as step 4 everything, end to end."""
    lifter, heatmaps = cast("CaiLifter", model.lifter), generator_step(model, image_size)

    def depths(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        pose = lifter(found)[0]
        d = pose[..., 2].float()
        joints = smooth_l1_loss(d, hands["d"], reduction="none").sum(dim=-1).mean()
        drawn = lifter.regularizer(found.heatmaps, d).float()
        return DEPTH_WEIGHT * joints + depth_map_loss(drawn, hands), pose

    def everything(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        loss, pose = depths(found, hands)
        return loss + heatmaps.loss(found, hands)[0], pose

    both = [model.generator, lifter]
    return {1: heatmaps, 2: Step([lifter], depths), 4: Step(both, everything)}


def depth_map_loss(drawn: Tensor, hands: Hands) -> Tensor:
    """L1 distance of depth maps ``[B, S/4, S/4]``, mean over the pixels that show the hand."""
    wanted, hand = depth_map_target(hands)
    total = l1_loss(drawn.where(hand, 0), wanted.where(hand, 0), reduction="sum")
    return total / hand.sum().clamp(min=1)
