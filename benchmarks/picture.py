"""Log-log plots of time and memory against size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw one column per axis, with time above memory."""
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    names = list(dict.fromkeys(row["name"] for row in rows))
    figure = Figure(figsize=(3.5 * len(axes), 6), layout="constrained")
    panels = figure.subplots(2, len(axes), squeeze=False, sharex="col")
    for column, axis in enumerate(axes):
        above, below = panels[0][column], panels[1][column]
        for name in names:
            line = [r for r in rows if (r["axis"], r["name"]) == (axis, name) and "hot" in r]
            values = [row["value"] for row in line]
            hot = [row["hot"] for row in line]
            (drawn,) = above.loglog(values, [1e3 * h["median"] for h in hot], "o-", ms=3)
            low, high = ([1e3 * h[q] for h in hot] for q in ("q25", "q75"))
            above.fill_between(values, low, high, color=drawn.get_color(), alpha=0.2)
            memory = [row["peak_bytes"] / 1e6 for row in line]
            below.loglog(values, memory, "o-", ms=3, color=drawn.get_color(), label=name)
        above.set_title(axis)
        below.set_xlabel(axis)
        sizes = sorted({row["value"] for row in rows if row["axis"] == axis})
        below.set_xticks(sizes[::2], labels=[str(size) for size in sizes[::2]])
        below.xaxis.minorticks_off()
    panels[0][0].set_ylabel("ms per call")
    panels[1][0].set_ylabel("peak MB of tensors")
    figure.legend(*panels[1][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
