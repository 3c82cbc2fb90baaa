"""The graph convolution of HOPE-Net: a linear layer behind a learned, dense adjacency."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from handgraph.nn.linear import BranchLinear

Normalization = Literal["abs", "signed"]
"""How a learned adjacency becomes a degree: from absolute values, or from signed ones."""

EPS = 1e-5


def normalize_adjacency(adj: Tensor, normalization: Normalization = "abs") -> Tensor:
    r"""Normalise a learned adjacency symmetrically by its column sums.

    .. math:: L_{ij} = \frac{A_{ij}}{\sqrt{d_i d_j}}, \qquad
              d_j = \varepsilon + \sum_i |A_{ij}|, \qquad \varepsilon = 10^{-5}

    The published code of HOPE-Net (Doosti et al., CVPR 2020) sums the signed entries. Training
    can drive such a sum below zero, and the root of it is NaN; ``"signed"`` is there to load
    weights that were trained so. Degrees from absolute values are never below
    :math:`\varepsilon` (decision 11).

    Args:
        adj: Learned adjacencies, any sign, self-loops included. ``[*, J, J]``
        normalization: ``"abs"`` or ``"signed"``.

    Returns:
        The normalised adjacencies, ``[*, J, J]``.

    Raises:
        ValueError: If adj is not square, or there is no such normalization.

    Example:
        >>> import torch
        >>> from handgraph.nn import normalize_adjacency
        >>> normalize_adjacency(torch.tensor([[1.0, 3.0], [3.0, 1.0]]))
        tensor([[0.2500, 0.7500],
                [0.7500, 0.2500]])
    """
    check_normalization(normalization)
    if adj.dim() < 2 or adj.shape[-2] != adj.shape[-1]:
        raise ValueError(f"adj: expected [*, J, J], got {list(adj.shape)}")
    scale = degree_scale(adj, normalization)
    return scale.mT * adj * scale


def degree_scale(adj: Tensor, normalization: Normalization) -> Tensor:
    """One over the root of each node's degree: ``[*, J, J]`` to ``[*, 1, J]``."""
    entries = adj.abs() if normalization == "abs" else adj
    return (entries.sum(dim=-2, keepdim=True) + EPS).pow(-0.5)


def check_normalization(normalization: str) -> None:
    """Raise a ValueError unless the name is one of the two."""
    if normalization not in ("abs", "signed"):
        raise ValueError(f"normalization: expected 'abs' or 'signed', got {normalization!r}")


class AdaptiveGraphConv(nn.Module):
    r"""Graph convolution over a dense adjacency that is learned, not given.

    .. math:: Y = L(A)\, X W^\top + b

    with :math:`L` from :func:`normalize_adjacency`. The layer of the Adaptive Graph U-Net
    (Doosti et al., HOPE-Net, CVPR 2020), which the paper runs in every branch. Like PyG's dense
    layers it is called with the adjacency, so that several layers can share one.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        normalization: ``"abs"``, or ``"signed"`` as published.
        num_branches: N convolutions side by side, each with its own parameters and adjacency.

    Shapes:
        - x: ``[*, J, in_channels]``, or ``[*, N, J, in_channels]``
        - adj: ``[J, J]`` or ``[*, J, J]``, or ``[N, J, J]``
        - output: ``[*, J, out_channels]``, or ``[*, N, J, out_channels]``

    Raises:
        ValueError: If x does not have ``in_channels`` channels, or adj not as many nodes as x.

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
    ):
        super().__init__()
        check_normalization(normalization)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.normalization: Normalization = normalization
        self.lin = BranchLinear(in_channels, out_channels, num_branches)

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        self.lin.reset_parameters()

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """Mix the nodes by the normalised adjacency, then the channels."""
        square = 2 * x.shape[-2:-1]  # (J, J)
        if x.shape[-1:] != (self.in_channels,) or not square or adj.shape[-2:] != square:
            raise ValueError(
                f"AdaptiveGraphConv: expected x [*, J, {self.in_channels}] and adj [*, J, J], "
                f"got {list(x.shape)} and {list(adj.shape)}"
            )
        out: Tensor = self.lin(normalize_adjacency(adj, self.normalization) @ x)
        return out

    def __repr__(self) -> str:
        """Sizes."""
        return f"AdaptiveGraphConv({self.in_channels}, {self.out_channels})"
