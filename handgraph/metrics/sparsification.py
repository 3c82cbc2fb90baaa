"""Sparsification curves, which test how well uncertainties rank errors, and their area."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_like
from handgraph.metrics._check import check_no_nan, check_values, joint_mask


def sparsification_curve(
    errors: Tensor, uncertainty: Tensor, visible: Tensor | None = None
) -> Tensor:
    r"""Compute the mean error of the most certain joints relative to that of all joints.

    Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical flow" (2018). Entry
    k is the mean error of the k + 1 joints with the lowest uncertainty, of M visible joints. The
    curve rises to 1 if the uncertainty ranks the errors, and is flat if it is uninformative. Joints
    of equal uncertainty count with their mean error.

    Args:
        errors: One error for each joint, such as :func:`handgraph.metrics.joint_errors`.
        uncertainty: Predicted uncertainty of each error. Only the order matters.
        visible: Joints to score. Default: all.

    Shapes:
        errors and uncertainty ``[*, J]``, visible Bool ``[*, J]`` -> ``[M]``

    Units:
        A ratio without unit. NaN if all errors are 0.

    Raises:
        TypeError: If the floats are not float32 or float64, or ``visible`` not bool.
        ValueError: If a shape does not fit, or, at a visible joint, an error is negative, or an
            error or uncertainty NaN.

    Example:
        >>> import torch
        >>> from handgraph.metrics import sparsification_curve
        >>> errors, uncertainty = torch.tensor([[6.0, 1.0, 2.0]]), torch.tensor([[9.0, 7.0, 8.0]])
        >>> [round(mean, 3) for mean in sparsification_curve(errors, uncertainty).tolist()]
        [0.333, 0.5, 1.0]
    """
    check_values(errors, "errors")
    check_like(uncertainty, "uncertainty", errors, "errors")
    mask = joint_mask(visible, errors)
    scored = errors[mask].double()
    check_no_nan(scored, "errors")
    check_no_nan(uncertainty[mask], "uncertainties")
    if (scored < 0).any():
        raise ValueError("expected errors of at least 0 (lengths), got negative ones")
    _, rank, ties = uncertainty[mask].unique(return_inverse=True, return_counts=True)
    sums = scored.new_zeros(len(ties)).index_add(0, rank, scored)
    ordered = (sums / ties).repeat_interleave(ties)
    means: Tensor = ordered.cumsum(0) / torch.arange(1, len(ordered) + 1, device=errors.device)
    return (means / scored.mean()).to(errors.dtype)


def ause(errors: Tensor, uncertainty: Tensor, visible: Tensor | None = None) -> Tensor:
    """Compute the area under the sparsification error (AUSE).

    This is the mean difference of :func:`handgraph.metrics.sparsification_curve` and that of an
    oracle, which ranks by the errors themselves (Ilg et al. 2018). 0 is best. A constant
    uncertainty gives 1/2 for errors that are uniform from 0 up.

    Args:
        errors: One error for each joint, such as :func:`handgraph.metrics.joint_errors`.
        uncertainty: Predicted uncertainty of each error. Only the order matters.
        visible: Joints to score. Default: all.

    Shapes:
        errors and uncertainty ``[*, J]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        A fraction of the mean error. NaN if all errors are 0, or no joint is visible.

    Raises:
        TypeError: If the floats are not float32 or float64, or ``visible`` not bool.
        ValueError: If a shape does not fit, or, at a visible joint, an error is negative, or an
            error or uncertainty NaN.

    Example:
        >>> import torch
        >>> from handgraph.metrics import ause
        >>> errors = torch.linspace(0, 1, 1001).reshape(1, -1)
        >>> [round(ause(errors, u).item(), 3) for u in (errors, torch.ones_like(errors), -errors)]
        [0.0, 0.5, 1.0]
    """
    curve = sparsification_curve(errors, uncertainty, visible)
    return (curve - sparsification_curve(errors, errors, visible)).mean()
