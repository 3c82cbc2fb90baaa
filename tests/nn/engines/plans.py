"""Plans drawn by hypothesis, and a reference that evaluates them."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from handgraph.nn.engines.outline import outline, restore
from handgraph.nn.plan import NodeMap, Scale, Select, Shape, Stage, Term, shapes


def evaluate(plan, x):
    """Evaluate a plan on ``[N, J, C, B]``, term by term."""
    outs = [x]
    for stage in plan:
        terms = torch.broadcast_tensors(*(value(term, outs[term.source]) for term in stage.terms))
        out = sum(terms)
        if stage.bias is not None and len(stage.bias) == 1:
            out = out.sum(0, keepdim=True)
        if stage.bias is not None:
            bias = stage.bias if stage.bias.dim() == 3 else stage.bias.unsqueeze(1)
            out = out + bias.unsqueeze(3)
        outs.append(out.relu() if stage.relu else out)
    return outs[-1]


def value(term, x):
    one = term.node_map
    if isinstance(one, Select):
        rows = [x[n if len(x) > 1 else 0][index] for n, index in enumerate(one.chosen)]
        x = torch.stack(rows).where((one.chosen >= 0)[..., None, None], 0)
    elif isinstance(one, Scale):
        x = x * one.factors.unsqueeze(2)
    elif one is not None:
        x = torch.matmul(one.matrix.unsqueeze(1), x.transpose(1, 2)).transpose(1, 2)
    return x if term.weight is None else torch.matmul(term.weight.unsqueeze(1), x)


def map_tensors(plan, change):
    """Apply a function to every floating-point tensor of a plan."""
    code, parts = outline(plan)
    return restore(code, [change(part) if part.is_floating_point() else part for part in parts])


SIZES = st.integers(1, 4)


class Drawing:
    """A plan under construction, and the shapes of its outputs."""

    def __init__(self, draw, given):
        self.draw, self.stages, self.shapes = draw, [], [given]
        self.generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))

    def random(self, *size):
        return torch.randn(*size, generator=self.generator, dtype=torch.float64)

    def term(self, source, branches, nodes, channels):
        """Return a term to ``[branches, nodes, channels]``, with redundant maps if drawn."""
        has = self.shapes[source]
        one, weight = None, None
        if nodes != has.nodes or self.draw(st.booleans()):
            one = NodeMap(self.random(branches, nodes, has.nodes))
        if channels != has.channels or self.draw(st.booleans()):
            weight = self.random(branches, channels, has.channels)
        return Term(source, one, weight)

    def stage(self, branches, sources, relu, summed=False):
        nodes, channels = self.draw(SIZES), self.draw(SIZES)
        terms = tuple(self.term(source, branches, nodes, channels) for source in sources)
        bias = None
        if summed or self.draw(st.booleans()):
            rows = self.draw(st.sampled_from([(), (1,), (nodes,)]))
            bias = self.random(1 if summed else branches, *rows, channels)
        self.add(Stage(terms, bias, relu))

    def select(self, branches):
        joints = self.shapes[0].nodes
        nodes = self.draw(SIZES)
        index = torch.randint(-1, joints, (branches, nodes), generator=self.generator)
        self.add(Stage((Term(0, Select(index, joints)),), relu=False))

    def add(self, stage):
        self.stages.append(stage)
        self.shapes = shapes(tuple(self.stages), self.shapes[0])


@st.composite
def plans(draw, *, joined=None, selects=None):
    """Draw a fused plan and the shape of its input.

    Some stages have N branches. If ``joined``, one stage sums over them and others follow.
    """
    branches = draw(st.integers(1, 3))
    joined = draw(st.booleans()) if joined is None else joined
    selects = draw(st.booleans()) if selects is None else selects
    own = 1 if selects else draw(st.sampled_from([1, branches]))
    work = Drawing(draw, Shape(own, draw(SIZES), draw(SIZES)))
    if selects:
        work.select(branches)
    counts = draw(st.integers(1, 3)), draw(st.integers(1, 3)) if joined else 0
    for number in range(sum(counts)):
        last = number == sum(counts) - 1
        of_branches = number < counts[0]
        recent = len(work.shapes) - 1
        readable = [
            source
            for source, shape in enumerate(work.shapes)
            if of_branches or number == counts[0] or shape.branches == 1
        ]
        sources = (recent, *draw(st.lists(st.sampled_from(readable), max_size=1)))
        summed = number == counts[0] and branches > 1
        many = branches if of_branches or summed else 1
        work.stage(many, sources, not last and draw(st.booleans()), summed)
    return tuple(work.stages), work.shapes[0]
