"""Run the stages of a plan in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.fuse import Graphs, mixes_nodes_first
from handgraph.nn.plan import Graph, NodeMap, Plan, Scale, Select, Stage, Term


def walk(plan: Plan, x: Tensor, graphs: Graphs) -> Tensor:
    """Run a plan on ``[N, J, C, B]`` or ``[N, J, C]``, or a dense one on ``[N, F, B]``."""
    last = {term.source: number for number, stage in enumerate(plan) for term in stage.terms}
    outs = [x]
    for number, stage in enumerate(plan):
        outs.append(_run_stage(stage, outs, graphs))
        for term in stage.terms:
            if last[term.source] == number:  # free its memory
                outs[term.source] = outs[-1]
    return outs[-1]


def _run_stage(stage: Stage, outs: Sequence[Tensor], graphs: Graphs) -> Tensor:
    terms, bias, relu = stage
    total = cast("Tensor", None)
    for term in terms:
        total = _add_term(term, outs[term.source], total, graphs)
    if bias is None:
        return total.relu() if relu else total
    if total.shape[0] > bias.shape[0] == 1:
        total = total.sum(0).unsqueeze(0)  # OpenVINO raises an error if the sum keeps the dimension
    bias = bias.unsqueeze(1) if bias.dim() == 2 else bias
    total = total + (bias.unsqueeze(3) if total.dim() == 4 else bias)
    return total.relu_() if relu else total


def _add_term(term: Term, x: Tensor, onto: Tensor | None, graphs: Graphs) -> Tensor:
    """Return the value of a term, plus ``onto``.

    Channels are mixed before nodes if that needs fewer multiplications and the map has no bias.
    """
    _, one, weight = term
    one = graphs[id(one)] if isinstance(one, Graph) else one
    if isinstance(one, NodeMap):
        matrix, bias = one
        if bias is None and weight is not None and not _is_first(matrix, weight):
            x, weight = _mix_channels(weight, x), None
        if bias is None and weight is None:
            return _mix_nodes(matrix, x, onto)
        x = _mix_nodes(matrix, x, bias)
    elif isinstance(one, Select):
        x = _gather(x, one.chosen)
    elif isinstance(one, Scale):
        x = x * (one.factors.unsqueeze(2) if x.dim() == 4 else one.factors)
    if weight is not None:
        x = _mix_channels(weight, x)
    return x if onto is None else onto + x


def _is_first(matrix: Tensor, weight: Tensor) -> bool:
    (_, nodes_out, nodes_in), (_, outs, ins) = matrix.shape, weight.shape
    return mixes_nodes_first((nodes_out, nodes_in), (outs, ins))


def _mix_nodes(matrix: Tensor, x: Tensor, onto: Tensor | None) -> Tensor:
    if x.dim() == 3:
        return _multiply(matrix, x, onto)
    total = _multiply(matrix, x.flatten(2), None if onto is None else onto.flatten(2))
    return total.reshape(*total.shape[:2], *x.shape[2:])


def _mix_channels(weight: Tensor, x: Tensor) -> Tensor:
    return weight.unsqueeze(1) @ x if x.dim() == 4 else _multiply(x, weight.mT, None)


def _multiply(a: Tensor, b: Tensor, onto: Tensor | None) -> Tensor:
    """Return the product of each branch, plus ``onto``. A single branch is broadcast."""
    branches = a.shape[0]  # len() of a tensor is slow
    if branches != b.shape[0]:
        return a @ b if onto is None else onto + a @ b
    if onto is None:
        return torch.bmm(a, b)
    return torch.baddbmm(onto, a, b) if onto.shape[0] <= branches else onto + torch.bmm(a, b)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """Select nodes, ``[N, J, ...]`` by ``[N, K]``; -1 selects zeros."""
    size = x.shape[1] + 1
    places = index.remainder(size)
    if len(x) > 1:
        places = places + size * torch.arange(len(x), device=x.device).unsqueeze(1)
    padded = pad(x, (*(0,) * (2 * x.dim() - 4), 0, 1)).flatten(0, 1)
    return padded.index_select(0, places.flatten()).reshape(*places.shape, *x.shape[2:])
