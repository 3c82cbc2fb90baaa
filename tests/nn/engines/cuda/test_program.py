"""Values of programs, their lists and their tables."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from handgraph.nn.engines.cuda.program import lower
from handgraph.nn.engines.cuda.table import pack
from handgraph.nn.engines.cuda.tiles import lists
from handgraph.nn.plan import Select, Shape, Stage, Term, tensors
from tests.nn.engines.cuda.chains import dense_plan, unet
from tests.nn.engines.plans import plans

CPU = torch.device("cpu")


def program_of(drawn, tile=16):
    return lower(*drawn)[1]._replace(tile=tile)


def test_a_small_program():
    program = lower(unet(2), Shape(2, 5, 1))[1]._replace(tile=16)
    assert program.widths == (5, 20, 18, 3, 7, 33)
    assert program.tiles == [1, 2, 2, 1, 1, 3]
    assert program.sources == ((0,), (1,), (2,), (2, 3), (1, 4))
    assert program.relus == (True, True, True, True, False)
    assert (program.inputs, program.columns, program.in_width, program.out_width) == (1, (), 10, 66)


def test_inputs_of_branches():
    """Both branches read a selection or the whole sample."""
    index = torch.tensor([[2, -1], [0, 1]])
    select = Stage((Term(0, Select(index, 3)),), relu=False)
    last = Stage((Term(1, weight=torch.ones(2, 4, 2)),), relu=False)
    program = lower((select, last), Shape(1, 3, 2))[1]
    assert program.columns == ((4, 5, -1, -1), (0, 1, 2, 3))
    assert (program.branches, program.in_width, program.widths) == (2, 6, (4, 8))
    total = last._replace(bias=torch.zeros(1, 4))
    program = lower((select, total), Shape(1, 3, 2))[1]
    assert program.columns == ((4, 5, -1, -1, 0, 1, 2, 3),)
    assert (program.branches, program.inputs, program.sources) == (1, 2, ((0, 1),))
    shared = lower(dense_plan(2, 3, ((0,), 1)), Shape(1, 3, 1))[1]
    assert shared.columns == ((0, 1, 2),) * 2


@pytest.mark.parametrize("tile", [16, 32])
def test_a_table_holds_every_number_once(tile):
    plan, count = unet(2), 1
    for part in tensors(plan):
        part.copy_(torch.arange(count, count + part.numel()).view(part.shape))
        count += part.numel()
    lowered, program = lower(plan, Shape(2, 5, 1))
    program = program._replace(tile=tile)
    table = pack(lowered, program)
    if tile == 16:  # parts of matrices, then of biases
        assert table.shape == (2, 20 * 16**2 + 9 * 16)
    assert table[table > 0].sort().values.tolist() == list(range(1, count))
    last = program.tiles[program.inputs :]
    assert table[0, -sum(last) * tile :][:20].tolist() == plan[0].bias[0].flatten().tolist()
    assert table[1, :tile][:5].tolist() == plan[0].terms[0].node_map.matrix[1, 0].tolist()


@given(drawn=plans())
@settings(max_examples=20)
def test_lists_use_every_part_once(drawn):
    program = program_of(drawn)
    todo = lists(program, CPU)
    reads = zip(program.sources, program.tiles[program.inputs :], strict=True)
    parts = sum(rows * program.tiles[source] for read, rows in reads for source in read)
    for terms in todo.terms, todo.back_terms:
        assert terms[:-1, 1].sort().values.tolist() == list(range(parts))
        assert terms[-1].tolist() == [0, 0]  # nothing is loaded ahead
    assert len(todo.products) == parts
    assert len(todo.tiles) == sum(program.tiles[program.inputs :])
    assert len(todo.back) == sum(program.tiles[:-1])
    assert todo.half == sum(program.tiles)
