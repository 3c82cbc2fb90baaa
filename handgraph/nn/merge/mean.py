"""Merge by averaging: a baseline without parameters."""

from __future__ import annotations

from torch import Tensor

from handgraph.nn.merge.weighted import Listed, WeightedMerger


class MeanMerger(WeightedMerger):
    r"""Average the hypotheses of each joint with equal weights.

    .. math:: y_j = \frac{1}{|H_j|} \sum_{h \in H_j} x_h

    over the hypotheses :math:`H_j` of joint j that are present. It is the control for the paper's
    ensemble network (decision 8). A joint whose hypotheses are all missing is NaN.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: Must equal ``in_channels``.
        removal: The removal sets of the branches.
        feature_channels: Must be 0, as features are not used.

    Shapes:
        - partial: ``[*, N, K, C]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing
        - output: ``[*, J, C]``, in the units of the input; weights ``[*, N, K]``

    Raises:
        ValueError: If there are features, the channels differ, or an input does not fit the sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import MeanMerger
        >>> merge = MeanMerger(3, 3, RemovalSets.by_level(HAND))
        >>> merge(torch.ones(8, 4, 16, 3)).mean().item()
        1.0
        >>> partial = torch.zeros(4, 16, 3)
        >>> partial[0] = 4.0  # the first branch disagrees with the others
        >>> pose, weights = merge(partial, return_weights=True)
        >>> pose[0, 0].item(), round(merge.spread(partial, weights)[0, 0].item(), 3)  # the wrist
        (1.0, 1.732)
    """

    takes_features = False

    def weigh(self, listed: Listed, feature: Tensor | None) -> Tensor:
        """Return equal weights."""
        return listed.values.new_ones(len(listed.values), 1, 1)
