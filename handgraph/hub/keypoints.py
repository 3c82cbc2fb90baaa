"""A lifter from detected 2D joints to a 3D hand."""

from __future__ import annotations

from importlib.resources import as_file, files
from itertools import chain
from typing import Any, Literal, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from handgraph._check import check_choice, check_count, check_skeleton
from handgraph.geometry import crop_matrix, transform_points
from handgraph.hub.config import skeleton_to_json
from handgraph.hub.detected import MIN_JOINTS, Detected, read_detected
from handgraph.hub.estimate import Estimate, mirrored, nan_unless, num_outputs, read_estimate
from handgraph.hub.residual import residual_net
from handgraph.hub.saved import SavedModule
from handgraph.skeleton import Skeleton, other_side
from handgraph.skeletons import HAND

CHANNELS = 6
"""Channels of a joint: (u, v) in the crop, score, depth, and flags: is detected, has a depth."""

BLOCKS = 3
"""Number of residual blocks."""

UNITS = {
    "input": "2D joints in any unit of the image plane, such as pixels, (u, v) order; the position "
    "and size of the hand do not matter. NaN marks a missing joint. Scores: probability that each "
    "joint is visible, in [0, 1]; 0 marks a missing joint. Depths (optional): in the unit of u and "
    "v, with any origin, increasing away from the camera",
    "output": "joints relative to the root, in keybone lengths (middle_mcp to middle_pip); "
    "multiply by the keybone length in metres to get metres",
    "frame": "axes of a camera that looks at the centre of the box around the joints: x right, "
    "y down, z forward",
}


class KeypointLifter(SavedModule):
    r"""Estimate a 3D hand from its detected 2D joints, without a camera.

    The joints are scaled to [-1, 1] in a square crop around their box and concatenated with their
    scores and depths. The network is fully connected, with three residual blocks (He et al., ECCV
    2016; for 2D joints Martinez et al., ICCV 2017). The output does not depend on image size, focal
    length or position of the hand, so scale and root depth remain unknown.
    :func:`handgraph.hub.to_camera` adds them. Left hands are mirrored before the network, and their
    poses afterwards.

    A joint is missing if it is NaN or its score is 0. A missing joint is estimated from the others
    and has no influence on them. :meth:`missing` returns the missing joints.

    :func:`pretrained_lifter` loads a trained lifter.

    Args:
        skeleton: Skeleton of the joints, with a root.
        width: Width of the residual blocks.
        hypotheses: Number of poses to estimate, each with a probability.

    Shapes:
        - uv: ``[*, J, 2]``, a tensor, an array or a list
        - score, depth: ``[*, J]``
        - output: ``[*, J, 3]``, in the dtype of the lifter

    Units:
        uv in pixels, or in another unit that is the same for u and v, (u, v) order. depth in the
        same unit, with any origin, increasing away from the camera; for MediaPipe, z times the
        image width. The output is relative to the root, in keybone lengths, in the axes of a camera
        that looks at the centre of the box around the joints (x right, y down, z forward). In a
        batch, the output for a hand with fewer than 3 joints, or with all joints in one place, is
        NaN.

    Raises:
        TypeError: If uv, score or depth are not real numbers, ``skeleton`` is not a skeleton, or a
            size is not an integer.
        ValueError: If the skeleton has no root, a size is not positive, a shape does not fit, a
            score is not in [0, 1], a number is infinite, the side is unknown, or a single hand has
            fewer than 3 joints or all joints in one place.

    Example:
        >>> import torch
        >>> from handgraph.hub import KeypointLifter
        >>> lifter = KeypointLifter()  # not trained
        >>> uv = 640 * torch.rand(8, 21, 2)
        >>> lifter(uv).shape
        torch.Size([8, 21, 3])
        >>> torch.allclose(lifter(2 * uv + 100), lifter(uv), atol=1e-4)
        True
    """

    def __init__(self, skeleton: Skeleton = HAND, *, width: int = 480, hypotheses: int = 1):
        super().__init__()
        check_skeleton(skeleton, "KeypointLifter")
        check_count(width, "width", 1)
        check_count(hypotheses, "hypotheses", 1)
        if skeleton.root is None:
            raise ValueError(
                f"KeypointLifter: expected a skeleton with a root, got {skeleton.name}"
            )
        self.skeleton = skeleton
        self.has_sides = any(other_side(joint) != joint for joint in skeleton.joints)
        self.width = width
        self.hypotheses = hypotheses
        self.about["Units"] = dict(UNITS)
        joints = skeleton.num_joints
        outputs = num_outputs(joints, hypotheses)
        self.net: nn.Module = residual_net(CHANNELS * joints, width, outputs, blocks=BLOCKS)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON."""
        sizes = {"width": self.width, "hypotheses": self.hypotheses}
        return {"skeleton": skeleton_to_json(self.skeleton), **sizes}

    def forward(
        self,
        uv: Tensor | ArrayLike,
        score: Tensor | ArrayLike | None = None,
        *,
        depth: Tensor | ArrayLike | None = None,
        side: Literal["right", "left"] = "right",
    ) -> Tensor:
        """Estimate the pose: the hypothesis with the highest probability.

        Args:
            uv: Detected joints in the order of the skeleton; NaN marks a missing joint.
            score: Probability that each joint is visible; 0 marks a missing joint. Default: 0.5.
            depth: Depth of each joint from the detector; NaN if unknown.
            side: Side of the hand in the image.
        """
        return self.estimate(uv, score, depth=depth, side=side).pose

    def estimate(
        self,
        uv: Tensor | ArrayLike,
        score: Tensor | ArrayLike | None = None,
        *,
        depth: Tensor | ArrayLike | None = None,
        side: Literal["right", "left"] = "right",
    ) -> Estimate:
        """Estimate all hypotheses, and the expected error and visibility of each joint.

        The arguments are those of :meth:`forward`.

        Example:
            >>> from handgraph.datasets import SyntheticHands
            >>> from handgraph.hub import pretrained_lifter
            >>> hand = SyntheticHands(1, seed=7)[0]
            >>> found = pretrained_lifter().estimate(hand.uv)
            >>> found.error.shape, bool(((found.visible > 0) & (found.visible < 1)).all())
            (torch.Size([21]), True)
        """
        found = self._detected(uv, score, depth)
        mirror = self._mirror(side, found.uv)
        output = self.net(self._inputs(found, mirror[:2]).flatten(-2))
        root = self.skeleton.index(cast("str", self.skeleton.root))
        estimate = read_estimate(output, self.hypotheses, root, ~found.detected)
        enough = found.detected.sum(dim=-1) >= MIN_JOINTS
        return nan_unless(mirrored(estimate, mirror), enough)

    def missing(self, uv: Tensor | ArrayLike, score: Tensor | ArrayLike | None = None) -> Tensor:
        """Return which joints are missing; :meth:`forward` infers them from the others.

        Args:
            uv: Detected joints; NaN marks a missing joint.
            score: Scores of the joints; 0 marks a missing joint.

        Returns:
            Bool ``[*, J]``.
        """
        return ~self._detected(uv, score, None).detected

    def _detected(
        self,
        uv: Tensor | ArrayLike,
        score: Tensor | ArrayLike | None,
        depth: Tensor | ArrayLike | None,
    ) -> Detected:
        like = next(chain(self.parameters(), self.buffers()))
        return read_detected(uv, score, depth, self.skeleton, like)

    def _mirror(self, side: str, like: Tensor) -> Tensor:
        check_choice(side, "side", "right", "left")
        if side == "left" and self.has_sides:
            raise ValueError(
                f"side: {self.skeleton.name} has left and right joints, expected 'right'"
            )
        return like.new_tensor([1.0 if side == "right" else -1.0, 1.0, 1.0])

    def _inputs(self, found: Detected, mirror: Tensor) -> Tensor:
        """Return the channels of each joint, 0 for a missing joint."""
        uv, detected, with_depth = found.uv * mirror, found.detected, found.with_depth
        crop = crop_matrix(uv, 2, mask=detected)  # 2 pixels wide: [-0.5, 1.5]
        position = transform_points(crop, uv) - 0.5
        count = with_depth.sum(dim=-1, keepdim=True).clamp(min=1)
        mean = found.depth.sum(dim=-1, keepdim=True) / count
        depth = ((found.depth - mean) * crop[..., 0, :1]).where(with_depth, 0)
        scalars = torch.stack([found.score, depth, detected.to(uv), with_depth.to(uv)], dim=-1)
        return torch.cat([position, scalars], dim=-1).where(detected.unsqueeze(-1), 0)


def pretrained_lifter() -> KeypointLifter:
    """Load the pretrained lifter for the 21 joints of a hand, trained on simulated hands.

    The model card (``handgraph/hub/keypoint_lifter/README.md``, also in the documentation)
    describes training, errors and limits.

    Returns:
        The lifter, in eval mode, without gradients.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.hub import pretrained_lifter
        >>> lifter = pretrained_lifter()
        >>> hand = SyntheticHands(1, seed=7)[0]
        >>> lifter(hand.uv, hand.confidence[:, 0]).shape
        torch.Size([21, 3])
    """
    with as_file(files("handgraph.hub") / "keypoint_lifter") as folder:
        return KeypointLifter.from_pretrained(folder).requires_grad_(False)
