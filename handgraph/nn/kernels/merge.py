"""The kernels that make a table of a net's parameters, and their derivatives.

First each adjacency is normalised and multiplied with the poolings around it, one program for each;
then every entry of the table is a sum of products of these and the parameters.
"""

# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl

from handgraph.nn import conv
from handgraph.nn.kernels import sizes, terms
from handgraph.nn.kernels.products import add_product
from handgraph.nn.kernels.walk import kernel

EPS, CHUNK = tl.constexpr(conv.EPS), tl.constexpr(sizes.CHUNK)
GROWTH, KINDS = tl.constexpr(terms.GROWTH), tl.constexpr(len(terms.COLUMNS))


@triton.jit
def gather(flat, at, SUM: tl.constexpr):
    """The parameters at some places; padding, -1, is 0."""
    place = tl.load(at)
    return tl.load(flat + place, mask=place >= 0, other=0.0).to(SUM)


@triton.jit
def degree_scale(adjacency, ABS: tl.constexpr):
    """One over the root of each node's degree: ``[J, J]`` to ``[J]``."""
    entries = tl.abs(adjacency) if ABS else adjacency
    return 1 / tl.sqrt(tl.sum(entries, axis=0) + EPS)


@kernel
def merge_nodes(
    flat_ptr, at_ptr, out_ptr, width,
    NODES: tl.constexpr, ABS: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Normalise the first NODES columns of ``[*, NODES, width]``, and multiply the others."""
    row = (tl.program_id(0) * NODES + tl.arange(0, NODES))[:, None] * width
    square = row + tl.arange(0, NODES)[None, :]
    adjacency = gather(flat_ptr, at_ptr + square, SUM)
    scale = degree_scale(adjacency, ABS)
    laplacian = scale[:, None] * adjacency * scale[None, :]
    tl.store(out_ptr + square, laplacian)
    for start in range(NODES, width, CHUNK):
        place = row + start + tl.arange(0, CHUNK)[None, :]
        steps = gather(flat_ptr, at_ptr + place, SUM)
        product = add_product(tl.zeros((NODES, CHUNK), SUM), laplacian, steps, PRECISION)
        tl.store(out_ptr + place, product)


@kernel
def merge_nodes_back(
    flat_ptr, at_ptr, merged_ptr, grad_ptr, out_ptr, width,
    NODES: tl.constexpr, ABS: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradients of the parameters from those of what ``merge_nodes`` writes."""
    row = (tl.program_id(0) * NODES + tl.arange(0, NODES))[:, None] * width
    square = row + tl.arange(0, NODES)[None, :]
    laplacian, grad = tl.load(merged_ptr + square), tl.load(grad_ptr + square)
    for start in range(NODES, width, CHUNK):
        place = row + start + tl.arange(0, CHUNK)[None, :]
        steps, product = gather(flat_ptr, at_ptr + place, SUM), tl.load(grad_ptr + place)
        grad = add_product(grad, product, tl.trans(steps), PRECISION)
        none = tl.zeros((NODES, CHUNK), SUM)
        found = add_product(none, tl.trans(laplacian), product, PRECISION)
        scatter(out_ptr, at_ptr + place, found)
    adjacency = gather(flat_ptr, at_ptr + square, SUM)
    scale, share = degree_scale(adjacency, ABS), grad * laplacian
    degree = (tl.sum(share, axis=0) + tl.sum(share, axis=1)) * scale * scale
    sign = tl.where(adjacency > 0, 1.0, tl.where(adjacency < 0, -1.0, 0.0)) if ABS else 1.0
    entries = scale[:, None] * grad * scale[None, :] - 0.5 * sign * degree[None, :]
    scatter(out_ptr, at_ptr + square, entries)


@triton.jit
def scatter(out, at, value):
    """Write where the parameters are; each stands in one place, so nothing is added."""
    place = tl.load(at)
    tl.store(out + place, value, mask=place >= 0)


@kernel
def add_terms(
    left_ptr, flat_ptr, merged_ptr, out_ptr, tiles_ptr, sums_ptr, left_at_ptr, right_at_ptr,
    num_parameters, SIZE: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Add up the terms of :class:`~handgraph.nn.kernels.terms.Terms`."""
    tile = tiles_ptr + 4 * tl.program_id(0)
    columns = tl.load(tile)
    for kind in tl.static_range(KINDS):
        if columns == GROWTH**kind:
            add_up(
                left_ptr, flat_ptr, merged_ptr, out_ptr, tile, sums_ptr, left_at_ptr, right_at_ptr,
                num_parameters, SIZE // GROWTH**kind, GROWTH**kind, SUM,
            )  # fmt: skip


@triton.jit
def add_up(
    left, flat, merged, out, tile, sums, left_at, right_at, num_parameters,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Add up ROWS sums, COLUMNS terms of each at a time."""
    rows = tl.arange(0, ROWS)
    place = rows[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros((ROWS, COLUMNS), SUM)
    for start in range(tl.load(tile + 1), tl.load(tile + 2), ROWS * COLUMNS):
        first, second = tl.load(left_at + start + place), tl.load(right_at + start + place)
        value = tl.load(left + first, mask=first >= 0, other=0.0).to(SUM)
        total += value * factor(flat, merged, second, num_parameters, SUM)
    entry = tl.load(sums + tl.load(tile + 3) + rows)
    tl.store(out + entry, tl.sum(total, axis=1), mask=entry >= 0)


@triton.jit
def factor(flat, merged, at, num_parameters, SUM: tl.constexpr):
    """A parameter, what stands behind the parameters, or 1 for -1."""
    parameter = tl.load(flat + at, mask=(at >= 0) & (at < num_parameters), other=1.0)
    other = tl.load(merged + at - num_parameters, mask=at >= num_parameters, other=1.0)
    return parameter.to(SUM) * other
