"""How a learned adjacency is normalised."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

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
    return (entries.sum(-2, True) + EPS).rsqrt()


def normalization_gradient(
    adj: Tensor, scale: Tensor, normalized: Tensor, grad: Tensor, normalization: Normalization
) -> Tensor:
    r"""The gradient of the adjacency from that of the normalised one.

    With :math:`L_{ij} = s_i A_{ij} s_j` and :math:`s_j = d_j^{-1/2}`, a degree has the gradient
    :math:`\bar d_j = -\tfrac{1}{2} s_j^2 \sum_i (\bar L_{ij} L_{ij} + \bar L_{ji} L_{ji})`.

    Args:
        adj: The adjacency. ``[N, J, J]``
        scale: See :func:`degree_scale`. ``[N, 1, J]``
        normalized: The normalised adjacency.
        grad: Its gradient.
        normalization: ``"abs"`` or ``"signed"``.
    """
    share = grad * normalized
    degree = (share.sum(1, True) + share.sum(2).unsqueeze(1)).mul_(scale).mul_(scale)
    entries = (grad * scale.mT).mul_(scale)
    if normalization == "abs":
        return entries.addcmul_(adj.sign(), degree, value=-0.5)
    return entries.add_(degree, alpha=-0.5)


def check_normalization(normalization: str) -> None:
    """Raise a ValueError unless the name is one of the two."""
    if normalization not in ("abs", "signed"):
        raise ValueError(f"normalization: expected 'abs' or 'signed', got {normalization!r}")


def gate_scales(
    adj: Tensor, gate: Tensor, normalization: Normalization, renormalize: bool
) -> tuple[Tensor, Tensor]:
    r"""What each node's input and output are multiplied by where each sample has its own nodes.

    A mask for each sample cannot be multiplied into a matrix that all samples share. But a
    normalised adjacency is a matrix between two diagonal ones, and so is its restriction:

    .. math:: L_g = \mathrm{diag}(r)\, A\, \mathrm{diag}(s), \qquad
              r_i = d_i^{-1/2}, \quad s_j = d_j^{-1/2} g_j

    Args:
        adj: Learned adjacencies. ``[*, J, J]``
        gate: How much each node sends, in each of S samples; a node whose gate is 0 is hidden.
            ``[*, J, S]``
        normalization: ``"abs"`` or ``"signed"``.
        renormalize: Whether degrees are summed over what is sent, or over all nodes.

    Returns:
        r and s, ``[*, J, S]``.
    """
    entries = adj.abs() if normalization == "abs" else adj
    sent = gate if renormalize else torch.ones_like(gate)
    degree = entries.mT @ sent + EPS
    receive = degree.where(gate != 0, 1).rsqrt()  # signed degrees of hidden nodes have no root
    return receive, receive * gate
