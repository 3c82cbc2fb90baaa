"""Merge by a softmax gate over the hypotheses of each joint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph.nn.linear import BranchLinear
from handgraph.nn.merge.weighted import Listed, WeightedMerger
from handgraph.subgraph import RemovalSets


class GatedMerger(WeightedMerger):
    r"""Average the hypotheses of each joint with learned softmax weights.

    .. math::
        y_j = \sum_{h \in H_j} \alpha_h x_h, \qquad
        \alpha_h = \mathop{\mathrm{softmax}}_{h \in H_j}
        \left(v_h^\top \mathrm{ReLU}(W [x_h, x_h - \bar x_j, f_j] + b_h)\right)

    It implements the paper's "selecting accurate positions" with weights that can be inspected
    (decision 8). All hypotheses share :math:`W`; each has its own :math:`b_h` and :math:`v_h`.
    :math:`v` is initialised to zero, so that the untrained merger is the mean. A joint whose
    hypotheses are all missing is NaN.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: Must equal ``in_channels``.
        removal: The removal sets of the branches.
        feature_channels: Channels of a further feature :math:`f_j` per joint.
        hidden_channels: Width of the gate.

    Shapes:
        - partial: ``[*, N, K, C]``
        - feature: ``[*, J, feature_channels]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing
        - output: ``[*, J, C]``, in the units of the input; weights ``[*, N, K]``

    Raises:
        ValueError: If the channels differ, or an input does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import GatedMerger
        >>> merge = GatedMerger(3, 3, RemovalSets.by_level(HAND))
        >>> pose, weights = merge(torch.rand(8, 4, 16, 3), return_weights=True)
        >>> weights[0, :, 0].tolist()  # the wrist has four hypotheses
        [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        feature_channels: int = 0,
        hidden_channels: int = 16,
    ):
        super().__init__(in_channels, out_channels, removal, feature_channels=feature_channels)
        count = len(self.hypotheses.index)
        self.lin = BranchLinear(2 * in_channels + feature_channels, hidden_channels)
        self.bias = nn.Parameter(torch.empty(count, 1, hidden_channels))
        self.score = nn.Parameter(torch.empty(count, hidden_channels, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset the hidden layer, and set the scores to zero for equal weights."""
        self.lin.reset_parameters()
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.score)

    def weigh(self, listed: Listed, feature: Tensor | None) -> Tensor:
        """Return the exponentials of the scores, ``[H, B, 1]``."""
        inputs = [listed.values, self._deviations(listed)]
        if feature is not None:
            flat = feature.reshape(listed.values.shape[1], *self.feature_shape)
            inputs.append(flat.transpose(0, 1).index_select(0, self.hypotheses.joint))
        scores = (self.lin(torch.cat(inputs, dim=-1)) + self.bias).relu() @ self.score
        return self._exponentiate(scores.to(listed.values), listed)[0]
