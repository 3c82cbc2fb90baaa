"""From detected 2D joints, and nothing else, to a 3D hand."""

from __future__ import annotations

from importlib.resources import as_file, files
from itertools import chain
from typing import Any, Literal, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from handgraph._check import check_points
from handgraph.geometry import crop_matrix, transform_points
from handgraph.hub.config import skeleton_to_json
from handgraph.hub.saved import SavedModule
from handgraph.nn import AdaptiveGraphUNet, JointHead
from handgraph.skeleton import Skeleton, other_side
from handgraph.skeletons import HAND

CHANNELS = 4
"""Of each joint: place in the crop, score, and whether it is there."""

UNKNOWN = 0.5
"""The score of a joint of which nothing is known but its place."""

FEWEST = 3
"""Joints that must be there."""

UNITS = {
    "input": "the joints in any unit of the image plane, pixels for example, (u, v) order: place "
    "and size of the hand do not count; NaN for a missing joint; scores in [0, 1], how likely each "
    "joint is to be visible, 0 for a missing joint",
    "output": "the joints relative to the root, in keybone lengths (middle_mcp to middle_pip); "
    "times the keybone length in metres, metres",
    "frame": "axes of a camera that looks at the centre of the box around the joints: x right, "
    "y down, z forward",
}


class KeypointLifter(SavedModule):
    r"""Estimate a 3D hand from its detected 2D joints, without a camera.

    The joints are put into a square crop around their box, which becomes [-1, 1], with their scores
    beside them; a graph U-Net with an output head for each joint does the rest. Image size, focal
    length, and where in the image the hand is play no part, so scale and root depth remain unknown.
    Left hands are mirrored, and their poses mirrored back.

    A joint is missing if it is NaN or its score is 0. It has no influence on the others, and is
    estimated from them: :meth:`missing` says which these are.

    :func:`pretrained_lifter` gives one that is trained.

    Args:
        skeleton: The joints; it needs a root.
        channels: Width of the finest level of the graph U-Net.
        hidden_channels: Channels between the U-Net and the heads.
        bottleneck_channels: Channels of the hand as a whole.

    Shapes:
        - uv: ``[*, J, 2]``, a tensor or whatever becomes one: an array, a list
        - score: ``[*, J]``
        - output: ``[*, J, 3]``, in the dtype of the lifter

    Units:
        uv in pixels, or any other unit that is the same for u and v, (u, v) order. The output is
        relative to the root, in keybone lengths, in the axes of a camera that looks at the centre
        of the box around the joints (x right, y down, z forward):
        :func:`handgraph.geometry.view_rotation` leads from there to a known camera; missing joints
        are outside of the box. A hand with fewer than 3 joints is NaN.

    Raises:
        TypeError: If uv or the score are no real numbers.
        ValueError: If the skeleton has no root, a shape does not fit, a score is no probability,
            the side is neither, or a single hand has fewer than 3 joints.

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

    def __init__(
        self,
        skeleton: Skeleton = HAND,
        *,
        channels: int = 24,
        hidden_channels: int = 24,
        bottleneck_channels: int = 64,
    ):
        super().__init__()
        if skeleton.root is None:
            raise ValueError(
                f"KeypointLifter: expected a skeleton with a root, got {skeleton.name}"
            )
        self.skeleton = skeleton
        self.has_sides = any(other_side(joint) != joint for joint in skeleton.joints)
        self.channels = channels
        self.hidden_channels = hidden_channels
        self.bottleneck_channels = bottleneck_channels
        self.about["Units"] = dict(UNITS)
        net = AdaptiveGraphUNet(
            CHANNELS,
            hidden_channels,
            skeleton,
            channels=channels,
            bottleneck_channels=bottleneck_channels,
        )
        self.net = JointHead(net, CHANNELS, hidden_channels, 3, skeleton)

    def arguments(self) -> dict[str, Any]:
        """What the class is called with, as JSON."""
        return {
            "skeleton": skeleton_to_json(self.skeleton),
            "channels": self.channels,
            "hidden_channels": self.hidden_channels,
            "bottleneck_channels": self.bottleneck_channels,
        }

    def forward(
        self,
        uv: Tensor | ArrayLike,
        score: Tensor | ArrayLike | None = None,
        *,
        side: Literal["right", "left"] = "right",
    ) -> Tensor:
        """Estimate the pose.

        Args:
            uv: Detected joints, in the order of the skeleton.
            score: How likely each joint is to be visible; 0.5 for all if nothing is known.
            side: Which hand the image shows.
        """
        if side not in ("right", "left"):
            raise ValueError(f"side: expected 'right' or 'left', got {side!r}")
        if side == "left" and self.has_sides:
            raise ValueError(
                f"side: {self.skeleton.name} has left and right joints, expected 'right'"
            )
        uv, score, there = self._detected(uv, score)
        mirror = uv.new_tensor([1.0 if side == "right" else -1.0, 1.0, 1.0])
        pose: Tensor = self.net(self._inputs(uv * mirror[:2], score, there))
        root = self.skeleton.index(cast("str", self.skeleton.root))
        pose = (pose - pose[..., root : root + 1, :]) * mirror
        enough = there.sum(dim=-1) >= FEWEST
        return pose.where(enough[..., None, None], torch.nan)

    def missing(self, uv: Tensor | ArrayLike, score: Tensor | ArrayLike | None = None) -> Tensor:
        """Which joints are missing: those that :meth:`forward` infers from the others.

        Args:
            uv: Detected joints, NaN where there is none.
            score: Their scores, 0 where there is none.

        Returns:
            Bool ``[*, J]``.
        """
        return ~self._detected(uv, score)[2]

    def _inputs(self, uv: Tensor, score: Tensor, there: Tensor) -> Tensor:
        """Place in the crop, score, and whether the joint is there; 0 where it is not."""
        crop = crop_matrix(uv, 2, mask=there)  # 2 pixels wide: [-0.5, 1.5]
        place = transform_points(crop, uv) - 0.5
        features = torch.cat([place, score.unsqueeze(-1), torch.ones_like(uv[..., :1])], dim=-1)
        return features.where(there.unsqueeze(-1), 0)

    def _detected(
        self, uv: Tensor | ArrayLike, score: Tensor | ArrayLike | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Joints and scores in the dtype of the lifter, and which are there; 0 for the others."""
        uv = self._real("uv", uv)
        check_points(uv, 2, "uv")
        if uv.shape[-2] != self.skeleton.num_joints:
            raise ValueError(
                f"KeypointLifter: expected uv [*, {self.skeleton.num_joints}, 2] for "
                f"{self.skeleton.name}, got {list(uv.shape)}"
            )
        if score is None:
            score = torch.full_like(uv[..., 0], UNKNOWN)
        score = self._real("score", score)
        if score.shape != uv.shape[:-1]:
            raise ValueError(
                f"expected score of shape {list(uv.shape[:-1])}, got {list(score.shape)}"
            )
        there = ~uv.isnan().any(dim=-1) & (score > 0)
        if not torch.compiler.is_compiling():  # values are not looked at there
            self._check(score, there)
        return uv.where(there.unsqueeze(-1), 0), score, there

    def _real(self, name: str, value: Tensor | ArrayLike) -> Tensor:
        """A tensor in the dtype of the lifter, and on its device if it was none."""
        like = next(chain(self.parameters(), self.buffers()))
        tensor = torch.as_tensor(value)
        if tensor.is_complex():
            raise TypeError(f"expected {name} as real numbers, got {tensor.dtype}")
        return tensor.to(like.dtype) if isinstance(value, Tensor) else tensor.to(like)

    def _check(self, score: Tensor, there: Tensor) -> None:
        if not bool(((score >= 0) & (score <= 1)).all()):
            raise ValueError("score: expected probabilities, some are outside of [0, 1] or NaN")
        if there.dim() == 1 and there.sum() < FEWEST:
            raise ValueError(
                f"KeypointLifter: expected at least {FEWEST} joints, {int(there.sum())} are there"
            )


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
