"""Readers of the keypoint files of detectors and data sets, with a common output.

Each reader takes a file (or its content) and returns :class:`Keypoints`, the input of
:class:`handgraph.hub.KeypointLifter`. :func:`read_keypoints` recognises the format. Joints are in
the order of :data:`handgraph.HAND`, missing joints are NaN, and 3D joints are included if the
format has them. Joints are matched by name if the file has names. Hands without joints are left
out. Files are JSON in UTF-8, with or without a byte order mark; files of RHD are pickles.

Example:
    >>> from handgraph.formats import read_keypoints
    >>> from handgraph.hub import pretrained_lifter
    >>> person = {"hand_left_keypoints_2d": [1, 2, 0.9, 3, 5, 0.8, 4, 4, 0.7] + 54 * [0]}
    >>> hands = read_keypoints({"people": [person]})
    >>> found = pretrained_lifter().estimate(hands.uv, hands.score, side=hands.side[0])
    >>> found.missing.sum().item()
    18
"""

from handgraph.formats.coco import read_coco
from handgraph.formats.freihand import read_freihand
from handgraph.formats.h3wb import read_h3wb
from handgraph.formats.interhand import read_interhand
from handgraph.formats.keypoints import Keypoints
from handgraph.formats.mediapipe import read_mediapipe
from handgraph.formats.mmpose import read_mmpose
from handgraph.formats.openpose import read_openpose
from handgraph.formats.read import guess_format, read_keypoints
from handgraph.formats.rhd import read_rhd

__all__ = [
    "Keypoints",
    "guess_format",
    "read_coco",
    "read_freihand",
    "read_h3wb",
    "read_interhand",
    "read_keypoints",
    "read_mediapipe",
    "read_mmpose",
    "read_openpose",
    "read_rhd",
]
