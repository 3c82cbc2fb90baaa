"""Nets that remove joints from each sample, by laws for training and test that differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from handgraph import HAND, RemovalSets
from handgraph.masks import (
    Covered,
    cover,
    drop_joints,
    drop_region,
    drop_set,
    keep_always,
    keep_confident,
    merge_draws,
    sample_visible,
    stratified_levels,
)
from handgraph.nn import AdaptiveGraphUNet, JointHead

NUM_DRAWS, DROPOUT, HOPS, HIDDEN_CHANNELS, VISIBILITY_WIDTH = 8, 0.25, 2, 8, 6
"""Draws in the test; dropped share and reach of a region in training; sizes of the nets."""

PoseLoss = Callable[[Tensor, Tensor], Tensor]
"""From poses and the joints that count to a loss."""


class Law(NamedTuple):
    """How masks are chosen in training and in the test, from score and true visibility."""

    train: Callable[[Tensor, Tensor, torch.Generator], Tensor]  # one mask, or gate, a sample
    test: Callable[[Tensor, Tensor], Covered]  # draws, and which speaks for which joint


_FINGERS, _LEVELS = RemovalSets.by_finger(HAND), RemovalSets.by_level(HAND)
_LEVELS_OF_DRAWS = stratified_levels(NUM_DRAWS, HAND.num_joints, torch.Generator().manual_seed(0))


def _keep(mask: Tensor) -> Tensor:
    return keep_always(mask, HAND, "wrist")


def _drawn(score: Tensor, visible: Tensor) -> Covered:
    return cover(_keep(score > _LEVELS_OF_DRAWS.unsqueeze(1)))


def _one(mask: Tensor) -> Covered:
    """One draw, which speaks for all joints."""
    return Covered(mask.unsqueeze(0), torch.ones_like(mask, dtype=torch.bool).unsqueeze(0))


LAWS = {
    "nothing": Law(
        lambda score, visible, rng: torch.ones_like(visible),
        lambda score, visible: _one(torch.ones_like(visible)),
    ),
    "threshold": Law(
        lambda score, visible, rng: _keep(drop_joints(tuple(visible.shape), DROPOUT, rng)),
        lambda score, visible: cover(_keep(keep_confident(score, 0.5)).unsqueeze(0)),
    ),
    "dropout": Law(
        lambda score, visible, rng: _keep(drop_joints(tuple(visible.shape), DROPOUT, rng)), _drawn
    ),
    "region": Law(lambda score, visible, rng: drop_region(HAND, (len(score),), HOPS, rng), _drawn),
    "finger": Law(lambda score, visible, rng: drop_set(_FINGERS, (len(score),), rng), _drawn),
    "level": Law(
        lambda score, visible, rng: drop_set(_LEVELS, (len(score),), rng),
        lambda score, visible: cover(_LEVELS.keep_mask.unsqueeze(1).expand(-1, *visible.shape)),
    ),
    "score": Law(lambda score, visible, rng: _keep(sample_visible(score, generator=rng)), _drawn),
    "gate": Law(lambda score, visible, rng: _keep(score), lambda score, _: _one(_keep(score))),
    "truth": Law(
        lambda score, visible, rng: visible, lambda score, visible: cover(visible.unsqueeze(0))
    ),
}
"""All laws; the wrist is always kept where chance or a score decides."""


def with_head(in_channels: int, width: int) -> JointHead:
    """Build a graph U-Net with an output head for each joint."""
    net = AdaptiveGraphUNet(in_channels, HIDDEN_CHANNELS, HAND, channels=width)
    return JointHead(net, in_channels, HIDDEN_CHANNELS, 3, HAND)


class MaskedLifter(nn.Module):
    """A graph U-Net that loses other joints in each sample.

    The last channel of the input is the detector's score, which the lifter does not see. It decides
    what is removed: alone, or as an input of a further U-Net that learns to tell visible from
    hidden joints. :class:`handgraph.nn.VisibilityLifter` is the best of these, for use elsewhere.

    Args:
        in_channels: Channels, the score included.
        width: Width of the lifter's finest level.
        law: How masks are chosen.
        learned: Whether visibility is learned, from all inputs.
        as_channel: Give visibility to the lifter as an input.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        law: str,
        learned: bool = False,
        as_channel: bool = False,
    ):
        super().__init__()
        self.law, self.as_channel = LAWS[law], as_channel
        self.lifter = with_head(in_channels if as_channel else in_channels - 1, width)
        options = {"channels": VISIBILITY_WIDTH}
        self.visibility = AdaptiveGraphUNet(in_channels, 1, HAND, **options) if learned else None

    def logit(self, x: Tensor) -> Tensor:
        """How likely each joint is to be visible, as a logit. ``[*, J]``."""
        return torch.logit(x[..., -1]) if self.visibility is None else self.visibility(x)[..., 0]

    def inputs(self, x: Tensor, score: Tensor) -> Tensor:
        """What the lifter sees."""
        return torch.cat([x[..., :-1], score.unsqueeze(-1)], -1) if self.as_channel else x[..., :-1]

    def loss(self, x: Tensor, visible: Tensor, rng: torch.Generator, pose_loss: PoseLoss) -> Tensor:
        """Loss of one draw over the joints that it keeps, and of what is learned of visibility."""
        logit = self.logit(x)
        score = torch.sigmoid(logit.detach())
        mask = self.law.train(score, visible, rng)
        loss = pose_loss(self.lifter(self.inputs(x, score), mask), mask != 0)
        if self.visibility is None:
            return loss
        return loss + binary_cross_entropy_with_logits(logit, visible.to(logit))

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """Average what the draws say."""
        score = torch.sigmoid(self.logit(x))
        masks, speaks = self.law.test(score, visible)
        inputs = self.inputs(x, score)
        return merge_draws(self.lifter(inputs.expand(len(masks), *inputs.shape), masks), speaks)
