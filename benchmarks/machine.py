"""Machine, versions and settings of a result, and the JSON file for it."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch_geometric

import handgraph


def machine(device: torch.device) -> dict[str, Any]:
    """Return the machine, versions and settings that affect times."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "device": _name(device),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "handgraph": handgraph.__version__,
        "triton": version("triton") if find_spec("triton") else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _cpu() -> str:
    """Return the processor's name, or the architecture if the name is unknown."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write(result: dict[str, Any], path: Path | None) -> None:
    """Write a result as JSON, unless the path is ``None``."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
