"""The compiled products are those of NumPy, and write nothing but their target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

numba = pytest.importorskip("numba")

from handgraph.nn.cpu import products  # noqa: E402
from handgraph.nn.cpu.products import compiled  # noqa: E402
from handgraph.nn.cpu.tiles import ADD, BIAS, LANES, ZERO, at, start  # noqa: E402

COUNTS = st.integers(1, 9)
SIZES = st.integers(1, 6).map(lambda vectors: vectors * LANES)
STARTS = st.sampled_from([ADD, ZERO, BIAS])
DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 99)
LOOSE = {np.float32: 1e-5, np.float64: 1e-13}


@compiled
def product(out, first, bias, relu, a, row, column, x, rows, terms, size):
    out, bias, a, x = start(out), start(bias), start(a), start(x)
    products.multiply(out, first, bias, relu, a, row, column, x, rows, terms, size)


@compiled
def gram(out, row, y, x, rows, columns, size):
    products.add_gram(start(out), row, start(y), start(x), rows, columns, size)


@compiled
def multiply_nodes(out, first, bias, relu, weight, row, column, x, nodes, channels, ins, size):
    out, bias, weight, x = start(out), start(bias), start(weight), start(x)
    counts = nodes, channels, ins, size
    products.multiply_nodes(out, first, bias, relu, weight, row, column, x, *counts)


@compiled
def node_grams(out, y, x, nodes, channels, ins, size):
    products.add_node_grams(start(out), start(y), start(x), nodes, channels, ins, size)


@compiled
def sums(out, x, rows, size):
    products.add_sums(start(out), start(x), rows, size)


@compiled
def dot(x, y, size):
    return products.dot(start(x), start(y), size)


@compiled
def fill(out, values, times, rows, size):
    products.fill(start(out), start(values), times, rows, size)


@compiled
def cut(grad, out, size):
    products.cut(start(grad), start(out), size)


@compiled
def behind(x, count):
    return at(start(x), count)[0]


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


def begun(first, out, bias):
    """What the sums start from."""
    return {ADD: out, ZERO: np.zeros_like(out), BIAS: bias[:, None] + np.zeros_like(out)}[first]


@given(COUNTS, COUNTS, SIZES, STARTS, st.booleans(), st.booleans(), DTYPES, SEEDS)
def test_product(rows, terms, size, first, relu, transposed, dtype, seed):
    out, a, x, bias = drawn(seed, dtype, (rows, size), (rows, terms), (terms, size), (rows,))
    strides = (1, rows) if transposed else (terms, 1)
    stored = a.T if transposed else a
    expected = begun(first, out, bias) + a @ x
    expected = np.maximum(expected, 0) if relu else expected
    check(product, expected, out, first, bias, relu, stored, *strides, x, rows, terms, size)


@given(COUNTS, COUNTS, SIZES, st.integers(0, 3), st.integers(1, 3), DTYPES, SEEDS)
def test_product_with_part_of_a_larger_matrix(rows, terms, size, gap, step, dtype, seed):
    out, x = drawn(seed, dtype, (rows, size), (terms, size))
    (whole,) = drawn(seed + 1, dtype, (rows, terms * step + gap))
    expected = out + whole[:, : terms * step : step] @ x
    row = terms * step + gap
    check(product, expected, out, ADD, out, False, whole, row, step, x, rows, terms, size)


@given(COUNTS, COUNTS, SIZES, DTYPES, SEEDS)
def test_gram(rows, columns, size, dtype, seed):
    out, y, x = drawn(seed, dtype, (rows, columns), (rows, size), (columns, size))
    check(gram, out + y @ x.T, out, columns, y, x, rows, columns, size)


def test_gram_in_part_of_a_larger_matrix():
    out, y, x = drawn(0, np.float64, (3, 9), (3, LANES), (6, LANES))
    expected = out.copy()
    expected[:, :6] += y @ x.T
    check(gram, expected, out, 9, y, x, 3, 6, LANES)


@given(COUNTS, COUNTS, COUNTS, SIZES, STARTS, st.booleans(), SEEDS)
def test_nodes_products(nodes, channels, ins, size, first, transposed, seed):
    shapes = (nodes, channels, size), (channels, ins), (nodes, ins, size), (channels,)
    out, weight, x, bias = drawn(seed, np.float64, *shapes)
    strides = (1, channels) if transposed else (ins, 1)
    stored = weight.T if transposed else weight
    expected = np.stack([begun(first, each, bias) for each in out]) + weight @ x
    args = first, bias, False, stored, *strides, x, nodes, channels, ins, size
    check(multiply_nodes, expected, out, *args)


@given(COUNTS, COUNTS, COUNTS, SIZES, SEEDS)
def test_node_grams(nodes, channels, ins, size, seed):
    shapes = (channels, ins), (nodes, channels, size), (nodes, ins, size)
    out, y, x = drawn(seed, np.float64, *shapes)
    expected = out + np.einsum("jcs,jds->cd", y, x)
    check(node_grams, expected, out, y, x, nodes, channels, ins, size)


@given(COUNTS, SIZES, DTYPES, SEEDS)
def test_sums(rows, size, dtype, seed):
    out, x = drawn(seed, dtype, (rows,), (rows, size))
    check(sums, out + x.sum(1), out, x, rows, size)


@given(st.integers(1, 70), DTYPES, SEEDS)
def test_dot(size, dtype, seed):
    x, y = drawn(seed, dtype, (size,), (size,))
    np.testing.assert_allclose(dot(x, y, size), (x * y).sum(), atol=10 * LOOSE[dtype])


@given(COUNTS, COUNTS, SIZES, SEEDS)
def test_fill(times, rows, size, seed):
    out, values = drawn(seed, np.float64, (times, rows, size), (rows,))
    expected = np.broadcast_to(values[:, None], out.shape)
    check(fill, expected, out, values, times, rows, size)


@given(st.integers(0, 100))
def test_padded(samples):
    size = products.padded(samples)
    assert size % LANES == 0
    assert samples <= size < samples + LANES


SPECIAL = np.resize([-np.inf, -2.0, -5e-324, -0.0, 0.0, 5e-324, 3.0, np.inf, np.nan], 3 * LANES)


def test_relu():
    out, one = np.append(SPECIAL, -1.0), np.zeros(1)
    product(out, ADD, one, True, one, 0, 0, SPECIAL, 1, 0, len(SPECIAL))
    np.testing.assert_array_equal(out, np.append(np.where(SPECIAL < 0, 0, SPECIAL), -1.0))


def test_cut():
    grad = np.append(np.arange(1.0, len(SPECIAL) + 1), 7.0)
    expected = np.where(SPECIAL <= 0, 0, grad[:-1])
    cut(grad, np.append(SPECIAL, -1.0), len(SPECIAL))
    np.testing.assert_array_equal(grad, np.append(expected, 7.0))


def test_pointers():
    assert behind(np.arange(5.0), 3) == 3
    with pytest.raises(numba.TypingError):
        compiled(lambda x: at(x, 1))(np.arange(5.0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_goes_where_it_does_in_numpy(value):
    size = 3 * LANES
    for rows, terms in [(1, 1), (3, 6), (4, 8)]:
        for place in range(terms):
            a, x = drawn(place, np.float64, (rows, terms), (terms, size))
            x[place, size // 2], a[0, place] = value, 0  # 0 times infinity is NaN
            out, grams = np.zeros(rows * size), np.zeros(rows * terms)
            with np.errstate(invalid="ignore"):
                expected = a @ x
                y = expected + 1
                expected_gram = y @ x.T
            product(out, ZERO, out, False, a.ravel(), terms, 1, x.ravel(), rows, terms, size)
            gram(grams, terms, y.ravel(), x.ravel(), rows, terms, size)
            np.testing.assert_allclose(out, expected.ravel(), rtol=1e-12)
            np.testing.assert_allclose(grams, expected_gram.ravel(), rtol=1e-12)


def test_nothing_is_assumed_finite():
    """Some processors would give the right values all the same."""
    assert not {"fast", "nnan", "ninf"} & products.FAST


def test_only_loops_that_write_nothing_may_sum_in_any_order():
    """Else bits may depend on where the arrays lie, on some processors."""
    assert "reassoc" not in products.FAST
    free = [f for f in vars(products).values() if "reassoc" in options(f)]
    assert {f.__name__ for f in free} == {"total", "dot"}


def options(function):
    return getattr(function, "targetoptions", {}).get("fastmath", ())


def test_compiles_where_nothing_can_be_kept():
    """Code without a file has no place for a cache."""
    scope = {}
    exec("def double(x):\n    return 2 * x", scope)
    assert products.compiled(scope["double"])(21) == 42
