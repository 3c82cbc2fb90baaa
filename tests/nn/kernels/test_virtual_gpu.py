"""The virtual GPU tells of what a GPU would do something undefined about."""

from __future__ import annotations

import os

import pytest
import torch
from torch.testing import assert_close

if "HANDGRAPH_VIRTUAL_GPU" not in os.environ:
    pytest.skip("for a virtual GPU", allow_module_level=True)

import triton
import triton.language as tl

from handgraph.nn.kernels import Plan, Stage, launch, walk
from tests.virtual_gpu.formats import bf16, shift_right, to_bf16
from tests.virtual_gpu.matrices import describe
from tests.virtual_gpu.memory import AccessError, Clock, Memory, Region

COUNT = 256


@triton.jit
def turn(x, out, scratch, COUNT: tl.constexpr, WAITS: tl.constexpr):
    """Turn a vector round, through memory that other threads write."""
    place = tl.arange(0, COUNT)
    tl.store(scratch + place, tl.load(x + place))
    if WAITS:
        tl.debug_barrier()
    tl.store(out + place, tl.load(scratch + COUNT - 1 - place))


@triton.jit
def copy_neighbour(x, out, arrived, COUNTS: tl.constexpr):
    """Whichever program comes last copies what the others wrote."""
    program = tl.program_id(0)
    tl.store(x + program, program + 1)
    tl.debug_barrier()
    is_last = tl.atomic_add(arrived, 1) == tl.num_programs(0) - 1 if COUNTS else program == 0
    if is_last:
        for other in range(tl.num_programs(0)):
            tl.store(out + other, tl.load(x + other))


@triton.jit
def take_larger(x, y, out, COUNT: tl.constexpr, NAN: tl.constexpr):
    """The larger of two numbers, and of NaN and a number either."""
    place = tl.arange(0, COUNT)
    first, second = tl.load(x + place), tl.load(y + place)
    tl.store(out + place, tl.maximum(first, second, NAN))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kept", [True, False])
def test_a_maximum_keeps_nan_if_told_so(kept, dtype):
    x, y = torch.randn(2, COUNT, dtype=dtype)
    x[:9], y[5:12] = torch.nan, torch.nan
    out, nan = torch.empty_like(x), tl.PropagateNan.ALL if kept else tl.PropagateNan.NONE
    take_larger[(1,)](x, y, out, COUNT=COUNT, NAN=nan, enable_fp_fusion=True)
    expected = torch.maximum(x, y) if kept else torch.fmax(x, y)
    assert_close(out, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("waits", [True, False])
def test_a_barrier_orders_threads(waits):
    x, out, scratch = torch.rand(COUNT), torch.empty(COUNT), torch.empty(COUNT)
    if waits:
        turn[(1,)](x, out, scratch, COUNT=COUNT, WAITS=True, enable_fp_fusion=True)
        assert_close(out, x.flip(0), rtol=0, atol=0)
    else:
        with pytest.raises(AccessError, match="argument 2: race at byte .* no barrier after write"):
            turn[(1,)](x, out, scratch, COUNT=COUNT, WAITS=False, enable_fp_fusion=True)


@pytest.mark.parametrize("short", [0, 1, 2])
def test_bounds(short):
    vectors = [torch.zeros(COUNT - (number == short)) for number in range(3)]
    with pytest.raises(AccessError, match=f"argument {short}: .* bytes at .* but it has 1020"):
        turn[(1,)](*vectors, COUNT=COUNT, WAITS=True, enable_fp_fusion=True)


@pytest.mark.parametrize("counts", [True, False])
def test_blocks_are_ordered_by_what_they_count(counts):
    """In whatever order they come; the interpreter's is always the same."""
    for _ in range(8):
        x, out = torch.zeros(4, dtype=torch.int32), torch.zeros(4, dtype=torch.int32)
        arrived = torch.zeros(1, dtype=torch.int32)
        if counts:
            copy_neighbour[(4,)](x, out, arrived, COUNTS=True, enable_fp_fusion=True)
            assert out.tolist() == [1, 2, 3, 4]
        else:
            with pytest.raises(AccessError, match="argument 0: race at byte .* of block"):
                copy_neighbour[(4,)](x, out, arrived, COUNTS=False, enable_fp_fusion=True)


def test_memory_that_nobody_wrote():
    region = Region("shared", 0, torch.zeros(16, dtype=torch.uint8).numpy(), is_written=False)
    memory, clock = Memory([region]), Clock(1, 0)
    address, warps = torch.tensor([4, 8]).numpy(), torch.tensor([0, 1]).numpy()
    memory.store(address, 4, [address], warps, clock)
    clock.barrier()
    assert memory.load(address[::-1], 4, 1, warps, clock)[0].tolist() == [8, 4]
    with pytest.raises(AccessError, match="nobody wrote it"):
        memory.load(address + 4, 4, 1, warps, clock)
    with pytest.raises(AccessError, match="no barrier after read"):
        memory.store(address, 4, [address], warps, clock)
    region.is_pending[:] = True
    with pytest.raises(AccessError, match="while it is copied"):
        memory.load(address, 4, 1, warps, clock)


def test_threads_that_write_different_numbers():
    region = Region("one", 0, torch.zeros(4, dtype=torch.uint8).numpy())
    address, warps = torch.zeros(2, dtype=torch.int64).numpy(), torch.zeros(2).int().numpy()
    with pytest.raises(AccessError, match="different numbers"):
        Memory([region]).store(address, 4, [torch.arange(2).numpy()], warps, Clock(1, 0))


def test_bfloat16_as_torch_rounds_it():
    x = torch.randn(1000) * 10.0 ** torch.randint(-38, 38, (1000,))
    assert_close(torch.from_numpy(bf16(to_bf16(x.numpy()))), x.bfloat16().float(), rtol=0, atol=0)


def test_shifts_by_more_than_the_width():
    negative = torch.tensor([-8]).numpy()
    count = torch.tensor([70]).numpy().view("u8")
    assert shift_right(negative, count) == -1
    assert shift_right(negative.view("u8"), count) == 0


def test_swizzles_put_every_piece_somewhere_else():
    for swizzle, length in [(1, 128), (2, 64), (3, 32)]:
        stride = 8 * length // 16
        found = [
            describe(swizzle << 62 | stride << 32 | start // 16, 64, 4, False)
            for start in range(0, length, 32)
        ]
        places = torch.tensor([place for part in found for place in part.flatten().tolist()])
        assert places.unique().tolist() == list(range(0, 64 * length, 4))


def test_kernels_need_their_barriers(monkeypatch):
    """That behind each tile, where others read it: as it happens, quick kernels' threads do not."""
    monkeypatch.setattr(launch, "_tiling", lambda *_: launch.MANY)
    plan = Plan(64, (Stage((0,), 64, True), Stage((1,), 64, False)))
    x, table = torch.rand(16, 1, 64), torch.rand(1, plan.table_size)
    launch.forward(x, table, plan)
    source = walk.walk.src
    changed = source.replace("tl.debug_barrier()", "pass")
    assert changed != source
    functions = [walk.walk, walk.forward]
    hashes = [function.hash for function in functions]
    try:
        walk.walk._unsafe_update_src(changed)
        walk.forward.hash = None
        walk.forward.device_caches.clear()
        with pytest.raises(AccessError, match="race"):
            launch.forward(x, table, plan)
    finally:
        walk.walk._unsafe_update_src(source)
        walk.forward.device_caches.clear()
        for function, before in zip(functions, hashes, strict=True):
            function.hash = before
