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


def stages_plan(stages: DenseStages) -> Plan:
    """The plan of the stages of a U-Net."""
    downs, ups = stages.downs, list(reversed(stages.ups))
    chain = [Stage((i,), bias.shape[2], True) for i, (_, bias) in enumerate(downs)]
    for level, (_, _, bias) in zip(reversed(range(len(ups))), ups, strict=True):
        chain.append(Stage((level + 1, len(chain)), bias.shape[2], level > 0))
    return Plan(downs[0][0].shape[1], tuple(chain))


def pack(stages: DenseStages) -> Tensor:
    """Lay out the stages of a U-Net as a table ``[N, T]``, differentiably."""
    parts = [part for stage in (*stages.downs, *reversed(stages.ups)) for part in stage]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def unpack(plan: Plan, table: Tensor) -> list[tuple[list[Tensor], Tensor]]:
    """Give the matrices ``[N, W, W']`` and the bias ``[N, 1, W']`` of each stage as views."""
    found, start = [], 0
    for stage in plan.stages:
        matrices = []
        for source in stage.sources:
            shape = plan.widths[source], stage.width
            matrices.append(table.narrow(1, start, shape[0] * shape[1]).unflatten(1, shape))
            start += shape[0] * shape[1]
        found.append((matrices, table.narrow(1, start, stage.width).unsqueeze(1)))
        start += stage.width
    return found


def run_plan(x: Tensor, table: Tensor, plan: Plan) -> Tensor:
    """Compute a chain by torch: what the kernel is compared with.

    Args:
        x: ``[B, N, W]``.
        table: ``[N, T]``.
        plan: The chain.

    Returns:
        ``[B, N, W']``.
    """
    outputs = [x.transpose(0, 1)]
    for stage, (matrices, bias) in zip(plan.stages, unpack(plan, table), strict=True):
        out = bias.expand(-1, x.shape[0], -1)
        for source, matrix in zip(stage.sources, matrices, strict=True):
            out = torch.baddbmm(out, outputs[source], matrix)
        outputs.append(out.relu() if stage.relu else out)
    return outputs[-1].transpose(0, 1)
