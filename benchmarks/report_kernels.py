"""What the page says of the kernels on CUDA: of their host, their machine code, their tilings."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import markdown, origin

KERNEL_HEAD = (
    "kernel", "block", "warps", "dtype", "products", "registers", "KB", "instructions", "cycles",
    "barriers", "around: instructions", "cycles", "barriers",
)  # fmt: skip
COUNTS = ("instructions", "cycles", "barriers")


def host(result: dict[str, Any]) -> str:
    """What a GPU's host does for a call."""
    text = (
        f"Default sizes, batch {result['batch']}, threads 1: time and launches of a call where the "
        "library's kernels take the core, with these kernels counted and left out."
    )
    head = ["call", "us", "quartiles", "kernels", "operations of PyTorch"]
    body = []
    for row in result["rows"]:
        low, median, high = (f"{1e6 * row['time'][key]:.0f}" for key in ("q25", "median", "q75"))
        counts = [str(row["kernels"]), str(row["operations"])]
        body.append([row["call"], median, f"{low}-{high}", *counts])
    return "\n\n".join(["## A GPU's host", origin(result), text, markdown([head, *body])])


def kernels(result: dict[str, Any]) -> str:
    """What the kernels need of a GPU, as compiled for it."""
    source, rows = result["machine"], result["kernels"]
    versions = f"Triton {source['triton']}, torch {source['torch']}; {source['date']}."
    text = (
        "Of the loop that multiplies a block of samples by one part of a matrix after the other, "
        "and of the loop around it, over the tiles that these products add up to: what each warp "
        "executes, and the cycles that the compiler has it wait between instructions, the least "
        "that they take if memory never keeps it waiting."
    )
    lines = [list(KERNEL_HEAD), *map(_kernel, rows)]
    parts = [f"## The kernels, compiled for {result['capability']}", versions, text]
    return "\n\n".join([*parts, markdown(lines), _longest(result)])


def _kernel(row: dict[str, Any]) -> list[str]:
    name = f"{row['kernel']}, quick" if row["quick"] else row["kernel"]
    sizes = [row["block"], row["warps"], row["dtype"], row["precision"], row["registers"]]
    counts = [row[key] for key in COUNTS]
    around = [row[f"tile_{key}"] if row["tile_instructions"] else "-" for key in COUNTS]
    return [name, *(str(value) for value in (*sizes, row["shared"] // 1024, *counts, *around))]


def _longest(result: dict[str, Any]) -> str:
    """How long a block takes that is alone."""
    core = next(row for row in result["kernels"] if row["kernel"] == "core")
    parts, tiles = result["folded_core"]["parts"], result["folded_core"]["tiles"]
    cycles = parts * core["cycles"] + tiles * core["tile_cycles"]
    return (
        f"{core['block']} samples go through the {parts} parts and {tiles} tiles of a folded core "
        f"of default sizes one after the other, in {cycles:,} cycles."
    )


def tune(result: dict[str, Any]) -> str:
    """The fastest tilings, and those that are chosen."""
    head = ["work", "batch", "fastest", "us", "chosen", "us", "times slower"]
    body = []
    for found in result["tables"]:
        times = {row["tiling"]: 1e6 * row["median"] for row in found["rows"]}
        (first, least), chosen = next(iter(times.items())), found["chosen"]
        us = times.get(chosen)
        last = ["-", "-"] if us is None else [f"{us:.1f}", f"{us / least:.2f}"]
        body.append([found["work"], str(found["batch"]), first, f"{least:.1f}", chosen, *last])
    return "\n\n".join(["## Tilings of the kernels", origin(result), markdown([head, *body])])
