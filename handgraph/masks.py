r"""Masks of the joints that each sample keeps.

A mask is Bool ``[*, J]``, ``True`` for a joint that is kept. It is the ``node_mask`` of
:class:`handgraph.nn.AdaptiveGraphUNet`. Combine masks with ``&`` and ``|``. Ground-truth
visibility is a mask, too. Training and evaluation may use different masks::

    mask = keep_always(sample_visible(score), HAND, "wrist")            # training: one draw
    masks, used = cover(sample_visible(score.expand(8, *score.shape)))  # test: eight draws
    pose = average_draws(net(x.expand(9, *x.shape), masks), used)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph._check import (
    check_between,
    check_bool,
    check_count,
    check_last,
    check_mask,
    check_number,
    check_skeleton,
    check_tensor,
)
from handgraph.skeleton import Skeleton, What
from handgraph.subgraph import RemovalSets, check_removal

__all__ = [
    "Covered",
    "average_draws",
    "cover",
    "drop_joints",
    "drop_region",
    "drop_set",
    "keep_always",
    "keep_confident",
    "sample_visible",
    "soft_gate",
    "stratified_levels",
]


def keep_confident(score: Tensor, threshold: float) -> Tensor:
    """Keep the joints whose score is above a threshold.

    Args:
        score: Probability that each joint is visible. ``[*, J]``
        threshold: Joints whose score is at or below this are dropped.

    Returns:
        Bool ``[*, J]``.

    Raises:
        ValueError: If a score is NaN or outside of [0, 1], or the threshold is NaN.

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
    r"""Convert scores to soft gates, which weaken the messages of a joint instead of removing it.

    .. math:: g = \sigma(a \, \mathrm{logit}(s) + b)

    With slope 1 and bias 0 the gate is the score. The graph U-Net takes a gate as ``node_mask``.
    Scores of 0 and 1 have infinite logits, and their gradient is 0.

    Args:
        score: Probability that each joint is visible. ``[*, J]``
        slope: a, the steepness of the gate.
        bias: b; a positive value raises all gates.

    Returns:
        ``[*, J]``, in [0, 1].

    Raises:
        ValueError: If a score is not a probability, or slope or bias is not finite.

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
    largest = torch.finfo(logit.dtype).max  # not infinity, as 0 * inf is NaN
    logit = torch.where(sure, (2 * score.detach() - 1) * largest, logit)
    return torch.sigmoid(slope * logit + bias)


def sample_visible(
    score: Tensor,
    *,
    slope: float = 1.0,
    bias: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw a mask that keeps each joint with the probability :func:`soft_gate` of its score.

    Joints are drawn independently. Expand the score for several draws.

    Args:
        score: Probability that each joint is visible. ``[*, J]``
        slope: Slope of the gate.
        bias: Bias of the gate; a positive value keeps more joints.
        generator: Random number generator.

    Returns:
        Bool ``[*, J]``.

    Raises:
        ValueError: If a score is not a probability, or slope or bias is not finite.

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
    """Draw evenly spaced thresholds, so that ``score > levels`` gives K stratified masks.

    Column j is a random permutation of (k + 1/2) / K. A joint with probability p is kept in K p of
    the K draws, rounded. The permutations are independent between joints. The masks vary less than
    those of :func:`sample_visible`; with fixed levels they are deterministic.

    Args:
        num_draws: K, the number of draws.
        num_joints: J, the number of joints.
        generator: Random number generator; the levels are on its device.

    Returns:
        ``[K, J]``, in (0, 1).

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> from handgraph.masks import stratified_levels
        >>> stratified_levels(4, 21).sort(dim=0).values[:, 0].tolist()
        [0.125, 0.375, 0.625, 0.875]
    """
    check_count(num_draws, "num_draws", 1)
    check_count(num_joints, "num_joints", 1)
    shape, device = (num_draws, num_joints), _device(generator)
    order = torch.rand(shape, generator=generator, device=device).argsort(dim=0)
    return (order + 0.5) / num_draws


def drop_joints(
    shape: tuple[int, ...], probability: float, generator: torch.Generator | None = None
) -> Tensor:
    """Draw a mask that drops each joint independently: dropout of whole joints, for training.

    Args:
        shape: Shape of the mask, ``(*, J)``.
        probability: Probability that a joint is dropped.
        generator: Random number generator; the mask is on its device.

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
    """Draw a mask that drops a random joint and all joints within some hops of it.

    Args:
        skeleton: The skeleton.
        lead: Leading dimensions of the mask.
        hops: Radius of the region in bones; 0 drops a single joint.
        generator: Random number generator; the mask is on its device.

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
    check_count(hops, "hops", 0)
    device = _device(generator)
    near = (skeleton.hops() <= hops).to(device)
    centre = torch.randint(skeleton.num_joints, lead, generator=generator, device=device)
    return ~near[centre]


def drop_set(
    removal: RemovalSets, lead: tuple[int, ...], generator: torch.Generator | None = None
) -> Tensor:
    """Draw a mask that drops one removal set in each sample, such as a level or a finger.

    Args:
        removal: The removal sets.
        lead: Leading dimensions of the mask.
        generator: Random number generator; the mask is on its device.

    Returns:
        Bool ``[*lead, J]``.

    Example:
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.masks import drop_set
        >>> drop_set(RemovalSets.by_level(HAND), (2,)).sum(dim=-1).tolist()
        [16, 16]
    """
    check_removal(removal, "removal")
    which = torch.randint(len(removal), lead, generator=generator, device=_device(generator))
    return removal.keep_mask.to(which.device)[which]


def keep_always(mask: Tensor, skeleton: Skeleton, what: What) -> Tensor:
    """Keep some joints, such as the root, in every sample of a mask.

    Args:
        mask: A Bool mask, or gates. ``[*, J]``
        skeleton: The skeleton.
        what: The joints: the name of a group or joint, or several.

    Returns:
        The mask or the gates, with ``True`` or 1 at these joints. ``[*, J]``

    Raises:
        ValueError: If the mask does not have the skeleton's joints, or a name is unknown.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.masks import keep_always
        >>> keep_always(torch.zeros(21, dtype=torch.bool), HAND, ["wrist", "TIP"]).sum().item()
        6
    """
    check_skeleton(skeleton, "skeleton")
    check_last(mask, "mask", skeleton.num_joints, owner=skeleton.name)
    kept = torch.zeros(skeleton.num_joints, dtype=torch.bool)
    kept[skeleton.select(what)] = True
    kept = kept.to(mask.device)
    return mask | kept if mask.dtype == torch.bool else mask.masked_fill(kept, 1)


class Covered(NamedTuple):
    """Masks that together keep every joint, as returned by :func:`cover`.

    Shapes:
        - node_mask: Bool ``[K + 1, *, J]``, the K draws and one draw that keeps all joints
        - used: Bool ``[K + 1, *, J]``, ``True`` where a draw contributes to a joint's estimate

    Example:
        >>> import torch
        >>> from handgraph.masks import cover
        >>> node_mask, used = cover(torch.tensor([[True, False], [True, False]]))
        >>> used.sum(dim=0).tolist()
        [2, 1]
    """

    node_mask: Tensor
    used: Tensor


def cover(mask: Tensor) -> Covered:
    """Add a draw that keeps all joints, used only for the joints that no other draw keeps.

    Every joint then has an estimate, as with removal sets, which keep every joint in some branch.
    Joints that another draw keeps do not use the added one.

    Args:
        mask: K draws. Bool ``[K, *, J]``

    Returns:
        The K + 1 masks, and the joints to whose estimate each of them contributes.

    Raises:
        TypeError: If the mask is not Bool.
        ValueError: If there is no draw.

    Example:
        >>> import torch
        >>> from handgraph.masks import cover
        >>> cover(torch.tensor([[True, False]])).used.tolist()
        [[True, False], [False, True]]
    """
    check_bool(mask, "mask")
    if mask.dim() < 2 or len(mask) == 0:
        raise ValueError(f"mask: expected [K, *, J] with K draws, got {list(mask.shape)}")
    lost = ~mask.any(dim=0, keepdim=True)
    return Covered(torch.cat([mask, torch.ones_like(lost)]), torch.cat([mask, lost]))


def average_draws(pose: Tensor, used: Tensor) -> Tensor:
    r"""Average the poses of several draws, for each joint over the draws that contribute to it.

    .. math:: y_j = \frac{\sum_k s_{kj} \, y_{kj}}{\sum_k s_{kj}}

    Args:
        pose: Output of the net for each draw. ``[K, *, J, C]``
        used: Which draws contribute to each joint. Bool ``[K, *, J]``

    Returns:
        ``[*, J, C]``; NaN for a joint to which no draw contributes.

    Raises:
        TypeError: If ``used`` is not Bool.
        ValueError: If its shape is not that of the poses.

    Example:
        >>> import torch
        >>> from handgraph.masks import average_draws
        >>> pose = torch.tensor([[[1.0]], [[3.0]], [[torch.nan]]])
        >>> average_draws(pose, torch.tensor([[True], [True], [False]])).item()
        2.0
    """
    check_tensor(pose, "pose")
    check_mask(used, "used", pose.shape[:-1], pose)
    picked = used.unsqueeze(-1)
    total = pose.where(picked, 0).sum(dim=0)
    return total / picked.sum(dim=0)


def _check_probability(score: Tensor) -> None:
    """Raise unless all scores are probabilities; skip the values under ``torch.compile``."""
    check_tensor(score, "score")
    if torch.compiler.is_compiling():
        return
    if not bool(((score >= 0) & (score <= 1)).all()):
        raise ValueError("score: expected probabilities in [0, 1], got values outside or NaN")


def _device(generator: torch.Generator | None) -> torch.device | None:
    return None if generator is None else generator.device
