"""Load weights of HRNets and ResNets trained on poses, from the official code or mmpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from handgraph.vision._checkpoint_file import read_checkpoint
from handgraph.vision._loading import LoadedCheckpoint
from handgraph.vision.generator import HeatmapGenerator, load_into


def load_pose_checkpoint(
    generator: HeatmapGenerator,
    checkpoint: str | Path | Mapping[str, object],
    *,
    joints: Sequence[int] | None = None,
) -> LoadedCheckpoint:
    """Load weights trained on poses, in the format of the official HRNet code or mmpose.

    The checkpoint must contain the whole backbone under known names and with the generator's
    shapes, and each tensor once. Otherwise an error is raised and the generator is unchanged. The
    prefixes ``module.``, ``model.``, ``generator.``, ``_orig_mod.`` and ``backbone.`` are removed.
    The head is loaded if its form and number of joints match the generator's, **in the checkpoint's
    order of joints**. ``joints`` selects and reorders them. A head that does not match is skipped
    and reported. :meth:`HeatmapGenerator.from_checkpoint` creates a generator that matches. A
    backbone trained with another form of head can be loaded, although it was trained with another
    kind of upsampling.

    ============================================================ ============== ==========
    published model                                              backbone       head
    ============================================================ ============== ==========
    HRNets for human poses: official code, mmpose                hrnet_w32, w48 ``conv``
    mmpose's HRNetV2: RHD, OneHand10K, Panoptic,                 hrnet_w18      ``concat``
    COCO-WholeBody-Hand
    mmpose's ResNet-50: FreiHAND, and the data sets above;       resnet50       ``deconv``
    Simple Baselines of the official code
    ============================================================ ============== ==========

    A published head also sets :attr:`HeatmapGenerator.grid`. Its heatmap pixel 0 lies at image
    pixel 0. With UDP training, the last pixels of map and image coincide as well. UDP is detected
    from the configuration in the file, or from ``_udp`` in the file name. Decode with
    ``decode_heatmaps(heatmaps, **generator.grid)``. ``dark`` and ``udp`` models are published with
    DARK decoding: use :func:`decode_dark` instead.

    The file is loaded with ``weights_only=True``, so that no code in it is run. Objects of
    mmengine, NumPy and other packages, which training code saves with the weights, are skipped.

    Args:
        generator: The generator to load into.
        checkpoint: A file written by ``torch.save``, or its content: a state dict, or a mapping
            with a state dict under ``"state_dict"``.
        joints: Rows of the checkpoint's head to load, in the order of the generator's joints.
            ``range(112, 133)`` selects the right hand of COCO-WholeBody.
            ``HAND.index_from(RHD).tolist()`` reorders a head in RHD's order, such as mmpose's.

    Returns:
        The names of the tensors that were loaded and skipped, and whether the head was loaded.

    Raises:
        ValueError: If the file does not contain weights, the backbone does not match, or the head
            does not have the requested joints.

    Example:
        >>> from handgraph.vision import HeatmapGenerator, load_pose_checkpoint
        >>> body = HeatmapGenerator(17, backbone="hrnet_w18_small").state_dict()
        >>> hand = HeatmapGenerator(21, backbone="hrnet_w18_small")
        >>> print(load_pose_checkpoint(hand, body))
        took 348 tensors, left 2; head unchanged: the checkpoint has 17 joints, the generator 21
    """
    return load_into(generator, read_checkpoint(checkpoint), joints)
