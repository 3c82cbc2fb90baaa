"""Image input: files, the 2D heatmap generator, its targets and decoding, and feature encoders.

timm (extra ``handgraph[vision]``) is only needed to create a :class:`HeatmapGenerator`.
"""

from handgraph.vision._loading import LoadedCheckpoint
from handgraph.vision.branch_encoder import BranchFeatureEncoder, SharedFeatureEncoder
from handgraph.vision.checkpoint import load_pose_checkpoint
from handgraph.vision.dark import decode_dark
from handgraph.vision.decoding import decode_heatmaps, soft_argmax
from handgraph.vision.encoder import FeatureEncoder
from handgraph.vision.generator import HeatmapGenerator
from handgraph.vision.reading import read_image
from handgraph.vision.sampler import JointFeatureSampler
from handgraph.vision.targets import gaussian_heatmaps

__all__ = [
    "BranchFeatureEncoder",
    "FeatureEncoder",
    "HeatmapGenerator",
    "JointFeatureSampler",
    "LoadedCheckpoint",
    "SharedFeatureEncoder",
    "decode_dark",
    "decode_heatmaps",
    "gaussian_heatmaps",
    "load_pose_checkpoint",
    "read_image",
    "soft_argmax",
]
