"""Hands in videos: frames in and out, a crop that follows the hand, and smoothing.

Reading and writing need PyAV (extra ``handgraph[video]``), and drawing needs the extra ``plot``.
"""

from handgraph.video.drawing import draw_joints
from handgraph.video.follow import Followed, Pose, follow
from handgraph.video.frames import VideoWriter, read_frames
from handgraph.video.one_euro import OneEuro

__all__ = [
    "Followed",
    "OneEuro",
    "Pose",
    "VideoWriter",
    "draw_joints",
    "follow",
    "read_frames",
]
