"""Tables of a metric: by joint, by group of joints, and by severity of occlusion."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from handgraph._check import check_bool, check_count, check_like, check_skeleton
from handgraph.metrics._check import Average, check_precision, check_values, joint_mask
from handgraph.metrics.mean import visible_mean
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND


def occlusion_groups(visible: Tensor, min_visible: int = 11) -> dict[str, Tensor]:
    """Group images into small and severe occlusion by the number of visible joints.

    In Table 2 of the paper, small occlusion is more than 10 visible joints of 21, and severe is
    fewer than 11. Images without visible joints are severe and have no scored joints.

    Args:
        visible: Visibility of the joints.
        min_visible: Minimum number of visible joints for small occlusion.

    Shapes:
        Bool ``[*, J]`` -> ``"all"``, ``"small"``, ``"severe"``: Bool ``[*]``

    Raises:
        TypeError: If ``visible`` is not bool, or ``min_visible`` not int.
        ValueError: If ``visible`` has no joints, or ``min_visible`` is not from 1 to J.

    Example:
        >>> import torch
        >>> from handgraph.metrics import occlusion_groups
        >>> visible = torch.arange(21) < torch.tensor([[21], [11], [10]])
        >>> occlusion_groups(visible)["severe"].tolist()
        [False, False, True]
    """
    check_bool(visible, "visible")
    if visible.ndim < 1 or visible.shape[-1] < 1:
        raise ValueError(f"expected visible of shape [*, J], got {list(visible.shape)}")
    check_count(min_visible, "min_visible", 1, visible.shape[-1])
    small = visible.sum(-1) >= min_visible
    return {"all": torch.ones_like(small), "small": small, "severe": ~small}


def per_occlusion(
    values: Tensor, visible: Tensor, *, average: Average = "pooled", min_visible: int = 11
) -> dict[str, Tensor]:
    """Average a per-joint value over all images, and over small and severe occlusion.

    With values of :func:`handgraph.metrics.joint_auc`, this gives Table 2 of the paper.

    Args:
        values: One value for each joint, such as its error or its area under the curve.
        visible: Visibility of the joints. Only visible joints are scored.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.
        min_visible: Minimum number of visible joints for small occlusion.

    Shapes:
        values ``[*, J]``, visible Bool ``[*, J]`` -> ``"all"``, ``"small"``, ``"severe"``: ``[]``

    Units:
        The unit of ``values``. NaN for a group without visible joints.

    Raises:
        TypeError: If ``values`` is not float32 or float64, or ``visible`` not bool.
        ValueError: If the shapes differ, or an option is out of range.

    Example:
        >>> import torch
        >>> from handgraph.metrics import per_occlusion
        >>> visible = torch.arange(21) < torch.tensor([[20], [5]])
        >>> table = per_occlusion(torch.tensor([[1.0], [6.0]]).expand(2, 21), visible)
        >>> {name: value.item() for name, value in table.items()}
        {'all': 2.0, 'small': 1.0, 'severe': 6.0}
    """
    check_values(values, "values")
    joint_mask(visible, values)
    groups = occlusion_groups(visible, min_visible)
    return {
        name: visible_mean(values[images], visible[images], average=average)
        for name, images in groups.items()
    }


def relative_value(*, small: Tensor, severe: Tensor) -> Tensor:
    """Compute the ratio of the AUC under severe occlusion to that under small occlusion.

    This is B / A in Table 2 of the paper. A ratio near 1 means little effect of occlusion. The
    ratio may also rise if both AUCs get worse, so report ``severe`` as well.

    Args:
        small: AUC on images with small occlusion (A).
        severe: AUC on images with severe occlusion (B).

    Shapes:
        small and severe ``[*]`` -> ``[*]``

    Units:
        A ratio without unit. NaN in either input or a ``small`` of 0 gives NaN.

    Raises:
        TypeError: If they are not both float32 or both float64.
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> from handgraph.metrics import relative_value
        >>> ratio = relative_value(small=torch.tensor(0.4901), severe=torch.tensor(0.4394))
        >>> round(ratio.item(), 4)  # Table 2: 0.8965, from unrounded AUCs
        0.8966
    """
    check_precision(small, "small")
    check_like(severe, "severe", small, "small")
    return torch.where(small == 0, torch.nan, severe / small)


def per_joint(
    values: Tensor, visible: Tensor | None = None, *, skeleton: Skeleton = HAND
) -> dict[str, Tensor]:
    """Average a per-joint value over images, separately for each joint.

    Args:
        values: One value for each joint, such as its error or its area under the curve.
        visible: Joints to score. Default: all.
        skeleton: Skeleton of the joints.

    Shapes:
        values ``[*, J]``, visible Bool ``[*, J]`` -> for each joint's name ``[]``

    Units:
        The unit of ``values``. NaN for a joint that is never visible.

    Raises:
        TypeError: If ``values`` is not float32 or float64, or ``visible`` not bool.
        ValueError: If the shapes differ, or the joints are not those of the skeleton.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.metrics import per_joint
        >>> per_joint(torch.arange(21.0))["index_tip"].item()
        8.0
    """
    check_skeleton(skeleton, "skeleton")
    return _table(values, visible, skeleton, skeleton.joints, "pooled")


def per_group(
    values: Tensor,
    visible: Tensor | None = None,
    *,
    skeleton: Skeleton = HAND,
    groups: Iterable[str] | None = None,
    average: Average = "pooled",
) -> dict[str, Tensor]:
    """Average a per-joint value over images and over the joints of a named group.

    Args:
        values: One value for each joint, such as its error or its area under the curve.
        visible: Joints to score. Default: all.
        skeleton: Skeleton of the joints.
        groups: Names of groups or joints, such as ``["TIP", "wrist"]``. Default: all groups of the
            skeleton (for a hand, its levels and fingers).
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.

    Shapes:
        values ``[*, J]``, visible Bool ``[*, J]`` -> for each group's name ``[]``

    Units:
        The unit of ``values``. NaN for a group without visible joints.

    Raises:
        TypeError: If ``values`` is not float32 or float64, or ``visible`` not bool.
        ValueError: If the shapes differ, the joints are not those of the skeleton, or it has no
            group of that name.

    Example:
        >>> import torch
        >>> from handgraph.metrics import per_group
        >>> per_group(torch.arange(21.0), groups=["TIP"])["TIP"].item()
        12.0
    """
    check_skeleton(skeleton, "skeleton")
    names = skeleton.groups if groups is None else groups
    return _table(values, visible, skeleton, names, average)


def _table(
    values: Tensor,
    visible: Tensor | None,
    skeleton: Skeleton,
    names: Iterable[str],
    average: Average,
) -> dict[str, Tensor]:
    check_values(values, "values")
    if values.shape[-1] != skeleton.num_joints:
        raise ValueError(
            f"expected values of the {skeleton.num_joints} joints of skeleton {skeleton.name!r}, "
            f"got {values.shape[-1]} joints: {list(values.shape)}"
        )
    mask = joint_mask(visible, values)
    joints = {name: skeleton.select(name) for name in names}
    return {
        name: visible_mean(values[..., chosen], mask[..., chosen], average=average)
        for name, chosen in joints.items()
    }
