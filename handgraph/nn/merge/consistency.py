"""Merge by the agreement of each hypothesis with the others: a baseline without parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from handgraph.nn.merge.weighted import Listed, WeightedMerger
from handgraph.subgraph import RemovalSets


class ConsistencyMerger(WeightedMerger):
    r"""Weight the hypotheses of each joint by their distance from the mean of the others.

    .. math::
        y_j = \sum_{h \in H_j} \alpha_h x_h, \qquad
        \alpha_h = \mathop{\mathrm{softmax}}_{h \in H_j} \left(-\lVert (x_h - \bar x_{-h}) / \tau
        \rVert_2\right)

    :math:`\bar x_{-h}` is the mean of the joint's hypotheses except h. The merger has no learned
    parameters. It is a control between :class:`~handgraph.nn.MeanMerger`, its limit for a large
    temperature :math:`\tau`, and learned weights. One hypothesis far from two or more others has
    weight 0. Two hypotheses have weight 1/2 each. A joint whose hypotheses are all missing is NaN.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: Must equal ``in_channels``.
        removal: The removal sets of the branches.
        feature_channels: Must be 0, as features are not used.
        temperature (float | Sequence[float]): :math:`\tau`, one for all channels or one for each.
            Use one for each if the channels have different units.

    Shapes:
        - partial: ``[*, N, K, C]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing
        - output: ``[*, J, C]``, in the units of the input; weights ``[*, N, K]``

    Units:
        The temperature has the unit of its channel. The default is for poses from the nets of this
        package: u and v in [-1, 1], where 0.1 is 12.8 pixels of 256, and d in keybone lengths.

    Raises:
        ValueError: If there are features, the channels differ, a temperature is not positive and
            finite, or an input does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import ConsistencyMerger
        >>> merge = ConsistencyMerger(3, 3, RemovalSets.by_level(HAND), temperature=(0.1, 0.1, 1))
        >>> partial = torch.zeros(4, 16, 3)
        >>> partial[0] = 0.25  # the first branch disagrees with the others
        >>> pose, weights = merge(partial, return_weights=True)
        >>> [round(weight, 2) for weight in weights[:, 0].tolist()]  # the wrist
        [0.03, 0.32, 0.32, 0.32]
    """

    takes_features = False
    temperature: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        feature_channels: int = 0,
        temperature: float | Sequence[float] = 0.1,
    ):
        super().__init__(in_channels, out_channels, removal, feature_channels=feature_channels)
        each = tuple(temperature) if isinstance(temperature, Sequence) else (temperature,)
        if len(each) not in (1, in_channels) or not all(0 < t < math.inf for t in each):
            raise ValueError(
                f"ConsistencyMerger: expected one positive, finite temperature, or {in_channels}, "
                f"one for each channel, got {temperature}"
            )
        lengths = torch.tensor([float(t) for t in each])
        self.register_buffer("temperature", lengths, persistent=False)

    def weigh(self, listed: Listed, feature: Tensor | None) -> Tensor:
        """Return the exponentials of the negative distances, ``[H, B, 1]``."""
        others = (listed.number - 1).clamp(min=1)  # a single hypothesis has distance 0
        from_mean = self._deviations(listed)
        from_others = from_mean * (listed.number / others).index_select(0, self.hypotheses.joint)
        distance = torch.linalg.vector_norm(from_others / self.temperature, dim=-1, keepdim=True)
        return self._exponentiate(-distance, listed)[0]
