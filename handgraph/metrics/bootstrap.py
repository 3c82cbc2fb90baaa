"""Bootstrap intervals over images, which estimate the sampling error of a metric."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph._check import check_count, check_like
from handgraph.metrics._check import (
    AVERAGES,
    Average,
    check_choice,
    check_level,
    check_values,
    joint_mask,
)
from handgraph.metrics.mean import combine_joints, visible_mean

_CHUNK = 50  # resamples per chunk: 50 x 20,000 images are 8 MB of weights


class Interval(NamedTuple):
    """A value and its bootstrap interval.

    Args:
        value: The value on the original images.
        low: Lower end of the interval.
        high: Upper end of the interval.

    Example:
        >>> import torch
        >>> from handgraph.metrics import Interval
        >>> Interval(torch.tensor(0.5), torch.tensor(0.25), torch.tensor(0.75)).high.item()
        0.75
    """

    value: Tensor
    low: Tensor
    high: Tensor


def bootstrap_means(
    values: Tensor,
    visible: Tensor | None = None,
    *,
    average: Average = "pooled",
    num_resamples: int = 1000,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Compute the mean over visible joints for bootstrap resamples of the images.

    Efron, "Bootstrap methods: another look at the jackknife" (1979). Whole images are resampled,
    since the errors of joints of one image are correlated. Each resample is a row of counts W (how
    often each image is drawn), and its mean is ``(W @ sums) / (W @ counts)``.

    Args:
        values: One value for each joint: :func:`handgraph.metrics.joint_auc` for the AUC,
            :func:`handgraph.metrics.joint_errors` for the MPJPE.
        visible: Joints to score. Default: all.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.
        num_resamples: Number of resamples.
        generator: Random generator. Default: PyTorch's global generator. The same state draws the
            same images.

    Shapes:
        values ``[*, J]`` (all leading dimensions count images), visible Bool ``[*, J]`` ->
        ``[num_resamples]``

    Units:
        The unit of ``values``. NaN for a resample without visible joints, and if there are no
        images.

    Raises:
        TypeError: If ``values`` is not float32 or float64, ``visible`` not bool, or
            ``num_resamples`` not int.
        ValueError: If the shapes differ, a visible value is not finite, or an option is out of
            range.

    Example:
        The interval of the relative value, from independent resamples of two groups:

        >>> import torch
        >>> from handgraph.metrics import bootstrap_means, relative_value
        >>> rng = torch.Generator().manual_seed(0)
        >>> small = bootstrap_means(0.5 + 0.1 * torch.rand(900, 21, generator=rng), generator=rng)
        >>> severe = bootstrap_means(0.4 + 0.1 * torch.rand(90, 21, generator=rng), generator=rng)
        >>> ratio = relative_value(small=small, severe=severe)
        >>> [round(end, 2) for end in ratio.quantile(torch.tensor([0.025, 0.975])).tolist()]
        [0.81, 0.82]
    """
    sums, counts = _image_sums(values, visible, average)
    check_count(num_resamples, "num_resamples", 1)
    table = torch.cat([sums, counts], dim=-1)
    drawn_sums, drawn_counts = resample(table, num_resamples, generator).chunk(2, dim=-1)
    return combine_joints(drawn_sums, drawn_counts, average).to(values.dtype)


def bootstrap_interval(
    values: Tensor,
    visible: Tensor | None = None,
    *,
    level: float = 0.95,
    average: Average = "pooled",
    num_resamples: int = 1000,
    generator: torch.Generator | None = None,
) -> Interval:
    """Compute the percentile bootstrap interval of the mean over visible joints.

    The interval contains the central fraction ``level`` of :func:`bootstrap_means`. For one
    occlusion group, pass only the images of that group.

    Args:
        values: One value for each joint: :func:`handgraph.metrics.joint_auc` for the AUC,
            :func:`handgraph.metrics.joint_errors` for the MPJPE.
        visible: Joints to score. Default: all.
        level: Fraction of resamples inside the interval.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.
        num_resamples: Number of resamples.
        generator: Random generator. Default: PyTorch's global generator.

    Shapes:
        values ``[*, J]``, visible Bool ``[*, J]`` -> three times ``[]``

    Units:
        The unit of ``values``. NaN without visible joints; NaN ends if a resample has none.

    Raises:
        TypeError: If ``values`` is not float32 or float64, ``visible`` not bool, or
            ``num_resamples`` not int.
        ValueError: If the shapes differ, a visible value is not finite, or an option is out of
            range.

    Example:
        >>> import torch
        >>> from handgraph.metrics import bootstrap_interval, joint_auc, thresholds
        >>> rng = torch.Generator().manual_seed(0)
        >>> areas = joint_auc(0.05 * torch.rand(500, 21, generator=rng), thresholds())
        >>> [round(x.item(), 2) for x in bootstrap_interval(areas, generator=rng)]
        [0.5, 0.49, 0.51]
    """
    check_level(level)
    means = bootstrap_means(
        values, visible, average=average, num_resamples=num_resamples, generator=generator
    )
    tail = (1 - level) / 2
    ends = means.quantile(means.new_tensor([tail, 1 - tail]))
    return Interval(visible_mean(values, visible, average=average), ends[0], ends[1])


def bootstrap_difference(
    values: Tensor,
    other: Tensor,
    visible: Tensor | None = None,
    *,
    level: float = 0.95,
    average: Average = "pooled",
    num_resamples: int = 1000,
    generator: torch.Generator | None = None,
) -> Interval:
    """Compute the paired bootstrap interval of the difference of two methods on the same images.

    This is the :func:`bootstrap_interval` of ``values - other``. Each resample scores both methods
    on the same images, so an image's difficulty cancels. Methods differ if the interval excludes 0.

    Args:
        values: Values of the first method, one for each joint.
        other: Values of the second method, on the same images in the same order.
        visible: Joints to score. Default: all.
        level: Fraction of resamples inside the interval.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.
        num_resamples: Number of resamples.
        generator: Random generator. Default: PyTorch's global generator.

    Shapes:
        values and other ``[*, J]``, visible Bool ``[*, J]`` -> three times ``[]``

    Units:
        The unit of ``values``; positive if ``values`` exceed ``other``.

    Raises:
        TypeError: If the values are not both float32 or both float64, ``visible`` not bool, or
            ``num_resamples`` not int.
        ValueError: If the shapes differ, a visible value is not finite, or an option is out of
            range.

    Example:
        >>> import torch
        >>> from handgraph.metrics import bootstrap_difference
        >>> rng = torch.Generator().manual_seed(0)
        >>> errors = torch.rand(200, 21, generator=rng)
        >>> [round(x.item(), 3) for x in bootstrap_difference(errors + 0.5, errors, generator=rng)]
        [0.5, 0.5, 0.5]
    """
    check_values(values, "values")
    check_like(other, "other", values, "values")
    return bootstrap_interval(
        values - other,
        visible,
        level=level,
        average=average,
        num_resamples=num_resamples,
        generator=generator,
    )


def _image_sums(values: Tensor, visible: Tensor | None, average: Average) -> tuple[Tensor, Tensor]:
    """Return each image's sum and count of visible joints: ``[n, 1]``, by joint ``[n, J]``."""
    check_values(values, "values")
    mask = joint_mask(visible, values).reshape(-1, values.shape[-1])
    check_choice(average, "average", AVERAGES)
    kept = torch.where(mask, values.detach().reshape(mask.shape), 0).double()
    if not kept.isfinite().all():
        raise ValueError("expected finite values at visible joints, got NaN or infinite ones")
    if average == "joint":
        return kept, mask.double()
    return kept.sum(-1, keepdim=True), mask.double().sum(-1, keepdim=True)


def resample(table: Tensor, num_resamples: int, generator: torch.Generator | None) -> Tensor:
    """Sum the rows (images) of ``table`` ``[n, C]`` over each resample. ``[num_resamples, C]``."""
    sums = [_draws(size, table, generator) @ table for size in _chunks(num_resamples)]
    return torch.cat(sums)


def _chunks(total: int) -> list[int]:
    """Split ``total`` resamples into chunks that fit in memory."""
    return [min(_CHUNK, total - start) for start in range(0, total, _CHUNK)]


def _draws(size: int, table: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return how often each image is drawn in each of ``size`` resamples, ``[size, n]``."""
    num_images = table.shape[0]
    counts = table.new_zeros(size, num_images)
    if num_images == 0:
        return counts
    source = table.device if generator is None else generator.device
    drawn = torch.randint(num_images, counts.shape, generator=generator, device=source)
    return counts.scatter_add_(1, drawn.to(table.device), table.new_ones(1, 1).expand_as(counts))
