"""Products of matrices on the matrix units of a GPU.

These multiply TF32, which has eleven bits of float32's 24. So a number is taken apart into two, and
a product is three of theirs, with sums in float32; what is left out is below 2^-21 of it. Triton
offers the same as ``"tf32x3"``, but spends 9 operations on a number to keep infinities apart from
NaN, where these 3 make NaN of both.
"""

# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl


@triton.jit
def cut(number):
    """A number rounded to eleven bits, and what is left of it."""
    bits = number.to(tl.int32, bitcast=True)
    big = ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return big, number - big


@triton.jit
def add_product(out, left, right, PRECISION: tl.constexpr):
    """``out + left @ right``, the small products first."""
    if PRECISION == "tf32x3":
        left, left_rest = cut(left)
        right, right_rest = cut(right)
        out = tl.dot(left_rest, right, out, input_precision="tf32")
        out = tl.dot(left, right_rest, out, input_precision="tf32")
        return tl.dot(left, right, out, input_precision="tf32")
    return tl.dot(left, right, out, input_precision=PRECISION, out_dtype=out.dtype)


@triton.jit
def add_apart(sums, left, right, PRECISION: tl.constexpr, QUICK: tl.constexpr):
    """The same in three sums, which add up to it, so that no product waits for the others."""
    out, first, second = sums
    if QUICK and PRECISION == "tf32x3":
        left, left_rest = cut(left)
        right, right_rest = cut(right)
        first = tl.dot(left_rest, right, first, input_precision="tf32")
        second = tl.dot(left, right_rest, second, input_precision="tf32")
        out = tl.dot(left, right, out, input_precision="tf32")
    else:
        out = add_product(out, left, right, PRECISION)
    return out, first, second
