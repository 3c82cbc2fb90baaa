"""The paper's losses: Eq. 2 for heatmaps, Eq. 3 for poses, Eq. 4 for branches and ensemble."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from handgraph._check import (
    check_between,
    check_device,
    check_floating,
    check_mask,
)
from handgraph.losses._check import check_prediction
from handgraph.subgraph import RemovalSets, check_removal


def heatmap_loss(heatmaps: Tensor, target: Tensor) -> Tensor:
    r"""Compute the mean squared error of heatmaps, for the 2D heatmap generator.

    The paper's Eq. 2: :math:`L_{2D} = \sum_{i \in J} \|h_i - \hat h_i\|^2 / (H W)`, averaged over
    samples. The paper prints a norm and calls it MSE; this is the MSE.

    Args:
        heatmaps: Predicted heatmaps.
        target: Ground-truth heatmaps.

    Shapes:
        heatmaps and target ``[*, J, H, W]`` -> ``[]``.

    Units:
        None: squared heatmap values.

    Raises:
        TypeError: If a tensor is not floating point.
        ValueError: If the shapes differ or are not ``[*, J, H, W]``.

    Example:
        >>> import torch
        >>> from handgraph.losses import heatmap_loss
        >>> heatmap_loss(torch.full((8, 21, 64, 64), 0.5), torch.zeros(8, 21, 64, 64)).item()
        5.25
    """
    check_prediction(heatmaps, "heatmaps", target)
    if heatmaps.ndim < 3:
        raise ValueError(f"expected heatmaps [*, J, H, W], got {list(heatmaps.shape)}")
    return (heatmaps - target).square().mean(dim=(-2, -1)).sum(dim=-1).mean()


def pose_loss(
    pose: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.01,
    beta: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Compute the smooth L1 loss of pixels and relative depth, for the graph networks.

    The paper's Eq. 3, averaged over samples:
    :math:`L_{3D} = \alpha \sum_i smooth_{L1}(p_i, \hat p_i)
    + \beta \sum_i smooth_{L1}(d_i, \hat d_i)`. The first term sums over both coordinates of
    :math:`p_i = (u_i, v_i)`. Smooth L1 is :math:`e^2 / 2` below 1 and :math:`|e| - 1/2` above.

    Args:
        pose: Predicted (u, v, d) of each joint.
        target: Ground-truth (u, v, d) of each joint.
        alpha: Weight of the pixels.
        beta: Weight of the relative depth.
        mask: ``True`` for the joints in the loss; default: all joints. The mean includes samples
            whose joints are all ``False``.

    Shapes:
        pose and target ``[*, J, 3]``, mask Bool ``[*, J]`` -> ``[]``.

    Units:
        u, v in pixels of the crop (alpha = 0.01 assumes a crop of 256); d in keybone lengths.

    Raises:
        TypeError: If a tensor is not floating point, or the mask is not bool.
        ValueError: If the shapes differ or are not ``[*, J, 3]``, or a weight is negative or
            infinite.

    Example:
        >>> import torch
        >>> from handgraph.losses import pose_loss
        >>> pose = torch.tensor([[[10.5, 0.0, 2.0], [0.0, 0.0, 0.5]]])
        >>> round(pose_loss(pose, torch.zeros(1, 2, 3)).item(), 4)  # 0.01 * 10 + 1.5 + 0.125
        1.725
    """
    check_prediction(pose, "pose", target)
    _check_pose(pose, alpha, beta)
    mask = torch.ones_like(pose[..., 0], dtype=torch.bool) if mask is None else mask
    check_mask(mask, "mask", pose.shape[:-1], pose)
    return _joint_losses(pose, target, mask, alpha, beta).sum(dim=-1).mean()


def branch_losses(
    partial: Tensor,
    target: Tensor,
    removal: RemovalSets,
    *,
    alpha: float = 0.01,
    beta: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Compute :func:`pose_loss` of each branch over the joints that it keeps.

    :math:`L_{3D}^{PSJ,k}` of the paper's Eq. 4. Step 2 of its training minimises the sum over the N
    branches, step 4 the mean. Padding of ragged sets is excluded.

    Args:
        partial: Predicted (u, v, d) of each branch, the joints in the order of ``removal.kept``.
        target: Ground-truth (u, v, d) of all joints.
        removal: The removal sets of the branches.
        alpha: Weight of the pixels.
        beta: Weight of the relative depth.
        mask: ``True`` for the joints in the loss; default: all joints.

    Shapes:
        partial ``[*, N, K, 3]``, target ``[*, J, 3]``, mask Bool ``[*, J]`` -> ``[N]``.

    Units:
        u, v in pixels of the crop (alpha = 0.01 assumes a crop of 256); d in keybone lengths.

    Raises:
        TypeError: If a tensor is not floating point, or the mask is not bool.
        ValueError: If a shape does not fit the removal sets or the others, or a weight is
            negative.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.losses import branch_losses
        >>> removal = RemovalSets.by_level(HAND)
        >>> branch_losses(torch.ones(8, 4, 16, 3), torch.zeros(8, 21, 3), removal)
        tensor([8.1600, 8.1600, 8.1600, 8.1600])
    """
    _check_branches(partial, target, removal)
    _check_pose(partial, alpha, beta)
    if mask is not None:
        check_mask(mask, "mask", target.shape[:-1], target)
    kept = removal.kept.clamp(min=0).to(target.device)
    counts = removal.node_mask.to(target.device)
    if mask is not None:
        counts = counts & mask[..., kept]
    losses = _joint_losses(partial, target[..., kept, :], counts, alpha, beta).sum(dim=-1)
    return losses.reshape(-1, len(removal)).mean(dim=0)


def psjnet_loss(
    pose: Tensor,
    partial: Tensor,
    target: Tensor,
    removal: RemovalSets,
    *,
    alpha: float = 0.01,
    beta: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Compute the loss of the ensemble's pose plus the mean loss of the branches.

    The paper's Eq. 4: :math:`L_{3D}^{total} = L_{3D}^{EN} + \frac{1}{N} \sum_k L_{3D}^{PSJ,k}`.

    Args:
        pose: (u, v, d) of the ensemble network.
        partial: (u, v, d) of each branch, with the joints in the order of ``removal.kept``.
        target: Ground-truth (u, v, d) of all joints.
        removal: The removal sets of the branches.
        alpha: Weight of the pixels.
        beta: Weight of the relative depth.
        mask: ``True`` for the joints in the loss; default: all joints.

    Shapes:
        pose and target ``[*, J, 3]``, partial ``[*, N, K, 3]``, mask Bool ``[*, J]`` -> ``[]``.

    Units:
        u, v in pixels of the crop (alpha = 0.01 assumes a crop of 256); d in keybone lengths.

    Raises:
        TypeError: If a tensor is not floating point, or the mask is not bool.
        ValueError: If a shape does not fit the removal sets or the others, or a weight is
            negative.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.losses import psjnet_loss
        >>> pose, partial, target = torch.ones(21, 3), torch.ones(4, 16, 3), torch.zeros(21, 3)
        >>> round(psjnet_loss(pose, partial, target, RemovalSets.by_level(HAND)).item(), 2)
        18.87
    """
    ensemble = pose_loss(pose, target, alpha=alpha, beta=beta, mask=mask)
    branches = branch_losses(partial, target, removal, alpha=alpha, beta=beta, mask=mask)
    return ensemble + branches.mean()


def _joint_losses(
    pose: Tensor, target: Tensor, counts: Tensor, alpha: float, beta: float
) -> Tensor:
    """Return the loss of each joint in Eq. 3, ``[*, J]``, zero outside the mask."""
    error = torch.where(counts.unsqueeze(-1), pose - target, 0)
    loss = smooth_l1_loss(error, torch.zeros_like(error), reduction="none")
    return alpha * loss[..., :2].sum(dim=-1) + beta * loss[..., 2]


def _check_pose(pose: Tensor, alpha: float, beta: float) -> None:
    if pose.ndim < 2 or pose.shape[-1] != 3:
        raise ValueError(f"expected poses (u, v, d) [*, J, 3], got {list(pose.shape)}")
    check_between(alpha, "alpha", 0)
    check_between(beta, "beta", 0)


def _check_branches(partial: Tensor, target: Tensor, removal: RemovalSets) -> None:
    check_removal(removal, "removal")
    check_floating(partial, "partial")
    check_floating(target, "target")
    check_device(target, "target", partial)
    joints = removal.skeleton.num_joints
    if target.ndim < 2 or list(target.shape[-2:]) != [joints, 3]:
        raise ValueError(
            f"expected target [*, {joints}, 3] for the {joints} joints of "
            f"{removal.skeleton.name}, got {list(target.shape)}"
        )
    wanted = [*target.shape[:-2], len(removal), removal.num_nodes, 3]
    if list(partial.shape) != wanted:
        raise ValueError(
            f"expected partial {wanted} for {removal!r} and a target {list(target.shape)}, "
            f"got {list(partial.shape)}"
        )
