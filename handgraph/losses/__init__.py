"""Losses: Eq. 2, 3 and 4 of the paper, and a likelihood for nets that say how sure they are.

Reductions are decisions, for the paper does not state them: sum over joints, mean over samples.
NaN in a joint that counts gives a NaN loss; joints that do not count are left out by selection
and not by a product, so that NaN there reaches neither the loss nor the gradient.
"""

from handgraph.losses.laplace import laplace_loss
from handgraph.losses.psjnet import branch_losses, heatmap_loss, pose_loss, psjnet_loss

__all__ = ["branch_losses", "heatmap_loss", "laplace_loss", "pose_loss", "psjnet_loss"]
