"""The derivative of :func:`handgraph.nn.fuse.fuse`."""

from __future__ import annotations

import torch

from handgraph.nn.adjacency import normalization_gradient
from handgraph.nn.engines.reference.batch import multiply
from handgraph.nn.engines.reference.terms import Gradients
from handgraph.nn.fuse import Fusion, Normalized, Product, branches
from handgraph.nn.plan import Plan, Stage


def pull_fuse(plan: Plan, fusion: Fusion, fused: Plan, found: Gradients) -> None:
    """Add the gradients of the tensors of a plan from those of the fused plan."""
    for stage, then in zip(plan, fused, strict=True):
        if then.bias is not stage.bias and id(then.bias) in found:
            _pull_bias(stage, then, fusion, found)
    for product in reversed(fusion.products):
        _pull_product(product, found)
    for graph in fusion.graphs:
        _pull_graph(graph, found)


def _pull_bias(stage: Stage, then: Stage, fusion: Fusion, found: Gradients) -> None:
    """Add the gradients of the parts of a fused bias, which includes biases of maps."""
    grad = found[id(then.bias)]
    if stage.bias is not None:
        of_bias = grad.sum(1) if stage.bias.dim() == 2 else grad
        found.add(stage.bias, of_bias.sum_to_size(stage.bias.shape))
    if grad.shape[0] == 1:
        grad = grad.expand(branches(then.terms), -1, -1)
    for _, maps, weight in stage.terms:
        shift = getattr(fusion.node_map(maps), "bias", None) if maps else None
        if shift is None:
            continue
        back = grad
        if weight is not None:
            of_sums = multiply(grad.mT, shift, one=weight.shape[0] == 1)
            found.add(weight, of_sums.expand_as(weight))
            back = multiply(grad, weight.sum(2, True), one=shift.shape[0] == 1)
        found.add(shift, back.sum_to_size(shift.shape))


def _pull_product(product: Product, found: Gradients) -> None:
    """Add the gradients of the factors from those of the product's matrix and bias."""
    then, first, both = product
    grad, shift = found.get(id(both.matrix)), found.get(id(both.bias))
    if then.bias is not None and then.bias is not both.bias and shift is not None:
        found.add(then.bias, shift.sum_to_size(then.bias.shape))
    if first.bias is not None and shift is not None:
        steps = torch.cat([first.matrix, first.bias], 2)
        grad = torch.zeros_like(both.matrix) if grad is None else grad
        back = torch.cat([grad, shift], 2)
        found.add(then.matrix, multiply(back, steps.mT, one=then.matrix.shape[0] == 1))
        back = multiply(then.matrix.mT, back, one=steps.shape[0] == 1)
        size = first.matrix.shape[2]
        found.add(first.matrix, back[:, :, :size])
        found.add(first.bias, back[:, :, size:])
    elif grad is not None:
        found.add(then.matrix, multiply(grad, first.matrix.mT, one=then.matrix.shape[0] == 1))
        found.add(first.matrix, multiply(then.matrix.mT, grad, one=first.matrix.shape[0] == 1))


def _pull_graph(one: Normalized, found: Gradients) -> None:
    (adjacency, normalization), scale, (matrix, _) = one
    grad = found.get(id(matrix))
    if grad is not None:
        grad = normalization_gradient(adjacency, scale, matrix, grad, normalization)
        found.add(adjacency, grad)
