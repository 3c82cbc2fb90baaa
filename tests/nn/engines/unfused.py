"""Plans of all kinds drawn by hypothesis, and a reference that evaluates them with einsum."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from handgraph.nn.plan import Graph, NodeMap, Scale, Select, Shape, Stage, Term, shapes, tensors

SIZES = st.integers(1, 4)
KINDS = ["", "", "M", "M", "G", "G", "S"]
BATCHES = [0, 1, 3, 40]


def evaluate(plan, x):
    """Evaluate a plan on ``[N, J, C, B]``."""
    outs = [x]
    for stage in plan:
        terms = [_term(term, outs[term.source]) for term in stage.terms]
        out = sum(torch.broadcast_tensors(*terms))
        if stage.bias is not None and len(stage.bias) == 1:
            out = out.sum(0, keepdim=True)
        if stage.bias is not None:
            bias = stage.bias if stage.bias.dim() == 3 else stage.bias[:, None]
            out = out + bias[..., None]
        outs.append(out.relu() if stage.relu else out)
    return outs[-1]


def _term(term, x):
    one = term.node_map
    if isinstance(one, Select):
        x = _select(one.chosen, x)
    elif isinstance(one, Scale):
        x = torch.einsum("njcb,njb->njcb", *_same(x, one.factors))
    elif one is not None:
        matrix, bias = (_normalize(*one), None) if isinstance(one, Graph) else one
        matrix, x = _same(matrix, x)
        x = torch.einsum("nij,njcb->nicb", matrix, x)
        x = x if bias is None else x + bias[..., None]
    if term.weight is None:
        return x
    weight, x = _same(term.weight, x)
    return torch.einsum("ndc,njcb->njdb", weight, x)


def _select(chosen, x):
    chosen, x = _same(chosen, x)
    rows = torch.stack([nodes[index] for nodes, index in zip(x, chosen, strict=True)])
    return torch.where((chosen >= 0)[..., None, None], rows, 0)


def _normalize(adjacency, normalization):
    degree = (adjacency.abs() if normalization == "abs" else adjacency).sum(1) + 1e-5
    return torch.einsum("nij,ni,nj->nij", adjacency, degree**-0.5, degree**-0.5)


def _same(*parts):
    branches = max(len(part) for part in parts)
    return [part.expand(branches, *part.shape[1:]) for part in parts]


def leaves(plan):
    """Return the tensors that may have gradients, each once."""
    parts = {id(part): part for part in tensors(plan) if part.is_floating_point()}
    return list(parts.values())


class _Drawing:
    def __init__(self, draw, batch, given, branches, scales, selects):
        self.draw, self.batch, self.branches = draw, batch, branches
        self.scales, self.selects = scales, selects
        self.stages, self.shapes = [], [given]
        self.maps = []
        self.generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))

    def random(self, *size):
        values = torch.randn(*size, generator=self.generator, dtype=torch.float64)
        return values.requires_grad_()

    def yes(self):
        return self.draw(st.booleans())

    def one_or_all(self):
        return self.draw(st.sampled_from([1, self.branches]))

    def matrix(self, goes, comes, least):
        """Return a map; a map with a bias has as many branches as the input of its stage."""
        has_bias = self.yes()
        branches = max(least if has_bias else 1, self.one_or_all())
        bias = self.random(branches, goes, 1) if has_bias else None
        return NodeMap(self.random(branches, goes, comes), bias)

    def graph(self, nodes):
        adjacency = self.random(self.one_or_all(), nodes, nodes)
        kind = self.draw(st.sampled_from(["abs", "signed"]))
        if kind == "signed":  # degrees must be positive
            adjacency = (adjacency.detach().abs() + 0.1).requires_grad_()
        return Graph(adjacency, kind)

    def known(self, kind, fits):
        """Return a map that is in use already, or ``None``."""
        found = [one for one in self.maps if isinstance(one, kind) and fits(one)]
        return self.draw(st.sampled_from(found)) if found and self.yes() else None

    def node_map(self, comes, goes, least):
        """Return a map from ``comes`` to ``goes`` nodes, which may be in use already."""
        if self.scales and comes == goes and self.yes():
            return Scale(self.random(self.one_or_all(), goes, self.batch))
        kind = self.draw(st.sampled_from(KINDS if self.selects else KINDS[:-1]))
        if kind == "S":
            size = (self.one_or_all(), goes)
            return Select(torch.randint(-1, comes, size, generator=self.generator), comes)
        if kind == "G" and comes == goes:
            one = self.known(Graph, lambda g: g.adjacency.shape[1] == goes) or self.graph(goes)
        elif kind == "M" or comes != goes:
            one = self.known(NodeMap, lambda m: _is_like(m, goes, comes, least))
            one = one or self.matrix(goes, comes, least)
        else:
            return None
        self.maps.append(one)
        return one

    def term(self, source, goes, channels, least):
        has = self.shapes[source]
        one, weight = self.node_map(has.nodes, goes, least), None
        if has.channels != channels or self.yes():
            weight = self.random(self.one_or_all(), channels, has.channels)
        return Term(source, one, weight)

    def stage(self):
        goes, channels = self.draw(SIZES), self.draw(SIZES)
        recent = len(self.shapes) - 1
        others = self.draw(st.lists(st.integers(0, recent), max_size=2))
        sources = (recent, *others)
        least = max(self.shapes[source].branches for source in sources)
        terms = tuple(self.term(source, goes, channels, least) for source in sources)
        bias = None
        if self.yes():
            rows = self.draw(st.sampled_from([(), (1,), (goes,)]))
            bias = self.random(self.one_or_all(), *rows, channels)
        stage = Stage(terms, bias, self.yes())
        self.stages.append(stage)
        self.shapes.append(shapes(self.stages, self.shapes[0])[-1])


def _is_like(one, goes, comes, least):
    size = one.matrix.shape[1:] == (goes, comes)
    return size and (one.bias is None or len(one.bias) >= least)


@st.composite
def unfused_plans(draw, *, batches=BATCHES, scales=True, selects=True):
    """Draw a plan and an input for it; all floating-point tensors are leaves."""
    batch, branches = draw(st.sampled_from(batches)), draw(st.integers(1, 3))
    given = Shape(draw(st.sampled_from([1, branches])), draw(SIZES), draw(SIZES))
    work = _Drawing(draw, batch, given, branches, scales, selects)
    for _ in range(draw(st.integers(1, 4))):
        work.stage()
    return tuple(work.stages), work.random(*given, batch)


@st.composite
def two_plans(draw):
    """Draw two plans that run one after the other, and an input for the first."""
    branches = draw(st.integers(1, 3))
    given = Shape(draw(st.sampled_from([1, branches])), draw(SIZES), draw(SIZES))
    x, plans = None, []
    for _ in range(2):
        work = _Drawing(draw, 3, given, branches, False, True)
        for _ in range(draw(st.integers(1, 3))):
            work.stage()
        plans.append(tuple(work.stages))
        x = work.random(*given, 3) if x is None else x
        given = work.shapes[-1]
    return *plans, x
