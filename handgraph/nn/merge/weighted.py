"""What the mergers share that average the hypotheses of each joint by weights."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import segment

from handgraph.nn.hypotheses import Hypotheses
from handgraph.nn.merge.base import Merger
from handgraph.subgraph import RemovalSets


class Listed(NamedTuple):
    """The hypotheses of a batch, sorted by joint.

    Args:
        values: The hypotheses, 0 where missing. ``[H, B, in_channels]``
        there: Which are there, Bool ``[H, B, 1]``; ``None``: all.
        number: How many there are of each joint, ``[J, B, 1]``, or ``[J, 1, 1]`` for all samples.
    """

    values: Tensor
    there: Tensor | None
    number: Tensor


class WeightedMerger(Merger):
    r"""A merger whose output is a weighted average of the hypotheses of each joint.

    .. math:: y_j = \sum_{h \in H_j} w_h x_h \Big/ \sum_{h \in H_j} w_h

    over the hypotheses :math:`H_j` of joint j that are there. A missing one has weight 0; neither
    its value nor its gradient passes. A joint without any is NaN. Subclasses say what
    :math:`w_h \ge 0` is: :meth:`weigh`.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: The same: an average cannot change the channels.
        removal: The removal sets of the branches.
        feature_channels: Channels of a further feature per joint; 0 for none.

    Shapes:
        - partial: ``[*, N, K, C]``
        - feature: ``[*, J, feature_channels]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing
        - output: ``[*, J, C]``, in the units of the input; weights ``[*, N, K]``, padding 0

    Raises:
        ValueError: On unequal channels, or anything that does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import WeightedMerger
        >>> class NearestMerger(WeightedMerger):
        ...     def weigh(self, listed, feature):
        ...         return (-listed.values[..., 2:]).exp()  # the smaller the depth, the more
        >>> merge = NearestMerger(3, 3, RemovalSets.by_level(HAND))
        >>> partial = torch.zeros(4, 16, 3)
        >>> partial[0] = 5.0
        >>> round(merge(partial)[0, 2].item(), 4)  # the wrist: close to 0, and not 1.25
        0.0112
    """

    takes_features: ClassVar[bool] = True
    """Whether :meth:`weigh` looks at a feature; if not, none may be announced."""

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
                f"{type(self).__name__} takes no features, got feature_channels={feature_channels}"
            )
        self.hypotheses = Hypotheses(removal)

    def _check_channels(self) -> None:
        """Raise unless as many channels go out as come in."""
        if self.in_channels != self.out_channels:
            raise ValueError(
                f"{type(self).__name__} averages hypotheses, so it needs as many channels out as "
                f"in, got {self.in_channels} and {self.out_channels}"
            )

    def forward(
        self,
        partial: Tensor,
        feature: Tensor | None = None,
        *,
        node_mask: Tensor | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Average the hypotheses of each joint by their weights.

        Args:
            partial: The incomplete poses.
            feature: A feature per joint, if announced.
            node_mask: Which hypotheses are there.
            return_weights: Also return the weights, as they sum to 1 over a joint.
        """
        self.check(partial, feature, node_mask)
        listed = self._list(partial, node_mask)
        weights = self._present(self.weigh(listed, feature), listed)
        total = self._filled(self._sum(weights), listed, 1)
        pose = self._sum(weights * listed.values[..., : self.out_channels]) / total
        pose = self.hypotheses.to_joints(self._filled(pose, listed, torch.nan), partial)
        if not return_weights:
            return pose
        shares = weights / total.index_select(0, self.hypotheses.joint)
        return pose, self._to_nodes(shares, partial)

    def spread(
        self, partial: Tensor, weights: Tensor, *, node_mask: Tensor | None = None
    ) -> Tensor:
        r"""Weighted standard deviation of the hypotheses of each joint: how far they disagree.

        :math:`\sqrt{\sum_h w_h (x_h - y_j)^2}` for weights that sum to 1; 0 for a single
        hypothesis, NaN for none. Its gradient is 0 where all agree.

        Args:
            partial: The incomplete poses. ``[*, N, K, in_channels]``
            weights: Their weights, as ``return_weights=True`` gives them. ``[*, N, K]``, or
                ``[*, N, K, out_channels]``
            node_mask: Which hypotheses are there. Bool ``[*, N, K]``

        Returns:
            ``[*, J, out_channels]``, in the units of the poses.

        Raises:
            ValueError: If a shape does not fit.
        """
        self.check_partial(partial, node_mask)
        each = (*partial.shape[:-1], self.out_channels)
        if weights.shape != each:
            self._expect("weights", weights, each[:-1])
            weights = weights.unsqueeze(-1)
        listed = self._list(partial, node_mask)
        shares, points = self.hypotheses(weights), listed.values[..., : self.out_channels]
        mean = self._sum(shares * points).index_select(0, self.hypotheses.joint)
        variance = self._sum(shares * (points - mean).square())
        some = variance != 0
        deviation = variance.where(some, 1).sqrt().where(some, 0)
        return self.hypotheses.to_joints(self._filled(deviation, listed, torch.nan), partial)

    def weigh(self, listed: Listed, feature: Tensor | None) -> Tensor:
        """Weigh the hypotheses. What is said of missing ones has no influence.

        Args:
            listed: The hypotheses, sorted by joint.
            feature: A feature per joint. ``[*, J, feature_channels]``

        Returns:
            ``[H, B, 1]``, or ``[H, B, out_channels]`` for weights that differ by channel. They
            need not sum to 1 over a joint, but none may be negative, and each joint needs a
            positive one. This is not checked, as it would synchronise with the GPU: with negative
            weights, such as logits, the pose may lie far outside of the hypotheses. Exponentiate
            scores first.
        """
        raise NotImplementedError

    def _list(self, partial: Tensor, node_mask: Tensor | None) -> Listed:
        """Sort the hypotheses by joint, and count those that are there."""
        values = self.hypotheses(partial)
        if node_mask is None:
            return Listed(values, None, self.hypotheses.ptr.diff().to(values).reshape(-1, 1, 1))
        there = self.hypotheses(node_mask.unsqueeze(-1))
        return Listed(values.where(there, 0), there, self._sum(there.to(values)))

    def _sum(self, values: Tensor) -> Tensor:
        """Sum over the hypotheses of each joint. ``[H, B, C]`` to ``[J, B, C]``."""
        return segment(values, self.hypotheses.ptr, "sum")

    def _deviations(self, listed: Listed) -> Tensor:
        """How far each hypothesis lies from the mean of those of its joint. ``[H, B, C]``."""
        mean = self._sum(listed.values) / listed.number.clamp(min=1)
        return listed.values - mean.index_select(0, self.hypotheses.joint)

    def _exponentiate(self, scores: Tensor, listed: Listed) -> tuple[Tensor, Tensor]:
        """Exponentials of the scores relative to the best of each joint, and these best scores."""
        if listed.there is not None:
            scores = scores.where(listed.there, torch.finfo(scores.dtype).min)
        best = segment(scores.detach(), self.hypotheses.ptr, "max")
        return (scores - best.index_select(0, self.hypotheses.joint)).exp(), best

    @staticmethod
    def _present(values: Tensor, listed: Listed) -> Tensor:
        """Zero what belongs to missing hypotheses."""
        return values if listed.there is None else values.where(listed.there, 0)

    @staticmethod
    def _filled(joints: Tensor, listed: Listed, fill: float) -> Tensor:
        """Fill in the joints without any hypothesis."""
        return joints if listed.there is None else joints.where(listed.number > 0, fill)

    def _to_nodes(self, shares: Tensor, like: Tensor) -> Tensor:
        """Take weights back to the nodes, without a channel axis if all channels share one."""
        batch = like.shape[:-3].numel()
        nodes = self.hypotheses.to_nodes(shares.expand(-1, batch, -1), like)
        return nodes.squeeze(-1)
