"""The Adaptive Graph U-Net for inference: its merged linear maps, kept as constants.

Where the levels are small, each stage becomes one dense map from all channels of all nodes to all
of the next level. That takes more multiplications, but one product where there were two, and no
transposition. Inside, such tensors are ``[N, B, J * C]``.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from handgraph.nn.cpu.ops import run_compiled
from handgraph.nn.cpu.pack import maps_of, pack_maps
from handgraph.nn.kernels.dispatch import takes, takes_compiled
from handgraph.nn.kernels.ops import chain
from handgraph.nn.kernels.stages import pack, stages_plan
from handgraph.nn.mixing import mix_nodes
from handgraph.nn.pool import NodeMap, NodePool
from handgraph.nn.unet import AdaptiveGraphUNet
from handgraph.nn.unet_gate import gate_level
from handgraph.nn.unet_maps import DecoderMap, EncoderMap, Level, UNetMaps
from handgraph.subgraph import RemovalSets

_Net = TypeVar("_Net", bound=nn.Module)

DENSE_SIZE = 2**19
"""A net has dense maps if these have no more entries in all."""

DENSE_WORK = 2**24
"""Dense maps are used for a batch that multiplies less often: with more, products take longer than
the calls that are saved."""


class FoldedUNet(AdaptiveGraphUNet):
    """An :class:`AdaptiveGraphUNet` without parameters: what it computes, multiplied once.

    Made by :func:`handgraph.nn.fold`. It takes what the net took, ``node_mask`` included, and
    raises what it raised. Its maps are buffers, so that they can be saved and moved.

    Args:
        net: The net, which is left alone.
        after: A map over the nodes that follows the net, for nets without ``node_mask``; the
            output has its nodes.

    Example:
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, fold
        >>> folded = fold(AdaptiveGraphUNet(2, 3, HAND))
        >>> len(list(folded.parameters()))
        0
    """

    merged: Tensor

    def __init__(self, net: AdaptiveGraphUNet, after: NodePool | None = None):
        nn.Module.__init__(self)
        self.in_channels, self.out_channels = net.in_channels, net.out_channels
        self.graph, self.nodes, self.is_ragged = net.graph, net.nodes, net.is_ragged
        self.out_nodes = net.nodes[0] if after is None else after.out_nodes
        self.sizes, self.plan = net.sizes, net.plan if after is None else None
        self.normalization, self.renormalize = net.normalization, net.renormalize
        self.register_buffer("node_mask", net.node_mask.clone(), persistent=False)
        with torch.no_grad():
            exact = in_double(net)
            maps = exact.maps()
            if after is not None:
                last = map_after(in_double(after).node_map(), cast("DecoderMap", maps.decoder[0]))
                maps = maps._replace(decoder=(last, *maps.decoder[1:]))
            self.finest = _Kept(exact._levels()[0])
            self.register_buffer("merged", pack_maps(maps))
            self.dense = DenseUNet(dense_stages(maps)) if is_small(maps) else None
        self.to(net.squeeze.weight.device, net.squeeze.weight.dtype)
        self.eval()

    def reset_parameters(self) -> None:
        """Raise: there is nothing to draw anew."""
        raise TypeError("a folded AdaptiveGraphUNet has no parameters to reset")

    def maps(self) -> UNetMaps:
        """The maps as they were multiplied."""
        return maps_of(self.merged, self.sizes, self.out_nodes)

    def _table(self) -> Tensor:
        return pack(dense_stages(self.maps()))

    def _run(self, x: Tensor, gate: Tensor | None) -> Tensor:
        if gate is None and takes_compiled(x):
            return self._run_compiled(x)
        return (self.maps() if gate is None else self._gated_maps(gate))(x)

    def _run_compiled(self, x: Tensor) -> Tensor:
        return run_compiled(x, self.merged, self.sizes, self.out_nodes)

    def _gated_maps(self, gate: Tensor) -> UNetMaps:
        maps = self.maps()
        down, up = gate_level(self.finest.value(), gate, self.normalization, self.renormalize)
        return maps._replace(encoder=(down, *maps.encoder[1:]), decoder=(up, *maps.decoder[1:]))

    def forward(self, x: Tensor, node_mask: Tensor | None = None) -> Tensor:
        """Compute what the net computes; see :meth:`AdaptiveGraphUNet.forward`."""
        if self.dense is None or node_mask is not None or not self.dense.pays(x, self._batch(x)):
            return super().forward(x, node_mask)
        flat = self.flatten(x)
        out: Tensor = self.dense(flat).transpose(0, 1)
        out = out.reshape(*x.shape[:-2], self.out_nodes, self.out_channels)
        return out.where(self.node_mask.unsqueeze(-1), 0) if self.is_ragged else out

    def flatten(self, x: Tensor) -> Tensor:
        """Check the input, and take it to ``[N, B, K * C]``; padding is 0."""
        self._check_input(x, None, isinstance(self.graph, RemovalSets))
        if self.is_ragged:
            x = x.where(self.node_mask.unsqueeze(-1), 0)
        branches, nodes = self.node_mask.shape
        batch = self._batch(x)
        return x.reshape(batch, branches, nodes * self.in_channels).transpose(0, 1)

    def _batch(self, x: Tensor) -> int:
        return math.prod(x.shape[: -3 if isinstance(self.graph, RemovalSets) else -2])


def map_after(pool: NodeMap, stage: DecoderMap) -> DecoderMap:
    """A last stage up with a map over the nodes behind it."""
    bias = mix_nodes(stage.bias, pool.matrix.expand(len(stage.bias), -1, -1))
    return stage._replace(
        skip_nodes=pool.matrix @ stage.skip_nodes,
        nodes=pool.matrix @ stage.nodes,
        bias=bias + pool.bias.unsqueeze(-1),
    )


class _Kept(nn.Module):
    """The parameters of a level as buffers."""

    def __init__(self, level: Level):
        super().__init__()
        _keep(self, **level._asdict())

    def value(self) -> Level:
        """The level."""
        return Level(*(getattr(self, name) for name in Level._fields))


def _keep(module: nn.Module, **tensors: Tensor) -> None:
    """Register copies as buffers."""
    for name, tensor in tensors.items():
        kept = tensor.detach().clone(memory_format=torch.contiguous_format)
        module.register_buffer(name, kept)


class DenseUNet(nn.Module):
    """The net as a chain of dense maps with skips: ``[N, B, J * C]`` to ``[N, B, J * C']``.

    One module for all stages: with few samples, a call of a module takes as long as a product.

    Args:
        stages: The maps, detached and copied.
    """

    table: Tensor

    def __init__(self, stages: DenseStages):
        super().__init__()
        self.downs = [_keep_stage(self, f"down_{i}", s) for i, s in enumerate(stages.downs)]
        self.ups = [_keep_stage(self, f"up_{i}", s) for i, s in enumerate(stages.ups)]
        self.size = sum(buffer.numel() for buffer in self.buffers())
        plan = stages_plan(stages)
        self.plan = plan if plan.is_small() else None
        _keep(self, table=pack(stages))

    def pays(self, x: Tensor, batch: int) -> bool:
        """Whether this is the fastest way; a compiled program, made for any batch, has no other."""
        is_few = torch.compiler.is_compiling() or batch * self.size <= DENSE_WORK
        return (is_few and not takes_compiled(x)) or (self.plan is not None and takes(x))

    def forward(self, x: Tensor) -> Tensor:
        """Down with ReLUs, and up with ReLUs but for the last stage."""
        if self.plan is not None and takes(x):
            return chain(x.transpose(0, 1), self.table, self.plan).transpose(0, 1)
        return self.last(*self.inside(self.first(x)))

    def first(self, x: Tensor) -> Tensor:
        """The finest level on the way down."""
        return self._down(self.downs[0], x)

    def inside(self, skip: Tensor) -> tuple[Tensor, Tensor]:
        """From the finest level down, and back to the one below it."""
        outputs = [skip]
        for names in self.downs[1:]:
            outputs.append(self._down(names, outputs[-1]))
        x = outputs[-1]
        for level in reversed(range(1, len(self.ups))):
            x = self._up(self.ups[level], outputs[level], x).relu_()
        return skip, x

    def last(self, skip: Tensor, x: Tensor) -> Tensor:
        """The finest level on the way up."""
        return self._up(self.ups[0], skip, x)

    def _down(self, names: list[str], x: Tensor) -> Tensor:
        matrix, bias = (getattr(self, name) for name in names)
        return torch.baddbmm(bias, x, matrix).relu_()

    def _up(self, names: list[str], skip: Tensor, x: Tensor) -> Tensor:
        of_skip, of_x, bias = (getattr(self, name) for name in names)
        return torch.baddbmm(torch.baddbmm(bias, skip, of_skip), x, of_x)


def _keep_stage(module: nn.Module, prefix: str, stage: tuple[Tensor, ...]) -> list[str]:
    """Register a stage, and return the names of its buffers."""
    names = [f"{prefix}_{name}" for name in _STAGE_NAMES[len(stage)]]
    _keep(module, **dict(zip(names, stage, strict=True)))
    return names


_STAGE_NAMES = {2: ("matrix", "bias"), 3: ("skip", "deep", "bias")}


class DenseStages(NamedTuple):
    """Matrices ``[N, J * C, J' * C']`` and biases ``[N, 1, J' * C']`` of all stages.

    ``downs`` are the encoder and the bottleneck, ``(matrix, bias)``; ``ups`` is the decoder,
    ``(matrix of the skip, matrix of what comes from below, bias)``. Both from the finest level.
    """

    downs: tuple[tuple[Tensor, Tensor], ...]
    ups: tuple[tuple[Tensor, Tensor, Tensor], ...]


def dense_stages(maps: UNetMaps) -> DenseStages:
    """Multiply out the map over the nodes and the map over the channels of every stage."""
    nodes = maps.squeeze.nodes.shape[1]
    one = torch.eye(nodes, dtype=maps.expand.dtype, device=maps.expand.device)
    same = one.expand(len(maps.expand), nodes, nodes)
    expand = EncoderMap(same, None, maps.expand, maps.expand_bias)
    downs = (*cast("tuple[EncoderMap, ...]", maps.encoder), maps.squeeze, expand)
    ups = cast("tuple[DecoderMap, ...]", maps.decoder)
    return DenseStages(tuple(map(dense_down, downs)), tuple(map(_dense_up, ups)))


def dense_down(stage: EncoderMap) -> tuple[Tensor, Tensor]:
    """The matrix and the bias of a stage down."""
    table = stage.bias.mT
    if stage.node_bias is not None:
        table = table + stage.node_bias * stage.channels.sum(dim=2).unsqueeze(1)
    table = table.expand(-1, stage.nodes.shape[1], -1)
    return _product(stage.nodes, stage.channels), table.flatten(1).unsqueeze(1)


def _dense_up(stage: DecoderMap) -> tuple[Tensor, Tensor, Tensor]:
    skip = _product(stage.skip_nodes, stage.skip_channels)
    return skip, _product(stage.nodes, stage.channels), stage.bias.flatten(1).unsqueeze(1)


def _product(nodes: Tensor, channels: Tensor) -> Tensor:
    """``[N, J', J]`` over the nodes and ``[N, C', C]`` over the channels as one matrix."""
    return torch.einsum("nij,ndc->njcid", nodes, channels).flatten(3).flatten(1, 2)


def is_small(maps: UNetMaps) -> bool:
    """Whether all dense matrices would be small."""
    stages = (*maps.encoder, maps.squeeze, *maps.decoder)
    return sum(map(_size, stages)) <= DENSE_SIZE


def _size(stage: object) -> int:
    """Entries of the dense matrices of a stage."""
    size = 0
    for name in ("nodes", "channels"), ("skip_nodes", "skip_channels"):
        nodes, channels = (getattr(stage, part, None) for part in name)
        if nodes is not None and channels is not None:
            size += nodes.numel() * channels[0].numel()
    return size


def in_double(net: _Net) -> _Net:
    """A copy on the CPU in double precision, to multiply maps once for ever."""
    return copy.deepcopy(net).cpu().double()
