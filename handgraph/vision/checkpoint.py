"""Weights of HRNets that were trained on poses: the official ones and mmpose's."""

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
    """Load HRNet weights that were trained on poses, in the official or mmpose's format.

    The backbone must be there as a whole: what has another name for it, another width or only part
    of it is refused, and the generator is left as it was. The prefixes ``module.``, ``model.``,
    ``generator.``, ``_orig_mod.`` and ``backbone.`` are taken off. The head is taken if it has the
    form of the generator's and as many joints, **in its own order of the joints**, and left as it
    was otherwise, which the report says: ``joints`` picks and orders them.
    :meth:`HeatmapGenerator.from_checkpoint` makes the generator that fits. The backbone of a net
    with another form of head loads too, but was trained with another enlargement of its branches.

    ========================================================== ============== ==========
    published net                                              backbone       head
    ========================================================== ============== ==========
    HRNet's own code, mmpose's body nets                       hrnet_w32, w48 ``conv``
    mmpose: RHD, OneHand10K, FreiHAND, COCO-WholeBody-Hand     hrnet_w18      ``concat``
    ========================================================== ============== ==========

    A published head also sets :attr:`HeatmapGenerator.grid`: its heatmap pixel 0 lies at image
    pixel 0, and for nets trained with UDP the last pixels of map and image coincide as well. UDP is
    recognised by the configuration in the file, or by ``_udp`` in the file's name. Decode with
    ``decode_heatmaps(heatmaps, **generator.grid)``, or :func:`decode_dark` for nets named ``dark``.

    The file is read with ``weights_only=True``: nothing in it is run. Objects of mmengine, NumPy or
    other packages, as files of a training hold them, are skipped.

    Args:
        generator: What to load into.
        checkpoint: A file that ``torch.save`` wrote, or its content: the tensors by name, or a
            mapping that has them as ``"state_dict"``.
        joints: Which rows of the checkpoint's head become the generator's, in this order:
            ``range(112, 133)`` takes the right hand of COCO-WholeBody,
            ``HAND.index_from(RHD).tolist()`` a head in RHD's order, as mmpose's net of RHD has it.

    Returns:
        What was taken and left.

    Raises:
        ValueError: If the file holds something else than weights, the backbone does not fit, or
            the head does not have the joints that were asked for.

    Example:
        >>> from handgraph.vision import HeatmapGenerator, load_pose_checkpoint
        >>> body = HeatmapGenerator(17, backbone="hrnet_w18_small").state_dict()
        >>> hand = HeatmapGenerator(21, backbone="hrnet_w18_small")
        >>> print(load_pose_checkpoint(hand, body))
        took 348 tensors, left 2; head left as it was: 17 joints in the checkpoint, 21 here
    """
    return load_into(generator, read_checkpoint(checkpoint), joints)
