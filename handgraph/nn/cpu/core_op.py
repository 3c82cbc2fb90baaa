"""PSJNet's core for inference as one operator of PyTorch, ``torch.ops.handgraph.core``.

It has no derivative: what is folded has no parameters, and where a gradient of the input is wanted,
the branches and the merger have one each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handgraph.nn.cpu.layout import layout
from handgraph.nn.cpu.ops import block_size, check_maps, numbers, work_space
from handgraph.nn.kernels.sizes import Sizes


class Wiring(NamedTuple):
    """How the joints, the branches and the merger hang together.

    Shapes:
        - column: ``[N, R]``, the column of the input that each row of a branch is; -1 for padding
        - place: ``[N, R']``, the row of the merger that each output of a branch is; -1 for padding
        - constant: what the rows of the merger hold where no branch writes
    """

    column: Tensor
    place: Tensor
    constant: Tensor


def run_core(
    x: Tensor, maps: Tensor, merger_maps: Tensor, wiring: Wiring, sizes: Sizes, merger_sizes: Sizes
) -> Tensor:
    """Split, run the branches and merge: ``[B, W]`` to ``[B, W']``."""
    check_maps(x, maps)
    codes = sizes.encode(), merger_sizes.encode()
    out: Tensor = torch.ops.handgraph.core(x, maps, merger_maps, *wiring, *codes)
    return out


@torch.library.custom_op(
    "handgraph::core",
    mutates_args=(),
    schema="(Tensor x, Tensor maps, Tensor merger_maps, Tensor column, Tensor place, "
    "Tensor constant, int[] sizes, int[] merger_sizes) -> Tensor",
)
def _core(
    x: Tensor,
    maps: Tensor,
    merger_maps: Tensor,
    column: Tensor,
    place: Tensor,
    constant: Tensor,
    sizes: Sequence[int],
    merger_sizes: Sequence[int],
) -> Tensor:
    from handgraph.nn.cpu import core  # needs numba

    shape, _, to, rows = layout(Sizes.decode(sizes))
    merger_shape, _, merger_to, merger_rows = layout(Sizes.decode(merger_sizes))
    out = x.new_empty(len(x), merger_shape.goes[0] * merger_shape.outs[0])
    room = x.shape[1] + rows.size + merger_rows.size
    block = block_size(room, len(x))
    given = [numbers(t) for t in (x, out, maps, merger_maps, column, place, constant)]
    x_, out_, maps_, merger_maps_, *wiring = given
    w, branch = work_space(x, room * block), (to, rows, shape)
    merger = merger_to, merger_rows, merger_shape
    core.run_core(x_, out_, w, maps_, merger_maps_, branch, merger, *wiring, block)
    return out


@_core.register_fake
def _(x: Tensor, *others: Any) -> Tensor:
    net = Sizes.decode(others[-1])
    return x.new_empty(x.shape[0], net.nodes[0] * net.out_channels)
