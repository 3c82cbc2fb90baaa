"""Matrix units, and the instructions that bring matrices to them: who holds which entry."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.virtual_gpu.block import WARP, Block
from tests.virtual_gpu.formats import FORMATS, from_float, toward_zero
from tests.virtual_gpu.memory import Ints

Matrix = NDArray[np.float64]
LANES = np.arange(WARP)
SWIZZLES = {1: (128, 7), 2: (64, 3), 3: (32, 1)}
"""Bytes of a row, and which bits of its number change the order of its pieces of 16 bytes."""


class Product(NamedTuple):
    """A product on Hopper's matrix units, of registers, or of what these say where it stands."""

    kind: str
    width: int
    out: list[str]
    left: list[str]
    right: list[str]
    adds: list[str]
    turned: list[int]


class MatrixBlock(Block):
    """A block of threads with matrix units."""

    def __init__(self, registers: dict[str, Any], *args: Any):
        super().__init__(*args)
        self.registers = registers
        self.products: list[Product] = []
        self.product_groups: list[list[Product]] = []

    # between the lanes of a warp

    def shuffle(self, value: Ints, lane: Ints) -> Ints:
        """What another lane of the warp holds."""
        return value.reshape(-1, WARP)[self.warps, lane % WARP]

    def butterfly(self, value: Ints, mask: Ints) -> Ints:
        """What the lane holds whose number differs in these bits."""
        return self.shuffle(value, self.lanes ^ mask)

    def _rows(self, address: Ints, lane: Ints, column: Ints) -> Ints:
        """Addresses in the rows that some lanes point to."""
        rows = address.reshape(-1, WARP)[:, lane]
        return np.asarray(rows + column.astype(address.dtype)).reshape(-1)

    def load_matrices(self, address: Ints, count: int, is_transposed: bool) -> list[Ints]:
        """Matrices of 8 by 8 numbers of 16 bits, two to a lane."""
        every = np.full(self.threads, True)
        found = []
        for k in range(count):
            if is_transposed:
                places = [
                    self._rows(address, 8 * k + 2 * (LANES % 4) + odd, 2 * (LANES // 4))
                    for odd in (0, 1)
                ]
                low, high = (self.load("shared", place, 2, 1, every)[0] for place in places)
                found.append(low.astype(np.uint32) | high.astype(np.uint32) << np.uint32(16))
            else:
                place = self._rows(address, 8 * k + LANES // 4, 4 * (LANES % 4))
                found += self.load("shared", place, 4, 1, every)
        return found

    def store_matrices(self, address: Ints, values: list[Ints]) -> None:
        """The way back of it."""
        for k, value in enumerate(values):
            place = self._rows(address, 8 * k + LANES // 4, 4 * (LANES % 4))
            self.store("shared", place, 4, [value], np.full(self.threads, True))

    # products by warps

    def multiply(self, kind: str, out: list[Ints], left: list[Ints], right: list[Ints]) -> Any:
        """``[16, 8] + [16, K] @ [K, 8]``, each warp its own."""
        matrix = self._entries(out, 8) + self._left(kind, left) @ self._fragments(
            kind, right, [(0, 0), (0, 1)]
        ).swapaxes(1, 2)
        return self._registers(matrix)

    def multiply_doubles(self, out: list[Ints], left: list[Ints], right: list[Ints]) -> Any:
        """``[8, 8] + [8, 4] @ [4, 8]`` in double precision."""
        a, b = (operand[0].view(np.float64).reshape(-1, 8, 4) for operand in (left, right))
        c = np.stack([part.view(np.float64).reshape(-1, 8, 4) for part in out], axis=-1)
        found = c.reshape(-1, 8, 8) + a @ b.swapaxes(1, 2)
        return [np.ascontiguousarray(found[..., k::2]).reshape(-1).view("u8") for k in (0, 1)]

    def _left(self, kind: str, registers: list[Ints]) -> Matrix:
        return self._fragments(kind, registers, [(0, 0), (1, 0), (0, 1), (1, 1)])

    def _fragments(self, kind: str, registers: list[Ints], places: list[tuple[int, int]]) -> Matrix:
        """The matrix ``[*, 8 or 16, K]`` whose pieces of eight rows the registers hold."""
        numbers = [FORMATS[kind](register) for register in registers]
        width = 4 * numbers[0].shape[-1]
        out = np.zeros((self.threads // WARP, 8 * len(places) // 2, 2 * width))
        for (down, across), part in zip(places, numbers, strict=True):
            rows, columns = (
                slice(8 * down, 8 * down + 8),
                slice(width * across, width * across + width),
            )
            out[:, rows, columns] = part.reshape(-1, 8, width)
        return out

    def _entries(self, registers: list[Ints], width: int) -> Matrix:
        """Sums of float32 ``[*, 16, W]``, four registers for eight columns."""
        out = np.zeros((self.threads // WARP, 16, width))
        for k, register in enumerate(registers):
            out[self._place(k)] = register.view(np.float32).reshape(-1, 8, 4)
        return out

    def _registers(self, matrix: Matrix) -> list[Ints]:
        sums = toward_zero(matrix)
        places = (self._place(k) for k in range(matrix.shape[-1] // 2))
        return [from_float(sums[place]) for place in places]

    @staticmethod
    def _place(number: int) -> tuple[slice, slice, slice]:
        """Where in the sums the entries of a register are."""
        piece, place = divmod(number, 4)
        down, odd = divmod(place, 2)
        return slice(None), slice(8 * down, 8 * down + 8), slice(8 * piece + odd, 8 * piece + 8, 2)

    # products by four warps, which run ahead

    def begin_product(self, *product: Any) -> None:
        """Begin one; registers and shared memory may be read from now on, and until it is done."""
        self.products.append(Product(*product))
        self._multiply(self.products[-1])

    def commit_products(self) -> None:
        """What was begun since the last time is a group."""
        self.product_groups.append(self.products)
        self.products = []

    def wait_products(self, left: int) -> None:
        """Wait until no more groups than these are under way."""
        while len(self.product_groups) > left:
            for product in self.product_groups.pop(0):
                found = self._multiply(product)
                self.registers.update(zip(product.out, self._registers(found), strict=True))

    def _multiply(self, product: Product) -> Matrix:
        """``[*, 16, W]``, each warp a quarter or less of the rows."""
        left_turned, right_turned = product.turned
        b = self._shared_matrix(product.kind, product.right, product.width, right_turned)
        if len(product.left) > 1:
            a = self._left(product.kind, [self.registers[name] for name in product.left])
        else:
            a = self._shared_matrix(product.kind, product.left, 64, left_turned)
        found = (a.reshape(-1, 64, b.shape[1]) @ b.T).reshape(-1, 16, product.width)
        if self.same(self._condition(*product.adds)):
            found += self._entries([self.registers[name] for name in product.out], product.width)
        return found

    def _condition(self, name: str) -> Any:
        return np.full(1, bool(int(name))) if name.isdigit() else self.registers[name]

    def _shared_matrix(self, kind: str, name: list[str], rows: int, is_turned: int) -> Matrix:
        """``[rows, K]``, K being 32 bytes, as a descriptor says where it stands."""
        size, descriptor = 4 if kind == "tf32" else 2, self.registers[name[0]]
        address = describe(int(descriptor[0]), rows, size, bool(is_turned))
        if (descriptor != descriptor[0]).any():
            raise NotImplementedError("warps whose descriptors differ")
        region, offset, at = self.spaces["shared"].find(address.reshape(-1), size)
        if not region.is_fenced[at].all():
            raise NotImplementedError("matrix units read what no fence showed them")
        for warp in range(self.threads // WARP):
            region.check_read(at, np.full_like(at, warp), self.clock)
        words = region.words(size)[offset // size].astype(np.uint32)
        return FORMATS[kind](words)[..., 0].reshape(rows, -1)

    def fence(self) -> None:
        """Show the matrix units what the threads wrote to shared memory."""
        self.region.is_fenced[:] = True


def describe(descriptor: int, rows: int, size: int, is_turned: bool) -> Ints:
    """The addresses of the matrix ``[rows, 32 bytes]``, of which ``size`` bytes are a number."""
    start, lead, stride = (16 * (descriptor >> shift & 0x3FFF) for shift in (0, 16, 32))
    if descriptor >> 62 not in SWIZZLES or descriptor >> 49 & 7:
        raise NotImplementedError(f"the descriptor {descriptor:#x}")
    length, bits = SWIZZLES[descriptor >> 62]
    row, column = np.arange(rows)[:, None], np.arange(32 // size)
    if is_turned:
        far, near = divmod(row, length // size)
        address = far * lead + near * size + column % 8 * length + column // 8 * stride
    else:
        address = row % 8 * length + row // 8 * stride + column * size
    address = address + start
    return address ^ (address >> 7 & bits) << 4
