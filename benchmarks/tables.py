"""Speed-ups and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.contestants import HOPE_NET, NORMALIZED_ONCE, PYG

Row = dict[str, Any]
HEADER = (
    "implementation",
    "ms",
    "quartiles",
    "cold ms",
    "vs HOPE-Net",
    "vs best PyG",
    "vs normalised once",
    "ops",
    "MB",
    "error",
    "% of matmul",
)


def best(rows: Iterable[Row], names: Sequence[str]) -> float | None:
    """Return the shortest median of the named rows, ``None`` if none of them was timed."""
    medians = [row["hot"]["median"] for row in rows if row["name"] in names and "hot" in row]
    return min(medians, default=None)


def ratio(reference: float | None, row: Row) -> str:
    """Format the speed-up of a row over a reference time; values below 1 are marked."""
    if reference is None or "hot" not in row:
        return "-"
    return faster(reference / row["hot"]["median"])


def faster(times: float) -> str:
    """Format a speed-up; values below 1 are marked."""
    return f"{times:.2f}" if times >= 0.995 else f"**{times:.2f} slower**"


def _cells(row: Row, references: Sequence[float | None], rate: float) -> list[str]:
    name = row["name"] if row["same"] else f"{row['name']} *"
    if "hot" not in row:
        return [name, row["reason"], *["-"] * (len(HEADER) - 2)]
    hot, cold = row["hot"], row["cold"]
    return [
        name,
        milliseconds(hot["median"]),
        f"{milliseconds(hot['q25'])}-{milliseconds(hot['q75'])}",
        milliseconds(cold["median"]),
        *(ratio(reference, row) for reference in references),
        str(row.get("operations", "-")),
        f"{row['peak_bytes'] / 1e6:.2f}" if "peak_bytes" in row else "-",
        f"{row['error']:.0e}" if "error" in row else "-",
        f"{100 * row['flops'] / hot['median'] / rate:.1f}" if "flops" in row else "-",
    ]


def milliseconds(seconds: float) -> str:
    """Format seconds as milliseconds with three digits."""
    return digits(1e3 * seconds)


def digits(value: float) -> str:
    """Format a number with three significant digits, or as an integer from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(rows: Sequence[Row], rate: float) -> list[list[str]]:
    """Return the cells of one comparison, header first.

    Args:
        rows: One row per contestant.
        rate: Floating point operations per second of a large matrix product.
    """
    references = [best(rows, names) for names in ((HOPE_NET,), PYG, (NORMALIZED_ONCE,))]
    return [list(HEADER), *(_cells(row, references, rate) for row in rows)]


def shares(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of a pipeline table, with each part's share of the whole in its form."""
    medians = {(row["part"], row["form"]): row["time"]["median"] for row in rows if "time" in row}
    lines = [["part", "form", "ms", "share", "vs eager", "images/s", "ops", "pixels"]]
    for row in rows:
        part, form = row["part"], row["form"]
        if "reason" in row:
            lines.append([part, form, row["reason"], *[""] * 5])
            continue
        median, pixels = medians[part, form], row.get("pixels")
        whole = medians.get(("whole", form), medians["whole", "eager"])
        lines.append(
            [
                part,
                form,
                milliseconds(median),
                f"{median / whole:.1%}",
                faster(medians[part, "eager"] / median),
                digits(row["images_per_second"]),
                str(row.get("operations", "")),
                f"{pixels['median']:.2f}, {pixels['max']:.2f}" if pixels else "",
            ]
        )
    return lines


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """Format cells as a Markdown table with the first column left-aligned."""
    head, *body = ["| " + " | ".join(line) + " |" for line in cells]
    rule = "|---|" + "---:|" * (len(cells[0]) - 1)
    return "\n".join([head, rule, *body])


def plain(cells: Sequence[Sequence[str]]) -> str:
    """Format cells as aligned columns of text."""
    shown = [[cell.replace("**", "") for cell in line] for line in cells]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in shown
    )


def origin(result: dict[str, Any]) -> str:
    """Describe the origin of a result: machine, versions, date and seed."""
    source = result["machine"]
    device = source["cpu"] if source["device"] == "cpu" else source["device"]
    cuda = f", CUDA {source['cuda']}" if source["cuda"] else ""
    quick = " **Quick run: few rounds.**" if result["quick"] else ""
    return (
        f"{device}, {source['cores']} cores, {source['system']}; Python {source['python']}, "
        f"torch {source['torch']}{cuda}, torch-geometric {source['torch_geometric']}, handgraph "
        f"{source['handgraph']}; {source['date']}, seed {result['seed']}.{quick}"
    )
