"""Plots of the weights of hypotheses in a merger."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from handgraph.plot._axes import flat_axes
from handgraph.plot._check import Array, to_array
from handgraph.plot._heat import heat_map
from handgraph.plot.style import FAINT
from handgraph.subgraph import RemovalSets


def draw_weights(weights: Tensor, removal: RemovalSets, *, ax: Axes | None = None) -> Axes:
    """Draw the weight of each branch for each joint: rows are joints, columns removal sets.

    A cross marks joints that are removed in the branch. NaN weights are blank. Infinities have the
    colour of the largest finite weight.

    Args:
        weights: Weights that a merger returns with ``return_weights=True``, for one sample or
            averaged over a batch: ``weights.mean(dim=0)``.
        removal: Removal sets of the branches.
        ax: 2D axes, which are shared with the colour bar. Default: new axes.

    Shapes:
        weights ``[N, K]``

    Units:
        Fractions: the weights of a joint sum to 1.

    Raises:
        TypeError: If ``weights`` is not a floating-point tensor.
        ValueError: If a shape does not fit the removal sets, or ``ax`` is 3D.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import MeanMerger
        >>> from handgraph.plot import draw_weights
        >>> removal = RemovalSets.by_level(HAND)
        >>> _, weights = MeanMerger(3, 3, removal)(torch.rand(8, 4, 16, 3), return_weights=True)
        >>> ax = draw_weights(weights.mean(dim=0), removal)
        >>> table = ax.images[0].get_array()
        >>> table.shape, table[0].tolist()  # the wrist is in all four branches
        ((21, 4), [0.25, 0.25, 0.25, 0.25])
    """
    shape = (len(removal), removal.num_nodes)
    table = _by_joint(to_array(weights, "weights", shape, "branches by kept joints"), removal)
    ax = flat_axes(ax, 4.5, 5.5)
    largest = float(np.nan_to_num(table, posinf=0).max()) or 1.0
    joints = removal.skeleton.joints
    heat_map(ax, table, joints, removal.names, "weight", cmap="cividis", vmin=0, vmax=largest)
    lost, joint = (~removal.keep_mask).numpy().nonzero()
    ax.plot(lost, joint, color=FAINT, marker="x", linestyle="none", label="removed")
    ax.set_xlabel("removal set")
    return ax


def _by_joint(weights: Array, removal: RemovalSets) -> Array:
    """Convert weights of branches and kept joints ``[N, K]`` to ``[J, N]``, NaN if removed."""
    position = removal.position.numpy()
    table: Array = np.take_along_axis(weights, position.clip(min=0), axis=1)
    return np.where(position < 0, np.nan, table).T
