"""Merge by averaging: the control without parameters."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.utils import segment

from handgraph.nn.mask import Hypotheses
from handgraph.nn.merge.base import WeightedMerger
from handgraph.subgraph import RemovalSets


class MeanMerger(WeightedMerger):
    r"""Average what the branches say of each joint.

    .. math:: y_j = \frac{1}{|H_j|} \sum_{h \in H_j} x_h

    over the hypotheses :math:`H_j` of joint j that are there. The control for the paper's
    ensemble network (decision 8). A joint whose hypotheses are all missing is NaN.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: The same.
        removal: The removal sets of the branches.
        feature_channels: Must be 0: a mean has no use for features.

    Shapes:
        - partial: ``[*, N, K, C]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing
        - output: ``[*, J, C]``, in the units of the input

    Raises:
        ValueError: On features, unequal channels, or anything that does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import MeanMerger
        >>> merge = MeanMerger(3, 3, RemovalSets.by_level(HAND))
        >>> merge(torch.ones(8, 4, 16, 3)).mean().item()
        1.0
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        feature_channels: int = 0,
    ):
        super().__init__(in_channels, out_channels, removal, feature_channels=feature_channels)
        if feature_channels:
            raise ValueError(f"MeanMerger takes no features, got {feature_channels=}")
        self.hypotheses = Hypotheses(removal)

    def forward(
        self, partial: Tensor, feature: Tensor | None = None, *, node_mask: Tensor | None = None
    ) -> Tensor:
        """Average the hypotheses of each joint."""
        self.check(partial, feature, node_mask)
        values = self.hypotheses(partial)
        ptr = self.hypotheses.ptr
        if node_mask is None:
            mean = segment(values, ptr, "mean")
        else:
            there = self.hypotheses(node_mask.unsqueeze(-1))
            count = segment(there.to(values.dtype), ptr, "sum")
            mean = segment(values.where(there, 0), ptr, "sum") / count
        return self.hypotheses.to_joints(mean, partial)
