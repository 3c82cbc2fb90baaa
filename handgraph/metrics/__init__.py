"""Pose metrics: PCK and its AUC, MPJPE, tables by joint and occlusion, calibration.

All metrics are computed from one value for each joint, ``[*, J]``: its error in metres
(:func:`joint_errors`), or its area under the PCK curve (:func:`joint_auc`). Means, tables and
bootstrap intervals accept both. ``visible`` (Bool ``[*, J]``) selects the joints to score.

The torchmetrics classes ``MPJPE``, ``PCK``, ``PCKAUC`` and ``OcclusionAUC`` are imported on first
use and need the extra ``handgraph[train]``.

Example:
    The AUC over images with small and with severe occlusion (Table 2 of the paper):

    >>> import torch
    >>> from handgraph.metrics import joint_auc, joint_errors, per_occlusion, thresholds
    >>> target = torch.zeros(2, 21, 3)
    >>> pred = torch.tensor([0.01, 0.02]).reshape(2, 1, 1).expand(2, 21, 3)
    >>> visible = torch.arange(21) < torch.tensor([[21], [7]])
    >>> areas = joint_auc(joint_errors(pred, target), thresholds(), visible)
    >>> {name: round(value.item(), 4) for name, value in per_occlusion(areas, visible).items()}
    {'all': 0.5658, 'small': 0.6579, 'severe': 0.2895}
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from handgraph.metrics.bootstrap import (
    Interval,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_means,
)
from handgraph.metrics.bootstrap_pck import bootstrap_pck
from handgraph.metrics.calibration import calibration_curve, expected_calibration_error, sharpness
from handgraph.metrics.errors import box_size, joint_errors, mpjpe, pa_mpjpe
from handgraph.metrics.groups import (
    occlusion_groups,
    per_group,
    per_joint,
    per_occlusion,
    relative_value,
)
from handgraph.metrics.mean import visible_mean, visible_median
from handgraph.metrics.pck import auc, joint_auc, pck_counts, pck_curve, thresholds
from handgraph.metrics.procrustes import procrustes_align, scale_align
from handgraph.metrics.sparsification import ause, sparsification_curve

if TYPE_CHECKING:
    from handgraph.metrics.modules import MPJPE as MPJPE
    from handgraph.metrics.modules import PCK as PCK
    from handgraph.metrics.modules import PCKAUC as PCKAUC
    from handgraph.metrics.modules import OcclusionAUC as OcclusionAUC

__all__ = [
    "Interval",
    "auc",
    "ause",
    "bootstrap_difference",
    "bootstrap_interval",
    "bootstrap_means",
    "bootstrap_pck",
    "box_size",
    "calibration_curve",
    "expected_calibration_error",
    "joint_auc",
    "joint_errors",
    "mpjpe",
    "occlusion_groups",
    "pa_mpjpe",
    "pck_counts",
    "pck_curve",
    "per_group",
    "per_joint",
    "per_occlusion",
    "procrustes_align",
    "relative_value",
    "scale_align",
    "sharpness",
    "sparsification_curve",
    "thresholds",
    "visible_mean",
    "visible_median",
]


def __getattr__(name: str) -> object:
    """Import the torchmetrics classes on first access."""
    if name in ("MPJPE", "PCK", "PCKAUC", "OcclusionAUC"):
        return getattr(import_module("handgraph.metrics.modules"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
