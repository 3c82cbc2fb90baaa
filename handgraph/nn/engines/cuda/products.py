"""Products of float32 on the matrix units of a GPU, which multiply TF32: 11 bits of 24.

A number is split in two, and a product is the sum of three; what is left out is below 2^-21 of it.
The ``"tf32x3"`` of Triton takes 9 operations to split a number, to keep infinities apart from NaN.
Here it takes 3, and both become NaN.
"""

# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl


@triton.jit
def split(number):
    """A number rounded to 11 bits, and the rest of it."""
    bits = number.to(tl.int32, bitcast=True)
    big = ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return big, number - big


@triton.jit
def add_product(out, left, right, PRECISION: tl.constexpr):
    """``out + left @ right``, the small products first."""
    if PRECISION == "tf32x3":
        left, left_rest = split(left)
        right, right_rest = split(right)
        out = tl.dot(left_rest, right, out, input_precision="tf32")
        out = tl.dot(left, right_rest, out, input_precision="tf32")
        return tl.dot(left, right, out, input_precision="tf32")
    return tl.dot(left, right, out, input_precision=PRECISION, out_dtype=out.dtype)
