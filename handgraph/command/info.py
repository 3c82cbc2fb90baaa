"""``python -m handgraph info``: print versions, extras and engine."""

from __future__ import annotations

import argparse
import platform
import re
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import numpy as np
import torch
import torch_geometric

import handgraph
from handgraph.nn import AdaptiveGraphUNet, engines
from handgraph.skeletons import HAND

_EXTRA = re.compile(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]")


def add_to(commands: Any) -> None:  # noqa: ANN401 (the type is private in argparse)
    """Add the command to a parser."""
    parser = commands.add_parser("info", help="print versions, extras and the engine")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print installed versions and the engine in use."""
    versions = {
        "handgraph": handgraph.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch-geometric": torch_geometric.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else "no device",
    }
    for name, value in versions.items():
        print(f"{name:16}{value}")
    for extra, packages in extras().items():
        print(f"extra {extra:10}{', '.join(f'{name} {found}' for name, found in packages.items())}")
    net = AdaptiveGraphUNet(2, 3, HAND).eval()
    with torch.no_grad():
        (choice,) = engines.explain(net, torch.rand(8, HAND.num_joints, 2))
    reasons = "".join(f"; {name}: {why}" for name, why in choice.refused.items())
    print(f"{'engine':16}{choice.engine}{reasons}")


def extras() -> dict[str, dict[str, str]]:
    """Return the version of each package of each extra, or "not installed"."""
    try:
        wanted = requires("handgraph") or []
    except PackageNotFoundError:  # handgraph is not installed
        return {}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for requirement in wanted:
        match = _EXTRA.match(requirement)
        if match and match[1] != "handgraph" and match[2] != "all":  # skip other extras
            found[match[2]][match[1]] = _version(match[1])
    return dict(found)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
