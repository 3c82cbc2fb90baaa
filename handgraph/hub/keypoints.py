"""From detected 2D joints, and nothing else, to a 3D hand."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any, Literal, cast

import torch
from torch import Tensor

from handgraph._check import check_points, check_shape
from handgraph.geometry import crop_matrix, transform_points
from handgraph.hub.config import skeleton_to_json
from handgraph.hub.saved import SavedModule
from handgraph.nn import AdaptiveGraphUNet, JointHead
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND

UNKNOWN = 0.5
"""The score of a joint of which nothing is known but its place."""

UNITS = {
    "input": "the joints in any unit of the image plane, pixels for example, (u, v) order: place "
    "and size of the hand do not count; scores in [0, 1], how likely each joint is to be visible",
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

    :func:`pretrained_lifter` gives one that is trained.

    Args:
        skeleton: The joints; it needs a root.
        channels: Width of the finest level of the graph U-Net.
        hidden_channels: Channels between the U-Net and the heads.

    Shapes:
        - uv: ``[*, J, 2]``
        - score: ``[*, J]``
        - output: ``[*, J, 3]``

    Units:
        uv in pixels, or any other unit that is the same for u and v, (u, v) order. The output is
        relative to the root, in keybone lengths, in the axes of a camera that looks at the centre
        of the box around the joints (x right, y down, z forward):
        :func:`handgraph.geometry.view_rotation` leads from there to a known camera. A NaN makes the
        whole hand NaN.

    Raises:
        TypeError: If uv is not floating point, or the score has another dtype.
        ValueError: If the skeleton has no root, a shape does not fit, a score is no probability, or
            the side is neither.

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
        channels: int = 12,
        hidden_channels: int = 8,
    ):
        super().__init__()
        if skeleton.root is None:
            raise ValueError(
                f"KeypointLifter: expected a skeleton with a root, got {skeleton.name}"
            )
        self.skeleton = skeleton
        self.channels = channels
        self.hidden_channels = hidden_channels
        self.about["Units"] = dict(UNITS)
        net = AdaptiveGraphUNet(3, hidden_channels, skeleton, channels=channels)
        self.net = JointHead(net, 3, hidden_channels, 3, skeleton)

    def arguments(self) -> dict[str, Any]:
        """What the class is called with, as JSON."""
        return {
            "skeleton": skeleton_to_json(self.skeleton),
            "channels": self.channels,
            "hidden_channels": self.hidden_channels,
        }

    def forward(
        self,
        uv: Tensor,
        score: Tensor | None = None,
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
        if side == "left" and any(self.skeleton.swap_sides().diff() != 1):
            raise ValueError(
                f"side: {self.skeleton.name} has left and right joints, expected 'right'"
            )
        self._check(uv, score)
        mirror = uv.new_tensor([1.0 if side == "right" else -1.0, 1.0, 1.0])
        x = self.normalize(uv * mirror[:2])
        known = torch.full_like(uv[..., 0], UNKNOWN) if score is None else score
        pose: Tensor = self.net(torch.cat([x, known.unsqueeze(-1)], dim=-1))
        root = self.skeleton.index(cast("str", self.skeleton.root))
        return (pose - pose[..., root : root + 1, :]) * mirror

    def normalize(self, uv: Tensor) -> Tensor:
        """Put the joints into the square crop around them, which becomes [-1, 1]. ``[*, J, 2]``."""
        crop = crop_matrix(uv, 2)  # 2 pixels wide: [-0.5, 1.5]
        return transform_points(crop, uv) - 0.5

    def _check(self, uv: Tensor, score: Tensor | None) -> None:
        check_points(uv, 2, "uv")
        if uv.shape[-2] != self.skeleton.num_joints:
            raise ValueError(
                f"KeypointLifter: expected uv [*, {self.skeleton.num_joints}, 2] for "
                f"{self.skeleton.name}, got {list(uv.shape)}"
            )
        if score is None:
            return
        check_shape(score, uv.shape[:-1], uv, "score")
        if torch.compiler.is_compiling():  # values are not looked at there
            return
        if not bool(((score >= 0) & (score <= 1)).all()):
            raise ValueError("score: expected probabilities, some are outside of [0, 1] or NaN")


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
