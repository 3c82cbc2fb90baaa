"""Merge by the uncertainties that the branches predict."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.nn.merge.weighted import Listed, WeightedMerger


class PrecisionMerger(WeightedMerger):
    r"""Weight the hypotheses of each joint by their precision, the inverse of their variance.

    .. math::
        y_j = \sum_{h \in H_j} b_h^{-2} x_h \Big/ \sum_{h \in H_j} b_h^{-2}

    The last channels of a hypothesis are its log-scale :math:`s_h = \log b_h`, trained with
    :func:`~handgraph.losses.laplace_loss`. A Laplace distribution has the variance :math:`2 b^2`.
    If the errors are unbiased and independent, no other linear combination has a smaller variance
    (Gauss and Markov; Aitken, "On least squares and linear combination of observations", 1936). The
    merger has no learned parameters. A joint whose hypotheses are all missing is NaN.

    Args:
        in_channels: Channels of the incomplete poses: those of the pose, followed by one
            log-scale per channel or one for all channels.
        out_channels: Channels of the pose.
        removal: The removal sets of the branches.
        feature_channels: Must be 0, as features are not used.

    Shapes:
        - partial: ``[*, N, K, C + C]`` or ``[*, N, K, C + 1]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing
        - output: ``[*, J, C]``, in the units of the input; weights ``[*, N, K, C]`` for one
          log-scale per channel, else ``[*, N, K]``

    Units:
        Log-scales are natural logarithms. A unit common to all branches cancels.

    Raises:
        ValueError: If there are features, the numbers of channels are not as above, or an input
            does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import PrecisionMerger
        >>> merge = PrecisionMerger(4, 3, RemovalSets.by_level(HAND))
        >>> partial = torch.ones(8, 4, 16, 4)
        >>> partial[:, 0, :, 3] -= torch.tensor(3.0).log()  # a third of the others' scale
        >>> pose, weights = merge(partial, return_weights=True)
        >>> [round(weight, 3) for weight in weights[0, :, 0].tolist()]  # the wrist
        [0.75, 0.083, 0.083, 0.083]
        >>> round(merge.log_scale(partial)[0, 0].item(), 3)  # 1 - log(9 + 3) / 2
        -0.242
    """

    takes_features = False

    def _check_channels(self) -> None:
        """Raise unless the input has one log-scale for each channel of the pose, or one for all."""
        pose, scales = self.out_channels, self.in_channels - self.out_channels
        if scales not in (1, pose):
            raise ValueError(
                f"PrecisionMerger: expected in_channels of {pose} + {pose} (pose, and a log-scale "
                f"for each channel) or {pose} + 1 (one for all), got {self.in_channels}"
            )

    def weigh(self, listed: Listed, feature: Tensor | None) -> Tensor:
        """Return the precisions relative to the largest of each joint, ``[H, B, 1 or C]``."""
        return self._exponentiate(-2 * listed.values[..., self.out_channels :], listed)[0]

    def log_scale(self, partial: Tensor, *, node_mask: Tensor | None = None) -> Tensor:
        r"""Return the log-scale of the merged pose for independent errors of the branches.

        :math:`-\frac{1}{2} \log \sum_h b_h^{-2}`, as precisions add up. Branches with the same
        detections as input have correlated errors. This log-scale is then too small;
        :func:`handgraph.metrics.calibration_curve` measures by how much.

        Args:
            partial: The incomplete poses with their log-scales. ``[*, N, K, in_channels]``
            node_mask: ``False`` where a hypothesis is missing. Bool ``[*, N, K]``

        Returns:
            ``[*, J, C]`` or ``[*, J, 1]``, in the units of the input; NaN without hypotheses.

        Raises:
            ValueError: If a shape does not fit.
        """
        self.check_partial(partial, node_mask)
        listed = self._list(partial, node_mask)
        scores = -2 * listed.values[..., self.out_channels :]
        precisions, best = self._exponentiate(scores, listed)
        scale = -(best + self._sum(precisions).log()) / 2
        return self.hypotheses.to_joints(listed.filled(scale, torch.nan), partial)
