r"""Terms of a fused plan in PyTorch operations, and their derivatives.

With :math:`\bar Z` for the gradient of Z,

.. math::
    Y = M X, \quad Z = Y W^\top: \qquad
    \bar W = \bar Z^\top Y, \quad \bar Y = \bar Z W, \quad
    \bar M = \bar Y X^\top, \quad \bar X = M^\top \bar Y

The other order is analogous; the one with fewer multiplications is used. Tensors are ``[N, J, S]``,
see :mod:`~handgraph.nn.engines.reference.batch`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.engines.reference.batch import Batch, multiply, plus
from handgraph.nn.plan import Select, Term

Factor: TypeAlias = tuple[Tensor, bool]
"""A matrix, and whether it maps nodes or channels."""


class Factors(NamedTuple):
    """The operations of a term: an optional selection of nodes, then maps in order."""

    chosen: Tensor | None
    maps: tuple[Factor, ...]


def factors(term: Term) -> Factors:
    """Return the operations of a term."""
    _, maps, weight = term
    over_channels = () if weight is None else ((weight, False),)
    if not maps:
        return Factors(None, over_channels)
    (one,) = maps
    if type(one) is Select:
        return Factors(one.chosen, over_channels)
    over_nodes = ((one[0], True),)
    if weight is None:
        return Factors(None, over_nodes)
    (_, nodes_out, nodes_in), (_, outs, ins) = one[0].shape, weight.shape
    if ins * nodes_out * (nodes_in + outs) <= outs * nodes_in * (ins + nodes_out):
        return Factors(None, over_nodes + over_channels)
    return Factors(None, over_channels + over_nodes)


def apply(
    factor: Factor, x: Tensor, batch: Batch, onto: Tensor | None = None, in_place: bool = False
) -> Tensor:
    """Apply a map to x, and add the result to ``onto``."""
    matrix, over_nodes = factor
    if over_nodes:
        return multiply(matrix, x, onto, in_place)
    return batch.mix(x, matrix, onto, in_place)


def operand(of: Factors, x: Tensor, batch: Batch) -> Tensor:
    """Return the operand of the last map of a term."""
    chosen, maps = of
    if chosen is not None:
        x = gather(x, chosen)
    return apply(maps[0], x, batch) if len(maps) == 2 else x


def finish(of: Factors, x: Tensor, batch: Batch, onto: Tensor | None, in_place: bool) -> Tensor:
    """Apply the last map of a term to its operand, and add the result to ``onto``."""
    maps = of.maps
    return apply(maps[-1], x, batch, onto, in_place) if maps else plus(x, onto, in_place)


class Gradients(dict[int, Tensor]):
    """Gradients by the identity of the tensor."""

    def add(self, tensor: Tensor, grad: Tensor) -> None:
        """Add to the gradient of a tensor."""
        found = self.get(id(tensor))
        self[id(tensor)] = grad if found is None else found + grad


def pull(
    of: Factors, x: Tensor, last: Tensor, grad: Tensor, batch: Batch, found: Gradients
) -> Tensor:
    """Add the gradients of the maps of a term from that of its value.

    Args:
        of: The operations of the term.
        x: The source of the term.
        last: The operand of its last map.
        grad: The gradient of its value.
        batch: The batch.
        found: The gradients to add to.

    Returns:
        The gradient of the output of the first map.
    """
    maps = of.maps
    for number in range(len(maps) - 1, -1, -1):
        matrix, over_nodes = maps[number]
        given = last if number == len(maps) - 1 else x
        if over_nodes:
            found.add(matrix, multiply(grad, given.mT, one=matrix.shape[0] == 1))
        else:
            found.add(matrix, batch.mix_gradient(grad, given, matrix))
        if number > 0:
            grad = apply((matrix.mT, over_nodes), grad, batch)
    return grad


def pull_first(of: Factors, x: Tensor, grad: Tensor, batch: Batch, onto: Tensor | None) -> Tensor:
    """Return the gradient of x from that of the first map's output, added to ``onto`` in place."""
    chosen, maps = of
    if maps:
        matrix, over_nodes = maps[0]
        back = (matrix.mT, over_nodes)
        if chosen is None and x.shape[0] >= max(grad.shape[0], matrix.shape[0]):
            return apply(back, grad, batch, onto, in_place=True)
        grad = apply(back, grad, batch)
    elif chosen is None and onto is None and x.shape[0] >= grad.shape[0]:
        return grad.clone()
    grad = grad if chosen is None else scatter(grad, x, chosen)
    return plus(grad, onto, True, one=x.shape[0] == 1)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Select nodes, ``[N, J, S]`` by ``[N, K]``; -1 selects zeros."""
    places = _places(x, index)
    rows = pad(x, (0, 0, 0, 1)).flatten(0, 1).index_select(0, places.flatten())
    return rows.view(*places.shape, x.shape[2])


def scatter(grad: Tensor, x: Tensor, index: Tensor) -> Tensor:
    """Return the gradient of x from that of the output of :func:`gather`."""
    places = _places(x, index)
    grad = plus(grad, None, one=places.shape[0] == 1).expand(places.shape[0], -1, -1)
    rows = grad.new_zeros(x.shape[0] * (x.shape[1] + 1), x.shape[2])
    rows.index_add_(0, places.flatten(), grad.flatten(0, 1))
    return rows.view(x.shape[0], x.shape[1] + 1, x.shape[2])[:, :-1]


def _places(x: Tensor, index: Tensor) -> Tensor:
    """Return the row of each node among all branches, each padded with a row of zeros."""
    size = x.shape[1] + 1
    places = index.remainder(size)
    if x.shape[0] == 1:
        return places
    return places + size * torch.arange(x.shape[0], device=x.device).unsqueeze(1)
