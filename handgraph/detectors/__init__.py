"""Models of 2D keypoint detectors: what they say of joints that can be seen, hidden or left out.

Two laws of failure: :class:`HeatmapDetector` and :class:`RegressionDetector`. :class:`Missing` says
which joints a detector does not report at all.
"""

from handgraph.detectors.base import Detections, Detector, Found, Truth
from handgraph.detectors.heatmap import HeatmapDetector
from handgraph.detectors.missing import Missing
from handgraph.detectors.regression import RegressionDetector

__all__ = [
    "Detections",
    "Detector",
    "Found",
    "HeatmapDetector",
    "Missing",
    "RegressionDetector",
    "Truth",
]
