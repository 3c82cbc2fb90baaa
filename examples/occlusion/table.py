"""Compute the rows of Table 2 from the results of all networks: means, spreads and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handgraph.metrics import (
    bootstrap_difference,
    bootstrap_interval,
    joint_auc,
    occlusion_groups,
    per_occlusion,
    thresholds,
    visible_mean,
)
from occlusion.methods import METHODS
from occlusion.settings import Job

REFERENCE = "ensemble"
"""The control that all other rows are compared with: branches that remove no joints."""


Key = tuple[str, str, str]
"""Regime, inputs and method of a row."""


class Row(NamedTuple):
    """Results of a method with one kind of input over all its networks; AUC times 100."""

    method: str
    inputs: str
    regime: str
    num_nets: int
    parameters: int
    mean: dict[str, float]
    spread: dict[str, float]
    severe_interval: tuple[float, float]
    severe_over_reference: tuple[float, float, float] | None


def make_rows(results: dict[Job, dict[str, Any]], visible: Tensor) -> list[Row]:
    """Score all rows, and compare each with the reference on the same inputs."""
    groups: dict[Key, list[dict[str, Any]]] = {}
    for job, result in results.items():
        groups.setdefault((job.regime, job.inputs, job.method), []).append(result)
    order = list(METHODS)
    listed = sorted(groups, key=lambda key: (key[0], len(key[1]), order.index(key[2])))
    areas = {
        key: torch.stack([joint_auc(net["errors"], thresholds()) for net in nets]).mean(dim=0)
        for key, nets in groups.items()
    }
    return [_row(key, groups[key], areas, visible) for key in listed]


def _row(key: Key, nets: list[dict[str, Any]], areas: dict[Key, Tensor], visible: Tensor) -> Row:
    regime, inputs, method = key
    values = [measures(net["errors"], net["errors_clean"], visible) for net in nets]
    stacked = {name: torch.tensor([value[name] for value in values]) for name in values[0]}
    severe, rng = occlusion_groups(visible)["severe"], torch.Generator().manual_seed(0)
    ends = bootstrap_interval(areas[key][severe], visible[severe], generator=rng)
    reference, difference = areas.get((regime, inputs, REFERENCE)), None
    if reference is not None and method != REFERENCE:
        pair = areas[key][severe], reference[severe]
        paired = bootstrap_difference(*pair, visible[severe], generator=rng)
        difference = tuple(100 * end.item() for end in paired)
    mean = {name: value.mean().item() for name, value in stacked.items()}
    spread = {name: value.std().item() if len(nets) > 1 else 0.0 for name, value in stacked.items()}
    interval, size = (100 * ends.low.item(), 100 * ends.high.item()), nets[0]["parameters"]
    return Row(method, inputs, regime, len(nets), size, mean, spread, interval, difference)


def measures(errors: Tensor, errors_clean: Tensor, visible: Tensor) -> dict[str, float]:
    """Compute Table 2 of a network, AUC times 100, and the gain from clean inputs.

    AUC of the PCK of visible joints, pooled, 0 to 50 mm in 20 steps; severe means at most 10
    visible joints. Gap is the gain in AUC on severe images from clean inputs at the hidden joints.
    Hidden is the mean error of hidden joints in millimetres.
    """
    grid, severe = thresholds(), occlusion_groups(visible)["severe"]
    table = per_occlusion(joint_auc(errors, grid, visible), visible)
    clean = visible_mean(joint_auc(errors_clean[severe], grid), visible[severe])
    percent = {name: 100 * value.item() for name, value in table.items()}
    percent["rel"] = 100 * percent["severe"] / percent["small"]
    percent["gap"] = 100 * clean.item() - percent["severe"]
    percent["hidden"] = 1000 * visible_mean(errors, ~visible).item()
    return percent


def markdown(rows: Sequence[Row], regime: str) -> str:
    """Format the table of a regime as Markdown."""
    head = (
        "| method | inputs | parameters | networks | All | Small | Severe | Rel | Gap | Hidden "
        "| 95 % interval | difference |\n"
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    lines = [head]
    for row in (row for row in rows if row.regime == regime):
        title, size = METHODS[row.method].title, f"{row.parameters:,}"
        cells = [f"{mean:.1f} ± {row.spread[name]:.1f}" for name, mean in row.mean.items()]
        over = row.severe_over_reference
        ends = "[{:.1f}, {:.1f}]".format(*row.severe_interval)
        difference = "" if over is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*over)
        cells = [title, row.inputs, size, str(row.num_nets), *cells, ends, difference]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
