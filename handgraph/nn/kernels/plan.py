"""What the kernel is told to compute: a chain of small dense maps with ReLUs and skips.

A plan is sizes only. The numbers come in one table, in the order in which the kernel reads them. So
the kernel knows nothing of graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

MAX_MATRIX = 2**17
"""A net with a matrix of more entries takes the torch path: two small factors then cost less."""
TILE = 64
"""Rows and columns of the parts that matrices are cut into."""


class Stage(NamedTuple):
    """One dense map: the sum of its sources' products and a bias, then perhaps a ReLU.

    Args:
        sources: What it reads: 0 is the input of the chain, i the output of its i-th stage.
        width: Size of its output.
        relu: Whether a ReLU follows.

    Example:
        >>> from handgraph.nn.kernels import Stage
        >>> Stage((0, 1), 10, False).width
        10
    """

    sources: tuple[int, ...]
    width: int
    relu: bool


class Plan(NamedTuple):
    """A chain of stages, of which the last gives the output.

    Args:
        in_width: Size of the input.
        stages: The stages in their order.
        tile: Matrices are cut into parts of so many rows and columns; a power of two, 16 or more.

    Example:
        >>> from handgraph.nn.kernels import Plan, Stage
        >>> plan = Plan(48, (Stage((0,), 64, True), Stage((0, 1), 10, False)))
        >>> plan.widths, plan.num_parts, plan.table_size
        ((48, 64, 10), 3, 12416)
    """

    in_width: int
    stages: tuple[Stage, ...]
    tile: int = TILE

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of the input, then of each stage."""
        return self.in_width, *(stage.width for stage in self.stages)

    @property
    def tiles(self) -> tuple[int, ...]:
        """How many tiles the input has, then each stage."""
        return tuple(-(-width // self.tile) for width in self.widths)

    @property
    def num_parts(self) -> int:
        """How many parts all matrices have."""
        tiles = self.tiles
        return sum(
            count * tiles[source]
            for stage, count in zip(self.stages, tiles[1:], strict=True)
            for source in stage.sources
        )

    @property
    def table_size(self) -> int:
        """How many numbers a table holds."""
        return _table_size(self)

    def matrices(self) -> Iterator[tuple[int, int]]:
        """The shapes of all matrices: stage by stage, source by source."""
        widths = self.widths
        for stage in self.stages:
            for source in stage.sources:
                yield widths[source], stage.width

    def pack(self, maps: Iterable[Sequence[Tensor]], fill: float = 0) -> Tensor:
        """Lay out matrices and biases as a table, differentiably.

        For each tile of each stage, and each source, the table has all parts of the matrix that
        lead to the tile, from the first row to the last; behind all parts it has the biases.
        Parts and biases are filled up to whole tiles. A part stands column by column, as the
        matrix units of a GPU take it.

        Args:
            maps: For each stage its matrices, one a source, and its bias.
            fill: What parts and biases are filled up with.

        Shapes:
            - maps: ``[N, W, W']`` and ``[N, 1, W']``
            - output: ``[N, T]``

        Raises:
            ValueError: If the shapes are not those of the plan.

        Example:
            >>> import torch
            >>> from handgraph.nn.kernels import Plan, Stage
            >>> plan = Plan(48, (Stage((0,), 10, False),))
            >>> plan.pack([(torch.rand(4, 48, 10), torch.rand(4, 1, 10))]).shape
            torch.Size([4, 4160])
        """
        maps = list(maps)
        self._check_maps(maps)
        parts, biases = [], []
        for *matrices, bias in maps:
            cut = [self._cut(matrix, fill) for matrix in matrices]
            parts.append(torch.cat(cut, dim=2).flatten(1))
            biases.append(pad(bias.flatten(1), (0, -bias.shape[2] % self.tile), value=fill))
        return torch.cat([*parts, *biases], dim=1)

    def _check_maps(self, maps: Sequence[Sequence[Tensor]]) -> None:
        widths = self.widths
        expected = [
            [*((widths[source], stage.width) for source in stage.sources), (1, stage.width)]
            for stage in self.stages
        ]
        found = [[tuple(tensor.shape[1:]) for tensor in stage] for stage in maps]
        if found != expected:
            raise ValueError(
                f"plan: expected for each stage its matrices and its bias, of shapes [N, *] with "
                f"{expected}, got {found}"
            )

    def _cut(self, matrix: Tensor, fill: float) -> Tensor:
        """``[N, W, W']`` to ``[N, tiles across, tiles down, tile, tile]``, columns before rows."""
        rows, columns = (-size % self.tile for size in matrix.shape[1:])
        whole: Tensor = pad(matrix, (0, columns, 0, rows), value=fill)
        tile = self.tile
        tiled = whole.reshape(
            len(whole), whole.shape[1] // tile, tile, whole.shape[2] // tile, tile
        )
        return tiled.permute(0, 3, 1, 4, 2)

    def check(self) -> None:
        """Raise a ValueError unless every stage reads what comes before it, and the last is linear.

        The kernels differentiate no ReLU that nothing follows.
        """
        for number, stage in enumerate(self.stages, start=1):
            if not stage.sources or not all(0 <= source < number for source in stage.sources):
                raise ValueError(
                    f"plan: expected stage {number} to read some of 0 to {number - 1}, "
                    f"got {stage.sources}"
                )
        if min(self.widths) < 1 or not self.stages or self.stages[-1].relu:
            raise ValueError(
                f"plan: expected positive widths and a last stage without ReLU, got {self}"
            )
        if self.tile < 16 or self.tile & (self.tile - 1):
            raise ValueError(f"plan: expected a tile of 16, 32, 64, ..., got {self.tile}")

    def is_small(self) -> bool:
        """Whether the kernel is made for it."""
        return max(rows * columns for rows, columns in self.matrices()) <= MAX_MATRIX

    def encode(self) -> list[int]:
        """As integers, which an operator can take."""
        flat = [self.tile, self.in_width]
        for stage in self.stages:
            flat += [stage.width, int(stage.relu), len(stage.sources), *stage.sources]
        return flat


def decode(flat: Sequence[int]) -> Plan:
    """Read what :meth:`Plan.encode` wrote, and check it: once, since every call asks for it."""
    return _decode(tuple(flat))


@cache
def _table_size(plan: Plan) -> int:
    """Counted once: every call of the kernels asks for it."""
    return plan.num_parts * plan.tile**2 + sum(plan.tiles[1:]) * plan.tile


@cache
def _decode(flat: tuple[int, ...]) -> Plan:
    stages: list[Stage] = []
    tile, in_width, *rest = flat
    while rest:
        width, relu, count = rest[:3]
        stages.append(Stage(tuple(rest[3 : 3 + count]), width, bool(relu)))
        rest = rest[3 + count :]
    plan = Plan(in_width, tuple(stages), tile)
    plan.check()
    return plan
