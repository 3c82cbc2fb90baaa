"""Reasons for which the Triton engine refuses a plan."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from math import prod

import torch
from torch import Tensor

from handgraph.nn.engines.conditions import watched
from handgraph.nn.engines.cuda.lower import is_input, is_uniform
from handgraph.nn.plan import Plan, Scale, Select, Shape, shapes

HAS_TRITON = find_spec("triton") is not None
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MAX_MATRIX = 2**17
"""Largest number of entries of a dense matrix. Beyond it, two small factors cost less."""


def refuses_here() -> str | None:
    """Return why the engine cannot run on this machine, or ``None``."""
    if not HAS_TRITON:
        return "Triton is not installed"
    return None if torch.cuda.is_available() or _is_interpreted() else "no CUDA device is available"


def refuses_input(x: Tensor, parts: Iterable[Tensor]) -> str | None:
    """Return why the engine refuses an input with these tensors of a plan, or ``None``."""
    if not HAS_TRITON:
        return "Triton is not installed"
    if x.device.type != "cuda" and not (x.device.type == "cpu" and _is_interpreted()):
        return f"the input is on {x.device}"
    if x.device.type == "cuda" and not _is_recent(x.device):
        return "the GPU is not from NVIDIA, or older than compute capability 8.0"
    if x.dtype not in DTYPES:
        return f"the input is {x.dtype}"
    floats = [part for part in parts if part.is_floating_point()]
    if not floats or any((part.dtype, part.device) != (x.dtype, x.device) for part in floats):
        return "plan and input have different dtypes or devices"
    return watched(x)


def refuses_plan(plan: Plan, given: Shape) -> str | None:
    """Return why the engine refuses a fused plan on inputs of this shape, or ``None``."""
    found = shapes(plan, given)
    if any(isinstance(term.node_map, Scale) for stage in plan for term in stage.terms):
        return "nodes of single samples are masked"
    if plan[-1].relu or is_input(plan[-1]):
        return "the last stage has a ReLU, or only selects nodes"
    stages = zip(plan, found[1:], strict=True)
    terms = [(t, out) for stage, out in stages if not is_input(stage) for t in stage.terms]
    if any(isinstance(term.node_map, Select) for term, _ in terms):
        return "nodes are selected within the plan"
    if found[-1].branches > 1 and not is_uniform(plan, given):
        return "only some stages have branches"
    size = max(prod(found[term.source][1:]) * prod(out[1:]) for term, out in terms)
    return f"a dense matrix would have {size} entries" if size > MAX_MATRIX else None


def _is_interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _is_recent(device: torch.device) -> bool:
    major: int = torch.cuda.get_device_properties(device).major
    return torch.version.hip is None and major >= 8
