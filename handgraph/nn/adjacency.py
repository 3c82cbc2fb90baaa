"""Normalisation of a learned adjacency."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from handgraph._check import check_choice

Normalization = Literal["abs", "signed"]
"""How degrees are computed: from the absolute or the signed entries of the adjacency."""

EPS = 1e-5


def normalize_adjacency(adj: Tensor, normalization: Normalization = "abs") -> Tensor:
    r"""Normalise a learned adjacency symmetrically by its column sums.

    .. math:: L_{ij} = \frac{A_{ij}}{\sqrt{d_i d_j}}, \qquad
              d_j = \varepsilon + \sum_i |A_{ij}|, \qquad \varepsilon = 10^{-5}

    The published code of HOPE-Net (Doosti et al., CVPR 2020) sums the signed entries. Training
    can make such a sum negative, and its square root NaN. ``"signed"`` is for weights that were
    trained with signed degrees. Degrees from absolute values are at least
    :math:`\varepsilon` (decision 11).

    Args:
        adj: Learned adjacencies, any sign, self-loops included. ``[*, J, J]``
        normalization: ``"abs"`` or ``"signed"``.

    Returns:
        The normalised adjacencies, ``[*, J, J]``.

    Raises:
        ValueError: If adj is not square, or normalization is unknown.

    Example:
        >>> import torch
        >>> from handgraph.nn import normalize_adjacency
        >>> normalize_adjacency(torch.tensor([[1.0, 3.0], [3.0, 1.0]]))
        tensor([[0.2500, 0.7500],
                [0.7500, 0.2500]])
    """
    check_choice(normalization, "normalization", "abs", "signed")
    if adj.dim() < 2 or adj.shape[-2] != adj.shape[-1]:
        raise ValueError(f"adj: expected [*, J, J], got {list(adj.shape)}")
    entries = adj.abs() if normalization == "abs" else adj
    scale = (entries.sum(-2, True) + EPS).rsqrt()
    return scale.mT * adj * scale


def gate_scales(
    adj: Tensor, gate: Tensor, normalization: Normalization, renormalize: bool
) -> tuple[Tensor, Tensor]:
    r"""Return the factors of each node's input and output for samples with different hidden nodes.

    The adjacency is shared by all samples, so a mask per sample cannot be multiplied into it. The
    normalised adjacency of a sample is the shared matrix between two diagonal matrices:

    .. math:: L_g = \mathrm{diag}(r)\, A\, \mathrm{diag}(s), \qquad
              r_i = d_i^{-1/2}, \quad s_j = d_j^{-1/2} g_j

    Args:
        adj: Learned adjacencies. ``[*, J, J]``
        gate: Factor of each node's output, in each of S samples; a node with gate 0 is hidden.
            ``[*, J, S]``
        normalization: ``"abs"`` or ``"signed"``.
        renormalize: Whether degrees are weighted by the gates, or summed over all nodes.

    Returns:
        r and s, ``[*, J, S]``.
    """
    entries = adj.abs() if normalization == "abs" else adj
    sent = gate if renormalize else torch.ones_like(gate)
    degree = entries.mT @ sent + EPS
    receive = degree.where(gate != 0, 1).rsqrt()  # signed degrees of hidden nodes may be < 0
    return receive, receive * gate
