"""Run the stages of a fused plan in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.plan import Plan, Scale, Select, Stage, Term


def walk(plan: Plan, x: Tensor) -> Tensor:
    """Run a fused plan on ``[N, J, C, B]``, or a dense plan on ``[N, F, B]``."""
    last = {term.source: number for number, stage in enumerate(plan) for term in stage.terms}
    outs = [x]
    for number, stage in enumerate(plan):
        outs.append(_run_stage(stage, outs))
        for term in stage.terms:
            if last[term.source] == number:  # free its memory
                outs[term.source] = outs[-1]
    return outs[-1]


def _run_stage(stage: Stage, outs: Sequence[Tensor]) -> Tensor:
    terms, bias, relu = stage
    total = cast("Tensor", None)
    for term in terms:
        total = _add_term(term, outs[term.source], total)
    if bias is not None and total.shape[0] > bias.shape[0] == 1:
        total = total.sum(0).unsqueeze(0)  # OpenVINO errs if the sum keeps the dimension
    if bias is not None:
        total = total + (bias.unsqueeze(3) if total.dim() == 4 else bias)
    if not relu:
        return total
    return total.relu() if bias is None else total.relu_()  # a sum with a bias is new


def _add_term(term: Term, x: Tensor, onto: Tensor | None) -> Tensor:
    """Return the value of a term, plus ``onto``. Only the last product adds."""
    _, maps, weight = term
    one = maps[0] if maps else None
    if isinstance(one, Select):
        x = _gather(x, one.chosen)
    elif isinstance(one, Scale):
        x = x * one.factors.unsqueeze(2)
    elif one is not None:
        matrix = one[0]
        if weight is None:
            return _mix_nodes(matrix, x, onto)
        if not _is_first(matrix, weight):
            return _mix_nodes(matrix, _mix_channels(weight, x, None), onto)
        x = _mix_nodes(matrix, x, None)
    if weight is not None:
        return _mix_channels(weight, x, onto)
    return x if onto is None else onto + x


def _is_first(matrix: Tensor, weight: Tensor) -> bool:
    """Return whether mixing the nodes first needs fewer multiplications."""
    (_, nodes_out, nodes_in), (_, outs, ins) = matrix.shape, weight.shape
    return ins * nodes_out * (nodes_in + outs) <= outs * nodes_in * (ins + nodes_out)


def _mix_nodes(matrix: Tensor, x: Tensor, onto: Tensor | None) -> Tensor:
    if x.dim() == 3:  # of a dense plan
        return _multiply(matrix, x, onto)
    total = _multiply(matrix, x.flatten(2), None if onto is None else onto.flatten(2))
    return total.reshape(*total.shape[:2], *x.shape[2:])


def _mix_channels(weight: Tensor, x: Tensor, onto: Tensor | None) -> Tensor:
    (branches, nodes, ins, size), outs = x.shape, weight.shape[1]
    if weight.shape[0] != branches or (onto is not None and onto.shape[0] != branches):
        mixed = weight.unsqueeze(1) @ x
        return mixed if onto is None else onto + mixed
    each = weight.unsqueeze(1).expand(-1, nodes, -1, -1).reshape(branches * nodes, outs, ins)
    columns = x.reshape(branches * nodes, ins, size)
    rows = None if onto is None else onto.reshape(branches * nodes, outs, size)
    return _multiply(each, columns, rows).reshape(branches, nodes, outs, size)


def _multiply(a: Tensor, b: Tensor, onto: Tensor | None) -> Tensor:
    """Return the product of each branch, plus ``onto``. A single branch is broadcast."""
    branches = a.shape[0]  # len() of a tensor is slow
    if branches != b.shape[0]:
        return a @ b if onto is None else onto + a @ b
    if onto is None:
        return torch.bmm(a, b)
    return torch.baddbmm(onto, a, b) if onto.shape[0] == branches else onto + torch.bmm(a, b)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """Select nodes, ``[N, J, ...]`` by ``[N, K]``; -1 selects zeros."""
    size = x.shape[1] + 1
    places = index.remainder(size)
    if len(x) > 1:
        places = places + size * torch.arange(len(x), device=x.device).unsqueeze(1)
    padded = pad(x, (*(0,) * (2 * x.dim() - 4), 0, 1)).flatten(0, 1)
    return padded.index_select(0, places.flatten()).reshape(*places.shape, *x.shape[2:])
