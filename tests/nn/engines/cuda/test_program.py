"""Values of programs, their lists of products and their tables."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings

from handgraph.nn.engines.cuda.lower import lower
from handgraph.nn.engines.cuda.program import Step, products
from handgraph.nn.plan import Select, Shape, Stage, Term, tensors
from tests.nn.engines.cuda.chains import dense_plan, unet
from tests.nn.engines.plans import plans

CPU = torch.device("cpu")


def test_a_small_program():
    program, _, columns = lower(unet(2), Shape(2, 5, 1), 16)
    assert [step.width for step in program.steps] == [5, 20, 18, 3, 7, 33]
    assert program.starts == [0, 1, 3, 5, 6, 7, 10]
    assert [step.reads for step in program.steps] == [(), (0,), (1,), (2,), (2, 3), (1, 4)]
    assert [step.relu for step in program.steps] == [False, True, True, True, True, False]
    assert (program.first, program.out, columns) == (1, (2, 33, 1), None)


def test_inputs_of_branches():
    """Both branches read a selection or the whole sample. Column 6 is zero."""
    index = torch.tensor([[2, -1], [0, 1]])
    select = Stage((Term(0, Select(index, 3)),), relu=False)
    last = Stage((Term(1, weight=torch.ones(2, 4, 2)),), relu=False)
    program, _, columns = lower((select, last), Shape(1, 3, 2), 16)
    assert columns.view(2, 16)[:, :5].tolist() == [[4, 5, 6, 6, 6], [0, 1, 2, 3, 6]]
    assert (columns.view(2, 16)[:, 4:] == 6).all()
    assert program == ((2, 2, 4), (Step(4), Step(8, (0,))), 16)
    total = last._replace(bias=torch.zeros(1, 4))
    program, _, unrolled = lower((select, total), Shape(1, 3, 2), 16)
    assert torch.equal(unrolled, columns)
    assert program == ((1, 2, 4), (Step(4), Step(4), Step(8, (0, 1))), 16)
    _, _, shared = lower(dense_plan(2, 3, ((0,), 1)), Shape(1, 3, 1), 16)
    assert shared.view(2, 16)[:, :4].tolist() == [[0, 1, 2, 3]] * 2
    both = Stage((Term(1), Term(0)), torch.zeros(2, 1), relu=False)
    every = Select(torch.tensor([[1, 0]]).expand(2, -1), 2)
    _, _, own = lower((select._replace(terms=(Term(0, every),)), both), Shape(2, 2, 1), 16)
    assert own.view(2, 2, 16)[..., :3].tolist() == [[[0, 1, 4], [1, 0, 4]], [[2, 3, 4], [3, 2, 4]]]


@pytest.mark.parametrize("tile", [16, 32])
def test_a_table_holds_every_number_once(tile):
    plan, count = unet(2), 1
    for part in tensors(plan):
        part.copy_(torch.arange(count, count + part.numel()).view(part.shape))
        count += part.numel()
    program, table, _ = lower(plan, Shape(2, 5, 1), tile)
    if tile == 16:  # parts of matrices, then of biases
        assert table.shape == (2, 20 * 16**2 + 9 * 16)
    assert table[table > 0].sort().values.tolist() == list(range(1, count))
    biases = (program.starts[-1] - program.first) * tile
    assert table[0, -biases:][:20].tolist() == plan[0].bias[0].flatten().tolist()
    assert table[1, :tile][:5].tolist() == plan[0].terms[0].node_map.matrix[1, 0].tolist()


@given(drawn=plans())
@settings(max_examples=20)
def test_products_use_every_part_once(drawn):
    assume(any(part.is_floating_point() for part in tensors(drawn[0])))
    program = lower(*drawn, 16)[0]
    tiles = [-(-step.width // 16) for step in program.steps]
    pairs = [(tiles[n], tiles[read]) for n, step in enumerate(program.steps) for read in step.reads]
    parts = sum(rows * columns for rows, columns in pairs)
    both = products(program, CPU)
    for rows in both:
        assert rows[:-1, 1].sort().values.tolist() == list(range(parts))
        assert rows[-1].tolist() == [0] * 6  # nothing is loaded ahead
        places, lasts = rows[:-1, 2], rows[:-1, 5]
        assert places[lasts == 1].tolist() == places.unique_consecutive().tolist()
        assert len(places.unique()) == lasts.sum()
    ahead, back = (rows[:-1] for rows in both)
    assert ahead[ahead[:, 5] == 1, 2].tolist() == list(range(program.first, program.starts[-1]))
    assert ahead[:, [0, 2]].tolist() == back[back[:, 1].argsort()][:, [2, 0]].tolist()
