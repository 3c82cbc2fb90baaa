"""Metrics as torchmetrics classes, which accumulate over batches and processes.

Needs the extra ``handgraph[train]``. The classes are also attributes of
:mod:`handgraph.metrics`, which imports this module (and torchmetrics) on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(
        "the metric classes need torchmetrics: pip install 'handgraph[train]' "
        "(the functions of handgraph.metrics do not)"
    ) from error

from handgraph._check import check_count, check_skeleton, check_tensor
from handgraph.metrics._check import (
    AVERAGES,
    NAN_POLICIES,
    Average,
    NanPolicy,
    check_choice,
    check_thresholds,
    joint_mask,
)
from handgraph.metrics.errors import joint_errors, shown_errors
from handgraph.metrics.groups import occlusion_groups, relative_value
from handgraph.metrics.mean import combine_joints
from handgraph.metrics.pck import auc, pck_counts
from handgraph.metrics.pck import thresholds as default_thresholds
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND

__all__ = ["MPJPE", "PCK", "PCKAUC", "OcclusionAUC"]


def _check_joints(errors: Tensor, skeleton: Skeleton) -> None:
    if errors.shape[-1] != skeleton.num_joints:
        raise ValueError(
            f"expected the {skeleton.num_joints} joints of skeleton {skeleton.name!r}, "
            f"got {errors.shape[-1]}"
        )


def _check_target(target: Tensor, mask: Tensor) -> None:
    if not (target.isfinite().all(-1) | ~mask).all():
        raise ValueError("expected finite targets at visible joints, got NaN or infinite ones")


def _the_same(settings: Tensor) -> Tensor:
    """Reduce the settings of synchronised metrics, which must be equal. ``[n, *]`` -> ``[*]``."""
    if not (settings == settings[0]).all():
        raise ValueError(f"expected metrics with the same settings, got {settings.tolist()}")
    return settings[0]


class MPJPE(Metric):
    """Mean per-joint position error of all batches, see :func:`handgraph.metrics.mpjpe`.

    The states are the sum of errors (float64) and the count of each joint, reduced by sum.

    Args:
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.
        skeleton: Skeleton of the joints.
        kwargs: Arguments of ``torchmetrics.Metric``.

    Shapes:
        ``update(pred, target, visible=None)``: ``[*, J, C]``, ``[*, J, C]``, Bool ``[*, J]``;
        ``compute()`` -> ``[]``, in torch's default float type

    Units:
        Metres in the camera frame give metres. NaN for a NaN prediction at a visible joint.

    Raises:
        TypeError: As for :func:`handgraph.metrics.joint_errors`, on update.
        ValueError: If ``average`` is unknown; on update, if a shape does not fit or a target at a
            visible joint is not finite.

    Example:
        >>> import torch
        >>> from handgraph.metrics import MPJPE
        >>> metric = MPJPE()
        >>> metric.update(torch.ones(2, 21, 3), torch.zeros(2, 21, 3))
        >>> round(metric.compute().item(), 4)
        1.7321
    """

    full_state_update = False
    higher_is_better = False
    is_differentiable = True

    total: Tensor
    count: Tensor

    def __init__(
        self, *, average: Average = "pooled", skeleton: Skeleton = HAND, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_choice(average, "average", AVERAGES)
        check_skeleton(skeleton, "MPJPE")
        self.average = average
        self.skeleton = skeleton
        zeros = torch.zeros(skeleton.num_joints, dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("count", zeros.long(), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, visible: Tensor | None = None) -> None:
        """Add a batch."""
        errors, mask = shown_errors(pred, target, visible)
        _check_joints(errors, self.skeleton)
        _check_target(target, mask)
        flat = errors.reshape(-1, errors.shape[-1])
        self.total = self.total + flat.sum(0, dtype=torch.float64)
        self.count = self.count + mask.reshape(flat.shape).sum(0)

    def compute(self) -> Tensor:
        """Return the mean over all batches."""
        mean = combine_joints(self.total, self.count, self.average)
        return mean.to(torch.get_default_dtype())

    def plot(self, val: Any = None, ax: Any = None) -> Any:  # noqa: ANN401
        """Draw one or several values as torchmetrics does; return figure and axes."""
        return self._plot(val, ax)


class _PCKCounts(Metric):
    """Base class of the PCK metrics: hits and counts of one or more groups of images.

    The states are hits Long ``[G, T, J]`` and counts Long ``[G, J]``, reduced by sum, and the
    settings, since ``MetricCollection`` merges metrics with equal states.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    num_groups: ClassVar[int] = 1

    thresholds: Tensor
    settings: Tensor
    hits: Tensor
    counts: Tensor

    def __init__(
        self,
        thresholds: Tensor | None = None,
        *,
        average: Average = "pooled",
        nan: NanPolicy = "raise",
        skeleton: Skeleton = HAND,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        grid = default_thresholds() if thresholds is None else thresholds
        check_tensor(grid, "thresholds")
        check_thresholds(grid, grid.device, 2)
        check_skeleton(skeleton, type(self).__name__)
        check_choice(average, "average", AVERAGES)
        check_choice(nan, "nan", NAN_POLICIES)
        self.thresholds = grid.clone()  # not a buffer, which module.half() would round
        self.average = average
        self.nan = nan
        self.skeleton = skeleton
        self._set_apart(*grid.tolist(), NAN_POLICIES.index(nan))
        shape = (self.num_groups, len(grid), skeleton.num_joints)
        self.add_state("hits", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(shape[::2], dtype=torch.long), dist_reduce_fx="sum")

    def _set_apart(self, *settings: float) -> None:
        """Store the settings in the first state; torchmetrics 1.4 compares only the first state."""
        state = torch.tensor(settings, dtype=torch.float64)
        self.add_state("settings", state, dist_reduce_fx=_the_same)

    def _groups(self, mask: Tensor) -> list[Tensor]:
        """Return the masks of the groups of images, ``G`` times Bool ``[*]``."""
        return [torch.ones_like(mask[..., 0])]

    def update(self, pred: Tensor, target: Tensor, visible: Tensor | None = None) -> None:
        """Add a batch."""
        errors = joint_errors(pred, target)
        mask = joint_mask(visible, errors)
        _check_joints(errors, self.skeleton)
        _check_target(target, mask)
        grid = self.thresholds.to(errors.device)
        added = [
            pck_counts(errors[images], grid, mask[images], nan=self.nan)
            for images in self._groups(mask)
        ]
        self.hits = self.hits + torch.stack([hits for hits, _ in added])
        self.counts = self.counts + torch.stack([counts for _, counts in added])

    def plot(self, val: Any = None, ax: Any = None) -> Any:  # noqa: ANN401
        """Draw one or several values as torchmetrics does; return figure and axes."""
        return self._plot(val, ax)

    def _curves(self, hits: Tensor, counts: Tensor) -> Tensor:
        """Compute PCK curves ``[*, T]`` from hits ``[*, T, J]`` and counts ``[*, J]``."""
        hits = hits.to(self.thresholds.dtype)
        return combine_joints(hits, counts.unsqueeze(-2), self.average)

    def _areas(self, hits: Tensor, counts: Tensor) -> Tensor:
        """Compute the areas under these curves, ``[*]``."""
        return auc(self._curves(hits, counts), self.thresholds.to(hits.device))


class PCK(_PCKCounts):
    """PCK curve of all batches, see :func:`handgraph.metrics.pck_curve`.

    Args:
        thresholds (Tensor | None): Increasing thresholds. Default:
            :func:`handgraph.metrics.thresholds`, 20 steps from 0 to 50 mm.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.pck_curve`.
        nan: ``"raise"`` or ``"miss"``, as in :func:`handgraph.metrics.pck_curve`.
        skeleton: Skeleton of the joints.
        kwargs: Arguments of ``torchmetrics.Metric``.

    Shapes:
        ``update(pred, target, visible=None)``: ``[*, J, C]``, ``[*, J, C]``, Bool ``[*, J]``;
        ``compute()`` -> ``[T]``, in the dtype of the thresholds

    Units:
        Poses in metres in the camera frame; the output is fractions from 0 to 1.

    Raises:
        TypeError: As for :func:`handgraph.metrics.pck_curve`.
        ValueError: As for :func:`handgraph.metrics.pck_curve`; if the joints are not those of the
            skeleton or a target at a visible joint is not finite.

    Example:
        >>> import torch
        >>> from handgraph.metrics import PCK, thresholds
        >>> metric = PCK(thresholds(0.05, steps=3))
        >>> metric.update(torch.full((2, 21, 3), 0.02), torch.zeros(2, 21, 3))
        >>> metric.compute().tolist()
        [0.0, 0.0, 1.0]
    """

    def compute(self) -> Tensor:
        """Return the curve over all batches."""
        return self._curves(self.hits[0], self.counts[0])

    def plot(self, val: Any = None, ax: Any = None) -> Any:  # noqa: ANN401
        """Draw one or several curves over the thresholds; return figure and axes."""
        draw_pck = import_module("handgraph.plot").draw_pck  # needs the extra plot
        values = self.compute() if val is None else val
        curves = [values] if isinstance(values, Tensor) else values
        named = {f"{n}": curve.cpu() for n, curve in enumerate(curves, 1)}
        ax = draw_pck(named, self.thresholds.cpu(), ax=ax)
        return ax.figure, ax


class PCKAUC(_PCKCounts):
    """Area under the PCK curve of all batches, see :func:`handgraph.metrics.auc`.

    Args:
        thresholds (Tensor | None): Increasing thresholds. Default:
            :func:`handgraph.metrics.thresholds`, 20 steps from 0 to 50 mm.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.pck_curve`.
        nan: ``"raise"`` or ``"miss"``, as in :func:`handgraph.metrics.pck_curve`.
        skeleton: Skeleton of the joints.
        kwargs: Arguments of ``torchmetrics.Metric``.

    Shapes:
        ``update(pred, target, visible=None)``: ``[*, J, C]``, ``[*, J, C]``, Bool ``[*, J]``;
        ``compute()`` -> ``[]``, in the dtype of the thresholds

    Units:
        Poses in metres in the camera frame; the output is a fraction from 0 to 1.

    Raises:
        TypeError: As for :func:`handgraph.metrics.pck_curve`.
        ValueError: As for :class:`handgraph.metrics.modules.PCK`.

    Example:
        >>> import torch
        >>> from handgraph.metrics import PCKAUC, thresholds
        >>> metric = PCKAUC(thresholds(0.05, steps=3))
        >>> metric.update(torch.full((2, 21, 3), 0.02), torch.zeros(2, 21, 3))
        >>> metric.compute().item()
        0.25
    """

    def compute(self) -> Tensor:
        """Return the area over all batches."""
        return self._areas(self.hits[0], self.counts[0])


class OcclusionAUC(_PCKCounts):
    """AUC over all images, and under small and severe occlusion: one row of the paper's Table 2.

    Args:
        thresholds (Tensor | None): Increasing thresholds. Default:
            :func:`handgraph.metrics.thresholds`, 20 steps from 0 to 50 mm.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.pck_curve`.
        nan: ``"raise"`` or ``"miss"``, as in :func:`handgraph.metrics.pck_curve`.
        skeleton: Skeleton of the joints.
        min_visible: Minimum number of visible joints for small occlusion.
        kwargs: Arguments of ``torchmetrics.Metric``.

    Shapes:
        ``update(pred, target, visible)``: ``[*, J, C]``, ``[*, J, C]``, Bool ``[*, J]``;
        ``compute()`` -> ``"all"``, ``"small"``, ``"severe"``, ``"relative"`` (severe / small):
        ``[]``, in the dtype of the thresholds

    Units:
        Poses in metres, camera frame. NaN for a group without visible joints.

    Raises:
        TypeError: As for :func:`handgraph.metrics.pck_curve`.
        ValueError: As for :class:`~handgraph.metrics.modules.PCK`; if ``min_visible`` is not from 1
            to J; on update without ``visible``.

    Example:
        >>> import torch
        >>> from handgraph.metrics import OcclusionAUC
        >>> visible = torch.arange(21) < torch.tensor([[21], [7]])
        >>> pred = torch.tensor([0.0, 0.025]).reshape(2, 1, 1) * torch.ones(2, 21, 3)
        >>> metric = OcclusionAUC()
        >>> metric.update(pred, torch.zeros(2, 21, 3), visible)
        >>> {name: round(value.item(), 4) for name, value in metric.compute().items()}
        {'all': 0.7829, 'small': 1.0, 'severe': 0.1316, 'relative': 0.1316}
    """

    num_groups: ClassVar[int] = 2

    def __init__(
        self,
        thresholds: Tensor | None = None,
        *,
        average: Average = "pooled",
        nan: NanPolicy = "raise",
        skeleton: Skeleton = HAND,
        min_visible: int = 11,
        **kwargs: Any,
    ) -> None:
        super().__init__(thresholds, average=average, nan=nan, skeleton=skeleton, **kwargs)
        check_count(min_visible, "min_visible", 1, skeleton.num_joints)
        self.min_visible = min_visible
        self._set_apart(*self.settings.tolist(), min_visible)

    def _groups(self, mask: Tensor) -> list[Tensor]:
        groups = occlusion_groups(mask, self.min_visible)
        return [groups["small"], groups["severe"]]

    def update(self, pred: Tensor, target: Tensor, visible: Tensor | None = None) -> None:
        """Add a batch; ``visible`` defines the occlusion groups."""
        if visible is None:
            raise ValueError("expected visible, which defines the occlusion groups, got None")
        super().update(pred, target, visible)

    def compute(self) -> dict[str, Tensor]:
        """Return the table over all batches."""
        hits = torch.cat([self.hits.sum(0, keepdim=True), self.hits])
        counts = torch.cat([self.counts.sum(0, keepdim=True), self.counts])
        everything, small, severe = self._areas(hits, counts)
        ratio = relative_value(small=small, severe=severe)
        return {"all": everything, "small": small, "severe": severe, "relative": ratio}
