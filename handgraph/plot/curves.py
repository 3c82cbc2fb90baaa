"""Plots of PCK, calibration and sparsification curves from the metrics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from handgraph.metrics import Interval
from handgraph.plot._axes import flat_axes
from handgraph.plot._check import Array, check_named, to_array
from handgraph.plot.style import FAINT, Style, style


def draw_pck(
    curves: Mapping[str, Tensor | Interval], thresholds: Tensor, *, ax: Axes | None = None
) -> Axes:
    """Draw PCK curves, with intervals as bands.

    This is Fig. 3 of the paper. Curves differ by colour and dashes.

    Args:
        curves: Curves by name, from :func:`handgraph.metrics.pck_curve`, or with intervals from
            :func:`handgraph.metrics.bootstrap_pck` (or any other ``Interval`` of curves, such as
            mean, minimum and maximum of several nets).
        thresholds: Thresholds of all curves.
        ax: 2D axes. Default: new axes.

    Shapes:
        Each curve ``[T]``, or an ``Interval`` of three; thresholds ``[T]``. NaN gives a gap.

    Units:
        Thresholds in metres, drawn in millimetres; curves are fractions from 0 to 1.

    Raises:
        TypeError: If ``curves`` is not a mapping, or a curve or thresholds not a float tensor.
        ValueError: If ``curves`` is empty, thresholds is not ``[T]``, a curve has another length,
            or ``ax`` is 3D.

    Example:
        >>> import torch
        >>> from handgraph.metrics import bootstrap_pck, pck_curve, thresholds
        >>> from handgraph.plot import draw_pck
        >>> rng, grid = torch.Generator().manual_seed(0), thresholds()
        >>> errors = 0.05 * torch.rand(2, 100, 21, generator=rng)
        >>> curves = {"a": bootstrap_pck(errors[0], grid), "b": pck_curve(errors[1], grid)}
        >>> ax = draw_pck(curves, grid)
        >>> len(ax.lines), len(ax.collections), round(ax.lines[0].get_xdata()[-1])
        (2, 1, 50)
    """
    x = 1000 * _axis_values(thresholds, "thresholds")
    ax = _draw_curves(curves, x, ax)
    ax.set(xlabel="error threshold (mm)", ylabel="PCK", ylim=(0, 1))
    return ax


def draw_calibration(
    curves: Mapping[str, Tensor | Interval], levels: Tensor, *, ax: Axes | None = None
) -> Axes:
    """Draw calibration curves (reliability diagrams), with a dotted diagonal.

    A curve below the diagonal is overconfident.

    Args:
        curves: Curves by name, from :func:`handgraph.metrics.calibration_curve`, or intervals.
        levels: Nominal levels of all curves.
        ax: 2D axes. Default: new axes.

    Shapes:
        Each curve ``[T]``, or an ``Interval`` of three; levels ``[T]``. NaN gives a gap.

    Units:
        Fractions from 0 to 1.

    Raises:
        TypeError: If ``curves`` is not a mapping, or a curve or levels not a float tensor.
        ValueError: If ``curves`` is empty, levels is not ``[T]``, a curve has another length, or
            ``ax`` is 3D.

    Example:
        >>> import torch
        >>> from handgraph.plot import draw_calibration
        >>> levels = torch.linspace(0, 1, 11)
        >>> ax = draw_calibration({"scales twice too large": 1 - (1 - levels) ** 2}, levels)
        >>> round(float(ax.lines[0].get_ydata()[5]), 2)
        0.75
    """
    x = _axis_values(levels, "levels")
    ax = _draw_curves(curves, x, ax)
    ax.plot([0, 1], [0, 1], color=FAINT, linestyle=":", zorder=1)
    ax.set(xlabel="nominal level", ylabel="coverage", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return ax


def draw_sparsification(curves: Mapping[str, Tensor], *, ax: Axes | None = None) -> Axes:
    """Draw sparsification curves: mean error of the most certain joints relative to all joints.

    The x axis is the fraction of the joints that are kept. The oracle is
    ``sparsification_curve(errors, errors)``. A dotted line at 1 shows an uninformative uncertainty.

    Args:
        curves: Curves by name, from :func:`handgraph.metrics.sparsification_curve`.
        ax: 2D axes. Default: new axes.

    Shapes:
        Each curve ``[M]``; M may differ. NaN gives a gap.

    Units:
        Fractions of the joints from 0 to 1; errors as a ratio.

    Raises:
        TypeError: If ``curves`` is not a mapping, or a curve not a floating-point tensor.
        ValueError: If ``curves`` is empty, a curve is not ``[M]``, or ``ax`` is 3D.

    Example:
        >>> import torch
        >>> from handgraph.metrics import sparsification_curve
        >>> from handgraph.plot import draw_sparsification
        >>> errors = torch.tensor([[6.0, 1.0, 2.0, 3.0]])
        >>> ax = draw_sparsification({"oracle": sparsification_curve(errors, errors)})
        >>> ax.lines[0].get_xdata().tolist()
        [0.25, 0.5, 0.75, 1.0]
    """
    check_named(curves, "curve")
    arrays = [_axis_values(curve, name) for name, curve in curves.items()]
    ax = flat_axes(ax, 5.5, 4.0)
    for position, (name, y) in enumerate(zip(curves, arrays, strict=True)):
        _line(ax, np.arange(1, len(y) + 1) / len(y), y, style(position, name))
    ax.axhline(1, color=FAINT, linestyle=":", zorder=1)
    ax.set(xlabel="fraction of joints, most certain first", ylabel="mean error, relative to all")
    ax.set(xlim=(0, 1), ylim=(0, None))
    return _finish(ax)


def _draw_curves(curves: Mapping[str, Tensor | Interval], x: Array, ax: Axes | None) -> Axes:
    """Draw curves over the same ``x``, with intervals as bands."""
    check_named(curves, "curve")
    arrays = [_curve_values(curve, len(x), name) for name, curve in curves.items()]
    ax = flat_axes(ax, 5.5, 4.0)
    for position, (name, (value, *ends)) in enumerate(zip(curves, arrays, strict=True)):
        look = style(position, name)
        _line(ax, x, value, look)
        if ends:
            low, high = ends
            ax.fill_between(x, low, high, color=look.color, alpha=0.2, linewidth=0)
    return _finish(ax)


def _curve_values(curve: Tensor | Interval, length: int, name: str) -> list[Array]:
    """Return the values of a curve, and the ends of its interval if it has one."""
    parts = list(curve) if isinstance(curve, Interval) else [curve]
    return [to_array(part, name, (length,), "one value for each point") for part in parts]


def _axis_values(values: Tensor, name: str) -> Array:
    """Convert a tensor ``[T]`` to an array."""
    length = values.numel() if isinstance(values, Tensor) else 0
    return to_array(values, name, (length,), "one dimension")


def _line(ax: Axes, x: Array, y: Array, look: Style) -> None:
    ax.plot(x, y, color=look.color, linestyle=look.dashes, label=look.name)


def _finish(ax: Axes) -> Axes:
    ax.grid(alpha=0.3)
    ax.legend()
    return ax
