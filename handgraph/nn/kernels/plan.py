"""What the kernel is told to compute: a chain of small dense maps with ReLUs and skips.

A plan is sizes only. The numbers come in one table: for each stage its matrices, one a source and
row after row, then its bias. So the kernel knows nothing of graphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from handgraph.nn.folded_unet import DenseStages

MAX_MATRIX = 2**17
"""A net with a matrix of more entries takes the torch path: two small factors then cost less."""


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

    Example:
        >>> from handgraph.nn.kernels import Plan, Stage
        >>> plan = Plan(48, (Stage((0,), 64, True), Stage((0, 1), 10, False)))
        >>> plan.widths, plan.table_size
        ((48, 64, 10), 4266)
    """

    in_width: int
    stages: tuple[Stage, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of the input, then of each stage."""
        return self.in_width, *(stage.width for stage in self.stages)

    @property
    def table_size(self) -> int:
        """How many numbers a table holds."""
        return sum(rows * columns for rows, columns in self.matrices()) + sum(self.widths[1:])

    def matrices(self) -> Iterator[tuple[int, int]]:
        """The shapes of all matrices, in the order of the table."""
        for stage in self.stages:
            for source in stage.sources:
                yield self.widths[source], stage.width

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

    def is_small(self) -> bool:
        """Whether the kernel is made for it."""
        return max(rows * columns for rows, columns in self.matrices()) <= MAX_MATRIX

    def encode(self) -> list[int]:
        """As integers, which an operator can take."""
        flat = [self.in_width]
        for stage in self.stages:
            flat += [stage.width, int(stage.relu), len(stage.sources), *stage.sources]
        return flat


def decode(flat: Sequence[int]) -> Plan:
    """Read what :meth:`Plan.encode` wrote."""
    return _decode(tuple(flat))


@cache
def _decode(flat: tuple[int, ...]) -> Plan:
    stages: list[Stage] = []
    rest = flat[1:]
    while rest:
        width, relu, count = rest[:3]
        stages.append(Stage(rest[3 : 3 + count], width, bool(relu)))
        rest = rest[3 + count :]
    return Plan(flat[0], tuple(stages))


def unet_plan(in_width: int, downs: Sequence[int], ups: Sequence[int]) -> Plan:
    """The plan of a U-Net: the widths of its stages down and up, both from the finest level."""
    stages = [Stage((i,), width, True) for i, width in enumerate(downs)]
    for level in reversed(range(len(ups))):
        stages.append(Stage((level + 1, len(stages)), ups[level], level > 0))
    return Plan(in_width, tuple(stages))


def stages_plan(stages: DenseStages) -> Plan:
    """The plan of the stages of a U-Net."""
    downs, ups = ([stage[-1].shape[2] for stage in part] for part in (stages.downs, stages.ups))
    return unet_plan(stages.downs[0][0].shape[1], downs, ups)


def pack(stages: DenseStages) -> Tensor:
    """Lay out the stages of a U-Net as a table ``[N, T]``, differentiably."""
    parts = [part for stage in (*stages.downs, *reversed(stages.ups)) for part in stage]
    return torch.cat([part.flatten(1) for part in parts], dim=1)
