"""Inference of ONNX models in onnxruntime and OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from handgraph._check import check_count

Run = Callable[..., Any]
"""Function that runs a model: input tensors to an output tensor, or to a tuple of tensors."""

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


def load_onnxruntime(model: bytes | Path, *, threads: int | None = None) -> Run:
    """Load an ONNX model in onnxruntime, on the CPU.

    Args:
        model: Output of :func:`to_onnx`, or the path of a file with it.
        threads: Number of threads; by default that of PyTorch.

    Raises:
        ImportError: If onnxruntime is not installed.
        ValueError: If the number of threads is not positive.

    Example:
        >>> import torch
        >>> from handgraph.export import load_onnxruntime, to_onnx
        >>> run = load_onnxruntime(to_onnx(torch.nn.ReLU().eval(), torch.rand(2, 3)), threads=1)
        >>> run(torch.tensor([[-1.0, 0.0, 2.0]])).tolist()
        [[0.0, 0.0, 2.0]]
    """
    runtime = _module("onnxruntime", "load_onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = _threads(threads)
    session = runtime.InferenceSession(
        model if isinstance(model, bytes) else str(model),
        options,
        providers=["CPUExecutionProvider"],
    )
    names = [entry.name for entry in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        arrays = _arrays(inputs, len(names))
        return _tensors(session.run(None, dict(zip(names, arrays, strict=True))))

    return run


def load_openvino(
    model: bytes | Path, *, dtype: torch.dtype = torch.float32, threads: int | None = None
) -> Run:
    """Load an ONNX model in OpenVINO, on the CPU.

    Args:
        model: Output of :func:`to_onnx`, or the path of a file with it.
        dtype: Dtype of the computation, ``torch.float32`` or ``torch.bfloat16``. Inputs and outputs
            have the dtypes of the model.
        threads: Number of threads; by default that of PyTorch.

    Raises:
        ImportError: If openvino is not installed.
        ValueError: If another dtype is given, the processor does not support bfloat16, or the
            number of threads is not positive.

    Example:
        >>> import torch
        >>> from handgraph.export import load_openvino, to_onnx
        >>> run = load_openvino(to_onnx(torch.nn.ReLU().eval(), torch.rand(2, 3)))
        >>> run(torch.tensor([[-1.0, 0.0, 2.0]])).tolist()
        [[0.0, 0.0, 2.0]]
    """
    core = _module("openvino", "load_openvino", "openvino").Core()
    options = {
        "INFERENCE_NUM_THREADS": _threads(threads),
        "INFERENCE_PRECISION_HINT": _precision(
            dtype, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        ),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # a pinned thread waits if other processes use its core
    }
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    request = compiled.create_infer_request()
    dtypes = [port.element_type.to_dtype() for port in compiled.inputs]

    def run(*inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        arrays = _arrays(inputs, len(dtypes))
        if [x.dtype for x in arrays] != dtypes:  # OpenVINO would convert them silently
            raise TypeError(
                f"expected inputs of {', '.join(map(str, dtypes))}, "
                f"got {', '.join(str(x.dtype) for x in arrays)}"
            )
        return _tensors(request.infer(arrays, share_inputs=True).to_tuple())

    return run


def _precision(dtype: torch.dtype, capabilities: Sequence[str]) -> str:
    """Return OpenVINO's name of a dtype, and check that the processor supports it."""
    if dtype not in PRECISIONS:
        raise ValueError(f"expected dtype to be torch.float32 or torch.bfloat16, got {dtype}")
    if dtype == torch.bfloat16 and "BF16" not in capabilities:
        raise ValueError("expected dtype=torch.float32: this processor does not support bfloat16")
    return PRECISIONS[dtype]


def _threads(threads: int | None) -> int:
    if threads is None:
        return torch.get_num_threads()
    check_count(threads, "threads", 1)
    return threads


def _arrays(inputs: tuple[Tensor, ...], count: int) -> list[NDArray[Any]]:
    if len(inputs) != count:
        raise ValueError(f"expected {count} inputs, got {len(inputs)}")
    return [x.numpy() for x in inputs]


def _tensors(arrays: Iterable[NDArray[Any]]) -> Tensor | tuple[Tensor, ...]:
    tensors = tuple(torch.from_numpy(x) for x in arrays)
    return tensors[0] if len(tensors) == 1 else tensors


def _module(name: str, function: str, extra: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"{function} needs {name}: pip install 'handgraph[{extra}]'") from error
