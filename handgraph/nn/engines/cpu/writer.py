"""Convert a plan to the tables of its program."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from handgraph.nn.engines.cpu.program import (
    CHANNELS,
    CHANNELS_FIRST,
    GATHER,
    NODES,
    NODES_FIRST,
    SAME,
    SCALED,
    Program,
    Table,
    Tables,
)
from handgraph.nn.fuse import check_selection, mixes_nodes_first
from handgraph.nn.plan import Graph, Map, NodeMap, Plan, Scale, Select, Shape, Stage, Term


class Writer:
    """Writes the stages of a plan into tables, in order.

    Args:
        plan: The plan.
        parts: Its tensors; slot s is ``parts[s - 1]``.
        found: The shapes of its input and of the outputs of its stages.
        reused: Whether rows that no later stage reads are reused. A derivative reads all rows.
    """

    def __init__(self, plan: Plan, parts: Sequence[Tensor], found: list[Shape], reused: bool):
        self.shapes = found
        self.parts = parts
        self.slots = {id(part): slot for slot, part in enumerate(parts, start=1)}
        self.found: dict[str, list[list[int]]] = {name: [] for name in Tables._fields}
        self.scales: list[tuple[int, int, int]] = []
        self.known: dict[tuple[int, ...], int] = {}
        self.shared = self.rows = 0
        self.free: dict[int, list[int]] = defaultdict(list)
        self.middles: list[tuple[int, int]] = []
        self.starts = [self.take_rows(found[0].nodes * found[0].channels)]
        for number, stage in enumerate(plan, start=1):
            self.starts.append(self.write(stage, found[number]))
            if reused:
                self.release(plan, number)

    def program(self) -> Program:
        """Return the program."""
        tables = (_table(self.found[name]) for name in Tables._fields)
        made = Tables(*tables)
        weights, last = set(made.terms[:, 8]), self.starts[-1]
        plain = [part.contiguous() for part in self.parts]
        read = [
            part if slot in weights and part.stride(2) == 1 else copy
            for slot, (part, copy) in enumerate(zip(self.parts, plain, strict=True), start=1)
        ]
        copied = (n for n, part in enumerate(self.parts) if part.stride() != read[n].stride())
        slots = self.write_slots(read), self.write_slots(plain)
        sizes = tuple(self.scales), tuple(self.shapes), self.shared, self.rows, last
        return Program(made, *sizes, *slots, tuple(copied))

    def write_slots(self, parts: Sequence[Tensor]) -> Table:
        """Return the strides of shared values and tensors, with placeholders for addresses."""
        steps = [(0, part.stride(0) if len(part) > 1 else 0, part.stride(1)) for part in parts]
        return np.array([(0, self.shared, 0), *steps], dtype=np.int64)

    def take_shared(self, size: int) -> int:
        """Allocate memory for shared values, and return its offset."""
        self.shared += size
        return self.shared - size

    def take_rows(self, size: int) -> int:
        """Allocate consecutive rows of the work space, and return the first."""
        if self.free[size]:
            return self.free[size].pop()
        self.rows += size
        return self.rows - size

    def release(self, plan: Plan, number: int) -> None:
        """Free the rows that no stage after this one reads."""
        later = {term.source for stage in plan[number:] for term in stage.terms}
        for source in {term.source for term in plan[number - 1].terms} - later:
            self.free[math.prod(self.shapes[source][1:])].append(self.starts[source])
        for start, size in self.middles:
            self.free[size].append(start)
        self.middles.clear()

    def slot(self, tensor: Tensor | None) -> int:
        """Return the slot of a tensor, 0 for ``None``."""
        return 0 if tensor is None else self.slots[id(tensor)]

    def write(self, stage: Stage, shape: Shape) -> int:
        """Write a stage, and return the row of its output."""
        first, shifts = len(self.found["terms"]), []
        for term in stage.terms:
            shifts += self.write_term(term, shape)
        bias, (_, nodes, channels) = self.write_bias(stage, shifts, shape), shape
        out, last = self.take_rows(nodes * channels), len(self.found["terms"])
        self.found["stages"].append([out, nodes, channels, *bias, int(stage.relu), first, last])
        return out

    def write_factors(self, factors: Tensor, nodes: int) -> int:
        """Write the factors of a scale, and return their row."""
        slot = self.slot(factors)
        if (slot,) not in self.known:
            row = self.known[(slot,)] = self.take_rows(nodes)
            self.scales.append((slot, row, nodes))
        return self.known[(slot,)]

    def write_bias(self, stage: Stage, shifts: list[list[int]], shape: Shape) -> list[int]:
        """Return slot, offset and node stride of the bias of a stage, plus biases of maps."""
        slot, (_, nodes, channels) = self.slot(stage.bias), shape
        per_node = stage.bias is not None and stage.bias.dim() == 3 and stage.bias.shape[1] > 1
        step = channels if per_node else 0
        if not shifts:
            return [slot if slot else -1, 0, step]
        to = self.take_shared(nodes * channels)
        self.found["biases"].append([slot, step, nodes, channels, to])
        self.found["shifts"] += [[*shift[:2], to, *shift[2:]] for shift in shifts]
        return [0, to, channels]

    def write_term(self, term: Term, shape: Shape) -> list[list[int]]:
        """Write a term, and return the biases of its maps."""
        _, ins, inner = self.shapes[term.source]
        _, outs, channels = shape
        one, weight = term.node_map, self.slot(term.weight)
        matrix = self.write_matrix(one)
        kind, middle = SAME, 0
        if isinstance(one, Select):
            kind, middle = GATHER, self.write_index(one)
        elif isinstance(one, Scale):
            kind, middle = SCALED, self.write_factors(one.factors, ins)
        elif matrix and weight:
            nodes_first = mixes_nodes_first((outs, ins), (channels, inner))
            kind = NODES_FIRST if nodes_first else CHANNELS_FIRST
            size = outs * inner if nodes_first else ins * channels
            middle = self.take_rows(size)
            self.middles.append((middle, size))
        elif matrix or weight:
            kind = NODES if matrix else CHANNELS
        sizes = [self.starts[term.source], ins, inner, outs, channels]
        self.found["terms"].append([kind, *sizes, *(matrix or (0, 0)), weight, middle])
        if not isinstance(one, NodeMap) or one.bias is None:
            return []
        return [[self.slot(one.bias), weight, outs, channels, inner]]

    def write_matrix(self, one: Map | None) -> tuple[int, ...]:
        """Return slot and offset of the matrix of a map over nodes; () if it has none."""
        if isinstance(one, Graph):
            return 0, self.write_graph(one)
        return (self.slot(one.matrix), 0) if isinstance(one, NodeMap) else ()

    def write_index(self, one: Select) -> int:
        """Write the selected nodes of a term, and return their offset."""
        chosen, found = check_selection(one).chosen.flatten().tolist(), self.found["selected"]
        found += [[node] for node in chosen]
        return len(found) - len(chosen)

    def write_graph(self, graph: Graph) -> int:
        """Write a graph once, and return the offset of the normalised adjacency."""
        slot, nodes = self.slot(graph.adjacency), graph.adjacency.shape[1]
        key = slot, int(graph.normalization == "signed")
        if key not in self.known:
            to = self.known[key] = self.take_shared(nodes * nodes)
            self.found["graphs"].append([slot, nodes, key[1], to])
        return self.known[key]


def _table(rows: list[list[int]]) -> Table:
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 1)
