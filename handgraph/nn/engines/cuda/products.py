"""Products of float32 on the matrix units of a GPU, which multiply TF32: 11 bits of 24.

Each number is split into two. A product is the sum of three TF32 products, without a fourth one
below 2^-21 of the result. Triton's ``"tf32x3"`` splits a number in 9 operations, which keep
infinity apart from NaN. This split takes 3 operations, and infinity becomes NaN.
"""

# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl


@triton.jit
def split(number):
    """Return a number rounded to 11 bits, and the remainder."""
    bits = number.to(tl.int32, bitcast=True)
    big = ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return big, number - big


@triton.jit
def add_product(out, left, right, PRECISION: tl.constexpr):
    """Return ``out + left @ right``, with the small products added first."""
    if PRECISION == "tf32x3":
        left, left_rest = split(left)
        right, right_rest = split(right)
        out = tl.dot(left_rest, right, out, input_precision="tf32")
        out = tl.dot(left, right_rest, out, input_precision="tf32")
        return tl.dot(left, right, out, input_precision="tf32")
    return tl.dot(left, right, out, input_precision=PRECISION, out_dtype=out.dtype)
