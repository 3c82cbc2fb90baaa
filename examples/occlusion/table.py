"""Compute the rows of Table 2 from the results of all networks: means, spreads and intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handgraph import metrics
from occlusion.methods import METHODS
from occlusion.settings import Job

REFERENCE = "ensemble"  # all rows are compared with it: branches that remove no joints
AUC_GRID = metrics.thresholds()

Result = dict[str, Any]
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


def make_rows(results: Mapping[Job, Result], visible: Tensor) -> list[Row]:
    """Score all rows, and compare each with the reference on the same inputs."""
    groups, order = grouped(results), list(METHODS)
    listed = sorted(groups, key=lambda key: (key[0], len(key[1]), order.index(key[2])))
    areas = {
        key: torch.stack([metrics.joint_auc(net["errors"], AUC_GRID) for net in nets]).mean(dim=0)
        for key, nets in groups.items()
    }
    return [_row(key, groups[key], areas, visible) for key in listed]


def grouped(results: Mapping[Job, Result]) -> dict[Key, list[Result]]:
    """Group the results of all networks by row."""
    groups: dict[Key, list[Result]] = {}
    for job, result in results.items():
        groups.setdefault((job.regime, job.inputs, job.method), []).append(result)
    return groups


def _row(key: Key, nets: list[Result], areas: dict[Key, Tensor], visible: Tensor) -> Row:
    regime, inputs, method = key
    values = [measures(net["errors"], net["errors_clean"], visible) for net in nets]
    stacked = {name: torch.tensor([value[name] for value in values]) for name in values[0]}
    mean = {name: value.mean().item() for name, value in stacked.items()}
    spread = {name: value.std().item() if len(nets) > 1 else 0.0 for name, value in stacked.items()}
    severe = metrics.occlusion_groups(visible)["severe"]
    area, shown, rng = areas[key][severe], visible[severe], torch.Generator().manual_seed(0)
    _, *interval = percent(metrics.bootstrap_interval(area, shown, generator=rng))
    reference, difference = areas.get((regime, inputs, REFERENCE)), None
    if reference is not None and method != REFERENCE:
        paired = metrics.bootstrap_difference(area, reference[severe], shown, generator=rng)
        difference = percent(paired)
    size = nets[0]["parameters"]
    return Row(method, inputs, regime, len(nets), size, mean, spread, tuple(interval), difference)


def percent(values: Sequence[Tensor]) -> tuple[float, ...]:
    """Return values times 100."""
    return tuple(100 * value.item() for value in values)


def measures(errors: Tensor, errors_clean: Tensor, visible: Tensor) -> dict[str, float]:
    """Compute Table 2 of a network, AUC times 100, and the gain from clean inputs.

    AUC of the PCK of visible joints, pooled, 0 to 50 mm in 20 steps; severe means at most 10
    visible joints. Gap is the gain in AUC on severe images from clean inputs at the hidden joints.
    Hidden is the mean error of hidden joints in millimetres.
    """
    severe = metrics.occlusion_groups(visible)["severe"]
    table = metrics.per_occlusion(metrics.joint_auc(errors, AUC_GRID, visible), visible)
    clean = metrics.visible_mean(metrics.joint_auc(errors_clean[severe], AUC_GRID), visible[severe])
    found = dict(zip(table, percent(table.values()), strict=True))
    found["rel"] = 100 * found["severe"] / found["small"]
    found["gap"] = 100 * clean.item() - found["severe"]
    found["hidden"] = 1000 * metrics.visible_mean(errors, ~visible).item()
    return found


def markdown(rows: Sequence[Row], regime: str) -> str:
    """Format the table of a regime as Markdown."""
    lines = [
        "| method | inputs | parameters | networks | All | Small | Severe | Rel | Gap | Hidden "
        "| 95 % interval | difference |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in (row for row in rows if row.regime == regime):
        cells = [METHODS[row.method].title, row.inputs, f"{row.parameters:,}", str(row.num_nets)]
        cells += [f"{mean:.1f} ± {row.spread[name]:.1f}" for name, mean in row.mean.items()]
        cells.append("[{:.1f}, {:.1f}]".format(*row.severe_interval))
        over = row.severe_over_reference
        cells.append("" if over is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*over))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
