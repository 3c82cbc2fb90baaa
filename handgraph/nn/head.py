"""A separate output layer for each joint, over its features and its raw input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph._check import check_count, check_skeleton
from handgraph.nn.composed import Composed
from handgraph.nn.linear import BranchLinear
from handgraph.skeleton import Skeleton


class JointHead(Composed):
    r"""A separate linear output layer for each joint, over its features and its raw input.

    .. math:: y_j = W_j \, [h_j, x_j] + c_j, \qquad h = \mathrm{net}(x)

    A graph U-Net shares its weights between all joints, and its features have passed through
    pooling. Weights per joint and the raw input can compensate for both. The layer is not in the
    paper; its effect is reported in the results of the documentation.

    Args:
        net: Maps ``[*, J, in_channels]`` to ``[*, J, hidden_channels]``, and takes ``node_mask``.
        in_channels: Size of each input node.
        hidden_channels: Size of each output node of ``net``.
        out_channels: Size of each output node.
        skeleton: The skeleton.

    Shapes:
        - input: ``[*, J, in_channels]``
        - node_mask: Bool or floating ``[*, J]``; see :class:`AdaptiveGraphUNet`
        - output: ``[*, J, out_channels]``; 0 at hidden joints

    Raises:
        ValueError: If a size is not positive, or the input does not have the skeleton's shape.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, JointHead
        >>> net = JointHead(AdaptiveGraphUNet(2, 8, HAND), 2, 8, 3, HAND)
        >>> net(torch.rand(4, 21, 2)).shape
        torch.Size([4, 21, 3])
        >>> sum(p.numel() for p in net.lin.parameters())  # 21 x (8 + 2 + 1) x 3
        693
    """

    def __init__(
        self,
        net: nn.Module,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        skeleton: Skeleton,
    ):
        super().__init__()
        check_skeleton(skeleton, "JointHead")
        check_count(in_channels, "in_channels", 1)
        check_count(hidden_channels, "hidden_channels", 1)
        self.net = net
        self.lin = BranchLinear(hidden_channels + in_channels, out_channels, skeleton.num_joints)

    def forward(self, x: Tensor, node_mask: Tensor | None = None) -> Tensor:
        """Run the net, then the layer of each joint."""
        if node_mask is None:
            return self._head(self.net(x), x)
        visible = node_mask.unsqueeze(-1) != 0
        hidden = self.net(x, node_mask)
        return self._head(hidden, x.where(visible, 0)).where(visible, 0)

    def _head(self, hidden: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.lin(torch.cat([hidden, x], dim=-1).unsqueeze(-2))
        return out.squeeze(-2)

    def __repr__(self) -> str:
        """Return the net and the layer."""
        return f"JointHead({self.net}, {self.lin})"
