"""Print every public name, one per line: `make names` writes them to public_names.txt."""

from __future__ import annotations

import importlib

MODULES = (
    "handgraph",
    "handgraph.datasets",
    "handgraph.detectors",
    "handgraph.export",
    "handgraph.formats",
    "handgraph.geometry",
    "handgraph.hub",
    "handgraph.losses",
    "handgraph.masks",
    "handgraph.metrics",
    "handgraph.metrics.modules",
    "handgraph.nn",
    "handgraph.nn.engines",
    "handgraph.nn.plan",
    "handgraph.plot",
    "handgraph.published",
    "handgraph.testing",
    "handgraph.transforms",
    "handgraph.video",
    "handgraph.vision",
)


def public_names() -> list[str]:
    return [
        f"{module}.{name}"
        for module in MODULES
        for name in sorted(importlib.import_module(module).__all__)
    ]


if __name__ == "__main__":
    print("\n".join(public_names()))
