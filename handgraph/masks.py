r"""Which joints each sample keeps: small functions that give masks, and that compose.

A mask is Bool ``[*, J]``, ``True`` for a joint that is kept: what
:class:`handgraph.nn.AdaptiveGraphUNet` takes as ``node_mask``. Masks are combined by ``&`` and
``|``; true visibility is a mask as it is. Training and test choose theirs separately::

    mask = keep_always(sample_visible(score), HAND, "wrist")            # training: one draw
    masks, speaks = cover(sample_visible(score.expand(8, *score.shape)))  # test: eight draws
    pose = merge_draws(net(x.expand(9, *x.shape), masks), speaks)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph._check import (
    check_between,
    check_count,
    check_mask,
    check_number,
    check_skeleton,
    check_tensor,
)
from handgraph.skeleton import Skeleton, What
from handgraph.subgraph import RemovalSets

__all__ = [
    "Covered",
    "cover",
    "drop_joints",
    "drop_region",
    "drop_set",
    "keep_always",
    "keep_confident",
    "merge_draws",
    "sample_visible",
    "soft_gate",
    "stratified_levels",
]


def keep_confident(score: Tensor, threshold: float) -> Tensor:
    """Keep the joints whose score is above a threshold; a score that is NaN is an error.

    Args:
        score: How likely each joint is to be visible. ``[*, J]``
        threshold: The least score that is not enough.

    Returns:
        Bool ``[*, J]``.

    Raises:
        ValueError: If a score is not a probability.

    Example:
        >>> import torch
        >>> from handgraph.masks import keep_confident
        >>> keep_confident(torch.tensor([0.9, 0.2]), 0.5).tolist()
        [True, False]
    """
    _check_probability(score)
    check_number(threshold, "threshold")
    if threshold != threshold:
        raise ValueError("expected threshold to be a number, got NaN")
    return score > threshold


def soft_gate(score: Tensor, *, slope: float = 1.0, bias: float = 0.0) -> Tensor:
    r"""Weaken what a joint sends by its score, instead of removing the joint.

    .. math:: g = \sigma(a \, \mathrm{logit}(s) + b)

    With slope 1 and bias 0 the gate is the score. The graph U-Net takes a gate as ``node_mask``.
    Scores of 0 and 1, whose logits are infinite, have no gradient.

    Args:
        score: How likely each joint is to be visible. ``[*, J]``
        slope: a, how sharply the gate follows the score.
        bias: b, positive to let more through.

    Returns:
        ``[*, J]``, in [0, 1].

    Raises:
        ValueError: If a score is not a probability.

    Example:
        >>> import torch
        >>> from handgraph.masks import soft_gate
        >>> soft_gate(torch.tensor([0.9, 0.5]), slope=2.0)
        tensor([0.9878, 0.5000])
    """
    _check_probability(score)
    check_between(slope, "slope")
    check_between(bias, "bias")
    sure = (score == 0) | (score == 1)
    logit = torch.logit(score.masked_fill(sure, 0.5))
    largest = torch.finfo(logit.dtype).max  # in place of infinity, of which 0 times is no number
    logit = torch.where(sure, (2 * score.detach() - 1) * largest, logit)
    return torch.sigmoid(slope * logit + bias)


def sample_visible(
    score: Tensor,
    *,
    slope: float = 1.0,
    bias: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Keep each joint with the probability that its score says: :func:`soft_gate`, drawn.

    Expand the score for several draws. Joints are drawn independently.

    Args:
        score: How likely each joint is to be visible. ``[*, J]``
        slope: How sharply the probability follows the score.
        bias: Positive to keep more.
        generator: Where the randomness comes from.

    Returns:
        Bool ``[*, J]``.

    Raises:
        ValueError: If a score is not a probability.

    Example:
        >>> import torch
        >>> from handgraph.masks import sample_visible
        >>> score = torch.tensor([0.9, 0.2]).expand(10_000, 2)
        >>> kept = sample_visible(score, generator=torch.Generator().manual_seed(0))
        >>> [round(share, 1) for share in kept.float().mean(dim=0).tolist()]
        [0.9, 0.2]
    """
    return torch.bernoulli(soft_gate(score, slope=slope, bias=bias), generator=generator) > 0


def stratified_levels(
    num_draws: int, num_joints: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draw thresholds that spread evenly: ``score > levels`` keeps a joint in its share of draws.

    Column j is a permutation of (k + 1/2) / K. So a joint with probability p is kept in K p of the
    K draws, rounded, and which draws is independent from joint to joint. Less random than
    :func:`sample_visible`, and for fixed levels not random at all.

    Args:
        num_draws: K, the number of draws.
        num_joints: J, the number of joints.
        generator: Where the randomness comes from; the levels are on its device.

    Returns:
        ``[K, J]``, in (0, 1).

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> from handgraph.masks import stratified_levels
        >>> stratified_levels(4, 21).sort(dim=0).values[:, 0].tolist()
        [0.125, 0.375, 0.625, 0.875]
    """
    check_count("num_draws", num_draws, 1)
    check_count("num_joints", num_joints, 1)
    shape, device = (num_draws, num_joints), _device(generator)
    order = torch.rand(shape, generator=generator, device=device).argsort(dim=0)
    return (order + 0.5) / num_draws


def drop_joints(
    shape: tuple[int, ...], probability: float, generator: torch.Generator | None = None
) -> Tensor:
    """Drop every joint independently: dropout of whole joints, for training.

    Args:
        shape: Shape of the mask, ``(*, J)``.
        probability: That a joint is dropped.
        generator: Where the randomness comes from; the mask is on its device.

    Returns:
        Bool ``[*, J]``.

    Raises:
        ValueError: If the probability is not in [0, 1].

    Example:
        >>> import torch
        >>> from handgraph.masks import drop_joints
        >>> random = torch.Generator().manual_seed(0)
        >>> round(drop_joints((1000, 21), 0.25, random).float().mean().item(), 2)
        0.75
    """
    check_between(probability, "probability", 0, 1)
    return torch.rand(shape, generator=generator, device=_device(generator)) >= probability


def drop_region(
    skeleton: Skeleton,
    lead: tuple[int, ...],
    hops: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Drop a random joint of each sample and its neighbours up to some hops away.

    Args:
        skeleton: The skeleton.
        lead: Leading dimensions of the mask.
        hops: How far the region reaches; 0 drops the one joint.
        generator: Where the randomness comes from; the mask is on its device.

    Returns:
        Bool ``[*lead, J]``.

    Raises:
        ValueError: If hops is negative.

    Example:
        >>> from handgraph import HAND
        >>> from handgraph.masks import drop_region
        >>> bool(drop_region(HAND, (1000,), 1).sum(dim=-1).ge(15).all())  # the wrist has five
        True
    """
    check_skeleton(skeleton, "skeleton")
    check_count("hops", hops, 0)
    device = _device(generator)
    near = (skeleton.hops() <= hops).to(device)
    centre = torch.randint(skeleton.num_joints, lead, generator=generator, device=device)
    return ~near[centre]


def drop_set(
    removal: RemovalSets, lead: tuple[int, ...], generator: torch.Generator | None = None
) -> Tensor:
    """Drop one of the removal sets in each sample: a level, a finger, or any sets of one's own.

    Args:
        removal: The removal sets.
        lead: Leading dimensions of the mask.
        generator: Where the randomness comes from; the mask is on its device.

    Returns:
        Bool ``[*lead, J]``.

    Example:
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.masks import drop_set
        >>> drop_set(RemovalSets.by_level(HAND), (2,)).sum(dim=-1).tolist()
        [16, 16]
    """
    which = torch.randint(len(removal), lead, generator=generator, device=_device(generator))
    return removal.keep_mask.to(which.device)[which]


def keep_always(mask: Tensor, skeleton: Skeleton, what: What) -> Tensor:
    """Keep some joints whatever the mask says, such as the root.

    Args:
        mask: A mask, or gates, which become 1. ``[*, J]``
        skeleton: The skeleton.
        what: The joints: the name of a group or joint, or several.

    Returns:
        What the mask was. ``[*, J]``

    Raises:
        ValueError: If the mask does not have the skeleton's joints, or a name is unknown.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.masks import keep_always
        >>> keep_always(torch.zeros(21, dtype=torch.bool), HAND, ["wrist", "TIP"]).sum().item()
        6
    """
    if mask.shape[-1:] != (skeleton.num_joints,):
        raise ValueError(
            f"mask: expected [*, {skeleton.num_joints}] for {skeleton.name}, got {list(mask.shape)}"
        )
    kept = torch.zeros(skeleton.num_joints, dtype=torch.bool)
    kept[skeleton.select(what)] = True
    kept = kept.to(mask.device)
    return mask | kept if mask.dtype == torch.bool else mask.masked_fill(kept, 1)


class Covered(NamedTuple):
    """Draws of which every joint is kept by one.

    Shapes:
        - node_mask: Bool ``[K + 1, *, J]``, the draws, and one that keeps everything
        - speaks: Bool ``[K + 1, *, J]``, which draw speaks for which joint

    Example:
        >>> import torch
        >>> from handgraph.masks import cover
        >>> node_mask, speaks = cover(torch.tensor([[True, False], [True, False]]))
        >>> speaks.sum(dim=0).tolist()
        [2, 1]
    """

    node_mask: Tensor
    speaks: Tensor


def cover(mask: Tensor) -> Covered:
    """Add a draw that keeps everything, and let it speak for the joints that no other kept.

    So each joint gets an estimate, from no more unsure joints than must be: removal sets keep every
    joint in some branch, and draws should too.

    Args:
        mask: K draws. Bool ``[K, *, J]``

    Returns:
        The K + 1 masks, and who speaks for whom.

    Raises:
        TypeError: If the mask is not Bool.
        ValueError: If there is no draw.

    Example:
        >>> import torch
        >>> from handgraph.masks import cover
        >>> cover(torch.tensor([[True, False]])).speaks.tolist()
        [[True, False], [False, True]]
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"mask: expected torch.bool, got {mask.dtype}")
    if mask.dim() < 2 or len(mask) == 0:
        raise ValueError(f"mask: expected [K, *, J] with K draws, got {list(mask.shape)}")
    lost = ~mask.any(dim=0, keepdim=True)
    return Covered(torch.cat([mask, torch.ones_like(lost)]), torch.cat([mask, lost]))


def merge_draws(pose: Tensor, speaks: Tensor) -> Tensor:
    r"""Average what the draws say of each joint, over those that speak for it.

    .. math:: y_j = \frac{\sum_k s_{kj} \, y_{kj}}{\sum_k s_{kj}}

    Args:
        pose: What the net says of each draw. ``[K, *, J, C]``
        speaks: Which draw speaks for which joint. Bool ``[K, *, J]``

    Returns:
        ``[*, J, C]``; NaN for a joint for which none speaks.

    Raises:
        TypeError: If ``speaks`` is not Bool.
        ValueError: If its shape is not that of the poses.

    Example:
        >>> import torch
        >>> from handgraph.masks import merge_draws
        >>> pose = torch.tensor([[[1.0]], [[3.0]], [[torch.nan]]])
        >>> merge_draws(pose, torch.tensor([[True], [True], [False]])).item()
        2.0
    """
    check_tensor(pose, "pose")
    check_mask(speaks, pose.shape[:-1], pose)
    picked = speaks.unsqueeze(-1)
    total = pose.where(picked, 0).sum(dim=0)
    return total / picked.sum(dim=0)


def _check_probability(score: Tensor) -> None:
    """Look at the values too, where that does not stop a compiler."""
    check_tensor(score, "score")
    if torch.compiler.is_compiling():
        return
    if not bool(((score >= 0) & (score <= 1)).all()):
        raise ValueError("score: expected probabilities, some are outside of [0, 1] or NaN")


def _device(generator: torch.Generator | None) -> torch.device | None:
    return None if generator is None else generator.device
