r"""A term of a fused plan by operations of PyTorch, and its derivative.

With :math:`\bar Z` for the gradient of Z,

.. math::
    Y = M X, \quad Z = Y W^\top: \qquad
    \bar W = \bar Z^\top Y, \quad \bar Y = \bar Z W, \quad
    \bar M = \bar Y X^\top, \quad \bar X = M^\top \bar Y

and likewise in the other order, whichever takes fewer multiplications. Tensors are ``[N, J, S]``,
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
    """What a term does: select nodes if some are chosen, then apply maps in their order."""

    chosen: Tensor | None
    maps: tuple[Factor, ...]


def factors(term: Term) -> Factors:
    """Read a term."""
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
    (_, goes, comes), (_, outs, ins) = one[0].shape, weight.shape
    if ins * goes * (comes + outs) <= outs * comes * (ins + goes):
        return Factors(None, over_nodes + over_channels)
    return Factors(None, over_channels + over_nodes)


def apply(
    factor: Factor, x: Tensor, batch: Batch, onto: Tensor | None = None, in_place: bool = False
) -> Tensor:
    """Map x and add the result to ``onto``."""
    matrix, over_nodes = factor
    if over_nodes:
        return multiply(matrix, x, onto, in_place)
    return batch.mix(x, matrix, onto, in_place)


def operand(of: Factors, x: Tensor, batch: Batch) -> Tensor:
    """What the last map of a term is applied to."""
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
    """Add the gradients of the maps of a term, from that of its value.

    Args:
        of: The term.
        x: What it reads.
        last: Its operand.
        grad: The gradient of its value.
        batch: The batch.
        found: Where gradients are added.

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
    """The gradient of x from that of the output of the first map, added to ``onto`` in place."""
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
    """The gradient of x from that of the output of :func:`gather`."""
    places = _places(x, index)
    grad = plus(grad, None, one=places.shape[0] == 1).expand(places.shape[0], -1, -1)
    rows = grad.new_zeros(x.shape[0] * (x.shape[1] + 1), x.shape[2])
    rows.index_add_(0, places.flatten(), grad.flatten(0, 1))
    return rows.view(x.shape[0], x.shape[1] + 1, x.shape[2])[:, :-1]


def _places(x: Tensor, index: Tensor) -> Tensor:
    """The row of each node in the rows of all branches, each with a row of zeros at its end."""
    size = x.shape[1] + 1
    places = index.remainder(size)
    if x.shape[0] == 1:
        return places
    return places + size * torch.arange(x.shape[0], device=x.device).unsqueeze(1)
