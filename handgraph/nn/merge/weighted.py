"""Base class of the mergers that average the hypotheses of each joint with weights."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import segment

from handgraph._check import check_shape
from handgraph.nn.hypotheses import Hypotheses
from handgraph.nn.merge.base import Merger
from handgraph.subgraph import RemovalSets


class Listed(NamedTuple):
    """The hypotheses of a batch, sorted by joint.

    Args:
        values: The hypotheses, 0 where missing. ``[H, B, in_channels]``
        there: ``False`` where missing, Bool ``[H, B, 1]``; ``None`` if no hypothesis is missing.
        number: Number of present hypotheses of each joint, ``[J, B, 1]``, or ``[J, 1, 1]``.
    """

    values: Tensor
    there: Tensor | None
    number: Tensor

    def present(self, values: Tensor) -> Tensor:
        """Zero the values of missing hypotheses."""
        return values if self.there is None else values.where(self.there, 0)

    def filled(self, joints: Tensor, fill: float) -> Tensor:
        """Set joints without any hypothesis to ``fill``."""
        return joints if self.there is None else joints.where(self.number > 0, fill)


class WeightedMerger(Merger):
    r"""A merger whose output is a weighted average of the hypotheses of each joint.

    .. math:: y_j = \sum_{h \in H_j} w_h x_h \Big/ \sum_{h \in H_j} w_h

    over the hypotheses :math:`H_j` of joint j that are present. A missing hypothesis has weight 0,
    and its value and gradient have no effect. A joint without hypotheses is NaN. Subclasses define
    the weights :math:`w_h \ge 0` in :meth:`weigh`.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: Must equal ``in_channels``, as an average cannot change the channels.
        removal: The removal sets of the branches.
        feature_channels: Channels of a further feature per joint; 0 for none.

    Shapes:
        - partial: ``[*, N, K, C]``
        - feature: ``[*, J, feature_channels]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing
        - output: ``[*, J, C]``, in the units of the input; weights ``[*, N, K]``, padding 0

    Raises:
        ValueError: If the channels differ, or an input does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import WeightedMerger
        >>> class NearestMerger(WeightedMerger):
        ...     def weigh(self, listed, feature):
        ...         return (-listed.values[..., 2:]).exp()  # nearer is heavier
        >>> merge = NearestMerger(3, 3, RemovalSets.by_level(HAND))
        >>> partial = torch.zeros(4, 16, 3)
        >>> partial[0] = 5.0
        >>> round(merge(partial)[0, 2].item(), 4)  # the wrist: close to 0, and not 1.25
        0.0112
    """

    takes_features: ClassVar[bool] = True
    """Whether :meth:`weigh` uses a feature; if not, ``feature_channels`` must be 0."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        feature_channels: int = 0,
    ):
        super().__init__(in_channels, out_channels, removal, feature_channels=feature_channels)
        self._check_channels()
        if feature_channels and not self.takes_features:
            raise ValueError(
                f"{type(self).__name__}: expected feature_channels=0, got {feature_channels}"
            )
        self.hypotheses = Hypotheses(removal)

    def _check_channels(self) -> None:
        """Raise unless input and output have the same number of channels."""
        if self.in_channels != self.out_channels:
            raise ValueError(
                f"{type(self).__name__}: expected out_channels to equal in_channels for an "
                f"average, got {self.in_channels} and {self.out_channels}"
            )

    def forward(
        self,
        partial: Tensor,
        feature: Tensor | None = None,
        *,
        node_mask: Tensor | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Average the hypotheses of each joint with their weights.

        With ``return_weights``, also return the weights, normalised to sum 1 over each joint.
        """
        self.check(partial, feature, node_mask)
        listed = self._list(partial, node_mask)
        weights = listed.present(self.weigh(listed, feature))
        total = listed.filled(self._sum(weights), 1)
        pose = self._sum(weights * listed.values[..., : self.out_channels]) / total
        pose = self.hypotheses.to_joints(listed.filled(pose, torch.nan), partial)
        if not return_weights:
            return pose
        shares = weights / total.index_select(0, self.hypotheses.joint)
        shares = shares.expand(-1, listed.values.shape[1], -1)
        return pose, self.hypotheses.to_nodes(shares, partial).squeeze(-1)

    def spread(
        self, partial: Tensor, weights: Tensor, *, node_mask: Tensor | None = None
    ) -> Tensor:
        r"""Compute the weighted standard deviation of the hypotheses of each joint.

        :math:`\sqrt{\sum_h w_h (x_h - y_j)^2}` for weights that sum to 1. It is 0 for a single
        hypothesis and NaN for none. Its gradient is 0 where all hypotheses are equal.

        Args:
            partial: The incomplete poses. ``[*, N, K, in_channels]``
            weights: The weights from ``return_weights=True``. ``[*, N, K]``, or
                ``[*, N, K, out_channels]``
            node_mask: ``False`` where a hypothesis is missing. Bool ``[*, N, K]``

        Returns:
            ``[*, J, out_channels]``, in the units of the poses.

        Raises:
            ValueError: If a shape does not fit.
        """
        self.check_partial(partial, node_mask)
        nodes = partial.shape[:-1]
        if weights.shape != (*nodes, self.out_channels):
            name = f"weights of {type(self).__name__}"
            check_shape(weights, name, nodes, owner=self.removal)
            weights = weights.unsqueeze(-1)
        listed = self._list(partial, node_mask)
        shares, points = self.hypotheses(weights), listed.values[..., : self.out_channels]
        mean = self._sum(shares * points).index_select(0, self.hypotheses.joint)
        variance = self._sum(shares * (points - mean).square())
        some = variance != 0
        deviation = variance.where(some, 1).sqrt().where(some, 0)
        return self.hypotheses.to_joints(listed.filled(deviation, torch.nan), partial)

    def weigh(self, listed: Listed, feature: Tensor | None) -> Tensor:
        """Return the weights of the hypotheses; those of missing hypotheses are ignored.

        Args:
            listed: The hypotheses, sorted by joint.
            feature: A feature per joint. ``[*, J, feature_channels]``

        Returns:
            ``[H, B, 1]``, or ``[H, B, out_channels]`` for weights per channel. They need not sum to
            1 over a joint. None may be negative, and each joint needs a positive one. This is not
            checked, as the check would synchronise with the GPU. With negative weights, such as
            logits, the pose may lie far from all hypotheses: exponentiate scores first.
        """
        raise NotImplementedError

    def _list(self, partial: Tensor, node_mask: Tensor | None) -> Listed:
        """Sort the hypotheses by joint, and count those that are present."""
        values = self.hypotheses(partial)
        if node_mask is None:
            return Listed(values, None, self.hypotheses.ptr.diff().to(values).reshape(-1, 1, 1))
        there = self.hypotheses(node_mask.unsqueeze(-1))
        return Listed(values.where(there, 0), there, self._sum(there.to(values)))

    def _sum(self, values: Tensor) -> Tensor:
        """Sum over the hypotheses of each joint. ``[H, B, C]`` to ``[J, B, C]``."""
        return segment(values, self.hypotheses.ptr, "sum")

    def _deviations(self, listed: Listed) -> Tensor:
        """Return each hypothesis minus the mean of its joint. ``[H, B, C]``."""
        mean = self._sum(listed.values) / listed.number.clamp(min=1)
        return listed.values - mean.index_select(0, self.hypotheses.joint)

    def _exponentiate(self, scores: Tensor, listed: Listed) -> tuple[Tensor, Tensor]:
        """Return exponentials of scores relative to the best of each joint, and the best scores."""
        if listed.there is not None:
            scores = scores.where(listed.there, torch.finfo(scores.dtype).min)
        best = segment(scores.detach(), self.hypotheses.ptr, "max")
        return (scores - best.index_select(0, self.hypotheses.joint)).exp(), best
