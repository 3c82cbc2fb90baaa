"""The compiled products match NumPy and write only to their target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

numba = pytest.importorskip("numba")

from handgraph.nn.engines.cpu import products  # noqa: E402
from handgraph.nn.engines.cpu.compile import FAST, compiled  # noqa: E402
from handgraph.nn.engines.cpu.tiles import LANES, at, start  # noqa: E402

COUNTS = st.integers(1, 9)
WHOLE = st.integers(1, 6).map(lambda vectors: vectors * LANES)
SIZES = WHOLE | st.integers(1, LANES - 1)  # a few samples do not fill a vector
FLAGS = st.booleans()
DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 99)
LOOSE = {np.float32: 1e-5, np.float64: 1e-13}


@compiled
def product(out, adds, relu, a, row, column, x, rows, terms, size):
    out, a, x = start(out), start(a), start(x)
    products.multiply(out, adds, relu, a, row, column, x, rows, terms, size)


@compiled
def gram(out, row, y, x, rows, columns, size):
    products.add_gram(start(out), row, start(y), start(x), rows, columns, size)


@compiled
def multiply_nodes(out, adds, relu, weight, row, column, x, nodes, channels, ins, size):
    out, weight, x = start(out), start(weight), start(x)
    sizes = nodes, channels, ins, size
    products.multiply_nodes(out, adds, relu, weight, row, column, x, *sizes)


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
def fill(out, values, step, nodes, channels, size):
    products.fill(start(out), start(values), step, nodes, channels, size)


@compiled
def scaled(out, x, by, nodes, channels, size):
    products.add_scaled(start(out), start(x), start(by), nodes, channels, size)


@compiled
def node_products(out, x, y, nodes, channels, size):
    products.add_products(start(out), start(x), start(y), nodes, channels, size)


@compiled
def cut(grad, out, size):
    products.relu_backward(start(grad), start(out), size)


@compiled
def apply_relu(x, size):
    products.apply_relu(start(x), size)


@compiled
def behind(x, count):
    return at(start(x), count)[0]


def drawn(seed, dtype, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def check(function, expected, out, *args):
    """Call with a guard of 7s after ``out`` and NaN after the inputs."""
    flat = np.concatenate([out.ravel(), np.full(50, 7, out.dtype)])
    args = [np.append(a.ravel(), np.nan) if isinstance(a, np.ndarray) else a for a in args]
    function(flat, *[a.astype(out.dtype) if isinstance(a, np.ndarray) else a for a in args])
    loose = LOOSE[out.dtype.type]
    np.testing.assert_allclose(flat[: out.size], expected.ravel(), rtol=loose, atol=10 * loose)
    assert (flat[out.size :] == 7).all()


@given(COUNTS, COUNTS, SIZES, FLAGS, FLAGS, FLAGS, DTYPES, SEEDS)
def test_product(rows, terms, size, adds, relu, transposed, dtype, seed):
    out, a, x = drawn(seed, dtype, (rows, size), (rows, terms), (terms, size))
    strides = (1, rows) if transposed else (terms, 1)
    stored = a.T if transposed else a
    expected = adds * out + a @ x
    expected = np.maximum(expected, 0) if relu else expected
    check(product, expected, out, int(adds), relu, stored, *strides, x, rows, terms, size)


@given(COUNTS, COUNTS, SIZES, st.integers(0, 3), st.integers(1, 3), DTYPES, SEEDS)
def test_product_with_part_of_a_larger_matrix(rows, terms, size, gap, step, dtype, seed):
    out, x = drawn(seed, dtype, (rows, size), (terms, size))
    row = terms * step + gap
    (whole,) = drawn(seed + 1, dtype, (rows, row))
    expected = out + whole[:, : terms * step : step] @ x
    check(product, expected, out, 1, False, whole, row, step, x, rows, terms, size)


@given(COUNTS, COUNTS, WHOLE, DTYPES, SEEDS)
def test_gram(rows, columns, size, dtype, seed):
    out, y, x = drawn(seed, dtype, (rows, columns), (rows, size), (columns, size))
    check(gram, out + y @ x.T, out, columns, y, x, rows, columns, size)


def test_gram_in_part_of_a_larger_matrix():
    out, y, x = drawn(0, np.float64, (3, 9), (3, LANES), (6, LANES))
    expected = out.copy()
    expected[:, :6] += y @ x.T
    check(gram, expected, out, 9, y, x, 3, 6, LANES)


@given(COUNTS, COUNTS, COUNTS, SIZES, FLAGS, FLAGS, FLAGS, SEEDS)
def test_products_of_nodes(nodes, channels, ins, size, adds, relu, transposed, seed):
    shapes = (nodes, channels, size), (channels, ins), (nodes, ins, size)
    out, weight, x = drawn(seed, np.float64, *shapes)
    strides = (1, channels) if transposed else (ins, 1)
    stored = weight.T if transposed else weight
    expected = adds * out + weight @ x
    expected = np.maximum(expected, 0) if relu else expected
    args = int(adds), relu, stored, *strides, x, nodes, channels, ins, size
    check(multiply_nodes, expected, out, *args)


@given(COUNTS, COUNTS, COUNTS, WHOLE, SEEDS)
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


@given(COUNTS, COUNTS, SIZES, st.booleans(), SEEDS)
def test_fill(nodes, channels, size, per_node, seed):
    out, values = drawn(seed, np.float64, (nodes, channels, size), (nodes, channels))
    each = values if per_node else values[:1]
    expected = np.broadcast_to(each[:, :, None], out.shape)
    check(fill, expected, out, values, channels * per_node, nodes, channels, size)


@given(COUNTS, COUNTS, SIZES, SEEDS)
def test_what_is_different_for_each_sample(nodes, channels, size, seed):
    shapes = (nodes, channels, size), (nodes, channels, size), (nodes, size)
    out, x, by = drawn(seed, np.float64, *shapes)
    check(scaled, out + x * by[:, None], out, x, by, nodes, channels, size)
    check(node_products, by + (x * out).sum(1), by, x, out, nodes, channels, size)


@given(st.integers(0, 100))
def test_padded(samples):
    size = products.padded(samples)
    assert size % LANES == 0
    assert samples <= size < samples + LANES


SPECIAL = np.resize([-np.inf, -2.0, -5e-324, -0.0, 0.0, 5e-324, 3.0, np.inf, np.nan], 3 * LANES)


def test_relu():
    out, one = np.append(SPECIAL, -1.0), np.zeros(1)
    product(out, 1, True, one, 0, 0, SPECIAL, 1, 0, len(SPECIAL))
    expected = np.append(np.where(SPECIAL < 0, 0, SPECIAL), -1.0)
    np.testing.assert_array_equal(out, expected)
    out = np.append(SPECIAL, -1.0)
    apply_relu(out, len(SPECIAL))
    np.testing.assert_array_equal(out, expected)


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
def test_non_finite_values_propagate_as_in_numpy(value):
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
            product(out, 0, False, a.ravel(), terms, 1, x.ravel(), rows, terms, size)
            gram(grams, terms, y.ravel(), x.ravel(), rows, terms, size)
            np.testing.assert_allclose(out, expected.ravel(), rtol=1e-12)
            np.testing.assert_allclose(grams, expected_gram.ravel(), rtol=1e-12)


def test_nothing_is_assumed_finite():
    """A test of values would not detect this on every processor."""
    assert not {"fast", "nnan", "ninf"} & FAST


def test_only_loops_that_write_nothing_may_sum_in_any_order():
    """Otherwise results could depend on the alignment of arrays."""
    assert "reassoc" not in FAST
    free = [f for f in vars(products).values() if "reassoc" in options(f)]
    assert {f.__name__ for f in free} == {"total", "dot", "strided_dot"}


def options(function):
    return getattr(function, "targetoptions", {}).get("fastmath", ())
