"""The modulated graph convolution: shared weights and edges, modulated per joint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph.nn.skeleton_edges import SkeletonLayer
from handgraph.skeleton import Skeleton


class ModulatedGraphConv(SkeletonLayer):
    r"""A graph convolution whose weights and edges are modulated per joint.

    .. math::
        Y_i = S_{ii} \, m_i \odot W_0 X_i + \sum_{j \ne i} S_{ij} \, m_j \odot W_1 X_j + b, \qquad
        S = \tfrac{1}{2} (\hat A + Q + \hat A^\top + Q^\top)

    with :math:`\hat A = D^{-1} A + I` of the skeleton. Zou and Tang, "Modulated Graph
    Convolutional Network for 3D Human Pose Estimation", ICCV 2021: weight modulation is a vector
    :math:`m_j` for each joint (:math:`M \in R^{J \times C'}`, initially ones), affinity modulation
    the free matrix :math:`Q \in R^{J \times J}`. :math:`\hat A` and the symmetrisation follow the
    published code. Q is initialised to 0 (published: 1e-6), so that the untrained layer uses only
    the edges of the skeleton.

    The layer works on one skeleton; :class:`SkeletonEdges` documents the checks.
    It is a dense layer and not a ``MessagePassing``, as a trained Q connects every joint to every
    other. With PyG's explainers, use node masks only (``edge_mask_type=None``): an edge mask has no
    effect on the output, and ``GNNExplainer`` raises an error because the mask gets no gradient.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        skeleton: The skeleton.
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
        >>> from handgraph.nn import ModulatedGraphConv
        >>> conv = ModulatedGraphConv(2, 4, HAND)
        >>> conv(torch.rand(8, 21, 2), HAND.edge_index).shape
        torch.Size([8, 21, 4])
        >>> sum(p.numel() for p in conv.parameters())  # 2 * 2 * 4 + 21 * 4 + 21 * 21 + 4
        545
    """

    skeleton_adjacency: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, skeleton: Skeleton, *, bias: bool = True
    ):
        super().__init__(in_channels, out_channels, skeleton)
        joints = skeleton.num_joints
        fixed = skeleton.adjacency()
        fixed = fixed / fixed.sum(dim=1, keepdim=True).clamp(min=1) + torch.eye(joints)
        self.register_constants(skeleton_adjacency=fixed)
        self.lin_self = nn.Linear(in_channels, out_channels, bias=False)
        self.lin_neighbor = nn.Linear(in_channels, out_channels, bias=False)
        self.weight_modulation = nn.Parameter(torch.empty(joints, out_channels))
        self.affinity_modulation = nn.Parameter(torch.empty(joints, joints))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset all parameters; the modulations initially have no effect."""
        for lin in (self.lin_self, self.lin_neighbor):
            nn.init.xavier_uniform_(lin.weight, gain=2**0.5)
        nn.init.ones_(self.weight_modulation)
        nn.init.zeros_(self.affinity_modulation)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -(self.out_channels**-0.5), self.out_channels**-0.5)

    def adjacency(self) -> Tensor:
        """Return S, the weight of joint j at joint i: symmetric, of any sign. ``[J, J]``.

        Example:
            >>> from handgraph import HAND
            >>> from handgraph.nn import ModulatedGraphConv
            >>> a = ModulatedGraphConv(2, 4, HAND).adjacency()
            >>> tip, dip = HAND.index("thumb_tip"), HAND.index("thumb_dip")
            >>> round(a[tip, dip].item(), 4)  # (1 + 1 / 2) / 2
            0.75
        """
        adjacency = self.skeleton_adjacency + self.affinity_modulation
        return (adjacency + adjacency.mT) / 2

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Modulate the linear maps of each joint, and sum over the joints."""
        copies = self.edges(x, edge_index)
        x = x.unflatten(-2, (copies, self.skeleton.num_joints))
        adjacency = self.adjacency()
        loops = adjacency.diagonal()
        own = loops.unsqueeze(-1) * self.weight_modulation * self.lin_self(x)
        others = (adjacency - loops.diag()) @ (self.weight_modulation * self.lin_neighbor(x))
        out: Tensor = (own + others).flatten(-3, -2)
        return out if self.bias is None else out + self.bias
