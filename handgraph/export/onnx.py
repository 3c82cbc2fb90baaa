"""Modules to torch.export's programs and to ONNX."""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from handgraph._check import check_tensor


def trace(module: nn.Module, *inputs: Tensor) -> ExportedProgram:
    """Trace a module by ``torch.export``, for any number of samples.

    The first dimension of all inputs is the batch. The other sizes and the dtypes are those of the
    examples.

    Args:
        module: The module, in eval mode; it is left as it is.
        inputs: An example of each input, with the same number of samples, at least two:
            ``torch.export`` takes a size of 1 as fixed.

    Raises:
        TypeError: If an input is no tensor.
        ValueError: If the module or a part of it is in training mode, or an input has not the
            number of samples.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.export import trace
        >>> from handgraph.nn import AdaptiveGraphUNet
        >>> program = trace(AdaptiveGraphUNet(2, 3, HAND).eval(), torch.rand(2, 21, 2))
        >>> program.module()(torch.rand(5, 21, 2)).shape
        torch.Size([5, 21, 3])
    """
    training = [name for name, part in module.named_modules() if part.training]
    if training:
        which = repr(training[0]) if training[0] else "the module"
        raise ValueError(
            f"expected a module in eval mode, but {which} is in training mode: call .eval() first"
        )
    _check(inputs)
    # a named dimension is refused before torch 2.13
    dynamic = ({0: Dim.DYNAMIC},) * len(inputs)
    return torch.export.export(module, inputs, dynamic_shapes=dynamic)


def _check(inputs: tuple[Tensor, ...]) -> None:
    """Raise unless all inputs have the same number of samples, at least two."""
    if not inputs:
        raise ValueError("expected an example of each input, got none")
    for i, x in enumerate(inputs):
        check_tensor(x, f"input {i}")
        if x.dim() == 0 or len(x) < 2 or len(x) != len(inputs[0]):
            raise ValueError(
                f"expected inputs [B, ...] with the same B >= 2, got {list(x.shape)} for input {i}"
            )


def to_onnx(module: nn.Module, *inputs: Tensor) -> bytes:
    """Export a module to ONNX, for any number of samples.

    Outputs are those of the module, in order; of a named tuple or a dict, its tensors. Values are
    not checked in an exported module.

    Args:
        module: The module, in eval mode, as in :func:`trace`. :func:`handgraph.nn.fold` makes it
            faster first.
        inputs: An example of each input, as in :func:`trace`.

    Returns:
        The content of an ``.onnx`` file, parameters included.

    Raises:
        ImportError: Without onnxscript.
        TypeError: If an input is no tensor.
        ValueError: As in :func:`trace`.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.export import load_onnxruntime, to_onnx
        >>> from handgraph.nn import AdaptiveGraphUNet
        >>> net = AdaptiveGraphUNet(2, 3, HAND).eval()
        >>> run = load_onnxruntime(to_onnx(net, torch.rand(2, 21, 2)))
        >>> x = torch.rand(5, 21, 2)
        >>> (run(x) - net(x)).abs().max().item() < 1e-5
        True
    """
    if find_spec("onnxscript") is None:
        raise ImportError("to_onnx needs onnxscript: pip install 'handgraph[export]'")
    with warnings.catch_warnings(), redirect_stdout(StringIO()):  # old exporters print
        warnings.simplefilter("ignore")  # the exporter's, about itself
        exported = torch.onnx.export(trace(module, *inputs), dynamo=True, verbose=False)
    model: bytes = exported.model_proto.SerializeToString()  # type: ignore[union-attr]
    return model
