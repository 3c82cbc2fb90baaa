"""The kernels against plans in double precision: values, gradients and all kinds of inputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from torch.testing import assert_close

from handgraph.nn.engines.cuda import launch
from handgraph.nn.engines.cuda.launch import chain
from handgraph.nn.engines.cuda.lower import lower
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
        term = Term(number, NodeMap(torch.tensor([matrix])))
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
        program = lower(dense_plan(branches, 1, ((0,), 1)), Shape(branches, 1, 1))[0]
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


def test_a_stage_sums_over_branches_of_its_matrices(device):
    """Input and output have one branch, so only the matrices of the only stage have several."""
    term = Term(0, NodeMap(torch.randn(2, 4, 3)), torch.randn(2, 5, 2))
    plan = (Stage((term,), torch.randn(1, 5), relu=False),)
    assert_close(*both(plan, torch.randn(1, 3, 2, 3), device), **CLOSE)


@pytest.mark.parametrize("samples", [1, 40, 66, 132])
def test_large_batches_run_in_pieces(triton, device, monkeypatch, samples):
    """Each launch has at most half as many samples, as there are two branches."""
    monkeypatch.setattr(launch, "SAMPLES", samples)
    batch = 33 if samples > 1 else 3
    assert_close(*both(LINEAR, inputs(2, 2, batch), device), **CLOSE)
    pieces = -(-batch // max(samples // 2, 1))
    assert triton == {"forward": pieces, "backward": pieces}


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
        Stage((Term(n, NodeMap(matrix.view(1, 1, 1))),), bias.view(1, 1, 1), n < 2)
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
    select = Stage((Term(0, Select(index, 4)),), relu=False)
    total = Stage((Term(1, weight=torch.ones(2, 1, 2)),), torch.zeros(1, 1), relu=False)
    plan = on(device, (select, total))
    x = torch.tensor([1.0, torch.nan, torch.inf, 2.0], device=device).view(1, 4, 1, 1)
    x = x.expand(-1, -1, 2, -1).requires_grad_()
    out = run(plan, x)
    assert out.flatten().tolist() == [6, 4]
    (grad,) = torch.autograd.grad(out[0, 0].sum(), x)
    assert grad.flatten(1).tolist() == [[1, 1, 0, 0, 0, 0, 1, 1]]


def test_batched_gradients_are_refused(device):
    plan, x = on(device, LINEAR), inputs(2, 2, 2).to(device).requires_grad_()
    out = run(plan, x)
    many = torch.ones(3, *out.shape, device=device)
    with pytest.raises(NotImplementedError, match="for second or batched derivatives"):
        torch.autograd.grad(out, x, many, is_grads_batched=True)


def test_gradients_of_gradients_are_refused(device):
    plan, x = on(device, LINEAR), inputs(2, 2, 2).to(device).requires_grad_()
    (grad,) = torch.autograd.grad(run(plan, x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="for second or batched derivatives"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("switch", "precision", "tolerance"),
    [("none", "tf32x3", 1e-5), ("ieee", "ieee", 1e-5), ("tf32", "tf32", 0.01)],
)
def test_precision_is_by_choice(device, multiplied, switch, precision, tolerance):
    multiplied(switch)
    x = inputs(1, 5, 2)
    options = launch._options(x.flatten(1).to(device), lower(unet(1), Shape(1, 5, 1))[0])
    assert options["PRECISION"] == precision
    assert_close(*both(unet(1), x, device), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("rows", "size"), [(2**16, 1), (2**11, 2**20)])
def test_tables_that_are_too_large_are_errors(rows, size):
    program = lower(LINEAR, Shape(2, 2, 1))[0]
    with pytest.raises(ValueError, match="less than 2.31 numbers in 2.16 rows"):
        chain(torch.empty(1, 4), torch.empty(rows, size, device="meta"), program)


def test_evaluation_agrees_with_matrices():
    """The reference of these tests is correct for a plan by hand."""
    plan = one_number(([[2.0], [-1.0]], [[1.0, 1.0]]), ([[3.0, 5.0]], [[7.0]]))
    x = torch.tensor([1.0, -2.0]).view(1, 1, 1, 2)
    assert evaluate(plan, x).flatten().tolist() == [3 * 3 + 7, 3 * 5 + 7]
