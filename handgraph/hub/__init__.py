"""Lifters that can be saved to folders and the Hugging Face Hub, and a pretrained lifter.

This package needs the extra ``handgraph[hub]``. A saved lifter is a folder of ``config.json``
(arguments), ``model.safetensors`` (parameters) and ``README.md`` (model card). Skeletons and
removal sets are saved by joint names. Pickles are neither written nor read.
"""

try:
    import huggingface_hub  # noqa: F401
    import safetensors  # noqa: F401
except ImportError as error:
    raise ImportError(
        "handgraph.hub needs huggingface_hub and safetensors: pip install 'handgraph[hub]' "
        "(the layers of handgraph.nn do not need them)"
    ) from error

from handgraph.hub.branches import BranchLifter
from handgraph.hub.detected import split_rows
from handgraph.hub.estimate import Estimate
from handgraph.hub.keypoints import KeypointLifter, pretrained_lifter
from handgraph.hub.root_depth import fit_root_depth
from handgraph.hub.saved import SavedModule
from handgraph.hub.to_camera import to_camera
from handgraph.hub.training import lifter_loss, lifting_target

__all__ = [
    "BranchLifter",
    "Estimate",
    "KeypointLifter",
    "SavedModule",
    "fit_root_depth",
    "lifter_loss",
    "lifting_target",
    "pretrained_lifter",
    "split_rows",
    "to_camera",
]
