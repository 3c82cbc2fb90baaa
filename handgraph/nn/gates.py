"""The plan of a graph U-Net with a different node mask for each sample.

Nodes of the coarser levels are not joints, so only the stages of the finest level depend on the
sample. They scale the input and output of each node by
:func:`~handgraph.nn.adjacency.gate_scales`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor

from handgraph._check import check_device
from handgraph.nn.adjacency import Normalization, gate_scales
from handgraph.nn.fuse import moved
from handgraph.nn.plan import Graph, NodeMap, Plan, Scale, Stage, Term


def finest(plan: Plan) -> Plan:
    """Extract the finest level, with its unnormalised adjacency, from the plan of a graph U-Net.

    Returns:
        The first stage, the sum of the skip and the unpooled nodes, and the last stage.
    """
    first, *_, merge, last = plan
    graph = NodeMap(cast("Graph", first.terms[0].node_map).adjacency)
    encode, decode = (stage.terms[0]._replace(node_map=graph) for stage in (first, last))
    return first._replace(terms=(encode,)), merge, last._replace(terms=(decode,))


class Gating(NamedTuple):
    """How a convolution sums degrees; see :class:`~handgraph.nn.AdaptiveGraphConv`."""

    normalization: Normalization
    renormalize: bool


def gate_plan(inner: Plan, level: Plan, gate: Tensor, gating: tuple[Gating, Gating]) -> Plan:
    """Return the plan for samples with different hidden nodes.

    Args:
        inner: The stages between those of the finest level, fused or not.
        level: The stages of the finest level, as from :func:`finest`, fused or not.
        gate: Factor of the output of each node of each sample; 0 if hidden. ``[N, J, B]``
        gating: How the first and the last convolution sum degrees.
    """
    first, merge, last = level
    graph = cast("NodeMap", first.terms[0].node_map)
    check_device(gate, "the input and its node_mask", graph[0])
    scales = {how: gate_scales(graph[0], gate, *how) for how in set(gating)}
    (receive, send), (receive_last, send_last) = (scales[how] for how in gating)
    encode = (
        Stage((Term(0, Scale(send)),), relu=False),
        Stage((first.terms[0]._replace(source=1),), relu=False),
        Stage((Term(2, Scale(receive)),), first.bias),
        Stage((Term(3, Scale(gate)),), relu=False),
    )
    shift = len(encode) - 1  # of the outputs of the first stage and all after it
    deep = len(encode) + len(inner)
    skip, below = merge.terms
    decode = (
        merge._replace(terms=(skip._replace(source=len(encode)), below._replace(source=deep))),
        Stage((Term(deep + 1, Scale(send_last)),), relu=False),
        Stage((Term(deep + 2, graph),), relu=False),
        Stage((Term(deep + 3, Scale(receive_last)),), last.bias, relu=False),
    )
    return (*encode, *(moved(stage, shift) for stage in inner), *decode)
