"""The ways to run a part of the pipeline."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmarks.contestants import Call
from benchmarks.exported import loaded
from handgraph.export import load_onnxruntime, load_openvino, to_onnx
from handgraph.nn import engines, fold


def infer(module: Call) -> Call:
    """Call a module without gradients."""

    def call(x: Tensor) -> object:
        with torch.no_grad():
            return module(x)

    return call


def autocast(module: Call, device: str) -> Call:
    """Call a module in bfloat16, where autocast takes it."""

    def call(x: Tensor) -> object:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return module(x)

    return call


def in_torch(module: nn.Module, device: str, *, convolutional: bool) -> dict[str, Call]:
    """PyTorch's forms: as it is, in bfloat16, and both in channels_last."""
    found = {"eager": infer(module), "bf16": autocast(module, device)}
    if convolutional:
        last = copy.deepcopy(module).to(memory_format=torch.channels_last)
        found |= {"channels_last": infer(last), "channels_last, bf16": autocast(last, device)}
    return found


def by_triton(module: nn.Module) -> dict[str, Call]:
    """The engine for CUDA, also folded."""

    def call_of(form: nn.Module) -> Call:
        def call(x: Tensor) -> object:
            with torch.no_grad(), engines.use("triton"):
                return form(x)

        return call

    return {"Triton": call_of(module), "folded, Triton": call_of(fold(module))}


def compiled(module: nn.Module) -> dict[str, Call]:
    """``torch.compile``, for one batch size."""
    return {"compiled": infer(torch.compile(copy.deepcopy(module), dynamic=False))}


def exported(module: nn.Module, x: Tensor) -> dict[str, nn.Module]:
    """Other runtimes, for any batch; OpenVINO in bfloat16 too."""
    model = to_onnx(fold(module), x)
    return {
        "onnxruntime": loaded(lambda: load_onnxruntime(model)),
        "OpenVINO": loaded(lambda: load_openvino(model)),
        "OpenVINO, bf16": loaded(lambda: load_openvino(model, dtype=torch.bfloat16)),
    }
