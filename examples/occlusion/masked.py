"""Nets that remove joints per sample, and the laws that choose the joints."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from handgraph import HAND, masks
from handgraph.losses import pose_loss
from handgraph.masks import Covered, cover
from handgraph.nn import AdaptiveGraphUNet, JointHead
from shared.lifters import FINGERS, LEVELS, to_pixels

NUM_DRAWS = 8  # in the test
DROPOUT, HOPS = 0.25, 2  # in training: share of joints and radius of regions that are removed
HIDDEN_CHANNELS, VISIBILITY_WIDTH = 8, 6  # sizes of the nets


class Law(NamedTuple):
    """How masks are chosen in training and in the test, from score and true visibility."""

    train: Callable[[Tensor, Tensor, torch.Generator], Tensor]  # one mask or gate per sample
    test: Callable[[Tensor, Tensor], Covered]  # several draws, and the joints that each is used for


_STRATA = masks.stratified_levels(NUM_DRAWS, HAND.num_joints, torch.Generator().manual_seed(0))


def _keep(mask: Tensor) -> Tensor:
    return masks.keep_always(mask, HAND, "wrist")


def _dropout(score: Tensor, visible: Tensor, rng: torch.Generator) -> Tensor:
    return _keep(masks.drop_joints(tuple(visible.shape), DROPOUT, rng))


def _drawn(score: Tensor, visible: Tensor) -> Covered:
    return cover(_keep(score > _STRATA.unsqueeze(1)))


def _one(mask: Tensor) -> Covered:
    """Return one draw that is used for all joints."""
    return Covered(mask.unsqueeze(0), torch.ones_like(mask, dtype=torch.bool).unsqueeze(0))


LAWS = {
    "nothing": Law(
        lambda score, visible, rng: torch.ones_like(visible),
        lambda score, visible: _one(torch.ones_like(visible)),
    ),
    "threshold": Law(
        _dropout, lambda score, _: cover(_keep(masks.keep_confident(score, 0.5))[None])
    ),
    "dropout": Law(_dropout, _drawn),
    "region": Law(lambda score, _, rng: masks.drop_region(HAND, (len(score),), HOPS, rng), _drawn),
    "finger": Law(lambda score, _, rng: masks.drop_set(FINGERS, (len(score),), rng), _drawn),
    "level": Law(
        lambda score, visible, rng: masks.drop_set(LEVELS, (len(score),), rng),
        lambda score, visible: cover(LEVELS.keep_mask.unsqueeze(1).expand(-1, *visible.shape)),
    ),
    "score": Law(lambda score, _, rng: _keep(masks.sample_visible(score, generator=rng)), _drawn),
    "gate": Law(lambda score, visible, rng: _keep(score), lambda score, _: _one(_keep(score))),
    "truth": Law(lambda _, visible, rng: visible, lambda _, visible: cover(visible[None])),
}
"""All laws by name; only ``truth`` and the training of ``region`` may remove the wrist."""


def with_head(in_channels: int, width: int) -> JointHead:
    """Build a graph U-Net with an output head for each joint."""
    net = AdaptiveGraphUNet(in_channels, HIDDEN_CHANNELS, HAND, channels=width)
    return JointHead(net, in_channels, HIDDEN_CHANNELS, 3, HAND)


class MaskedLifter(nn.Module):
    """A graph U-Net that removes different joints in each sample.

    The last input channel is the detector's score, which is not an input of the lifter. Joints are
    removed by this score, or by the output of a second U-Net that learns visibility from all
    inputs. :class:`handgraph.nn.VisibilityLifter` is the best of these variants.

    Args:
        in_channels: Number of channels, including the score.
        width: Width of the lifter's finest level.
        law: Name of the law that chooses the masks.
        learned: Whether visibility is learned from all inputs.
        as_input: Whether visibility is an input of the lifter.
    """

    def __init__(
        self, in_channels: int, width: int, law: str, learned: bool = False, as_input: bool = False
    ):
        super().__init__()
        self.law, self.as_input = LAWS[law], as_input
        self.lifter = with_head(in_channels if as_input else in_channels - 1, width)
        options = {"channels": VISIBILITY_WIDTH}
        self.visibility = AdaptiveGraphUNet(in_channels, 1, HAND, **options) if learned else None

    def logit(self, x: Tensor) -> Tensor:
        """Return the logit of the visibility of each joint. ``[*, J]``."""
        return torch.logit(x[..., -1]) if self.visibility is None else self.visibility(x)[..., 0]

    def inputs(self, x: Tensor, score: Tensor) -> Tensor:
        """Return the inputs of the lifter."""
        return torch.cat([x[..., :-1], score.unsqueeze(-1)], -1) if self.as_input else x[..., :-1]

    def loss(self, x: Tensor, target: Tensor, visible: Tensor, rng: torch.Generator) -> Tensor:
        """Add the pose loss of one draw, over the joints it keeps, and the loss of visibility."""
        logit = self.logit(x)
        score = torch.sigmoid(logit.detach())
        mask = self.law.train(score, visible, rng)
        pose = to_pixels(self.lifter(self.inputs(x, score), mask))
        loss = pose_loss(pose, target, mask=mask != 0)
        if self.visibility is None:
            return loss
        return loss + binary_cross_entropy_with_logits(logit, visible.to(logit))

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """Average the poses of the draws."""
        score = torch.sigmoid(self.logit(x))
        draws, inputs = self.law.test(score, visible), self.inputs(x, score)
        inputs = inputs.expand(len(draws.node_mask), *inputs.shape)
        return masks.average_draws(self.lifter(inputs, draws.node_mask), draws.used)
