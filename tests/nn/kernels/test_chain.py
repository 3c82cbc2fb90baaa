"""The kernels against torch in double precision: values, gradients, and every kind of input."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from handgraph.nn.kernels import Plan, Stage, chain, dispatch, launch
from handgraph.nn.kernels.ops import _chain, _chain_backward
from handgraph.nn.kernels.plan import decode
from handgraph.nn.kernels.program import program

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
UNET = Plan(
    5,
    (
        Stage((0,), 20, True),
        Stage((1,), 18, True),
        Stage((2,), 3, True),
        Stage((2, 3), 7, True),
        Stage((1, 4), 33, False),
    ),
    tile=16,
)
LINEAR = Plan(2, (Stage((0,), 3, False),), tile=16)
CPU = torch.device("cpu")
OVERFLOW = pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # by numpy
pytestmark = pytest.mark.usefixtures("exact")


def problem(plan, batch, branches, *, dtype=torch.float32, device="cpu", seed=0):
    """Input, table and weights of the output, as leaves in double precision and as operands."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, branches, plan.in_width), (branches, plan.table_size)
    shapes = *shapes, (batch, branches, plan.widths[-1])
    operands = [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]
    operands[1] = operands[1] / 4
    leaves = [operand.double().requires_grad_() for operand in operands]
    return leaves, [operand.requires_grad_() for operand in operands]


def unpack(plan, table):
    """Give the matrices ``[N, W, W']`` and the bias ``[N, 1, W']`` of each stage, part by part."""
    tile, biases = plan.tile, table[:, plan.num_parts * plan.tile**2 :]
    found, part, place = [], 0, 0
    for stage, tiles in zip(plan.stages, plan.tiles[1:], strict=True):
        columns = []
        for _ in range(tiles):
            rows = []
            for source in stage.sources:
                for _ in range(plan.tiles[source]):
                    found_part = table[:, part * tile**2 :][:, : tile**2]
                    rows.append(found_part.unflatten(1, (tile, tile)).mT)
                    part += 1
            columns.append(torch.cat(rows, dim=1))
        whole, matrices = torch.cat(columns, dim=2), []
        for source in stage.sources:
            matrices.append(whole[:, : plan.widths[source], : stage.width])
            whole = whole[:, plan.tiles[source] * tile :]
        found.append((matrices, biases[:, place * tile :][:, : stage.width].unsqueeze(1)))
        place += tiles
    return found


def pack(plan, *maps, device):
    """The table of one branch from nested lists."""
    return plan.pack([[torch.tensor([part], device=device) for part in stage] for stage in maps])


def run_plan(x, table, plan):
    """A chain by torch, from ``[B, N, W]`` and ``[N, T]``: the slow twin."""
    outputs = [x.transpose(0, 1)]
    for stage, (matrices, bias) in zip(plan.stages, unpack(plan, table), strict=True):
        out = bias.expand(-1, x.shape[0], -1)
        for source, matrix in zip(stage.sources, matrices, strict=True):
            out = torch.baddbmm(out, outputs[source], matrix)
        outputs.append(out.relu() if stage.relu else out)
    return outputs[-1].transpose(0, 1)


def differentiate(out, operands):
    x, table, weights = operands
    return [out, *torch.autograd.grad(out, (x, table), weights.detach())]


def check(plan, batch, branches, *, dtype=torch.float32, device="cpu", seed=0, **tolerance):
    leaves, operands = problem(plan, batch, branches, dtype=dtype, device=device, seed=seed)
    expected = differentiate(run_plan(*leaves[:2], plan), leaves)
    found = differentiate(chain(*operands[:2], plan), operands)
    assert [tensor.dtype for tensor in found] == [dtype] * 3
    assert_close([t.double() for t in found], expected, **(tolerance or CLOSE))


@st.composite
def plans(draw):
    """Chains with skips: every stage reads one or two of what comes before it."""
    count = draw(st.integers(1, 4))
    stages = []
    for number in range(count):
        skips = draw(st.lists(st.integers(0, number), max_size=1))
        sources = (*skips, number)
        stages.append(
            Stage(sources, draw(st.integers(1, 40)), number < count - 1 and draw(st.booleans()))
        )
    return Plan(draw(st.integers(1, 40)), tuple(stages), draw(st.sampled_from([16, 32])))


@given(plan=plans(), batch=st.integers(0, 18), branches=st.integers(1, 2))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_and_gradients(device, small_blocks, plan, batch, branches):
    check(plan, batch, branches, device=device)


@pytest.mark.parametrize("batch", [0, 1, 15, 16, 17, 64, 65])
def test_every_batch(device, batch):
    check(UNET, batch, 2, device=device)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("tiling", [launch.FEW, launch.MANY, launch.NARROW])
def test_tilings(device, monkeypatch, tiling, quick):
    monkeypatch.setattr(launch, "_tiling", lambda *_: tiling._replace(quick=quick))
    check(UNET, 70, 1, device=device)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_samples_are_cut_otherwise(monkeypatch, wide, dtype):
    monkeypatch.setattr(launch, "_is_wide", lambda _: wide)
    monkeypatch.setattr(launch, "_operand", lambda x: x.dtype)
    sizes = [(16, 1), (2**11, 4), (2**13, 1)]
    x = torch.empty(0, dtype=dtype)
    found = [launch._tiling(x, *size) for size in sizes]
    assert found == [launch.FEW, *(2 * [launch.MANY if wide else launch.NARROW])]
    monkeypatch.setitem(launch.PRECISION, "none", "ieee")
    is_few = [launch._tiling(x, *size) == launch.FEW for size in sizes]
    assert is_few == [True, *(2 * [dtype == torch.float32])]


@pytest.mark.parametrize(("major", "wide"), [(8, False), (9, True), (10, True), (12, False)])
def test_which_gpus_take_more_at_a_time(monkeypatch, major, wide):
    properties = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert launch._is_wide.__wrapped__(torch.device("cuda")) is wide


@pytest.mark.parametrize(("major", "hip", "taken"), [(7, None, 0), (8, None, 1), (9, "7.0", 0)])
def test_which_gpus_are_taken(monkeypatch, major, hip, taken):
    properties = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert dispatch._is_recent(torch.device("cuda")) is bool(taken)


def test_exactly_in_double_precision(device):
    if device.type == "cuda":
        pytest.skip("float64 runs in the interpreter only")
    check(UNET, 17, 2, dtype=torch.float64, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(device, dtype):
    leaves, operands = problem(UNET, 17, 2, dtype=dtype, device=device)
    expected = differentiate(run_plan(*leaves[:2], UNET), leaves)
    found = differentiate(chain(*operands[:2], UNET), operands)
    for low, exact in zip(found, expected, strict=True):
        assert low.dtype == dtype
        assert (low - exact).norm() < 0.05 * exact.norm()  # where a ReLU is near 0, it may differ


def test_every_source_of_a_stage_counts(device):
    """The same activation twice, and one that nothing reads."""
    stages = Stage((0,), 4, True), Stage((0,), 9, True), Stage((2, 2, 0), 5, False)
    check(Plan(3, stages), 3, 1, device=device)


@pytest.mark.parametrize("programs", [1, 2, 5])
def test_programs_take_several_blocks(device, monkeypatch, small_blocks, programs):
    monkeypatch.setattr(launch, "PROGRAMS", programs)
    check(LINEAR, 70, 2, device=device)


@pytest.mark.parametrize("samples", [1, 40, 66, 132])
def test_large_batches_go_back_in_pieces(device, monkeypatch, samples):
    monkeypatch.setattr(launch, "SAMPLES", samples)
    check(LINEAR, 33 if samples > 1 else 3, 2, device=device)


def test_same_bits_every_time(device, small_blocks):
    _, operands = problem(UNET, 20, 2, device=device)
    once, again = (differentiate(chain(*operands[:2], UNET), operands) for _ in range(2))
    assert all(map(torch.equal, once, again))


def test_a_sample_does_not_depend_on_the_others(device):
    _, (x, table, _) = problem(UNET, 33, 2, device=device)
    assert torch.equal(chain(x[17:18], table, UNET), chain(x, table, UNET)[17:18])


def test_strides_do_not_matter(device):
    leaves, (x, table, weights) = problem(UNET, 5, 3, device=device)
    mirrored = [t.detach().flip(-1).mT.contiguous().mT for t in (x, weights)]
    strided = [t.flip(-1).requires_grad_() for t in mirrored]
    strided = [t.detach().permute(2, 1, 0).contiguous().permute(2, 1, 0) for t in strided]
    spread = torch.stack([table.detach()] * 2, dim=-1)[..., 0].requires_grad_()
    strided[0].requires_grad_()
    assert not any(t.is_contiguous() for t in (*strided, spread))
    expected = differentiate(run_plan(*leaves[:2], UNET), leaves)
    found = differentiate(chain(strided[0], spread, UNET), [strided[0], spread, strided[1]])
    assert_close([t.double() for t in found], expected, **CLOSE)


def test_nan_stays_in_its_sample_and_branch(device):
    _, (x, table, _) = problem(UNET, 18, 2, device=device)
    x = x.detach()
    expected = chain(x, table, UNET)
    x[16, 1, 2] = torch.nan
    out = chain(x, table, UNET)
    assert out[16, 1].isnan().all()
    out[16, 1] = expected[16, 1]
    assert torch.equal(out, expected)


@pytest.fixture
def multiplied():
    """Let PyTorch's switch say how float32 is multiplied."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision

    def switch(name):
        matmul.fp32_precision = name

    yield switch
    matmul.fp32_precision = before


@OVERFLOW
def test_infinity_stays_in_its_column(device, multiplied):
    """A sum may overflow where a ReLU then closes; columns that fill a tile up take no part."""
    multiplied("ieee")
    plan = Plan(1, (Stage((0,), 2, True), Stage((1,), 1, False)))
    last = ([[5.0], [7.0]], [[1.0]])
    one, both = (
        pack(plan, ([[-1.0, second]], [[0.0, 1.0]]), last, device=device) for second in (2.0, -2.0)
    )
    x = torch.tensor([torch.inf, -torch.inf, 1.0], device=device).view(3, 1, 1)
    assert chain(x, one, plan).flatten().tolist() == [torch.inf, torch.inf, 22]
    assert chain(x, both, plan).flatten().tolist() == [1, torch.inf, 1]


@OVERFLOW
def test_infinity_is_no_number_in_three_products(device):
    plan = Plan(1, (Stage((0,), 1, False),))
    table = pack(plan, ([[-1.0]], [[0.0]]), device=device)
    x = torch.tensor([torch.inf, -torch.inf, 2.0**127, -2.0], device=device).view(4, 1, 1)
    found = chain(x, table, plan).flatten()
    assert found[:2].isnan().all()
    assert found[2:].tolist() == [-(2.0**127), 2]


def test_a_relu_keeps_nan(device):
    plan = Plan(2, (Stage((0,), 2, True), Stage((1,), 1, False)))
    same, add = [[1.0, 0.0], [0.0, 1.0]], [[1.0], [1.0]]
    table = pack(plan, (same, [[0.0, 0.0]]), (add, [[0.0]]), device=device)
    x = torch.tensor([[torch.nan, 0.0], [1.0, -1.0]], device=device).unsqueeze(1)
    out = chain(x, table, plan).flatten()
    assert out[0].isnan()
    assert out[1] == 1


@OVERFLOW
def test_rows_that_fill_a_block_up_have_no_gradient(device):
    """They are zeros, for which this chain overflows; 0 times infinity would be NaN."""
    plan = Plan(1, (Stage((0,), 1, True), Stage((1,), 1, True), Stage((2,), 1, False)))
    numbers = torch.tensor([-1e30, 1e30, 1e30, 1.0, 1.0, 0.0], device=device, requires_grad=True)
    table = plan.pack(numbers.view(3, 2, 1, 1, 1).unbind())
    x = torch.ones(1, 1, 1, device=device)
    (grad,) = torch.autograd.grad(chain(x, table, plan).sum(), numbers)
    assert grad.tolist() == [0, 0, 0, 1, 1, 1]


def test_no_gradient_passes_a_closed_relu(device):
    """At 0, as in torch, it is closed."""
    plan = Plan(1, (Stage((0,), 1, True), Stage((1,), 1, False)))
    three, zero = [[3.0]], [[0.0]]
    table = pack(plan, ([[2.0]], zero), (three, zero), device=device)  # 3 relu(2 x)
    x = torch.tensor([-1.0, 0.0, 1.0], device=device).view(3, 1, 1).requires_grad_()
    out = chain(x, table, plan)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert out.flatten().tolist() == [0, 0, 6]
    assert grad.flatten().tolist() == [0, 0, 6]


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own check reads it
def test_opcheck(device, small_blocks):
    plan = Plan(3, (Stage((0,), 4, True), Stage((0, 1), 2, False)))
    for batch, dtype in [(0, torch.float32), (3, torch.bfloat16)]:
        _, (x, table, weights) = problem(plan, batch, 2, dtype=dtype, device=device)
        torch.library.opcheck(_chain, (x, table, plan.encode()))
        args = weights.detach(), x.detach(), table.detach(), plan.encode()
        torch.library.opcheck(_chain_backward, args)


def test_gradients_of_gradients_are_refused(device):
    _, (x, table, _) = problem(LINEAR, 2, 1, device=device)
    (grad,) = torch.autograd.grad(chain(x, table, LINEAR).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="autograd"):
        grad.sum().backward()


def test_tangents_are_refused(device):
    """They would be lost: operators of PyTorch take no forward-mode derivative."""
    _, (x, table, _) = problem(LINEAR, 2, 1, device=device)
    x, table = x.detach(), table.detach()
    with pytest.raises(NotImplementedError, match="chain: there is no forward-mode derivative"):
        torch.func.jvp(lambda x: chain(x, table, LINEAR), (x,), (x,))


@pytest.mark.parametrize(
    ("switch", "precision", "tolerance"),
    [("none", "tf32x3", 1e-5), ("ieee", "ieee", 1e-5), ("tf32", "tf32", 0.01)],
)
def test_precision_is_by_choice(device, multiplied, switch, precision, tolerance):
    multiplied(switch)
    assert launch.precision() == precision
    check(UNET, 2, 1, device=device, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("shapes", "dtypes", "error", "message"),
    [
        (((2, 1, 3), (1, 272)), "ff", ValueError, "expected x .B, N, 2. and table .N, 272., got"),
        (((2, 2), (1, 272)), "ff", ValueError, "expected x"),
        (((2, 1, 2), (1, 9)), "ff", ValueError, "expected x"),
        (((2, 3, 2), (1, 272)), "ff", ValueError, "expected x"),
        (((2, 1, 2), (1, 272)), "fd", TypeError, "one floating-point dtype, got torch.float32 and"),
        (((2, 1, 2), (1, 272)), "ii", TypeError, "one floating-point dtype"),
    ],
)
def test_what_does_not_fit_is_an_error(shapes, dtypes, error, message):
    kinds = {"f": torch.float32, "d": torch.float64, "i": torch.int64}
    x, table = (torch.zeros(s, dtype=kinds[d]) for s, d in zip(shapes, dtypes, strict=True))
    with pytest.raises(error, match=message):
        chain(x, table, LINEAR)


def test_no_branches(device):
    check(UNET, 2, 0, device=device)


@pytest.mark.parametrize(
    ("branches", "width", "fits"),
    [(2**16 - 1, 2, True), (2**16, 2, False), (32760, 2**12, True), (32761, 2**12, False)],
)
def test_largest_number_of_branches(branches, width, fits):
    plan = Plan(width, (Stage((0,), 1, False),), tile=16)
    sizes = (1, branches, width), (branches, plan.table_size)
    x, table = (torch.empty(size, device="meta") for size in sizes)
    if fits:
        assert chain(x, table, plan).shape == (1, branches, 1)
    else:
        with pytest.raises(ValueError, match="up to 65535 branches and 2147483647 numbers, got"):
            chain(x, table, plan)


def test_another_device_is_an_error():
    """A GPU would read what is on another one before it is there, or not at all."""
    x, table = torch.zeros(2, 1, 2), torch.zeros(1, 272, device="meta")
    with pytest.raises(ValueError, match="x and table on one device, got cpu and meta"):
        chain(x, table, LINEAR)


@pytest.mark.parametrize(
    "stages",
    [
        (),
        (Stage((0,), 3, True),),
        (Stage((1,), 3, False),),
        (Stage((-1,), 3, False),),
        (Stage((), 3, False),),
        (Stage((0,), 0, False),),
    ],
)
def test_plans_that_are_none(stages):
    plan = Plan(2, stages)
    with pytest.raises(ValueError, match="plan: expected"):
        chain(torch.zeros(1, 1, 2), torch.zeros(1, plan.table_size), plan)


@pytest.mark.parametrize("tile", [0, 8, 48])
def test_tiles_are_powers_of_two(tile):
    with pytest.raises(ValueError, match=f"plan: expected a tile of 16, 32, 64, ..., got {tile}"):
        LINEAR._replace(tile=tile).check()


@pytest.mark.parametrize(
    "maps",
    [
        [],
        [(torch.zeros(1, 2, 3),)],
        [(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))],
        [(torch.zeros(1, 2, 3), torch.zeros(1, 3))],
        [(torch.zeros(1, 2, 3), torch.zeros(1, 1, 3))] * 2,
    ],
)
def test_maps_of_another_plan_are_an_error(maps):
    with pytest.raises(ValueError, match=r"plan: expected .*\[\[\(2, 3\), \(1, 3\)\]\], got"):
        LINEAR.pack(maps)


# Plans


@given(plan=plans())
def test_plans_survive_being_integers(plan):
    assert decode(plan.encode()) == plan


@given(plan=plans(), branches=st.integers(1, 2))
def test_a_table_holds_every_number_once(plan, branches):
    shapes, widths = plan.matrices(), plan.widths[1:]
    maps, count = [], 1
    for stage, width in zip(plan.stages, widths, strict=True):
        sizes = [next(shapes) for _ in stage.sources]
        maps.append([torch.arange(branches * r * c).view(branches, r, c) for r, c in sizes])
        maps[-1].append(torch.arange(branches * width).view(branches, 1, width))
        for number in maps[-1]:
            number += count
            count += number.numel()
    table = plan.pack(maps)
    assert table.shape == (branches, plan.table_size)
    assert torch.equal(table[table > 0].sort().values, torch.arange(1, count))
    for (*matrices, bias), found in zip(maps, unpack(plan, table), strict=True):
        assert all(map(torch.equal, (*matrices, bias), (*found[0], found[1])))
    assert torch.equal(plan.pack(maps, fill=-1) == -1, table == 0)


@given(plan=plans())
def test_lists_use_every_part_once(plan):
    lists = program(plan, torch.device("cpu"))
    for terms in lists.terms, lists.back_terms:
        assert terms[:-1, 1].sort().values.tolist() == list(range(plan.num_parts))
        assert terms[-1].tolist() == [0, 0]  # what is loaded ahead of nothing
    assert len(lists.products) == plan.num_parts
    assert len(lists.tiles) == sum(plan.tiles[1:])


def test_sizes_of_a_small_plan():
    assert UNET.widths == (5, 20, 18, 3, 7, 33)
    assert list(UNET.matrices()) == [(5, 20), (20, 18), (18, 3), (18, 7), (3, 7), (20, 33), (7, 33)]
    assert UNET.tiles == (1, 2, 2, 1, 1, 3)
    assert UNET.num_parts == 2 + 4 + 2 + 2 + 1 + 6 + 3
    assert UNET.table_size == 20 * 16**2 + 9 * 16
    assert UNET.is_small()
    assert not Plan(2**10, (Stage((0,), 2**7 + 1, False),)).is_small()
