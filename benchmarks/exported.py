"""The core in onnxruntime and OpenVINO, on the CPU, for inference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

from torch import Tensor, nn

from benchmarks.contestants import Contestant, Unavailable, folded
from benchmarks.sizes import Core, poses
from handgraph.export import load_onnxruntime, load_openvino, to_onnx
from handgraph.export.runtimes import Run


class Exported(nn.Module):
    """A module in another runtime.

    Args:
        run: Function that calls the module in its runtime.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Call the module in its runtime."""
        out: Tensor | tuple[Tensor, ...] = self.run(*inputs)
        return out


def exported(core: Core) -> list[Contestant]:
    """Return the core in onnxruntime, unchanged and folded, and the folded core in OpenVINO."""
    (x,) = poses(2, core.split.removal.skeleton.num_joints, 1)
    of_core = cache(lambda: to_onnx(_ready(core), x))
    of_folded = cache(lambda: to_onnx(_ready(folded(core)), x))
    runs = {
        "onnxruntime": lambda: load_onnxruntime(of_core()),
        "onnxruntime, folded": lambda: load_onnxruntime(of_folded()),
        "OpenVINO, folded": lambda: load_openvino(of_folded()),
    }
    return [
        Contestant(name, loaded(load), trains=False, counted=False) for name, load in runs.items()
    ]


def loaded(load: Callable[[], Run]) -> nn.Module:
    """Load a module, or return a placeholder that raises the reason if loading fails."""
    try:
        return Exported(load())
    except Exception as error:  # exporters and runtimes raise many types
        return Unavailable(str(error))


def _ready(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).float().eval()
