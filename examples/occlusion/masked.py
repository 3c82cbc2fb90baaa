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

Train = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""From score ``[B, J]``, true visibility and random numbers to one mask, or gate, a sample."""

PoseLoss = Callable[[Tensor, Tensor], Tensor]
"""From poses and the joints that count to a loss."""

Test = Callable[[Tensor, Tensor], Covered]
"""From score and true visibility to the draws, and which speaks for which joint."""


class Law(NamedTuple):
    """How masks are chosen in training and in the test."""

    train: Train
    test: Test


_FINGERS, _LEVELS = RemovalSets.by_finger(HAND), RemovalSets.by_level(HAND)
_DRAWS = stratified_levels(NUM_DRAWS, HAND.num_joints, torch.Generator().manual_seed(0))


def _drawn(score: Tensor, visible: Tensor) -> Covered:
    return cover(keep_always(score > _DRAWS.unsqueeze(1), HAND, "wrist"))


def _confident(score: Tensor, visible: Tensor) -> Covered:
    return cover(keep_always(keep_confident(score, 0.5), HAND, "wrist").unsqueeze(0))


def _visible(score: Tensor, visible: Tensor) -> Covered:
    return cover(visible.unsqueeze(0))


def _every_level(score: Tensor, visible: Tensor) -> Covered:
    return cover(_LEVELS.keep_mask.unsqueeze(1).expand(-1, *visible.shape))


def _all(score: Tensor, visible: Tensor) -> Covered:
    mask = torch.ones_like(visible).unsqueeze(0)
    return Covered(mask, mask)


def _gate(score: Tensor, visible: Tensor) -> Covered:
    gate = keep_always(score, HAND, "wrist").unsqueeze(0)
    return Covered(gate, torch.ones_like(gate, dtype=torch.bool))


def _dropout(score: Tensor, visible: Tensor, rng: torch.Generator) -> Tensor:
    return keep_always(drop_joints(tuple(visible.shape), DROPOUT, rng), HAND, "wrist")


def _region(score: Tensor, visible: Tensor, rng: torch.Generator) -> Tensor:
    return drop_region(HAND, (len(visible),), HOPS, rng)


def _finger(score: Tensor, visible: Tensor, rng: torch.Generator) -> Tensor:
    return drop_set(_FINGERS, (len(visible),), rng)


def _level(score: Tensor, visible: Tensor, rng: torch.Generator) -> Tensor:
    return drop_set(_LEVELS, (len(visible),), rng)


def _sampled(score: Tensor, visible: Tensor, rng: torch.Generator) -> Tensor:
    return keep_always(sample_visible(score, generator=rng), HAND, "wrist")


LAWS = {
    "nothing": Law(lambda score, visible, rng: torch.ones_like(visible), _all),
    "threshold": Law(_dropout, _confident),
    "dropout": Law(_dropout, _drawn),
    "region": Law(_region, _drawn),
    "finger": Law(_finger, _drawn),
    "level": Law(_level, _every_level),
    "score": Law(_sampled, _drawn),
    "gate": Law(lambda score, visible, rng: _gate(score, visible).node_mask[0], _gate),
    "truth": Law(lambda score, visible, rng: visible, _visible),
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
        *,
        learned: bool = False,
        as_channel: bool = False,
    ):
        super().__init__()
        self.law, self.as_channel = LAWS[law], as_channel
        self.lifter = with_head(in_channels if as_channel else in_channels - 1, width)
        self.visibility = (
            AdaptiveGraphUNet(in_channels, 1, HAND, channels=VISIBILITY_WIDTH) if learned else None
        )

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """The parameters of each net, whose gradients are clipped apart."""
        nets = [self.lifter] if self.visibility is None else [self.lifter, self.visibility]
        return [list(net.parameters()) for net in nets]

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
