"""Numbers as a GPU keeps them, from the bits of registers and to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.virtual_gpu.memory import Ints

Floats = NDArray[np.float64]


def toward_zero(numbers: Floats) -> NDArray[np.float32]:
    """Doubles to float32 without rounding up, as matrix units keep their sums."""
    near = numbers.astype(np.float32)
    return np.where(np.abs(near) > np.abs(numbers), np.nextafter(near, np.float32(0)), near)


def bf16(bits: Ints) -> NDArray[np.float32]:
    """Bits of bfloat16 as float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bf16(numbers: NDArray[np.float32]) -> Ints:
    """The nearest, of two the even one."""
    bits = np.ascontiguousarray(numbers).view(np.uint32).astype(np.int64)
    rounded = bits + 0x7FFF + (bits >> 16 & 1) >> 16
    return np.where(np.isnan(numbers), 0x7FFF, rounded).astype(np.uint16)


def join(low: Ints, high: Ints) -> Ints:
    """Two halves as one number."""
    both = np.stack([low, high], axis=-1)
    return both.view(f"u{2 * low.itemsize}")[:, 0]


def split(number: Ints) -> Ints:
    """The way back of it."""
    return np.ascontiguousarray(number).view(f"u{number.itemsize // 2}").reshape(-1, 2).T


def bf16x2(bits: Ints) -> NDArray[np.float32]:
    """Two numbers, the low one first: ``[*]`` to ``[*, 2]``."""
    return bf16(split(bits).T)


def f16x2(bits: Ints) -> NDArray[np.float16]:
    """The same of float16."""
    return np.ascontiguousarray(split(bits).T).view(np.float16)


def f32x2(bits: Ints) -> NDArray[np.float32]:
    """The same of float32, in 64 bits."""
    return np.ascontiguousarray(split(bits).T).view(np.float32)


def to_bf16x2(numbers: NDArray[np.float32]) -> Ints:
    """The way back of it."""
    return join(*to_bf16(numbers).T)


def to_f16x2(numbers: NDArray[Any]) -> Ints:
    """The way back of it."""
    return join(*numbers.astype(np.float16).view(np.uint16).T)


def to_f32x2(numbers: NDArray[np.float32]) -> Ints:
    """The way back of it."""
    return join(*np.ascontiguousarray(numbers).view(np.uint32).T)


FORMATS = {
    "tf32": lambda bits: (bits & np.uint32(0xFFFFE000)).view(np.float32)[:, None].astype(float),
    "bf16": lambda bits: bf16x2(bits).astype(float),
    "f16": lambda bits: f16x2(bits).astype(float),
    "f64": lambda bits: bits.view(float)[:, None],
}
"""What matrix units read in a register: of TF32 they ignore the last 13 bits."""


def fma(a: Floats, b: Floats, c: Floats) -> Floats:
    """``a * b + c`` rounded once; of doubles, twice."""
    return (a.astype(float) * b + c).astype(a.dtype)


def shift_left(number: Ints, count: Ints) -> Ints:
    """Nothing is left from the width on."""
    width = 8 * number.itemsize
    return np.where(count < width, number << (count % width).astype(number.dtype), 0).astype(
        number.dtype
    )


def shift_right(number: Ints, count: Ints) -> Ints:
    """By the width or more, a sign is left or nothing."""
    width = 8 * number.itemsize
    steps = np.minimum(count, width - 1).astype(number.dtype)
    shifted = number >> steps
    return (
        shifted
        if number.dtype.kind == "i"
        else np.where(count < width, shifted, 0).astype(number.dtype)
    )


def bits(number: Ints, first: int, count: int) -> Ints:
    """Some bits in the middle, of which the last may be a sign."""
    width = 8 * number.itemsize
    return number << number.dtype.type(width - first - count) >> number.dtype.type(width - count)


def permute(low: Ints, high: Ints, selector: Ints) -> Ints:
    """Four of eight bytes, each chosen by four bits."""
    places = selector[:, None] >> np.arange(0, 16, 4, dtype=np.uint32) & np.uint32(15)
    if places.max() > 7:
        raise NotImplementedError("bytes that are filled with a sign")
    eight = np.stack([low, high], axis=-1).view(np.uint8)
    return np.take_along_axis(eight, places.astype(int), axis=1).view(np.uint32)[:, 0]


def choose(condition: NDArray[np.bool_], found: list[Ints], before: list[Ints]) -> list[Ints]:
    """What was found, where the condition holds."""
    return [np.where(condition, new, old) for new, old in zip(found, before, strict=True)]
