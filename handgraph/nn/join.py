"""Join plans, and absorb the linear stages between them."""

from __future__ import annotations

from torch import Tensor

from handgraph.nn.fuse import branches, fuse
from handgraph.nn.plan import Plan, Scale, Select, Stage, Term


def join(first: Plan, then: Plan) -> Plan:
    """Return one plan that runs ``first`` and then ``then``, with linear stages absorbed."""
    moved = [
        stage._replace(terms=tuple(t._replace(source=t.source + len(first)) for t in stage.terms))
        for stage in then
    ]
    return absorb((*first, *moved))


def absorb(plan: Plan) -> Plan:
    """Merge every linear stage that a single term reads into the stage of that term."""
    plan = fuse(plan)
    for number in range(1, len(plan)):
        readers = [(stage, t) for stage in plan for t in stage.terms if t.source == number]
        if len(readers) == 1 and _fits(plan[number - 1], *readers[0]):
            return absorb(_substitute(plan, number))
    return plan


def _fits(gone: Stage, reader: Stage, term: Term) -> bool:
    """Return whether ``gone`` is linear, and each branch of ``reader`` reads one branch of it."""
    if gone.relu:
        return False
    counts = {branches([t]) for t in (*gone.terms, *reader.terms)}
    counts |= set() if gone.bias is None else {len(gone.bias)}
    return len(counts) == 1 and not any(map(_is_special, (*gone.terms, term)))


def _is_special(term: Term) -> bool:
    return any(isinstance(one, Scale | Select) for one in term.maps)


def _substitute(plan: Plan, number: int) -> Plan:
    """Remove stage ``number``, and connect its reader to its sources."""
    gone = plan[number - 1]
    rest = [stage for at, stage in enumerate(plan, start=1) if at != number]
    return tuple(_renumbered(_reading(stage, gone, number), number) for stage in rest)


def _reading(stage: Stage, gone: Stage, number: int) -> Stage:
    terms, bias = [], stage.bias
    for term in stage.terms:
        if term.source != number:
            terms.append(term)
            continue
        terms += [_after_term(term, earlier) for earlier in gone.terms]
        if gone.bias is not None:
            shift = _apply(term, gone.bias)
            if bias is not None and len(bias) == 1:
                shift = shift.sum(0, keepdim=True)
            bias = shift if bias is None else bias + shift
    return stage._replace(terms=tuple(terms), bias=bias)


def _after_term(term: Term, earlier: Term) -> Term:
    """Return the composition of ``earlier`` and then ``term``."""
    maps = earlier.maps or term.maps
    if earlier.maps and term.maps:
        maps = (term.maps[0].after(earlier.maps[0]),)  # type: ignore[union-attr, arg-type]
    weight = term.weight if earlier.weight is None else earlier.weight
    if earlier.weight is not None and term.weight is not None:
        weight = term.weight @ earlier.weight
    return Term(earlier.source, maps, weight)


def _apply(term: Term, x: Tensor) -> Tensor:
    """Apply a fused term to ``[N, J, C]``."""
    if term.weight is not None:
        x = x.expand(-1, -1, term.weight.shape[2]) @ term.weight.mT
    if not term.maps:
        return x
    matrix = term.maps[0][0]
    return matrix @ x.expand(-1, matrix.shape[2], -1)


def _renumbered(stage: Stage, gone: int) -> Stage:
    terms = (t._replace(source=t.source - (t.source > gone)) for t in stage.terms)
    return stage._replace(terms=tuple(terms))
