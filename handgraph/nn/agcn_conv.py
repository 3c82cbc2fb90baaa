"""The adaptive graph convolution of 2s-AGCN: fixed, learned and data-dependent edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph.nn.constants import HasConstants
from handgraph.nn.skeleton_edges import SkeletonEdges, check_sizes
from handgraph.skeleton import Skeleton


def skeleton_partitions(skeleton: Skeleton) -> Tensor:
    r"""Split the edges of a skeleton by their direction, each part with rows that sum to 1 or 0.

    Of a skeleton with a root, three parts (the spatial partition of Yan et al., "Spatial Temporal
    Graph Convolutional Networks", AAAI 2018): the joint itself, its neighbours nearer to the root
    (centripetal), and those farther away (centrifugal). Neighbours at the same distance, in cycles
    or where the root does not reach, go with the joint itself, as there. A skeleton without a root
    has no direction, so two parts: the joint itself, and its neighbours.

    Args:
        skeleton: The skeleton.

    Returns:
        ``[K, J, J]``, K being 3 or 2; entry (i, j) is what joint i receives of joint j.

    Example:
        >>> from handgraph import COCO, HAND
        >>> from handgraph.nn import skeleton_partitions
        >>> skeleton_partitions(HAND).shape, skeleton_partitions(COCO).shape
        (torch.Size([3, 21, 21]), torch.Size([2, 17, 17]))
        >>> skeleton_partitions(HAND).sum(dim=(1, 2)).tolist()  # 16 joints are farther than another
        [21.0, 20.0, 16.0]
    """
    itself, linked = torch.eye(skeleton.num_joints), skeleton.adjacency()
    if skeleton.root is None:
        parts = torch.stack([itself, linked])
    else:
        hops = skeleton.hops()[skeleton.index(skeleton.root)]
        source, target = hops.unsqueeze(0), hops.unsqueeze(1)
        parts = torch.stack(
            [
                itself + linked * (source == target),
                linked * (source < target),
                linked * (source > target),
            ]
        )
    return parts / parts.sum(dim=-1, keepdim=True).clamp(min=1)


class AGCNConv(HasConstants):
    r"""A graph convolution over the sum of fixed, learned and data-dependent edges.

    .. math::
        Y_i = \sum_k \sum_j (A_k + B_k + C_k(X))_{ij} W_k X_j + b, \qquad
        C_k(X)_{ij} = \mathrm{softmax}_j
            \frac{(\theta_k X_j + t_k)^\top (\phi_k X_i + p_k)}{E}

    Shi et al., "Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action
    Recognition", CVPR 2019 (Eq. 3). :math:`A_k` are the fixed parts of
    :func:`skeleton_partitions`, :math:`B_k` free matrices (0 at first; 1e-6 in the published code),
    and :math:`C_k` the similarity of embedded joints, E being their width; the division by E is
    that of the published code. What surrounds the layer there is left to the user: batch norm, the
    residual with its 1 x 1 convolution, ReLU, and the convolution over time. Here each pose has
    similarities of its own; there they are summed over the frames of a clip. The published layer
    has one bias for each k, of which only the sum matters: here there is one. :math:`W_k` are drawn
    by Xavier's rule; the published ones are smaller, for the batch norm behind them.

    The layer belongs to its skeleton: :class:`SkeletonEdges` says
    what is checked. It is a dense layer and no ``MessagePassing``: every joint sees every other, so
    there are no edges along which messages could travel. Of PyG's explainers it takes node masks
    (``edge_mask_type=None``); a mask over ``edge_index`` would say nothing, and ``GNNExplainer``
    refuses it for want of a gradient.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        skeleton: The skeleton.
        embedding_channels: E; by default a quarter of ``out_channels``, as published, 1 at least.
        bias (bool): Whether there is b.

    Shapes:
        - x: ``[*, J, in_channels]``, or ``[B * J, in_channels]`` for disjoint copies
        - edge_index: the skeleton's, or B copies of it; in any order
        - output: ``[*, J, out_channels]``, or ``[B * J, out_channels]``

    Raises:
        ValueError: If a size is not positive, or x or ``edge_index`` are not of this skeleton.
        TypeError: If ``skeleton`` is no skeleton.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AGCNConv
        >>> conv = AGCNConv(2, 4, HAND)
        >>> conv(torch.rand(8, 21, 2), HAND.edge_index).shape
        torch.Size([8, 21, 4])
        >>> sum(p.numel() for p in conv.parameters())  # 3 * (2 * 4 + 21 * 21 + 2 * (2 + 1)) + 4
        1369
    """

    partition: Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skeleton: Skeleton,
        *,
        embedding_channels: int | None = None,
        bias: bool = True,
    ):
        super().__init__()
        check_sizes("AGCNConv", in_channels=in_channels, out_channels=out_channels)
        width = max(out_channels // 4, 1) if embedding_channels is None else embedding_channels
        check_sizes("AGCNConv", embedding_channels=width)
        self.edges = SkeletonEdges("AGCNConv", in_channels, skeleton)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.embedding_channels = width
        self.skeleton = skeleton
        self.register_constants(partition=skeleton_partitions(skeleton))
        parts = len(self.partition)
        self.lin = nn.Linear(in_channels, parts * out_channels, bias=False)
        self.lin_source = nn.Linear(in_channels, parts * width)
        self.lin_target = nn.Linear(in_channels, parts * width)
        self.learned = nn.Parameter(torch.empty_like(self.partition))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all matrices anew; biases and B are 0."""
        for weight in self.lin.weight.chunk(len(self.partition)):
            nn.init.xavier_uniform_(weight)
        for lin in (self.lin_source, self.lin_target):
            nn.init.normal_(lin.weight, 0, (2 / self.embedding_channels) ** 0.5)
            nn.init.zeros_(lin.bias)
        nn.init.zeros_(self.learned)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Mix the joints by each part, and sum over the parts."""
        copies = self.edges(x, edge_index)
        x = x.unflatten(-2, (copies, self.skeleton.num_joints))
        mixed = self._adjacency(x) @ self._by_part(self.lin(x))
        out: Tensor = mixed.sum(dim=-3).flatten(-3, -2)
        return out if self.bias is None else out + self.bias

    def _adjacency(self, x: Tensor) -> Tensor:
        """A + B + C of every pose, ``[*, K, J, J]``, target first."""
        target, source = self._by_part(self.lin_target(x)), self._by_part(self.lin_source(x))
        similar = (target @ source.mT / self.embedding_channels).softmax(dim=-1)
        return self.partition + self.learned + similar

    def _by_part(self, x: Tensor) -> Tensor:
        """Take ``[*, J, K * C]`` to ``[*, K, J, C]``."""
        parts: Tensor = x.unflatten(-1, (len(self.partition), -1)).transpose(-3, -2)
        return parts

    def __repr__(self) -> str:
        """Sizes and skeleton."""
        return f"AGCNConv({self.in_channels}, {self.out_channels}, {self.skeleton.name})"
