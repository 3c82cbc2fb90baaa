"""The graph convolution of HOPE-Net: a learned, dense adjacency and a linear layer."""

from __future__ import annotations

from torch import Tensor

from handgraph._check import check_choice, check_last
from handgraph.nn.adjacency import Normalization, gate_scales, normalize_adjacency
from handgraph.nn.composed import Composed
from handgraph.nn.linear import BranchLinear


class AdaptiveGraphConv(Composed):
    r"""Graph convolution over a learned, dense adjacency.

    .. math:: Y = L(A)\, X W^\top + b

    with :math:`L` from :func:`normalize_adjacency`. This is the layer of the Adaptive Graph U-Net
    (Doosti et al., HOPE-Net, CVPR 2020), which the paper uses in every branch. As in PyG's dense
    layers, the adjacency is an argument of the call, so that several layers can share one.

    A gate g gives each sample its own subgraph. Node j sends :math:`g_j x_j`, so a node with gate 0
    has no influence on other nodes. Degrees are weighted by the gates,
    :math:`d_j = \varepsilon + \sum_i |A_{ij}| g_i`.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        normalization: ``"abs"``, or ``"signed"`` as published.
        num_branches: N, the number of parallel convolutions with separate parameters.
        renormalize: With a gate, whether degrees are weighted by it, or summed over all nodes.

    Shapes:
        - x: ``[*, J, in_channels]``, or ``[*, N, J, in_channels]``
        - adj: ``[J, J]`` or ``[*, J, J]``, or ``[N, J, J]``
        - gate: ``[*, J]``, or ``[*, N, J]``; 0 for hidden and 1 for visible nodes
        - output: ``[*, J, out_channels]``, or ``[*, N, J, out_channels]``; the output of a hidden
          node is not normalised by its degree

    Raises:
        ValueError: If x does not have ``in_channels`` channels, or the number of nodes of adj or
            gate differs from that of x.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphConv
        >>> conv = AdaptiveGraphConv(2, 4)
        >>> conv(torch.rand(8, 21, 2), HAND.adjacency() + torch.eye(21)).shape
        torch.Size([8, 21, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        normalization: Normalization = "abs",
        num_branches: int | None = None,
        renormalize: bool = True,
    ):
        super().__init__()
        check_choice(normalization, "normalization", "abs", "signed")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.normalization: Normalization = normalization
        self.renormalize = renormalize
        self.lin = BranchLinear(in_channels, out_channels, num_branches)

    def forward(self, x: Tensor, adj: Tensor, gate: Tensor | None = None) -> Tensor:
        """Apply the normalised adjacency to the nodes, then the linear layer to the channels."""
        self._check(x, adj, gate)
        if gate is None:
            mixed = normalize_adjacency(adj, self.normalization) @ x
        else:
            scales = gate_scales(adj, gate.unsqueeze(-1), self.normalization, self.renormalize)
            receive, send = scales
            mixed = receive * (adj @ (send * x))
        out: Tensor = self.lin(mixed)
        return out

    def _check(self, x: Tensor, adj: Tensor, gate: Tensor | None) -> None:
        check_last(x, "x of AdaptiveGraphConv", "J", self.in_channels)
        joints = x.shape[-2]
        check_last(adj, "adj of AdaptiveGraphConv", joints, joints, like=x)
        if gate is not None:
            check_last(gate, "gate of AdaptiveGraphConv", joints, like=x)

    def __repr__(self) -> str:
        """Return the sizes."""
        return f"AdaptiveGraphConv({self.in_channels}, {self.out_channels})"
