"""Trained parts and loss of each step (sections 2.1 and 2.2): PSJNet, HopeNet and Cai et al."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import l1_loss, smooth_l1_loss

from handgraph import HAND
from handgraph.losses import heatmap_loss, pose_loss
from handgraph.vision import gaussian_heatmaps
from pipeline.baselines import PoseMachine
from psjnet import Detection, PoseNet, detection
from shared.lifters import Hands, PoseLoss, psjnet_losses, target, to_pixels

DEPTH_WEIGHT = 0.1  # of the depths in the loss of Cai et al.

Loss = Callable[[Detection, Hands], tuple[Tensor, Tensor]]
"""Maps the detection and the hands to a loss and the poses ``[B, J, 2 or 3]``."""


class Step(NamedTuple):
    """A training step: the trained parts, its loss and its detection; other parts are frozen."""

    parts: list[nn.Module]
    loss: Loss
    detect: Callable[[Tensor], Detection] | None = None  # instead of the model's


class StepModule(nn.Module):
    """A model in one of its steps, which maps a batch of hands to a loss and the poses."""

    def __init__(self, model: PoseNet, step: Step):
        super().__init__()
        self.model, self.step = set_step(model, step), step

    def forward(self, hands: Hands) -> tuple[Tensor, Tensor]:
        """Detect unless cached, and return the loss and (u, v, d), or (u, v) in step 1."""
        if "uv" in hands:
            found = Detection(hands["uv"], hands.get("features"), hands.get("heatmaps"))
        else:
            found = (self.step.detect or self.model.detect)(hands["image"])
        return self.step.loss(found, hands)


def set_step(model: PoseNet, step: Step) -> PoseNet:
    """Freeze all but the parts of the step: no gradient, and batch norms in eval mode."""
    model.eval().requires_grad_(False)
    for part in step.parts:
        part.train().requires_grad_(True)
    return model


def pose_target(hands: Hands, image_size: int) -> Tensor:
    """Return the true (u, v, d) in the units of Eq. 3. ``[B, J, 3]``."""
    return to_pixels(target(hands, image_size))


def generator_step(model: PoseNet, image_size: int) -> Step:
    """Return step 1: Eq. 2 over heatmaps of all joints, and over all stages of a pose machine.

    The width of a Gaussian relative to the image is that of the paper at 256 pixels (decision 19),
    but at least one pixel of the heatmap.
    """
    sigma = max(1.0, 2.0 * image_size / 256)

    def loss(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        wanted = gaussian_heatmaps(hands["uv_true"], image_size, sigma=sigma)
        maps = found.heatmaps.float()
        return heatmap_loss(maps, wanted.expand_as(maps)), found.uv

    def all_stages(image: Tensor) -> Detection:
        stages, features = model.generator.all_stages(image)
        return detection(stages[-1], features)._replace(heatmaps=stages)

    staged = isinstance(model.generator, PoseMachine)
    return Step([model.generator], loss, all_stages if staged else None)


def psjnet_steps(model: PoseNet, image_size: int) -> dict[int, Step]:
    """Return steps 1 to 4 of the paper."""
    lifter = model.lifter
    first = [lifter.branches, lifter.encode]
    second = [part for part in (lifter.merge, lifter.merge_encode) if part is not None]
    branches, merger, whole = psjnet_losses(lifter)

    def step(parts: list[nn.Module], loss: PoseLoss) -> Step:
        def of_hands(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
            value, pose = loss(found, pose_target(hands, image_size))
            return value, lifter.split.scatter(pose) if pose.dim() == 4 else pose

        return Step(parts, of_hands)

    heatmaps, both = generator_step(model, image_size), [*first, *second]
    return {1: heatmaps, 2: step(first, branches), 3: step(second, merger), 4: step(both, whole)}


def hopenet_steps(model: PoseNet, image_size: int) -> dict[int, Step]:
    """Return the steps: heatmaps, then one graph U-Net with Eq. 3."""

    def loss(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        pose = model.lifter(found)[0]
        return pose_loss(to_pixels(pose), pose_target(hands, image_size)), pose

    return {1: generator_step(model, image_size), 2: Step([model.lifter], loss)}


def cai_steps(model: PoseNet, image_size: int) -> dict[int, Step]:
    """Return steps 1 (heatmaps), 2 (depths and regulariser) and 4 (everything, end to end)."""
    lifter, heatmaps = model.lifter, generator_step(model, image_size)

    def depths(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        pose = lifter(found)[0]
        d = pose[..., 2].float()
        joints = smooth_l1_loss(d, hands["d"], reduction="none").sum(dim=-1).mean()
        drawn = lifter.regularizer(found.heatmaps, d).float()
        return DEPTH_WEIGHT * joints + depth_map_loss(drawn, hands), pose

    def everything(found: Detection, hands: Hands) -> tuple[Tensor, Tensor]:
        loss, pose = depths(found, hands)
        return loss + heatmaps.loss(found, hands)[0], pose

    both = Step([model.generator, lifter], everything)
    return {1: heatmaps, 2: Step([lifter], depths), 4: both}


def depth_map_loss(drawn: Tensor, hands: Hands) -> Tensor:
    """Compute the L1 distance of depth maps ``[B, S/4, S/4]``, mean over the pixels of the hand.

    Depths are relative to the wrist's, in keybone lengths, at every fourth pixel of the image.
    """
    depth, mask = (hands[name][:, ::4, ::4] for name in ("depth", "mask"))
    root_depth = hands["xyz"][:, HAND.index("wrist"), 2]
    wanted = (depth - root_depth[:, None, None]) / hands["s"][:, None, None]
    hand = mask >= 18  # RHD's values of a right hand; left hands are mirrored
    total = l1_loss(drawn.where(hand, 0), wanted.where(hand, 0), reduction="sum")
    return total / hand.sum().clamp(min=1)
