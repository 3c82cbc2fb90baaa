"""The adaptive graph convolution of 2s-AGCN: fixed, learned and data-dependent edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph._check import check_sizes
from handgraph.nn.skeleton_edges import SkeletonLayer
from handgraph.skeleton import Skeleton


def skeleton_partitions(skeleton: Skeleton) -> Tensor:
    r"""Split the edges of a skeleton by direction into adjacencies whose rows sum to 1 or 0.

    A skeleton with a root has three parts (the spatial partition of Yan et al., "Spatial Temporal
    Graph Convolutional Networks", AAAI 2018): the joint itself, its neighbours nearer to the root
    (centripetal), and those farther away (centrifugal). Neighbours at the same distance from the
    root (in cycles), or not connected to it, are in the first part, as published. A skeleton
    without a root has two parts: the joint itself, and its neighbours.

    Args:
        skeleton: The skeleton.

    Returns:
        ``[K, J, J]`` with K = 3 or 2; entry (i, j) is the weight of joint j at joint i.

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


class AGCNConv(SkeletonLayer):
    r"""A graph convolution over the sum of fixed, learned and data-dependent edges.

    .. math::
        Y_i = \sum_k \sum_j (A_k + B_k + C_k(X))_{ij} W_k X_j + b, \qquad
        C_k(X)_{ij} = \mathrm{softmax}_j
            \frac{(\theta_k X_j + t_k)^\top (\phi_k X_i + p_k)}{E}

    Shi et al., "Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action
    Recognition", CVPR 2019 (Eq. 3). :math:`A_k` are the fixed parts of
    :func:`skeleton_partitions`. :math:`B_k` are free matrices, initialised to 0 (published: 1e-6).
    :math:`C_k` is the similarity of joints embedded in E dimensions; the division by E follows the
    published code. The published block around the layer is left to the user: batch norm, residual
    connection with its 1 x 1 convolution, ReLU, and temporal convolution. Similarities are computed
    for each pose; the published layer sums them over the frames of a clip. The K biases of the
    published layer are one bias here, as only their sum matters. :math:`W_k` has Xavier
    initialisation. The published one is smaller, as a batch norm follows.

    The layer works on one skeleton; :class:`SkeletonEdges` documents the checks. Every joint
    depends on every other: with PyG's explainers, use node masks only, as for
    :class:`ModulatedGraphConv`.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        skeleton: The skeleton.
        embedding_channels: E; by default a quarter of ``out_channels`` as published, at least 1.
        bias (bool): Whether to add the bias b.

    Shapes:
        - x: ``[*, J, in_channels]``, or ``[B * J, in_channels]`` for disjoint copies
        - edge_index: edges of the skeleton, or of B copies, in any order
        - output: ``[*, J, out_channels]``, or ``[B * J, out_channels]``

    Raises:
        ValueError: If a size is not positive, or x or ``edge_index`` are not of this skeleton.
        TypeError: If ``skeleton`` is not a skeleton.

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

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skeleton: Skeleton,
        *,
        embedding_channels: int | None = None,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, skeleton)
        width = max(out_channels // 4, 1) if embedding_channels is None else embedding_channels
        check_sizes("AGCNConv", embedding_channels=width)
        self.embedding_channels = width
        self.register_constants(partition=skeleton_partitions(skeleton))
        parts = len(self.partition)
        self.lin = nn.Linear(in_channels, parts * out_channels, bias=False)
        self.lin_source = nn.Linear(in_channels, parts * width)
        self.lin_target = nn.Linear(in_channels, parts * width)
        self.learned = nn.Parameter(torch.empty_like(self.partition))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset all parameters; biases and B are 0."""
        for weight in self.lin.weight.chunk(len(self.partition)):
            nn.init.xavier_uniform_(weight)
        for lin in (self.lin_source, self.lin_target):
            nn.init.normal_(lin.weight, 0, (2 / self.embedding_channels) ** 0.5)
            nn.init.zeros_(lin.bias)
        nn.init.zeros_(self.learned)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Convolve over each part, and sum over the parts."""
        copies = self.edges(x, edge_index)
        x = x.unflatten(-2, (copies, self.skeleton.num_joints))
        mixed = self._adjacency(x) @ self._by_part(self.lin(x))
        out: Tensor = mixed.sum(dim=-3).flatten(-3, -2)
        return out if self.bias is None else out + self.bias

    def _adjacency(self, x: Tensor) -> Tensor:
        """Return A + B + C of every pose, ``[*, K, J, J]``, target first."""
        target, source = self._by_part(self.lin_target(x)), self._by_part(self.lin_source(x))
        similar = (target @ source.mT / self.embedding_channels).softmax(dim=-1)
        return self.partition + self.learned + similar

    def _by_part(self, x: Tensor) -> Tensor:
        """Rearrange ``[*, J, K * C]`` to ``[*, K, J, C]``."""
        parts: Tensor = x.unflatten(-1, (len(self.partition), -1)).transpose(-3, -2)
        return parts
