"""The ensemble network and PSJNet's core for inference, each one chain of dense maps.

Between the last ReLU of the branches and the first of the ensemble network everything is linear:
the last layer of the branches, the scatter of their outputs to the joints, the first layer of the
ensemble network. Multiplied out, this is one matrix, and the incomplete poses are never written.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from handgraph.nn.cpu.core_op import Wiring, run_core
from handgraph.nn.folded_unet import (
    DenseStages,
    DenseUNet,
    FoldedUNet,
    dense_stages,
    in_double,
    is_small,
)
from handgraph.nn.kernels.core_op import chain_core
from handgraph.nn.kernels.dispatch import takes, takes_compiled
from handgraph.nn.kernels.launch import Net
from handgraph.nn.kernels.plan import Plan
from handgraph.nn.mask import SubgraphMask
from handgraph.nn.merge.base import Merger
from handgraph.nn.merge.graph import GraphMerger
from handgraph.nn.merge.literal import HypothesisGraphMerger
from handgraph.nn.pool import NodePool
from handgraph.nn.unet import AdaptiveGraphUNet
from handgraph.subgraph import RemovalSets


class FoldedGraphMerger(nn.Module):
    """A :class:`GraphMerger` without parameters: it takes and raises what the merger did.

    Where hypotheses are missing, only its U-Net is folded.

    Args:
        merger: The merger, which is left alone.
    """

    node_mask: Tensor

    def __init__(self, merger: GraphMerger):
        super().__init__()
        removal = merger.removal
        self.is_ragged = not bool(removal.node_mask.all())
        self.register_buffer("node_mask", removal.node_mask.clone(), persistent=False)
        self.merger = copy.deepcopy(merger)
        self.merger.unet = FoldedUNet(merger.unet)
        small = self.merger.unet.dense is not None
        self.dense = DenseUNet(merger_stages(merger)) if small else None
        self.to(merger.unet.squeeze.weight)

    def get_extra_state(self) -> Tensor:
        """The removal sets, which are part of the folded maps."""
        return self.merger.removal.keep_mask

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse what was folded over other removal sets, even of the same sizes."""
        if not torch.equal(state.cpu(), self.merger.removal.keep_mask.cpu()):
            raise ValueError(f"{self.merger.removal}: the saved net was folded over other sets")

    def forward(
        self, partial: Tensor, feature: Tensor | None = None, *, node_mask: Tensor | None = None
    ) -> Tensor:
        """Regress every joint; see :meth:`GraphMerger.forward`."""
        lead, batch = partial.shape[:-3], math.prod(partial.shape[:-3])
        if self.dense is None or node_mask is not None or not self.dense.pays(partial, batch):
            return cast("Tensor", self.merger(partial, feature, node_mask=node_mask))
        self.merger.check(partial, feature, None)
        if self.is_ragged:
            partial = partial.where(self.node_mask.unsqueeze(-1), 0)
        x = partial.reshape(batch, math.prod(partial.shape[-3:]))
        if feature is not None:
            x = torch.cat([x, feature.reshape(batch, math.prod(feature.shape[-2:]))], dim=-1)
        out: Tensor = self.dense(x.unsqueeze(0))
        return out.reshape(*lead, self.merger.feature_shape[0], self.merger.out_channels)


class FoldedHypothesisGraphMerger(HypothesisGraphMerger):
    """A :class:`HypothesisGraphMerger` without parameters, its last map part of its U-Net.

    Args:
        merger: The merger, which is left alone.
    """

    def __init__(self, merger: HypothesisGraphMerger):
        Merger.__init__(
            self,
            merger.in_channels,
            merger.out_channels,
            merger.removal,
            feature_channels=merger.feature_channels,
        )
        self.feature_nodes = merger.feature_nodes
        self.hypotheses = copy.deepcopy(merger.hypotheses)
        self.unet = FoldedUNet(merger.unet, merger.pool)
        self.pool = cast("NodePool", nn.Identity())

    def reset_parameters(self) -> None:
        """Raise: there is nothing to draw anew."""
        self.unet.reset_parameters()


class FoldedCore(nn.Module):
    """``merge(branches(split(x)))`` without parameters: it takes and raises what they did.

    Args:
        split, branches, merge: The three, which are left alone; see :func:`is_core`.

    Shapes:
        - input: ``[*, J, C]``
        - output: ``[*, J, C']``
    """

    skip: Tensor
    deep: Tensor
    bias: Tensor
    column: Tensor
    source: Tensor
    joined: Tensor
    place: Tensor
    constant: Tensor
    padding: Tensor

    def __init__(self, split: SubgraphMask, branches: AdaptiveGraphUNet, merge: GraphMerger):
        super().__init__()
        self.out_channels = merge.out_channels
        self.in_shape = (split.removal.skeleton.num_joints, branches.in_channels)
        self.split = copy.deepcopy(split)
        self.branches = FoldedUNet(branches)
        with torch.no_grad():
            stages = merger_stages(merge)
            skip, deep, bias = dense_stages(in_double(branches).maps()).ups[0]
            matrix, constant = stages.downs[0]
            first = matrix.reshape(len(skip), -1, matrix.shape[-1])
        channels = torch.arange(branches.in_channels, device="cpu")
        column = split.kept.cpu().unsqueeze(-1) * branches.in_channels + channels
        padding = ~split.node_mask.cpu().unsqueeze(-1).expand(column.shape)
        self.register_buffer("column", column.flatten(), persistent=False)
        self.register_buffer("source", column.where(~padding, -1).flatten(1), persistent=False)
        self.register_buffer("padding", padding.flatten(), persistent=False)
        self.register_buffer("skip", skip @ first)
        self.register_buffer("deep", deep @ first)
        there = merge.removal.node_mask.cpu().unsqueeze(-1).expand(-1, -1, merge.in_channels)
        joined = torch.arange(there.numel(), device="cpu").where(there.flatten(), -1)
        self.register_buffer("joined", joined, persistent=False)
        place, flags = _places(merge)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("constant", flags, persistent=False)
        self.register_buffer("bias", (bias @ first).sum(dim=0) + constant.squeeze(0))
        self.merge = FoldedGraphMerger(merge)
        self.to(branches.squeeze.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Lift the pose."""
        if x.shape[-2:] == self.in_shape:
            run = self._fastest(x, batch := math.prod(x.shape[:-2]))
            if run is not None:
                return run(x, batch)
        return cast("Tensor", self.merge(self.branches(self.split(x))))

    def _fastest(self, x: Tensor, batch: int) -> Callable[[Tensor, int], Tensor] | None:
        """What computes the three as one, if that is faster."""
        branches, merge = self._nets()
        wants_gradient = x.requires_grad and torch.is_grad_enabled()
        if takes(x) and branches.plan is not None:
            one = merge.plan is not None and not wants_gradient
            return self._run_kernel if one else None
        if takes_compiled(x) and not wants_gradient:
            return self._run_compiled
        return self._run_dense if branches.pays(x, batch) else None

    def _nets(self) -> list[DenseUNet]:
        return cast("list[DenseUNet]", [self.branches.dense, self.merge.dense])

    def chains(self) -> tuple[Net, Net]:
        """What the kernel on CUDA computes: the branches and the merger, if they have plans."""
        branches, merge = self._nets()
        plans = cast("list[Plan]", [branches.plan, merge.plan])
        return (
            Net(plans[0], branches.table, self.source),
            Net(plans[1], merge.table, self.joined),
        )

    def _run_kernel(self, x: Tensor, batch: int) -> Tensor:
        out = chain_core(x.reshape(batch, math.prod(self.in_shape)), *self.chains())
        return out.reshape(*x.shape[:-1], self.out_channels)

    def _run_compiled(self, x: Tensor, batch: int) -> Tensor:
        unet = cast("FoldedUNet", self.merge.merger.unet)
        flat = x.reshape(batch, math.prod(self.in_shape))
        wiring = Wiring(self.source, self.place, self.constant)
        maps = self.branches.merged, unet.merged
        out = run_core(flat, *maps, wiring, self.branches.sizes, unet.sizes)
        return out.reshape(*x.shape[:-1], self.out_channels)

    def _run_dense(self, x: Tensor, batch: int) -> Tensor:
        branches, merge = self._nets()
        skip, below = branches.inside(branches.first(self._gather(x, batch)))
        joined = torch.addbmm(torch.addbmm(self.bias, skip, self.skip), below, self.deep)
        out = merge.last(*merge.inside(joined.relu_().unsqueeze(0)))
        return out.reshape(*x.shape[:-1], self.out_channels)

    def _gather(self, x: Tensor, batch: int) -> Tensor:
        """Take ``[*, J, C]`` to what the branches have of it, ``[N, B, K * C]``; padding is 0."""
        kept = x.reshape(batch, math.prod(self.in_shape)).index_select(1, self.column)
        if self.branches.is_ragged:
            kept = kept.masked_fill(self.padding, 0)
        branches = len(self.branches.node_mask)
        return kept.view(batch, branches, len(self.column) // branches).transpose(0, 1)


def is_core(split: nn.Module, branches: nn.Module, merge: nn.Module) -> bool:
    """Whether three modules are PSJNet's core over the same removal sets, of foldable size."""
    if not (
        type(split) is SubgraphMask
        and type(branches) is AdaptiveGraphUNet
        and type(merge) is GraphMerger
        and isinstance(branches.graph, RemovalSets)
    ):
        return False
    keep = [removal.keep_mask for removal in (split.removal, branches.graph, merge.removal)]
    same = all(torch.equal(mask, keep[0]) for mask in keep)
    plain = branches.out_channels == merge.in_channels and merge.feature_channels == 0
    return same and plain and is_small(branches.maps()) and is_small(merge.unet.maps())


@torch.no_grad()
def merger_stages(merger: GraphMerger) -> DenseStages:
    """The stages of the U-Net, the first of them from the incomplete poses and the feature."""
    merger = in_double(merger)
    stages = dense_stages(merger.unet.maps())
    gather, flags = _gather(merger)
    matrix, bias = stages.downs[0]
    return stages._replace(
        downs=((gather @ matrix, flags @ matrix + bias), *stages.downs[1:]),
    )


def _places(merger: GraphMerger) -> tuple[Tensor, Tensor]:
    """Which row of its U-Net each number of the incomplete poses is, -1 for none; and the rest."""
    gather, flags = _gather(in_double(merger))
    place = gather[0].argmax(dim=1).where(gather[0].any(dim=1), -1)
    return place.view(len(merger.removal), -1), flags.flatten()


def _gather(merger: GraphMerger) -> tuple[Tensor, Tensor]:
    """What the merger does before its U-Net: matrix and bias, read off at unit vectors."""
    poses = (len(merger.removal), merger.removal.num_nodes, merger.in_channels)
    size, features = math.prod(poses), math.prod(merger.feature_shape)
    unit = torch.eye(size + features + 1, size + features, dtype=torch.float64, device="cpu")
    partial, feature = unit.split([size, features], dim=1)  # the last row is 0
    before = copy.copy(merger)
    before._modules = {"unet": nn.Identity()}
    feature = feature.reshape(-1, *merger.feature_shape) if features else None
    nodes = before(partial.reshape(-1, *poses), feature).flatten(1)
    return (nodes[:-1] - nodes[-1]).unsqueeze(0), nodes[-1:].unsqueeze(0)
