"""Matrix units, and the instructions that bring matrices to them: who holds which entry."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.virtual_gpu.block import WARP, Block
from tests.virtual_gpu.formats import FORMATS, join, split, toward_zero
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

    def load_matrices(self, address: Ints, count: int, is_turned: bool) -> list[Ints]:
        """Matrices of 8 by 8 numbers of 16 bits, two to a lane: beside or below each other."""
        every, found = np.full(self.threads, True), []
        for k in range(count):
            size, places = self._places(address, k, is_turned)
            parts = [self.load("shared", place, size, 1, every)[0] for place in places]
            found.append(join(*parts) if is_turned else parts[0])
        return found

    def store_matrices(self, address: Ints, values: list[Ints], is_turned: bool) -> None:
        """The way back of it."""
        every = np.full(self.threads, True)
        for k, value in enumerate(values):
            size, places = self._places(address, k, is_turned)
            for place, part in zip(places, split(value) if is_turned else [value], strict=True):
                self.store("shared", place, size, [part], every)

    def _places(self, address: Ints, number: int, is_turned: bool) -> tuple[int, list[Ints]]:
        """Where the lanes' numbers of a matrix stand, and how many bytes at once."""
        first = 8 * number
        if is_turned:
            columns = 2 * (LANES // 4)
            rows = (first + 2 * (LANES % 4) + odd for odd in (0, 1))
            return 2, [self._rows(address, row, columns) for row in rows]
        return 4, [self._rows(address, first + LANES // 4, 4 * (LANES % 4))]

    # products by warps

    def multiply(
        self, kind: str, rows: int, out: list[Ints], left: list[Ints], right: list[Ints]
    ) -> list[Ints]:
        """``[rows, 8] + [rows, K] @ [K, 8]``, each warp its own."""
        a, b = self._fragments(kind, rows, left), self._fragments(kind, 8, right)
        return self._registers(self._entries(rows, out) + a @ b.swapaxes(1, 2), kind)

    def _fragments(self, kind: str, rows: int, registers: list[Ints]) -> Matrix:
        """``[*, rows, K]``: below each other eight rows a register, then beside each other."""
        numbers = np.stack([FORMATS[kind](register) for register in registers])
        numbers = numbers.reshape(-1, rows // 8, self.threads // WARP, 8, 4 * numbers.shape[-1])
        return numbers.transpose(2, 1, 3, 0, 4).reshape(self.threads // WARP, rows, -1)

    def _entries(self, rows: int, registers: list[Ints]) -> Matrix:
        """Sums ``[*, rows, W]``: two columns in turn, then as above."""
        numbers = np.stack([register.view(f"f{register.itemsize}") for register in registers])
        numbers = numbers.reshape(-1, rows // 8, 2, self.threads // WARP, 8, 4)
        return numbers.transpose(3, 1, 4, 0, 5, 2).reshape(self.threads // WARP, rows, -1)

    def _registers(self, matrix: Matrix, kind: str) -> list[Ints]:
        """The way back of it."""
        warps, rows, width = matrix.shape
        sums = matrix if kind == "f64" else toward_zero(matrix)
        sums = sums.reshape(warps, rows // 8, 8, width // 8, 4, 2).transpose(3, 1, 5, 0, 2, 4)
        bits = np.ascontiguousarray(sums).view(f"u{sums.itemsize}")
        return list(bits.reshape(-1, self.threads))

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
                self.registers.update(
                    zip(product.out, self._registers(found, product.kind), strict=True)
                )

    def _multiply(self, product: Product) -> Matrix:
        """``[*, 16, W]``, each warp a quarter or less of the rows."""
        left_turned, right_turned = product.turned
        b = self._shared_matrix(product.kind, product.right, product.width, right_turned)
        if len(product.left) > 1:
            a = self._fragments(product.kind, 16, [self.registers[name] for name in product.left])
        else:
            a = self._shared_matrix(product.kind, product.left, 64, left_turned)
        found = (a.reshape(-1, 64, b.shape[1]) @ b.T).reshape(-1, 16, product.width)
        if self.same(self._condition(*product.adds)):
            found += self._entries(16, [self.registers[name] for name in product.out])
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
