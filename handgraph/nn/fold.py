"""Fold a trained module for inference: its linear maps multiplied once for all."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from handgraph.nn.folded_merger import (
    FoldedCore,
    FoldedGraphMerger,
    FoldedHypothesisGraphMerger,
    is_core,
)
from handgraph.nn.folded_unet import FoldedUNet, in_double
from handgraph.nn.merge.graph import GraphMerger
from handgraph.nn.merge.literal import HypothesisGraphMerger
from handgraph.nn.pool import NodePool
from handgraph.nn.unet import AdaptiveGraphUNet


def fold(module: nn.Module) -> nn.Module:
    r"""Copy a module for inference, with the linear maps between its ReLUs multiplied once.

    An :class:`AdaptiveGraphUNet` multiplies its adjacencies and poolings together in every forward
    pass, as their gradients need it. Once trained, this can be done for ever. What is folded,
    wherever it stands in the module:

    - ``AdaptiveGraphUNet``, ``GraphMerger`` and ``HypothesisGraphMerger``, also inside of other
      modules such as :class:`JointHead` or :class:`VisibilityLifter`;
    - in an ``nn.Sequential``, PSJNet's core ``SubgraphMask, AdaptiveGraphUNet, GraphMerger`` over
      the same removal sets, as one chain of matrices (without a further feature);
    - in an ``nn.Sequential``, neighbouring ``NodePool``, and convolutions with batch norms.

    All else is copied as it is, subclasses of these too; hooks on what is folded are lost. The copy
    computes the same to rounding, takes the same arguments (``node_mask`` included), raises the
    same errors and is in eval mode. Its maps are buffers and not parameters: it cannot be trained,
    but gradients reach its input. It gains most with few samples, where the calls took the time: a
    small net is then a chain of dense matrices, and for large batches one of merged maps.
    Its state dict is that of another folded module, not that of the module. A change of the
    module's parameters does not reach the copy.

    Args:
        module: A trained module, which is left alone.

    Returns:
        The folded copy.

    Raises:
        ValueError: If there is nothing in the module that can be folded.

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
    folded = _fold(module, done)
    if all(old is new for old, new in done.items()):
        raise ValueError(
            "fold: expected a module with an AdaptiveGraphUNet, a GraphMerger, or an nn.Sequential "
            f"with NodePools or convolutions and batch norms, got {type(module).__name__}"
        )
    return folded.eval()


def _fold(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Fold each module once, so that what was shared remains shared."""
    if module not in done:
        done[module] = _folded(module, done)
    return done[module]


def _folded(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if type(module) is AdaptiveGraphUNet:
        return FoldedUNet(module)
    if type(module) is GraphMerger:
        return FoldedGraphMerger(module)
    if type(module) is HypothesisGraphMerger:
        return FoldedHypothesisGraphMerger(module)
    if type(module) is nn.Sequential:
        module = _join_neighbours(module)
    for name, child in list(module._modules.items()):
        if child is not None and type(child) is not FoldedCore:
            setattr(module, name, _fold(child, done))
    return module


def _join_neighbours(sequential: nn.Sequential) -> nn.Sequential:
    """Replace neighbours that make one map, under the first name; the same object if none do."""
    names: list[str] = []
    joined: list[nn.Module] = []
    for name, child in sequential._modules.items():
        names.append(name)
        joined.append(child)
        for count, join in _RULES:
            one = join(*joined[-count:]) if len(joined) >= count else None
            if one is not None:
                names[-count:], joined[-count:] = [names[-count]], [one]
    if len(joined) == len(sequential):
        return sequential
    return nn.Sequential(OrderedDict(zip(names, joined, strict=True)))


def _join_core(split: nn.Module, branches: nn.Module, merge: nn.Module) -> FoldedCore | None:
    if is_core(split, branches, merge):
        return FoldedCore(split, branches, merge)  # type: ignore[arg-type]
    return None


@torch.no_grad()
def _join_pools(first: nn.Module, second: nn.Module) -> NodePool | None:
    if type(first) is not NodePool or type(second) is not NodePool:
        return None
    branches = [() if p.node_mask is None else p.node_mask.shape[:1] for p in (first, second)]
    if first.out_nodes != second.in_nodes or branches[0] != branches[1]:
        return None
    with first.weight.device:
        pool = NodePool(first.in_nodes, second.out_nodes, node_mask=first.node_mask)
    pool = pool.to(first.weight)
    one = in_double(second).node_map().after(in_double(first).node_map())
    pool.weight.copy_(one.matrix)
    pool.bias.copy_(one.bias)
    return pool.requires_grad_(False)


def _join_norm(conv: nn.Module, norm: nn.Module) -> nn.Module | None:
    """Fold a batch norm into the convolution before it, by PyTorch's own utility."""
    if not any(type(conv) is c and type(norm) is n for c, n in _NORMS):
        return None
    if norm.running_mean is None or norm.num_features != conv.out_channels:
        return None
    return fuse_conv_bn_eval(conv, norm)  # type: ignore[type-var, arg-type]


_NORMS = (
    (nn.Conv1d, nn.BatchNorm1d),
    (nn.Conv2d, nn.BatchNorm2d),
    (nn.Conv3d, nn.BatchNorm3d),
)
_RULES: tuple[tuple[int, Callable[..., nn.Module | None]], ...] = (
    (3, _join_core),
    (2, _join_pools),
    (2, _join_norm),
)
