"""Losses: Eq. 2, 3 and 4 of the paper, and a likelihood for nets that predict uncertainty.

All losses are summed over joints and averaged over samples; the paper states no reductions.
NaN in a joint with mask ``True`` gives a NaN loss. Joints with mask ``False`` are not multiplied by
0 but replaced, so NaN in them reaches neither the loss nor the gradient.
"""

from handgraph.losses.laplace import laplace_loss
from handgraph.losses.psjnet import branch_losses, heatmap_loss, pose_loss, psjnet_loss

__all__ = ["branch_losses", "heatmap_loss", "laplace_loss", "pose_loss", "psjnet_loss"]
