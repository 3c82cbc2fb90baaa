"""The core in other runtimes: onnxruntime and OpenVINO, on the CPU, for inference."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from benchmarks.contestants import Contestant, Unavailable, folded
from benchmarks.sizes import Core, poses

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A model in a runtime."""


class Exported(nn.Module):
    """A model in another runtime, which reads the memory of its input without a copy.

    Args:
        model: The model as ONNX.
        runtime: Loads it.
    """

    def __init__(self, model: bytes, runtime: Callable[[bytes], Run]) -> None:
        super().__init__()
        self.run = runtime(model)

    def forward(self, x: Tensor) -> Tensor:
        """Run the model."""
        return torch.from_numpy(self.run(x.numpy()))


def to_onnx(module: nn.Module, x: Tensor) -> bytes:
    """Export a module for batches of any size.

    Args:
        module: The module, which is left alone.
        x: An example of its input, with at least two samples.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        module = copy.deepcopy(module).float().eval()
        program = torch.export.export(module, (x,), dynamic_shapes=({0: Dim.DYNAMIC},))
        exported = torch.onnx.export(program, dynamo=True, verbose=False)
    model: bytes = exported.model_proto.SerializeToString()  # type: ignore[union-attr]
    return model


def onnxruntime(model: bytes) -> Run:
    """Load a model in onnxruntime, with as many threads as PyTorch has."""
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in session.get_inputs())
    return lambda x: session.run(None, {name: x})[0]


def openvino(model: bytes) -> Run:
    """Load a model in OpenVINO, in float32, with as many threads as PyTorch has."""
    core = import_module("openvino").Core()
    options = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # bfloat16 by default where the processor has it
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # a pinned thread waits where its core is busy
    }
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    request = compiled.create_infer_request()
    return lambda x: request.infer([x], share_inputs=True)[0]


def exported(core: Core) -> list[Contestant]:
    """The core in onnxruntime, as it is and folded, and folded in OpenVINO."""
    (x,) = poses(2, core.split.removal.skeleton.num_joints, 1)
    of_folded = cache(lambda: to_onnx(folded(core), x))
    return [
        _contestant("onnxruntime", onnxruntime, lambda: to_onnx(core, x)),
        _contestant("onnxruntime, folded", onnxruntime, of_folded),
        _contestant("OpenVINO, folded", openvino, of_folded),
    ]


def _contestant(
    name: str, runtime: Callable[[bytes], Run], export: Callable[[], bytes]
) -> Contestant:
    """Export and load a module; where that fails, the table has the reason."""
    try:
        module: nn.Module = Exported(export(), runtime)
    except Exception as error:  # exporters and runtimes raise what they like
        module = Unavailable(str(error))
    return Contestant(name, module, trains=False, counted=False)
