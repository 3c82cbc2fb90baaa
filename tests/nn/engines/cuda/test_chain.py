"""The kernels against plans in double precision: values, gradients and all kinds of inputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from torch.testing import assert_close

from handgraph.nn.engines.cuda import launch
from handgraph.nn.engines.cuda.op import chain, chain_backward
from handgraph.nn.engines.cuda.program import encode, lower, table_size
from handgraph.nn.engines.cuda.table import pack
from handgraph.nn.plan import NodeMap, Select, Shape, Stage, Term, tensors
from tests.nn.engines.cuda.chains import CLOSE, both, dense_plan, run, unet
from tests.nn.engines.plans import evaluate, map_tensors, plans

OVERFLOW = pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # by numpy
QUICK = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
LINEAR = dense_plan(2, 2, ((0,), 3))
pytestmark = pytest.mark.usefixtures("exact")


def inputs(branches, width, batch):
    return torch.randn(branches, width, 1, batch)


def one_number(*maps):
    """Build a chain of one number, in which each stage has one or several matrices and a bias."""
    plan = []
    for number, (matrix, bias) in enumerate(maps):
        term = Term(number, (NodeMap(torch.tensor([matrix])),))
        plan.append(Stage((term,), torch.tensor(bias).unsqueeze(2), number < len(maps) - 1))
    return tuple(plan)


def on(device, plan):
    return map_tensors(plan, lambda part: part.to(device))


@given(drawn=plans())
@QUICK
def test_values_and_gradients(device, drawn):
    """Plans have one number of branches or join their branches."""
    plan, size = drawn
    assume(any(part.is_floating_point() for part in tensors(plan)))
    assert_close(*both(plan, torch.randn(*size, 5), device), **CLOSE)


@pytest.mark.parametrize("batch", [0, 1, 16, 17, 33])
def test_every_batch(device, batch):
    assert_close(*both(unet(2), inputs(2, 5, batch), device), **CLOSE)


@pytest.mark.parametrize("tile", [32, 64])
@pytest.mark.parametrize("tiling", ["FEW", "MANY"])
def test_tilings(device, monkeypatch, tiling, tile):
    monkeypatch.setattr(launch, "MANY_BLOCKS", 10**9 if tiling == "FEW" else 0)
    assert_close(*both(unet(1), inputs(1, 5, 33), device, tile=tile), **CLOSE)


def test_many_samples_are_cut_otherwise(multiplied, device):
    def block(size, dtype=torch.float32):
        branches, batch = size
        program = lower(dense_plan(branches, 1, ((0,), 1)), Shape(branches, 1, 1))[1]
        return launch._options(torch.empty(batch, 1, dtype=dtype, device=device), program)["BLOCK"]

    assert [block(size) for size in [(1, 16), (4, 2**11), (1, 2**13)]] == [16, 32, 32]
    multiplied("ieee")  # which uses more registers
    assert block((4, 2**11)) == 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(device, dtype):
    found, expected = both(unet(2), inputs(2, 5, 17), device, dtype)
    for low, exact in zip(found, expected, strict=True):
        rounding = 20 * torch.finfo(dtype).eps  # rounding may open or close a ReLU near 0
        assert (low - exact).norm() < rounding * exact.norm()


def test_gradients_include_every_source_of_a_stage(device):
    """A stage reads the same activation twice, and no stage reads another one."""
    plan = dense_plan(1, 3, ((0,), 4), ((0,), 9), ((2, 2, 0), 5))
    assert_close(*both(plan, inputs(1, 3, 3), device), **CLOSE)


@pytest.mark.parametrize("programs", [1, 2, 5])
def test_programs_take_several_blocks(device, monkeypatch, programs):
    monkeypatch.setattr(launch, "PROGRAMS", programs)
    assert_close(*both(LINEAR, inputs(2, 2, 70), device), **CLOSE)


@pytest.mark.parametrize("samples", [1, 40, 66, 132])
def test_large_batches_go_back_in_pieces(device, monkeypatch, samples):
    monkeypatch.setattr(launch, "SAMPLES", samples)
    assert_close(*both(LINEAR, inputs(2, 2, 33 if samples > 1 else 3), device), **CLOSE)


def test_same_bits_every_time(device):
    plan, x = unet(1), inputs(1, 5, 20)
    once, again = (both(plan, x, device)[0] for _ in range(2))
    assert all(map(torch.equal, once, again))


def test_a_sample_does_not_depend_on_the_others(device):
    plan, x = on(device, unet(2)), inputs(2, 5, 33).to(device)
    assert torch.equal(run(plan, x[..., 17:18]), run(plan, x)[..., 17:18])


def test_strides_do_not_matter(device):
    plan, x = on(device, unet(3)), inputs(3, 5, 4).to(device)
    strided = x.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    assert not strided.is_contiguous()
    assert torch.equal(run(plan, strided), run(plan, x))
    transposed = map_tensors(plan, lambda part: part.mT.contiguous().mT)
    assert torch.equal(run(transposed, x), run(plan, x))


def test_nan_stays_in_its_sample_and_branch(device):
    plan, x = on(device, unet(2)), inputs(2, 5, 18).to(device)
    expected = run(plan, x)
    x[1, 2, 0, 16] = torch.nan
    out = run(plan, x)
    assert out[1, ..., 16].isnan().all()
    out[1, ..., 16] = expected[1, ..., 16]
    assert torch.equal(out, expected)


@OVERFLOW
def test_infinity_stays_in_its_column(device, multiplied):
    """A sum may overflow before a closed ReLU; columns that pad a tile have no effect."""
    multiplied("ieee")
    one, both_ = (
        on(device, one_number(([[-1.0], [second]], [[0.0, 1.0]]), ([[5.0, 7.0]], [[1.0]])))
        for second in (2.0, -2.0)
    )
    x = torch.tensor([torch.inf, -torch.inf, 1.0], device=device).view(1, 1, 1, 3)
    assert run(one, x).flatten().tolist() == [torch.inf, torch.inf, 22]
    assert run(both_, x).flatten().tolist() == [1, torch.inf, 1]


@OVERFLOW
def test_infinity_is_no_number_in_three_products(device):
    plan = on(device, one_number(([[-1.0]], [[0.0]])))
    x = torch.tensor([torch.inf, -torch.inf, 2.0**127, -2.0], device=device).view(1, 1, 1, 4)
    found = run(plan, x).flatten()
    assert found[:2].isnan().all()
    assert found[2:].tolist() == [-(2.0**127), 2]


def test_a_relu_keeps_nan(device):
    same, add = ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0]]), ([[1.0, 1.0]], [[0.0]])
    x = torch.tensor([[torch.nan, 1.0], [0.0, -1.0]], device=device).view(1, 2, 1, 2)
    out = run(on(device, one_number(same, add)), x).flatten()
    assert out[0].isnan()
    assert out[1] == 1


@OVERFLOW
def test_rows_that_fill_a_block_up_have_no_gradient(device):
    """Padding rows are zero, for which this chain overflows; 0 times infinity would be NaN."""
    numbers = torch.tensor([-1e30, 1e30, 1e30, 1.0, 1.0, 0.0], device=device, requires_grad=True)
    stages = [
        Stage((Term(n, (NodeMap(matrix.view(1, 1, 1)),)),), bias.view(1, 1, 1), n < 2)
        for n, (matrix, bias) in enumerate(numbers.view(3, 2).unbind())
    ]
    out = run(tuple(stages), torch.ones(1, 1, 1, 1, device=device))
    (grad,) = torch.autograd.grad(out.sum(), numbers)
    assert grad.tolist() == [0, 0, 0, 1, 1, 1]


def test_no_gradient_passes_a_closed_relu(device):
    """The ReLU is closed at 0, as in torch."""
    plan = on(device, one_number(([[2.0]], [[0.0]]), ([[3.0]], [[0.0]])))  # 3 relu(2 x)
    x = torch.tensor([-1.0, 0.0, 1.0], device=device).view(1, 1, 1, 3).requires_grad_()
    out = run(plan, x)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert out.flatten().tolist() == [0, 0, 6]
    assert grad.flatten().tolist() == [0, 0, 6]


def test_joints_that_are_not_selected_have_no_influence(device):
    """NaN of unselected joints has no effect, and gradients sum over all branches."""
    index = torch.tensor([[0, 3], [3, -1]])
    select = Stage((Term(0, (Select(index, 4),)),), relu=False)
    total = Stage((Term(1, weight=torch.ones(2, 1, 2)),), torch.zeros(1, 1), relu=False)
    plan = on(device, (select, total))
    x = torch.tensor([1.0, torch.nan, torch.inf, 2.0], device=device).view(1, 4, 1, 1)
    x = x.expand(-1, -1, 2, -1).requires_grad_()
    out = run(plan, x)
    assert out.flatten().tolist() == [6, 4]
    (grad,) = torch.autograd.grad(out[0, 0].sum(), x)
    assert grad.flatten(1).tolist() == [[1, 1, 0, 0, 0, 0, 1, 1]]


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's check reads it
@pytest.mark.parametrize(
    ("batch", "dtype", "own"), [(0, torch.float32, True), (3, torch.bfloat16, False)]
)
def test_opcheck(device, batch, dtype, own):
    """Branches read their own parts or all the same part."""
    plan = dense_plan(2, 3, ((0,), 4), ((0, 1), 2))
    lowered, program = lower(plan, Shape(2 if own else 1, 3, 1))
    text = encode(program._replace(tile=16))
    table = pack(lowered, program._replace(tile=16)).to(device, dtype).requires_grad_()
    x = torch.randn(batch, 6 if own else 3).to(device, dtype).requires_grad_()
    torch.library.opcheck(chain, (x, table, text))
    for with_table in (True, False):
        args = x.new_ones(batch, 4), x.detach(), table.detach(), text, with_table
        torch.library.opcheck(chain_backward, args)


def test_batched_gradients(device):
    plan, x = on(device, LINEAR), inputs(2, 2, 3).to(device).requires_grad_()
    out = run(plan, x)
    many = torch.randn(4, *out.shape, device=device)
    (found,) = torch.autograd.grad(out, x, many, is_grads_batched=True, retain_graph=True)
    expected = [torch.autograd.grad(out, x, one, retain_graph=True)[0] for one in many]
    assert torch.equal(found, torch.stack(expected))


def test_gradients_of_gradients_are_refused(device):
    plan, x = on(device, LINEAR), inputs(2, 2, 2).to(device).requires_grad_()
    (grad,) = torch.autograd.grad(run(plan, x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="for second derivatives"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("switch", "precision", "tolerance"),
    [("none", "tf32x3", 1e-5), ("ieee", "ieee", 1e-5), ("tf32", "tf32", 0.01)],
)
def test_precision_is_by_choice(device, multiplied, switch, precision, tolerance):
    multiplied(switch)
    x = inputs(1, 5, 2)
    options = launch._options(x.flatten(1).to(device), lower(unet(1), Shape(1, 5, 1))[1])
    assert options["PRECISION"] == precision
    assert_close(*both(unet(1), x, device), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("shapes", "dtypes", "error", "message"),
    [
        (((2, 3), (2, 272)), "ff", ValueError, r"expected x .B, 4. and table .2, 272., got"),
        (((2, 2, 2), (2, 272)), "ff", ValueError, "expected x"),
        (((2, 4), (2, 9)), "ff", ValueError, "expected x"),
        (((2, 4), (3, 272)), "ff", ValueError, "expected x"),
        (
            ((2, 4), (2, 272)),
            "fd",
            TypeError,
            "one floating dtype on one device, got torch.float32",
        ),
        (((2, 4), (2, 272)), "ii", TypeError, "one floating dtype"),
        (((2, 4), (2, 272)), "fm", TypeError, "on cpu and torch.float32 on meta"),
    ],
)
def test_invalid_arguments_raise(shapes, dtypes, error, message):
    """A table on another device is an error too; a GPU would read it as its own memory."""
    kinds = {"f": torch.float32, "d": torch.float64, "i": torch.int64, "m": torch.float32}
    x, table = (
        torch.zeros(size, dtype=kinds[kind], device="meta" if kind == "m" else "cpu")
        for size, kind in zip(shapes, dtypes, strict=True)
    )
    text = encode(lower(LINEAR, Shape(2, 2, 1))[1]._replace(tile=16))
    with pytest.raises(error, match=message):
        chain(x, table, text)
    if not table.is_meta:
        with pytest.raises(error, match=message):
            chain_backward(torch.zeros(2, 6), x, table, text, True)


def test_largest_table():
    program = lower(dense_plan(1, 2, ((0,), 1)), Shape(1, 2, 1))[1]
    for tile, branches, fits in [
        (16, 2**16 - 1, True),
        (16, 2**16, False),
        (2**10, 2**11 - 2, True),
        (2**10, 2**11, False),
    ]:
        text = encode(program._replace(branches=branches, in_width=2 * branches, tile=tile))
        table = torch.empty(branches, table_size(text), device="meta")
        x = torch.empty(1, 2 * branches, device="meta")
        if fits:
            assert chain(x, table, text).shape == (1, branches)
        else:
            with pytest.raises(ValueError, match="less than 2.31 numbers in 2.16 rows"):
                chain(x, table, text)


def test_evaluation_agrees_with_matrices():
    """The reference of these tests is correct for a plan by hand."""
    plan = one_number(([[2.0], [-1.0]], [[1.0, 1.0]]), ([[3.0, 5.0]], [[7.0]]))
    x = torch.tensor([1.0, -2.0]).view(1, 1, 1, 2)
    assert evaluate(plan, x).flatten().tolist() == [3 * 3 + 7, 3 * 5 + 7]
