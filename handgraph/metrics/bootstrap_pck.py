"""PCK curves with bootstrap intervals at every threshold."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_count
from handgraph.metrics._check import NanPolicy, check_level, check_values, joint_mask
from handgraph.metrics.bootstrap import Interval, resample
from handgraph.metrics.pck import pck_counts


def bootstrap_pck(
    errors: Tensor,
    thresholds: Tensor,
    visible: Tensor | None = None,
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
    nan: NanPolicy = "raise",
    generator: torch.Generator | None = None,
) -> Interval:
    """Compute the pooled PCK curve and its percentile bootstrap interval over images.

    Like :func:`handgraph.metrics.bootstrap_interval`, for every threshold of
    :func:`handgraph.metrics.pck_curve` and with the same resamples. The band contains the fraction
    ``level`` of the resamples at each threshold, not of whole curves.

    Args:
        errors: Joint errors.
        thresholds: Increasing thresholds, in the unit of ``errors``.
        visible: Joints to score. Default: all.
        level: Fraction of resamples inside the interval.
        num_resamples: Number of resamples.
        nan: ``"raise"`` raises for a NaN error at a visible joint. ``"miss"`` counts it as a miss.
        generator: Random generator. Default: PyTorch's global generator.

    Shapes:
        errors ``[*, J]`` (all leading dimensions count images), thresholds ``[T]``, visible Bool
        ``[*, J]`` -> three times ``[T]``

    Units:
        Metres -> fractions from 0 to 1. NaN without visible joints, or where a resample has none.

    Raises:
        TypeError: If the floats are not float32 or float64, ``visible`` not bool, or
            ``num_resamples`` not int.
        ValueError: If a shape does not fit, there is no image, the thresholds do not increase, an
            error is negative, or (with ``nan="raise"``) NaN at a visible joint; if an option is
            out of range.

    Example:
        >>> import torch
        >>> from handgraph.metrics import bootstrap_pck
        >>> rng, grid = torch.Generator().manual_seed(0), torch.tensor([0.0125, 0.025])
        >>> curve = bootstrap_pck(0.05 * torch.rand(500, 21, generator=rng), grid, generator=rng)
        >>> [[round(share, 2) for share in part.tolist()] for part in curve]
        [[0.25, 0.5], [0.24, 0.49], [0.25, 0.51]]
    """
    check_values(errors, "errors")
    check_level(level)
    check_count(num_resamples, "num_resamples", 1)
    images = errors.reshape(-1, errors.shape[-1])
    mask = joint_mask(visible, errors).reshape(images.shape)
    hits, counts = pck_counts(images.t(), thresholds, mask.t(), nan=nan)  # per image
    table = torch.cat([hits.t(), counts.unsqueeze(-1)], dim=-1).double()
    drawn = resample(table, num_resamples, generator)
    curves = drawn[:, :-1] / drawn[:, -1:]
    tail = (1 - level) / 2
    low, high = curves.quantile(curves.new_tensor([tail, 1 - tail]), dim=0).to(errors.dtype)
    share = hits.sum(dim=1).double() / counts.sum()
    return Interval(share.to(errors.dtype), low, high)
