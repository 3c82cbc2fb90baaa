"""A graph U-Net over a fixed skeleton, with any graph convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn import GraphConv

from handgraph._check import check_last, check_sizes, check_skeleton
from handgraph.coarsening import Coarsening, coarsen, restrict_ladder
from handgraph.nn.adapter import SkeletonConv
from handgraph.nn.composed import Composed
from handgraph.nn.skeletal import Reduce, SkeletalPool, SkeletalUnpool
from handgraph.skeleton import Skeleton


class PerLevel(NamedTuple):
    """Wrap a factory of convolutions that need the skeleton of their level of the U-Net.

    Args:
        factory: Called as ``factory(in_channels, out_channels, skeleton)``.

    Example:
        >>> import torch
        >>> from torch_geometric.nn import GCNConv
        >>> from handgraph import HAND
        >>> from handgraph.nn import PerLevel, SkeletonUNet
        >>> sizes = []
        >>> def conv(in_channels, out_channels, skeleton):
        ...     sizes.append(skeleton.num_joints)
        ...     return GCNConv(in_channels, out_channels)
        >>> net = SkeletonUNet(2, 3, HAND, conv=PerLevel(conv))
        >>> sorted(sizes)  # down, bottleneck, up
        [6, 11, 11, 21, 21]
    """

    factory: Callable[[int, int, Skeleton], nn.Module]


Convolution = Callable[[int, int], nn.Module] | PerLevel
"""A factory of convolutions: ``conv(in_channels, out_channels)``, or a :class:`PerLevel`."""


class SkeletonUNet(Composed):
    r"""A U-Net over a fixed skeleton, with any graph convolution and pooling along the bones.

    The architecture of :class:`AdaptiveGraphUNet` (Doosti et al., HOPE-Net, CVPR 2020), with the
    edges of the skeleton instead of learned ones. With the skeleton :math:`G_l` of level l,
    :math:`P_l` and :math:`U_l` from :class:`SkeletalPool` and :class:`SkeletalUnpool`, and a
    convolution on the coarsest skeleton as bottleneck (:math:`D_L`):

    .. math::
        E_l &= \mathrm{ReLU}(\mathrm{conv}(P_{l-1}(E_{l-1}), G_l)) \\
        D_L &= \mathrm{ReLU}(\mathrm{conv}(P_{L-1}(E_{L-1}), G_L)) \\
        D_l &= \mathrm{ReLU}(\mathrm{conv}([E_l, U_l(D_{l+1})], G_l))

    without the ReLU on the output. Clusters depend on the names of the joints and not on their
    order. The same holds for the whole net if it holds for its convolutions. The net takes poses
    and no edges, so PyG's ``Explainer`` has no edges to mask. Use gradients with respect to the
    joints instead.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        skeleton: The skeleton.
        conv: Factory of the convolutions: ``conv(in_channels, out_channels)`` returns a module that
            is called as ``module(x, edge_index)`` and has ``out_channels`` channels:
            ``GATv2Conv``, ``functools.partial(ChebConv, K=2)``, a lambda. Wrap a factory that needs
            the skeleton in :class:`PerLevel`. The default is PyG's ``GraphConv`` with separate
            weights for a joint and its neighbours.
        channels: Width of the finest level; it doubles with each level.
        ladder: The clusters of each level, finest first; by default those of
            :func:`handgraph.coarsen`. Clusters of a larger skeleton that contains this one are
            restricted to it.
        reduce: Reduction over a cluster, ``"mean"`` or ``"max"``.

    Shapes:
        - input: ``[*, J, in_channels]``
        - output: ``[*, J, out_channels]``

    Raises:
        ValueError: If the sizes are not positive, the ladder does not fit the skeleton, ``conv``
            returns the wrong number of channels, or the input has the wrong shape.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from torch_geometric.nn import GATv2Conv
        >>> from handgraph import COCO
        >>> from handgraph.nn import SkeletonUNet
        >>> net = SkeletonUNet(2, 3, COCO, conv=partial(GATv2Conv, heads=4, concat=False))
        >>> net
        SkeletonUNet(2, 3, COCO, conv=GATv2Conv, nodes=(17, 9, 5, 3, 2, 1))
        >>> net(torch.rand(8, 17, 2)).shape
        torch.Size([8, 17, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skeleton: Skeleton,
        *,
        conv: Convolution = GraphConv,
        channels: int = 16,
        ladder: Sequence[Coarsening] | None = None,
        reduce: Reduce = "mean",
    ):
        super().__init__()
        check_skeleton(skeleton, "SkeletonUNet")
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "channels": channels}
        check_sizes("SkeletonUNet", **sizes)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.skeleton = skeleton
        self.ladder = restrict_ladder(coarsen(skeleton) if ladder is None else ladder, skeleton)
        self._build(conv, channels, reduce)

    def _build(self, conv: Convolution, channels: int, reduce: Reduce) -> None:
        widths = [channels * 2**level for level in range(len(self.ladder))]
        ins, outs = [self.in_channels, *widths], [self.out_channels, *widths]
        levels = list(enumerate(self.ladder))
        self.encoder = nn.ModuleList(_conv(conv, ins[i], widths[i], c.fine) for i, c in levels)
        self.pools = nn.ModuleList(SkeletalPool(c, reduce) for c in self.ladder)
        self.bottleneck = _conv(conv, widths[-1], widths[-1], self.ladder[-1].coarse)
        self.unpools = nn.ModuleList(SkeletalUnpool(c) for c in self.ladder)
        self.decoder = nn.ModuleList(_conv(conv, 2 * widths[i], outs[i], c.fine) for i, c in levels)

    @property
    def nodes(self) -> tuple[int, ...]:
        """The number of nodes of each level, finest first."""
        return (self.skeleton.num_joints, *(level.coarse.num_joints for level in self.ladder))

    def forward(self, x: Tensor) -> Tensor:
        """Compute every joint's output from all joints."""
        sizes = self.skeleton.num_joints, self.in_channels
        check_last(x, "the input of SkeletonUNet", *sizes, owner=self.skeleton.name)
        skips = []
        for conv, pool in zip(self.encoder, self.pools, strict=True):
            skips.append(conv(x).relu())
            x = pool(skips[-1])
        x = self.bottleneck(x).relu()
        for level in reversed(range(len(self.ladder))):
            x = torch.cat([skips[level], self.unpools[level](x)], dim=-1)
            x = self.decoder[level](x)
            if level > 0:
                x = x.relu()
        return x

    def __repr__(self) -> str:
        """Return the sizes, skeleton, convolution and ladder."""
        return (
            f"SkeletonUNet({self.in_channels}, {self.out_channels}, {self.skeleton.name}, "
            f"conv={type(self.bottleneck.conv).__name__}, nodes={self.nodes})"
        )


def _conv(
    conv: Convolution, in_channels: int, out_channels: int, skeleton: Skeleton
) -> SkeletonConv:
    """Build the convolution of one level, and check its output channels."""
    sizes = in_channels, out_channels
    made = conv.factory(*sizes, skeleton) if isinstance(conv, PerLevel) else conv(*sizes)
    layer = SkeletonConv(made, skeleton, in_channels)
    if layer.out_channels != out_channels:
        raise ValueError(
            f"SkeletonUNet: expected conv{sizes} to make a convolution "
            f"with {out_channels} output channels, got {layer.out_channels}: {made}"
        )
    return layer
