"""Fold a trained module for inference: fuse its linear maps permanently."""

from __future__ import annotations

import copy
from collections import OrderedDict
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from handgraph.nn.engines.conditions import changed, hooked
from handgraph.nn.folded import Folded, FoldedUNet
from handgraph.nn.fuse import join
from handgraph.nn.merge.base import Merger
from handgraph.nn.plan import Plan
from handgraph.nn.unet import AdaptiveGraphUNet

_Module = TypeVar("_Module", bound=nn.Module)


def fold(module: nn.Module) -> nn.Module:
    r"""Return a copy of a module for inference, with adjacent linear maps fused.

    An :class:`AdaptiveGraphUNet` multiplies its adjacencies and poolings in every forward pass, as
    their gradients require. After training, ``fold`` multiplies them once. It folds these modules,
    at any depth:

    - ``AdaptiveGraphUNet``, ``GraphMerger`` and ``HypothesisGraphMerger``, also inside of other
      modules such as :class:`JointHead` or :class:`VisibilityLifter`;
    - in an ``nn.Sequential``, PSJNet's core ``SubgraphMask, AdaptiveGraphUNet, GraphMerger`` over
      the same removal sets, as one chain of matrices (without a further feature);
    - in an ``nn.Sequential``, adjacent ``NodePool`` layers, and convolutions before batch norms;
    - modules whose class defines ``fused()``, which returns the module to use, such as the
      backbones of :class:`handgraph.vision.HeatmapGenerator`.

    All other modules are copied, including subclasses of these and graph layers with hooks. Hooks
    on a folded ``nn.Sequential`` or batch norm are lost. The copy is in eval mode. It gives the
    same output up to rounding, takes the same arguments (``node_mask`` included) and raises the
    same errors. Its maps are buffers, so it cannot be trained, but gradients reach its input. The
    speedup is largest for small batches, for which small nets run as dense matrices. The state dict
    fits other folded modules, not the original one. Later changes of the original parameters do not
    affect the copy.

    Args:
        module: A trained module. It is not modified.

    Returns:
        The folded copy.

    Raises:
        ValueError: If the module contains nothing to fold.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask, fold
        >>> removal = RemovalSets.by_level(HAND)
        >>> branches, merge = AdaptiveGraphUNet(2, 3, removal), GraphMerger(3, 3, removal)
        >>> net = torch.nn.Sequential(SubgraphMask(removal), branches, merge)
        >>> x = torch.rand(8, 21, 2)
        >>> torch.allclose(fold(net)(x), net(x), atol=1e-5)
        True
        >>> len(list(fold(net).parameters()))
        0
    """
    module = copy.deepcopy(module).eval()
    done: dict[nn.Module, nn.Module] = {}
    with torch.device("cpu"):  # each part then moves to its parameters' device
        folded = _fold(module, done)
    if all(old is new and not fuses(old) for old, new in done.items()):
        raise ValueError(
            "fold: expected a module with an AdaptiveGraphUNet or another part to fold, got "
            f"{type(module).__name__}"
        )
    return folded.eval()


def _fold(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Fold each module once, so that shared modules stay shared."""
    if module not in done:
        done[module] = _folded(module, done)
    return done[module]


def _folded(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if type(module) is AdaptiveGraphUNet and lowers(module):
        return _like(FoldedUNet(in_double(module)), module)
    if fuses(module):
        return cast("nn.Module", cast("Any", module).fused())
    if type(module) is nn.Sequential:
        module = _join_neighbours(module)
    elif lowers(module) and not isinstance(module, Merger):
        plan = plan_of(module)
        return _like(Folded(plan, branched(module)), module) if len(plan) > 1 else module
    for name, child in list(module._modules.items()):
        if child is not None and type(child) is not Folded:
            setattr(module, name, _fold(child, done))
    return module


def lowers(module: nn.Module) -> bool:
    """Return whether the plan of a module is equivalent to its ``forward``."""
    return hasattr(module, "lower") and (hooked(module) or changed(module)) is None


def fuses(module: nn.Module) -> bool:
    """Return whether the class of a module itself defines ``fused``."""
    return "fused" in type(module).__dict__ and hooked(module) is None


def branched(module: nn.Module) -> tuple[bool, bool]:
    """Return whether input and output of a module have a branch axis; by default neither has."""
    return getattr(module, "branched", (False, False))


def plan_of(module: nn.Module) -> Plan:
    """Return the plan of a module with ``lower``, in double precision."""
    return cast("Plan", cast("Any", in_double(module)).lower())


def in_double(module: _Module) -> _Module:
    """Return a copy on the CPU in double precision, to multiply maps in."""
    return copy.deepcopy(module).cpu().double()


def _like(folded: _Module, *like: nn.Module) -> _Module:
    """Move a folded module to the device and dtype of the original parameters."""
    parameter = next(p for module in like for p in module.parameters())
    return folded.to(parameter.device, parameter.dtype).eval()


def _join_neighbours(sequential: nn.Sequential) -> nn.Sequential:
    """Join adjacent children under the first name, or return the same object if none join."""
    joined: list[tuple[str, nn.Module]] = []
    run: list[nn.Module] = []
    for name, child in sequential.named_children():
        one = _join(*run, child) if run else None
        if one is None:
            run = [child]
            joined.append((name, child))
        else:
            run.append(child)
            joined[-1] = (joined[-1][0], one)
    return nn.Sequential(OrderedDict(joined)) if len(joined) < len(sequential) else sequential


def _join(*modules: nn.Module) -> nn.Module | None:
    """Return one module for adjacent ones, or ``None`` if they cannot be joined."""
    if len(modules) == 2 and (normed := _join_norm(*modules)) is not None:
        return normed
    if not all(lowers(m) and getattr(m, "feature_channels", 0) == 0 for m in modules):
        return None
    sides = [branched(module) for module in modules]
    if any(first[1] != then[0] for first, then in pairwise(sides)):
        return None
    try:
        plan = join(*map(plan_of, modules))
        return _like(Folded(plan, (sides[0][0], sides[-1][1])), *modules)
    except (ValueError, RuntimeError):  # sizes do not fit: ``forward`` raises
        return None


def _join_norm(conv: nn.Module, norm: nn.Module) -> nn.Module | None:
    """Fold a batch norm into the convolution before it."""
    if not any(type(conv) is c and type(norm) is n for c, n in _NORMS):
        return None
    transposed = type(conv) is nn.ConvTranspose2d
    if norm.running_mean is None or norm.num_features != conv.out_channels:
        return None
    if transposed and conv.groups != 1:  # PyTorch fuses these wrongly
        return None
    return fuse_conv_bn_eval(conv, norm, transposed)  # type: ignore[type-var, arg-type]


_NORMS = (
    (nn.Conv1d, nn.BatchNorm1d),
    (nn.Conv2d, nn.BatchNorm2d),
    (nn.ConvTranspose2d, nn.BatchNorm2d),
    (nn.Conv3d, nn.BatchNorm3d),
)
