"""Forms of a part of the pipeline: eager, reduced precision, compiled and other runtimes."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmarks.contestants import Call
from benchmarks.exported import loaded
from handgraph.export import load_onnxruntime, load_openvino, to_onnx
from handgraph.nn import engines, fold


def infer(module: Call) -> Call:
    """Return a call of the module without gradients."""

    def call(x: Tensor) -> object:
        with torch.no_grad():
            return module(x)

    return call


def autocast(module: Call, device: str) -> Call:
    """Return a call of the module under autocast to bfloat16."""

    def call(x: Tensor) -> object:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return module(x)

    return call


def in_torch(module: nn.Module, device: str, *, convolutional: bool) -> dict[str, Call]:
    """Return the eager form and the bfloat16 form; with convolutions, also in channels_last."""
    found = {"eager": infer(module), "bf16": autocast(module, device)}
    if convolutional:
        last = copy.deepcopy(module).to(memory_format=torch.channels_last)
        found |= {"channels_last": infer(last), "channels_last, bf16": autocast(last, device)}
    return found


def by_triton(module: nn.Module) -> dict[str, Call]:
    """Return the module run by the Triton engine, unchanged and folded."""

    def call_of(form: nn.Module) -> Call:
        def call(x: Tensor) -> object:
            with torch.no_grad(), engines.use("triton"):
                return form(x)

        return call

    return {"Triton": call_of(module), "folded, Triton": call_of(fold(module))}


def compiled(module: nn.Module) -> dict[str, Call]:
    """Return the module compiled by ``torch.compile`` for one batch size."""
    return {"compiled": infer(torch.compile(copy.deepcopy(module), dynamic=False))}


def exported(module: nn.Module, x: Tensor) -> dict[str, nn.Module]:
    """Return the folded module in onnxruntime and OpenVINO, with a dynamic batch size."""
    model = to_onnx(fold(module), x)
    return {
        "onnxruntime": loaded(lambda: load_onnxruntime(model)),
        "OpenVINO": loaded(lambda: load_openvino(model)),
        "OpenVINO, bf16": loaded(lambda: load_openvino(model, dtype=torch.bfloat16)),
    }
