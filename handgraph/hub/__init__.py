"""Lifters that are saved to folders and to the Hugging Face Hub, and one that is ready to use.

Needs the extra ``handgraph[hub]``. A saved lifter is a folder of three files: ``config.json``, from
which it is built, ``model.safetensors``, its parameters, and ``README.md``, its card. Skeletons and
removal sets are written by the names of their joints. No pickle is written or read.
"""

try:
    import huggingface_hub  # noqa: F401
    import safetensors  # noqa: F401
except ImportError as error:
    raise ImportError(
        "handgraph.hub needs huggingface_hub and safetensors: pip install 'handgraph[hub]' "
        "(the layers of handgraph.nn do without)"
    ) from error

from handgraph.hub.branches import BranchLifter
from handgraph.hub.detected import split_rows
from handgraph.hub.estimate import Estimate
from handgraph.hub.keypoints import KeypointLifter, pretrained_lifter
from handgraph.hub.saved import SavedModule
from handgraph.hub.to_camera import to_camera

__all__ = [
    "BranchLifter",
    "Estimate",
    "KeypointLifter",
    "SavedModule",
    "pretrained_lifter",
    "split_rows",
    "to_camera",
]
