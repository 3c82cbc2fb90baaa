r"""Plans: nets as data, with linear maps over nodes and over channels, and ReLUs.

A plan is a tuple of stages. Source 0 is the input of the plan, source s the output of its s-th
stage. Stage i + 1 reads some of the sources 0 to i:

.. math::
    X_{i+1} = \sigma\Big(\sum_t M_t X_{s_t} W_t^\top + b\Big)

:math:`M_t` maps nodes, :math:`W_t` maps channels, and :math:`\sigma` is a ReLU or the identity. The
first dimension of all tensors is the branch. The method ``lower`` of a module returns its plan.
:func:`handgraph.nn.engines.run` runs a plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from torch import Tensor

from handgraph.nn.adjacency import Normalization, normalize_adjacency

__all__ = ["Graph", "NodeMap", "Scale", "Select", "Stage", "Term"]


class NodeMap(NamedTuple):
    r"""An affine map over nodes, :math:`x \mapsto M x + m`, the same for every channel.

    Args:
        matrix: ``[*, J', J]``
        bias: ``[*, J', 1]``, or ``None`` for zero.

    Example:
        >>> import torch
        >>> from handgraph.nn import NodeMap
        >>> double = NodeMap(2 * torch.eye(3), torch.ones(3, 1))
        >>> double.after(double)(torch.ones(3, 1)).flatten().tolist()
        [7.0, 7.0, 7.0]
    """

    matrix: Tensor
    bias: Tensor | None = None

    def after(self, first: NodeMap) -> NodeMap:
        """Return the composition of ``first`` and then this map."""
        if first.bias is None:
            return NodeMap(self.matrix @ first.matrix, self.bias)
        shift = self.matrix @ first.bias
        return NodeMap(
            self.matrix @ first.matrix, shift if self.bias is None else shift + self.bias
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the map to ``[*, J, C]``."""
        mapped = self.matrix @ x
        return mapped if self.bias is None else mapped + self.bias


class Graph(NamedTuple):
    """A learned adjacency, a map over nodes after :func:`~handgraph.nn.normalize_adjacency`.

    Args:
        adjacency: The unnormalised adjacency. ``[N, J, J]``
        normalization: ``"abs"`` or ``"signed"``.

    Example:
        >>> import torch
        >>> from handgraph.nn.plan import Graph
        >>> Graph(torch.ones(1, 2, 2), "abs").node_map().matrix.round(decimals=3).flatten().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """

    adjacency: Tensor
    normalization: Normalization

    def node_map(self) -> NodeMap:
        """Return the normalised adjacency."""
        return NodeMap(normalize_adjacency(self.adjacency, self.normalization))


class Select(NamedTuple):
    """A gather of nodes, on which unselected nodes have no influence, even if they are NaN.

    Args:
        chosen: Index of the input node of each output node, -1 for zeros. Long ``[N, K]``
        nodes: The number of input nodes.

    Example:
        >>> import torch
        >>> from handgraph.nn import engines
        >>> from handgraph.nn.plan import Select, Stage, Term
        >>> last = Stage((Term(0, Select(torch.tensor([[2, -1]]), 3)),), relu=False)
        >>> engines.run((last,), torch.tensor([[[1.0], [float("nan")], [3.0]]])).flatten().tolist()
        [3.0, 0.0]
    """

    chosen: Tensor
    nodes: int


class Scale(NamedTuple):
    """A factor for each node of each sample.

    Args:
        factors: The factors. ``[N, J, B]``

    Example:
        >>> import torch
        >>> from handgraph.nn import engines
        >>> from handgraph.nn.plan import Scale, Stage, Term
        >>> last = Stage((Term(0, Scale(torch.tensor([[[2.0], [0.0]]]))),), relu=False)
        >>> engines.run((last,), torch.ones(1, 1, 2, 1)).flatten().tolist()
        [2.0, 0.0]
    """

    factors: Tensor


Map: TypeAlias = Graph | NodeMap | Scale | Select
"""A map over nodes, the same for every channel."""


class Term(NamedTuple):
    """One summand of a stage: a source after a map over its nodes and a map over its channels.

    Args:
        source: 0 for the input of the plan, s for the output of stage s.
        node_map: The map over nodes, or ``None`` for the identity.
        weight: The map over channels, ``[N, C', C]``, or ``None`` for the identity.

    Example:
        >>> import torch
        >>> from handgraph.nn.plan import Term
        >>> Term(0, weight=torch.ones(1, 3, 2)).source
        0
    """

    source: int
    node_map: Map | None = None
    weight: Tensor | None = None


class Stage(NamedTuple):
    """One step of a plan.

    A source with one branch is read by all branches of a stage. A stage whose bias has one branch
    sums over the branches of its terms.

    Args:
        terms: The summands.
        bias: ``[N, C']``, or ``[N, J', C']`` for a bias per node; ``None`` for zero.
        relu: Whether a ReLU follows.

    Example:
        >>> import torch
        >>> from handgraph.nn import engines
        >>> from handgraph.nn.plan import Stage, Term
        >>> hidden = Stage((Term(0, weight=2 * torch.eye(3)[None]),), -torch.ones(1, 3))
        >>> one = torch.ones(1, 1, 3)
        >>> out = Stage((Term(0, weight=one), Term(1, weight=one)), relu=False)
        >>> engines.run((hidden, out), torch.ones(1, 1, 3)).item()  # 3 x 1 + 3 x (2 - 1)
        6.0
    """

    terms: tuple[Term, ...]
    bias: Tensor | None = None
    relu: bool = True


Plan: TypeAlias = tuple[Stage, ...]


class Shape(NamedTuple):
    """Shape of the input or output of a stage, without the samples: ``[N, J, C]``."""

    branches: int
    nodes: int
    channels: int


def shapes(plan: Plan, given: Shape) -> list[Shape]:
    """Return the shape of the input, then of the output of each stage.

    Raises:
        ValueError: If a stage does not read an earlier one, or shapes do not fit.
    """
    found = [given]
    for number, stage in enumerate(plan, start=1):
        for term in stage.terms:
            if not 0 <= term.source < number:
                raise ValueError(
                    f"plan: expected stage {number} to read 0 to {number - 1}, got {term.source}"
                )
        outs = {_term_shape(term, found[term.source], number) for term in stage.terms}
        found.append(_stage_shape(stage, outs, number))
    return found


def _term_shape(term: Term, given: Shape, number: int) -> Shape:
    branches, nodes, channels = given
    if term.node_map is not None:
        one, size = term.node_map, term.node_map[0].shape
        ins = one.nodes if isinstance(one, Select) else size[1 if isinstance(one, Scale) else 2]
        _expect(number, "a map over nodes", (ins,), (nodes,))
        branches, nodes = _common(number, branches, size[0]), size[1]
    if term.weight is not None:
        size = term.weight.shape
        _expect(number, "a weight", size[2:], (channels,))
        branches, channels = _common(number, branches, size[0]), size[1]
    return Shape(branches, nodes, channels)


def _stage_shape(stage: Stage, outs: set[Shape], number: int) -> Shape:
    branches = max(shape.branches for shape in outs)
    nodes, channels = (max(shape[i] for shape in outs) for i in (1, 2))
    if any(shape[1:] != (nodes, channels) for shape in outs):
        raise ValueError(f"plan: expected terms of equal shape in stage {number}, got {outs}")
    if stage.bias is not None:
        size = stage.bias.shape
        if size[-1] not in (1, channels) or size[1:-1] not in ((), (1,), (nodes,)):
            _expect(number, "a bias", size[1:], (nodes, channels))
        branches = size[0] if size[0] == 1 else _common(number, branches, size[0])
    return Shape(branches, nodes, channels)


def _common(number: int, branches: int, more: int) -> int:
    if branches != more and 1 not in (branches, more):
        raise ValueError(f"plan: expected {branches} branches in stage {number}, got {more}")
    return max(branches, more)


def _expect(number: int, what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(found) != tuple(expected):
        raise ValueError(
            f"plan: expected {what} with {list(expected)} in stage {number}, got {list(found)}"
        )


def tensors(plan: Plan) -> list[Tensor]:
    """Return the tensors of a plan in order: per stage, those of its terms, then its bias."""
    parts = (part for stage in plan for part in _parts(stage))
    return [part for part in parts if isinstance(part, Tensor)]


def _parts(stage: Stage) -> Iterator[object]:
    for _, node_map, weight in stage.terms:
        yield from node_map or ()
        yield weight
    yield stage.bias
