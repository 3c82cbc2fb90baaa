"""Models of 2D keypoint detectors: output for visible, occluded and missing joints.

:class:`HeatmapDetector` and :class:`RegressionDetector` model the errors of occluded joints.
:class:`Missing` models joints that a detector does not report.
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
