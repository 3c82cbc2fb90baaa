"""Export of modules to ``torch.export`` programs and ONNX."""

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
    """Trace a module by ``torch.export``, with a dynamic batch size.

    The first dimension of all inputs is the batch. The other sizes and the dtypes are fixed to
    those of the examples.

    Args:
        module: The module, in eval mode. It is not changed.
        inputs: An example of each input, with the same batch size, at least 2, since
            ``torch.export`` treats a size of 1 as fixed.

    Raises:
        TypeError: If an input is not a tensor.
        ValueError: If the module or a child is in training mode, or batch sizes differ or are
            below 2.

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
    # torch before 2.13 does not accept a named dimension
    dynamic = ({0: Dim.DYNAMIC},) * len(inputs)
    return torch.export.export(module, inputs, dynamic_shapes=dynamic)


def _check(inputs: tuple[Tensor, ...]) -> None:
    """Raise unless all inputs have the same batch size, at least 2."""
    if not inputs:
        raise ValueError("expected an example of each input, got none")
    for i, x in enumerate(inputs):
        check_tensor(x, f"input {i}")
        if x.dim() == 0 or len(x) < 2 or len(x) != len(inputs[0]):
            raise ValueError(
                f"expected inputs [B, ...] with the same B >= 2, got {list(x.shape)} for input {i}"
            )


def to_onnx(module: nn.Module, *inputs: Tensor) -> bytes:
    """Export a module to ONNX, with a dynamic batch size.

    The outputs are the tensors that the module returns, in order. A named tuple or dict is
    flattened to its tensors. An exported module does not check values.

    Args:
        module: The module, in eval mode, as in :func:`trace`. Fold it by :func:`handgraph.nn.fold`
            for a faster model.
        inputs: An example of each input, as in :func:`trace`.

    Returns:
        The content of an ``.onnx`` file, including the parameters.

    Raises:
        ImportError: If onnxscript is not installed.
        TypeError: If an input is not a tensor.
        ValueError: See :func:`trace`.

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
        warnings.simplefilter("ignore")  # warnings of the exporter about its own code
        exported = torch.onnx.export(trace(module, *inputs), dynamo=True, verbose=False)
    model: bytes = exported.model_proto.SerializeToString()  # type: ignore[union-attr]
    return model
