"""Between the flat arrays of the compiled net and the tensors of :mod:`handgraph.nn.unet_maps`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from handgraph.nn.cpu.layout import map_shapes
from handgraph.nn.kernels.sizes import Sizes
from handgraph.nn.unet_maps import Bottleneck, DecoderMap, EncoderMap, Level, UNetMaps


def pack_maps(maps: UNetMaps) -> Tensor:
    """All maps of each branch one behind the other, ``[N, M]``, as :class:`Maps` has them."""
    downs = cast("list[EncoderMap]", [*maps.encoder, maps.squeeze])
    downs[0] = downs[0]._replace(node_bias=downs[0].nodes.new_zeros(*downs[0].nodes.shape[:2], 1))
    fields = [*zip(*downs, strict=True), *zip(*cast("list[DecoderMap]", maps.decoder), strict=True)]
    parts = [tensor for field in fields for tensor in field]
    return torch.cat([part.flatten(1) for part in (*parts, maps.expand, maps.expand_bias)], dim=1)


def maps_of(packed: Tensor, sizes: Sizes, out_nodes: int) -> UNetMaps:
    """Undo :func:`pack_maps`: views."""
    shapes = map_shapes(sizes, out_nodes)
    parts = iter(packed.split([math.prod(shape) for field in shapes for shape in field], dim=1))
    fields = [[next(parts).unflatten(1, shape) for shape in field] for field in shapes]
    downs, ups = list(zip(*fields[:4], strict=True)), zip(*fields[4:-1], strict=True)
    encoder = [EncoderMap(*down) for down in downs]
    encoder[0] = encoder[0]._replace(node_bias=None)
    expand, expand_bias = fields[-1]
    decoder = tuple(DecoderMap(*up) for up in ups)
    return UNetMaps(tuple(encoder[:-1]), encoder[-1], expand, expand_bias, decoder)


def levels_of(flat: Tensor, sizes: Sizes) -> tuple[list[Level], Bottleneck]:
    """The parameters that lie one behind the other in ``flat``: views."""
    *levels, last = _split(flat, list(sizes.shapes()))
    return [Level(*level) for level in levels], Bottleneck(*last)


def _split(flat: Tensor, shapes: Sequence[Sequence[tuple[int, ...]]]) -> Iterator[list[Tensor]]:
    parts = iter(flat.split([math.prod(shape) for part in shapes for shape in part]))
    for part in shapes:
        yield [next(parts).view(shape) for shape in part]
