"""The plan of a graph U-Net with a different node mask for each sample.

Nodes of the coarser levels are not joints, so only the stages of the finest level depend on the
sample. They scale the input and output of each node by
:func:`~handgraph.nn.adjacency.gate_scales`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from handgraph._check import check_device
from handgraph.nn.adjacency import Normalization, gate_scales
from handgraph.nn.plan import NodeMap, Plan, Scale, Stage, Term


def finest(plan: Plan) -> Plan:
    """Extract the finest level, with its unnormalised adjacency, from the plan of a graph U-Net.

    Returns:
        The first stage, the weights of the last convolution over the skip and the unpooled nodes,
        and the rest of it: the adjacency and the bias.
    """
    first, last = plan[0], plan[-1]
    (term,) = first.terms
    graph = NodeMap(term.maps[0][0])
    decode = tuple(term._replace(maps=term.maps[:-1]) for term in last.terms)
    return (
        first._replace(terms=(term._replace(maps=(graph,)),)),
        Stage(decode, relu=False),
        Stage((Term(0, (graph,)),), last.bias, relu=False),
    )


class Gating(NamedTuple):
    """How a convolution sums degrees; see :class:`~handgraph.nn.AdaptiveGraphConv`."""

    normalization: Normalization
    renormalize: bool


def gate_plan(plan: Plan, level: Plan, gate: Tensor, gating: tuple[Gating, Gating]) -> Plan:
    """Return the plan for samples with different hidden nodes.

    Args:
        plan: The plan of the net, fused or not.
        level: The stages of its finest level, as from :func:`finest`, fused or not.
        gate: Factor of the output of each node of each sample; 0 if hidden. ``[N, J, B]``
        gating: How the first and the last convolution sum degrees.
    """
    first, last, spread = level
    (graph,) = first.terms[0].maps
    check_device(gate, "the input and its node_mask", graph[0])
    scales = {how: gate_scales(graph[0], gate, *how) for how in set(gating)}
    (receive, send), (receive_last, send_last) = (scales[how] for how in gating)
    encode = (
        Stage((Term(0, (Scale(send),)),), relu=False),
        Stage(_moved(first, 1).terms, relu=False),
        Stage((Term(2, (Scale(receive),)),), first.bias),
        Stage((Term(3, (Scale(gate),)),), relu=False),
    )
    shift = len(encode) - 1  # of the outputs of the first stage and all after it
    inner, decoded = [_moved(stage, shift) for stage in plan[1:-1]], len(plan) + shift
    decode = (
        _moved(last, shift),
        Stage((Term(decoded, (Scale(send_last),)),), relu=False),
        Stage((Term(decoded + 1, (graph,)),), relu=False),
        Stage((Term(decoded + 2, (Scale(receive_last),)),), spread.bias, relu=False),
    )
    return (*encode, *inner, *decode)


def _moved(stage: Stage, shift: int) -> Stage:
    """Return the stage with its sources shifted."""
    terms = [Term(source + shift, maps, weight) for source, maps, weight in stage.terms]
    return stage._replace(terms=tuple(terms))
