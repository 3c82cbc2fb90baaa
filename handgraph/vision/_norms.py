"""Fold batch norms into the convolutions before them, in timm models."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx, nn
from torch.nn.utils import fuse_conv_bn_eval

from handgraph.nn.engines.conditions import hooked


class _Tracer(fx.Tracer):
    """Tracer whose leaves include convolutions, norms, their subclasses and hooked modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a call of a module is one node of the graph."""
        leaf = isinstance(m, nn.Conv2d | nn.BatchNorm2d) or hooked(m) is not None
        return leaf or super().is_leaf_module(m, module_qualified_name)


def fold_norms(net: nn.Module) -> None:
    """Fold each batch norm, in place, into the convolution whose output only the norm uses."""
    try:
        pairs = list(_pairs(net))
    except Exception:  # control flow that depends on the input raises errors of many types
        for child in net.children():
            fold_norms(child)
        return
    for conv, norm in pairs:
        fused = fuse_conv_bn_eval(net.get_submodule(conv), net.get_submodule(norm))  # type: ignore[type-var, arg-type]
        net.set_submodule(conv, fused)
        # timm's BatchNormAct2d contains the activation
        net.set_submodule(norm, getattr(net.get_submodule(norm), "act", nn.Identity()))


def _pairs(net: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of each convolution and the norm after it, if each is called once."""
    calls = [node for node in _Tracer().trace(net).nodes if node.op == "call_module"]
    names = [str(call.target) for call in calls]
    for call, norm in zip(calls, names, strict=True):
        module = net.get_submodule(norm)
        if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
            continue
        (before,) = call.all_input_nodes
        conv = str(before.target)
        once = names.count(norm) == names.count(conv) == len(before.users) == 1
        if once and isinstance(net.get_submodule(conv), nn.Conv2d):
            yield conv, norm
