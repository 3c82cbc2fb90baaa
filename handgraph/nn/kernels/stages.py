"""The chain of a graph U-Net: its plan, and the table of its dense stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from handgraph.nn.kernels.plan import Plan, Stage

if TYPE_CHECKING:
    from handgraph.nn.folded_unet import DenseStages


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
    return stages_plan(stages).pack((*stages.downs, *reversed(stages.ups)))
