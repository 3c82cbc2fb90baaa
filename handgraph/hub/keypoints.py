"""From detected 2D joints, and nothing else, to a 3D hand."""

from __future__ import annotations

from importlib.resources import as_file, files
from itertools import chain, pairwise
from typing import Any, Literal, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from handgraph._check import check_count, check_skeleton
from handgraph.geometry import crop_matrix, transform_points
from handgraph.hub.config import skeleton_to_json
from handgraph.hub.detected import FEWEST, Detected, read_detected
from handgraph.hub.estimate import Estimate, mirrored, nan_unless, num_outputs, read_estimate
from handgraph.hub.saved import SavedModule
from handgraph.skeleton import Skeleton, other_side
from handgraph.skeletons import HAND

CHANNELS = 6
"""Of each joint: place in the crop, score, depth, whether it is there, and whether it has one."""

UNITS = {
    "input": "the joints in any unit of the image plane, pixels for example, (u, v) order: place "
    "and size of the hand do not count; NaN for a missing joint; scores in [0, 1], how likely each "
    "joint is to be visible, 0 for a missing joint; depths, if there are any, in the unit of u and "
    "v, from any origin, growing away from the camera",
    "output": "the joints relative to the root, in keybone lengths (middle_mcp to middle_pip); "
    "times the keybone length in metres, metres",
    "frame": "axes of a camera that looks at the centre of the box around the joints: x right, "
    "y down, z forward",
}


class KeypointLifter(SavedModule):
    r"""Estimate a 3D hand from its detected 2D joints, without a camera.

    The joints are put into a square crop around their box, which becomes [-1, 1], with their scores
    and depths beside them; fully connected layers do the rest. Image size, focal length, and where
    in the image the hand is play no part, so scale and root depth remain unknown:
    :func:`handgraph.hub.to_camera` adds them. Left hands are mirrored, and their poses mirrored
    back.

    A joint is missing if it is NaN or its score is 0. It has no influence on the others, and is
    estimated from them: :meth:`missing` says which these are.

    :func:`pretrained_lifter` gives one that is trained.

    Args:
        skeleton: The joints; it needs a root.
        width: Of the three hidden layers.
        hypotheses: Number of poses that it estimates, each with its probability.

    Shapes:
        - uv: ``[*, J, 2]``, a tensor, an array or a list
        - score, depth: ``[*, J]``
        - output: ``[*, J, 3]``, in the dtype of the lifter

    Units:
        uv in pixels, or any other unit that is the same for u and v, (u, v) order. depth in the
        same unit, from any origin, growing away from the camera: MediaPipe's z times the width of
        the image. The output is relative to the root, in keybone lengths, in the axes of a camera
        that looks at the centre of the box around the joints (x right, y down, z forward). A hand
        with fewer than 3 joints, or with all joints in one place, is NaN.

    Raises:
        TypeError: If uv, the score or the depth are no real numbers, ``skeleton`` is no skeleton,
            or a size is no integer.
        ValueError: If the skeleton has no root, a size is not positive, a shape does not fit, a
            score is no probability, a number is infinite, the side is neither, or a single hand has
            fewer than 3 joints or all in one place.

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

    def __init__(self, skeleton: Skeleton = HAND, *, width: int = 512, hypotheses: int = 1):
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
        sizes = (CHANNELS * skeleton.num_joints, width, width, width)
        layers = [nn.Linear(*pair) for pair in pairwise(sizes)]
        steps = [step for layer in layers for step in (layer, nn.ReLU())]
        outputs = num_outputs(skeleton.num_joints, hypotheses)
        self.net = nn.Sequential(*steps, nn.Linear(width, outputs))

    def arguments(self) -> dict[str, Any]:
        """What the class is called with, as JSON."""
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
        """Estimate the pose, that of the likeliest hypothesis.

        Args:
            uv: Detected joints, in the order of the skeleton.
            score: How likely each joint is to be visible; 0.5 for all if nothing is known.
            depth: The detector's depth of each joint; NaN where there is none.
            side: Which hand the image shows.
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
        """Estimate all hypotheses, how far each joint is off, and which joints are visible.

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
        estimate = read_estimate(output, self.hypotheses, root, ~found.there)
        enough = found.there.sum(dim=-1) >= FEWEST
        return nan_unless(mirrored(estimate, mirror), enough)

    def missing(self, uv: Tensor | ArrayLike, score: Tensor | ArrayLike | None = None) -> Tensor:
        """Which joints are missing: those that :meth:`forward` infers from the others.

        Args:
            uv: Detected joints, NaN where there is none.
            score: Their scores, 0 where there is none.

        Returns:
            Bool ``[*, J]``.
        """
        return ~self._detected(uv, score, None).there

    def _detected(
        self,
        uv: Tensor | ArrayLike,
        score: Tensor | ArrayLike | None,
        depth: Tensor | ArrayLike | None,
    ) -> Detected:
        like = next(chain(self.parameters(), self.buffers()))
        return read_detected(uv, score, depth, self.skeleton, like)

    def _mirror(self, side: str, like: Tensor) -> Tensor:
        if side not in ("right", "left"):
            raise ValueError(f"side: expected 'right' or 'left', got {side!r}")
        if side == "left" and self.has_sides:
            raise ValueError(
                f"side: {self.skeleton.name} has left and right joints, expected 'right'"
            )
        return like.new_tensor([1.0 if side == "right" else -1.0, 1.0, 1.0])

    def _inputs(self, found: Detected, mirror: Tensor) -> Tensor:
        """The channels of each joint; 0 where it is missing."""
        uv, there, deep = found.uv * mirror, found.there, found.deep
        crop = crop_matrix(uv, 2, mask=there)  # 2 pixels wide: [-0.5, 1.5]
        place = transform_points(crop, uv) - 0.5
        middle = found.depth.sum(dim=-1, keepdim=True) / deep.sum(dim=-1, keepdim=True).clamp(min=1)
        depth = ((found.depth - middle) * crop[..., 0, :1]).where(deep, 0)
        scalars = torch.stack([found.score, depth, there.to(uv), deep.to(uv)], dim=-1)
        return torch.cat([place, scalars], dim=-1).where(there.unsqueeze(-1), 0)


def pretrained_lifter() -> KeypointLifter:
    """Load the lifter that comes with the package: 21 joints of a hand, trained on simulated hands.

    Its card (``handgraph/hub/keypoint_lifter/README.md``, and in the documentation) says how it was
    trained, how far it errs, and what it cannot do.

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
