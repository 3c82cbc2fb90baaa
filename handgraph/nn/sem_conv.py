"""The semantic graph convolution of SemGCN: a learned weight for every edge of a skeleton."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import add_self_loops

from handgraph.nn.skeleton_edges import SkeletonLayer
from handgraph.skeleton import Skeleton


class SemGraphConv(SkeletonLayer, MessagePassing):
    r"""A graph convolution with a learned weight for every edge of a skeleton.

    .. math::
        Y_i = a_{ii} W_0 X_i + \sum_{j \in N(i)} a_{ij} W_1 X_j + b, \qquad
        a_{ij} = \frac{\exp e_{ij}}{\sum_{k \in N(i) \cup \{i\}} \exp e_{ik}}

    Zhao et al., "Semantic Graph Convolutional Networks for 3D Human Pose Regression", CVPR 2019
    (Eq. 2 and its published code, which has a matrix for the joint itself and one for its
    neighbours). Each direction of each edge and each self-loop has one :math:`e_{ij}`. All are
    initialised to 1, so that a joint and its neighbours have equal weights. With ``channelwise``,
    each output channel has separate edge weights (Eq. 3).

    The layer works on one skeleton; :class:`SkeletonEdges` documents the checks.
    Messages are passed along ``edge_index``, so a joint depends only on itself and its neighbours,
    and PyG's explainers can mask edges. The published code applies Xavier initialisation to both
    matrices as one tensor, which gives a smaller range. Here it is applied to each matrix.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        skeleton: The skeleton.
        channelwise: Whether each output channel has separate edge weights.
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
        >>> from handgraph.nn import SemGraphConv
        >>> conv = SemGraphConv(2, 4, HAND)
        >>> conv(torch.rand(8, 21, 2), HAND.edge_index).shape
        torch.Size([8, 21, 4])
        >>> sum(p.numel() for p in conv.parameters())  # 2 * 2 * 4 + (40 + 21) + 4
        81
    """

    link: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skeleton: Skeleton,
        *,
        channelwise: bool = False,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, skeleton, aggr="sum", node_dim=-2)
        link, _ = add_self_loops(skeleton.edge_index, num_nodes=skeleton.num_joints)
        self.register_constants(link=link)
        self.lin_self = nn.Linear(in_channels, out_channels, bias=False)
        self.lin_neighbor = nn.Linear(in_channels, out_channels, bias=False)
        weighings = out_channels if channelwise else 1
        self.edge_logit = nn.Parameter(torch.empty(self.link.shape[1], weighings))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset all parameters; all edges start with equal weights."""
        super().reset_parameters()
        for lin in (self.lin_self, self.lin_neighbor):
            nn.init.xavier_uniform_(lin.weight, gain=2**0.5)
        nn.init.ones_(self.edge_logit)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -(self.out_channels**-0.5), self.out_channels**-0.5)

    def adjacency(self) -> Tensor:
        r"""Return :math:`a_{ij}`, the weight of joint j at joint i. Rows sum to 1.

        Returns:
            ``[J, J]``, or ``[out_channels, J, J]`` if ``channelwise``.

        Example:
            >>> from handgraph import HAND
            >>> from handgraph.nn import SemGraphConv
            >>> a = SemGraphConv(2, 4, HAND).adjacency()
            >>> round(a[HAND.index("thumb_tip"), HAND.index("thumb_dip")].item(), 6)
            0.5
        """
        return self._weights().movedim(-1, 0).squeeze(0)

    def _weights(self) -> Tensor:
        """Return the softmax over the edges of each joint, ``[J, J, 1 or C']``, target first."""
        joints = self.skeleton.num_joints
        source, target = self.link
        logit = self.edge_logit.new_full((joints, joints, self.edge_logit.shape[1]), -torch.inf)
        return logit.index_put((target, source), self.edge_logit).softmax(dim=1)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Sum the weighted features of each joint and its neighbours."""
        copies = self.edges(x, edge_index)
        weights = self._weights()
        source, target = edge_index % self.skeleton.num_joints
        loops = weights.diagonal().t().repeat(copies, 1)
        out: Tensor = self.propagate(
            edge_index, x=self.lin_neighbor(x), weight=weights[target, source]
        )
        out = out + loops * self.lin_self(x)
        return out if self.bias is None else out + self.bias

    def message(self, x_j: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        """Multiply a message by its edge weight."""
        return weight * x_j
