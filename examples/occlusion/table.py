"""From the results of all nets to Table 2: numbers, spread and intervals."""

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
"""The control that every other row is compared with: branches that lost nothing."""


class Row(NamedTuple):
    """One method with one kind of input, over all its nets; AUC and differences times 100."""

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
    """Score every row; each is compared with the reference on the same inputs."""
    groups: dict[tuple[str, str, str], list[Job]] = {}
    for job in results:
        groups.setdefault((job.regime, job.inputs, job.method), []).append(job)
    areas = {key: _mean_area([results[job] for job in jobs]) for key, jobs in groups.items()}
    return [
        _row(key, [results[job] for job in jobs], areas, visible)
        for key, jobs in sorted(groups.items(), key=_as_listed)
    ]


def _as_listed(group: tuple[tuple[str, str, str], list[Job]]) -> tuple[str, int, int]:
    (regime, inputs, method), _ = group
    return regime, len(inputs), list(METHODS).index(method)


def _row(
    key: tuple[str, str, str],
    nets: Sequence[dict[str, Any]],
    areas: dict[tuple[str, str, str], Tensor],
    visible: Tensor,
) -> Row:
    regime, inputs, method = key
    values = [measures(net["errors"], net["errors_clean"], visible) for net in nets]
    stacked = {name: torch.tensor([value[name] for value in values]) for name in values[0]}
    severe = occlusion_groups(visible)["severe"]
    rng = torch.Generator().manual_seed(0)
    ends = bootstrap_interval(areas[key][severe], visible[severe], generator=rng)
    reference, difference = areas.get((regime, inputs, REFERENCE)), None
    if reference is not None and method != REFERENCE:
        paired = bootstrap_difference(
            areas[key][severe], reference[severe], visible[severe], generator=rng
        )
        difference = tuple(100 * end.item() for end in paired)
    return Row(
        method,
        inputs,
        regime,
        len(nets),
        nets[0]["parameters"],
        {name: value.mean().item() for name, value in stacked.items()},
        {name: value.std().item() if len(nets) > 1 else 0.0 for name, value in stacked.items()},
        (100 * ends.low.item(), 100 * ends.high.item()),
        difference,
    )


def measures(errors: Tensor, errors_clean: Tensor, visible: Tensor) -> dict[str, float]:
    """Table 2 of one net, AUC times 100, and the gap that clean inputs would close.

    AUC of the PCK of visible joints, pooled, 0 to 50 mm in 20 steps; severe means at most 10
    visible joints. The gap is the AUC on severe images with clean inputs at the hidden joints,
    less that without. Hidden is the mean error of hidden joints in millimetres.
    """
    grid, severe = thresholds(), occlusion_groups(visible)["severe"]
    table = per_occlusion(joint_auc(errors, grid, visible), visible)
    clean = visible_mean(joint_auc(errors_clean[severe], grid), visible[severe])
    percent = {name: 100 * value.item() for name, value in table.items()}
    percent["rel"] = 100 * percent["severe"] / percent["small"]
    percent["gap"] = 100 * clean.item() - percent["severe"]
    percent["hidden"] = 1000 * visible_mean(errors, ~visible).item()
    return percent


def _mean_area(nets: Sequence[dict[str, Any]]) -> Tensor:
    """Area under each joint's curve, averaged over the nets of a row."""
    return torch.stack([joint_auc(net["errors"], thresholds()) for net in nets]).mean(dim=0)


def markdown(rows: Sequence[Row], regime: str) -> str:
    """The table of one regime."""
    head = (
        "| method | inputs | parameters | nets | All | Small | Severe | Rel | Gap | Hidden "
        f"| Severe: 95 % over images | Severe over {METHODS[REFERENCE].title} |\n"
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )
    return head + "\n".join(_line(row) for row in rows if row.regime == regime)


def _line(row: Row) -> str:
    cells = [f"{row.mean[name]:.1f} ± {row.spread[name]:.1f}" for name in row.mean]
    low, high = row.severe_interval
    over = "" if row.severe_over_reference is None else (
        "{:+.1f} [{:+.1f}, {:+.1f}]".format(*row.severe_over_reference)
    )  # fmt: skip
    title = METHODS[row.method].title
    size, nets = f"{row.parameters:,}", str(row.num_nets)
    cells = [title, row.inputs, size, nets, *cells, f"[{low:.1f}, {high:.1f}]", over]
    return f"| {' | '.join(cells)} |"
