"""The compiled products are those of NumPy, and write nothing but their target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

numba = pytest.importorskip("numba")

from handgraph.nn.cpu import products  # noqa: E402

COUNTS = st.integers(1, 9)
SIZES = st.one_of(st.integers(0, 3), st.integers(4, 40))
DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 99)
LOOSE = {np.float32: 1e-5, np.float64: 1e-13}


def drawn(seed, dtype, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def check(function, expected, out, *args):
    """Call with 7s behind a flat copy of ``out``, not to be written, and NaN behind the others."""
    flat = np.concatenate([out.ravel(), np.full(50, 7, out.dtype)])
    args = [np.append(a.ravel(), np.nan) if isinstance(a, np.ndarray) else a for a in args]
    function(flat, *[a.astype(out.dtype) if isinstance(a, np.ndarray) else a for a in args])
    loose = LOOSE[out.dtype.type]
    np.testing.assert_allclose(flat[: out.size], expected.ravel(), rtol=loose, atol=10 * loose)
    assert (flat[out.size :] == 7).all()


@given(COUNTS, COUNTS, SIZES, st.booleans(), DTYPES, SEEDS)
def test_product(rows, terms, size, transposed, dtype, seed):
    out, a, x = drawn(seed, dtype, (rows, size), (rows, terms), (terms, size))
    strides = (1, rows) if transposed else (terms, 1)
    stored = a.T if transposed else a
    expected = out + a @ x
    check(products.add_product, expected, out, stored, *strides, x, rows, terms, size)


@given(COUNTS, COUNTS, SIZES, st.integers(0, 3), st.integers(1, 3), DTYPES, SEEDS)
def test_product_with_part_of_a_larger_matrix(rows, terms, size, gap, step, dtype, seed):
    out, x = drawn(seed, dtype, (rows, size), (terms, size))
    (whole,) = drawn(seed + 1, dtype, (rows, terms * step + gap))
    expected = out + whole[:, : terms * step : step] @ x
    row = terms * step + gap
    check(products.add_product, expected, out, whole, row, step, x, rows, terms, size)


@given(COUNTS, COUNTS, SIZES, DTYPES, SEEDS)
def test_gram(rows, columns, size, dtype, seed):
    out, y, x = drawn(seed, dtype, (rows, columns), (rows, size), (columns, size))
    check(products.add_gram, out + y @ x.T, out, columns, y, x, rows, columns, size)


def test_gram_in_part_of_a_larger_matrix():
    for size in (1, 5):
        out, y, x = drawn(0, np.float64, (3, 9), (3, size), (6, size))
        expected = out.copy()
        expected[:, :6] += y @ x.T
        check(products.add_gram, expected, out, 9, y, x, 3, 6, size)


@given(COUNTS, COUNTS, COUNTS, SIZES, st.booleans(), SEEDS)
def test_to_nodes(nodes, channels, ins, size, transposed, seed):
    shapes = (nodes, channels, size), (channels, ins), (nodes, ins, size)
    out, weight, x = drawn(seed, np.float64, *shapes)
    strides = (1, channels) if transposed else (ins, 1)
    stored = weight.T if transposed else weight
    args = stored, *strides, x, nodes, channels, ins, size
    check(products.add_to_nodes, out + weight @ x, out, *args)


@given(COUNTS, COUNTS, COUNTS, SIZES, SEEDS)
def test_node_grams(nodes, channels, ins, size, seed):
    shapes = (channels, ins), (nodes, channels, size), (nodes, ins, size)
    out, y, x = drawn(seed, np.float64, *shapes)
    expected = out + np.einsum("jcs,jds->cd", y, x)
    check(products.add_node_grams, expected, out, y, x, nodes, channels, ins, size)


@given(COUNTS, SIZES, DTYPES, SEEDS)
def test_sums(rows, size, dtype, seed):
    out, x = drawn(seed, dtype, (rows,), (rows, size))
    check(products.add_sums, out + x.sum(1), out, x, rows, size)


@given(COUNTS, COUNTS, SIZES, SEEDS)
def test_fill(times, rows, size, seed):
    out, values = drawn(seed, np.float64, (times, rows, size), (rows,))
    expected = np.broadcast_to(values[:, None], out.shape)
    check(products.fill, expected, out, values, times, rows, size)


SPECIAL = np.array([-np.inf, -2.0, -5e-324, -0.0, 0.0, 5e-324, 3.0, np.inf, np.nan] * 5)


def test_relu():
    x = np.append(SPECIAL, -1.0)
    products.relu(x, len(SPECIAL))
    np.testing.assert_array_equal(x, np.append(np.where(SPECIAL < 0, 0, SPECIAL), -1.0))
    assert not np.signbit(x[3])


def test_cut():
    grad = np.append(np.arange(1.0, len(SPECIAL) + 1), 7.0)
    expected = np.where(SPECIAL <= 0, 0, grad[:-1])
    products.cut(grad, np.append(SPECIAL, -1.0), len(SPECIAL))
    np.testing.assert_array_equal(grad, np.append(expected, 7.0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 9])
def test_what_is_not_finite_goes_where_it_does_in_numpy(value, size):
    for rows, terms in [(1, 1), (3, 6), (4, 8)]:
        for place in range(terms):
            a, x = drawn(place, np.float64, (rows, terms), (terms, size))
            x[place, size // 2], a[0, place] = value, 0  # 0 times infinity is NaN
            out, gram = np.zeros(rows * size), np.zeros(rows * terms)
            with np.errstate(invalid="ignore"):
                expected = a @ x
                y = expected + 1
                expected_gram = y @ x.T
            products.add_product(out, a.ravel(), terms, 1, x.ravel(), rows, terms, size)
            products.add_gram(gram, terms, y.ravel(), x.ravel(), rows, terms, size)
            np.testing.assert_allclose(out, expected.ravel(), rtol=1e-12)
            np.testing.assert_allclose(gram, expected_gram.ravel(), rtol=1e-12)


def test_nothing_is_assumed_finite():
    """Some processors would give the right values all the same."""
    assert not {"fast", "nnan", "ninf"} & products.FAST


def test_compiles_where_nothing_can_be_kept():
    """Code without a file has no place for a cache."""
    scope = {}
    exec("def double(x):\n    return 2 * x", scope)
    assert products.compiled(scope["double"])(21) == 42
