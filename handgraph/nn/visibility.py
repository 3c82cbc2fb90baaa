"""Lift visible joints: removal sets that depend on the sample."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from handgraph._check import check_joints, check_skeleton
from handgraph.masks import average_draws, cover, keep_always, sample_visible, stratified_levels
from handgraph.skeleton import Skeleton, What


class VisibilityLifter(nn.Module):
    r"""Estimate which joints are visible, remove the others in K draws, and average the poses.

    .. math::
        p = \sigma(\mathrm{visibility}([x, s])), \qquad
        m_{kj} = [p_j > \ell_{kj}], \qquad
        y_j = \operatorname{mean}_{k: m_{kj}} \mathrm{lifter}(x, m_k)_j

    The branches of the paper remove fixed sets of joints. Here each draw removes joints that are
    probably hidden in this sample, and all draws share one lifter. The levels :math:`\ell` are
    stratified (:func:`handgraph.masks.stratified_levels`) and fixed at construction, so the output
    is deterministic. A joint that no draw keeps is estimated by a further draw of all joints.

    This model is not in the paper. With heatmap detectors, it improves visible joints but not
    hidden joints. With detectors that regress all joints, it improves neither (see the results).
    Train the lifter on one draw per sample, with a loss over the kept joints. Train the visibility
    net on real or simulated labels (:func:`handgraph.transforms.simulate_occlusion`)::

        logit = net.logit(x, score)
        mask = net.draw(logit)
        loss = pose_loss(net.lifter(x, mask), target, mask=mask)
        loss = loss + binary_cross_entropy_with_logits(logit, visible)

    Args:
        visibility: Maps ``[*, J, C + S]`` to logits ``[*, J, 1]``.
        lifter: Maps ``[*, J, C]`` with ``node_mask`` to ``[*, J, C']``.
        skeleton: The skeleton.
        num_draws: K, the number of draws.
        keep: Joints that are never removed; by default the root, if the skeleton has one.
        generator: Random number generator of the levels.

    Shapes:
        - x: ``[*, J, C]``, input of the lifter and of the visibility net
        - score: ``[*, J, S]``, further input of the visibility net
        - output: ``[*, J, C']``

    Raises:
        ValueError: If ``num_draws`` is not positive, or a joint name or a shape does not fit.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, VisibilityLifter
        >>> visibility, lifter = AdaptiveGraphUNet(3, 1, HAND), AdaptiveGraphUNet(2, 3, HAND)
        >>> net = VisibilityLifter(visibility, lifter, HAND)
        >>> net(torch.rand(4, 21, 2), torch.rand(4, 21, 1)).shape
        torch.Size([4, 21, 3])
    """

    levels: Tensor

    def __init__(
        self,
        visibility: nn.Module,
        lifter: nn.Module,
        skeleton: Skeleton,
        *,
        num_draws: int = 8,
        keep: What | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_skeleton(skeleton, "VisibilityLifter")
        self.visibility = visibility
        self.lifter = lifter
        self.skeleton = skeleton
        self.keep = keep if keep is not None else skeleton.root or []
        skeleton.select(self.keep)
        levels = stratified_levels(num_draws, skeleton.num_joints, generator)
        self.register_buffer("levels", levels)

    def logit(self, x: Tensor, score: Tensor) -> Tensor:
        """Return the logit of each joint's visibility. ``[*, J]``."""
        check_joints(x, "x of VisibilityLifter", self.skeleton)
        check_joints(score, "score of VisibilityLifter", self.skeleton, x)
        out: Tensor = self.visibility(torch.cat([x, score], dim=-1))
        return out.squeeze(-1)

    def draw(self, logit: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one mask for each sample, for training. Bool ``[*, J]``."""
        mask = sample_visible(torch.sigmoid(logit.detach()), generator=generator)
        return keep_always(mask, self.skeleton, self.keep)

    def forward(self, x: Tensor, score: Tensor) -> Tensor:
        """Average the poses of all draws, for each joint over the draws that keep it."""
        probability = torch.sigmoid(self.logit(x, score))
        levels = self.levels.view(len(self.levels), *(1,) * (x.dim() - 2), -1)
        masks, used = cover(keep_always(~(probability <= levels), self.skeleton, self.keep))
        poses = self.lifter(x.expand(len(masks), *x.shape), masks)
        unknown = probability.isnan().any(dim=-1)[..., None, None]
        return average_draws(cast("Tensor", poses), used).masked_fill(unknown, torch.nan)
