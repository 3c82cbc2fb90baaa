"""Weights of HRNets that were trained on poses: the official ones and mmpose's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from handgraph.vision._checkpoint_file import Checkpoint, read_checkpoint

if TYPE_CHECKING:
    from handgraph.vision.generator import HeatmapGenerator


TAKEN = "head taken"
"""What is said of a head that was loaded."""


class LoadedCheckpoint(NamedTuple):
    """What :func:`load_pose_checkpoint` took, and what it left.

    Args:
        taken: Names of the generator's tensors that were loaded.
        left: Names of the checkpoint's tensors that were not.
        head: What became of the head, in words.

    Example:
        >>> from handgraph.vision import LoadedCheckpoint
        >>> print(LoadedCheckpoint(("backbone.conv1.weight",), (), "head left as it was: ..."))
        took 1 tensors, left 0; head left as it was: ...
    """

    taken: tuple[str, ...]
    left: tuple[str, ...]
    head: str

    def __str__(self) -> str:
        """One line."""
        return f"took {len(self.taken)} tensors, left {len(self.left)}; {self.head}"


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
    return load(generator, read_checkpoint(checkpoint), joints)


def load(
    generator: HeatmapGenerator, found: Checkpoint, joints: Sequence[int] | None
) -> LoadedCheckpoint:
    """Load what was read from a checkpoint."""
    backbone = {n: found.weights[n] for n in _backbone_names(generator) if n in found.weights}
    _check_backbone(generator, backbone)
    head, said = _head(generator, found, joints)
    taken = {**backbone, **head}
    generator.load_state_dict(taken, strict=False)
    if head and found.grid is not None:
        generator.grid = dict(found.grid)
    left = tuple(old for new, old in found.names.items() if new not in taken)
    generator.loaded = LoadedCheckpoint(tuple(taken), left, said)
    return generator.loaded


def _backbone_names(generator: HeatmapGenerator) -> list[str]:
    return [f"backbone.{name}" for name in generator.backbone.state_dict()]


def _check_backbone(generator: HeatmapGenerator, backbone: Mapping[str, Tensor]) -> None:
    """Raise unless each tensor of the backbone is there, with the right shape."""
    own = generator.state_dict()
    names = [n for n in _backbone_names(generator) if not n.endswith("num_batches_tracked")]
    missing = [n for n in names if n not in backbone]
    shapes = [
        f"{n} {list(backbone[n].shape)} instead of {list(own[n].shape)}"
        for n in names
        if n in backbone and backbone[n].shape != own[n].shape
    ]
    if missing or shapes:
        raise ValueError(
            f"expected the weights of {generator.backbone_name!r}: of its {len(names)} tensors "
            f"{len(missing)} are missing and {len(shapes)} have another shape: "
            + ", ".join([*missing[:3], *shapes[:3]])
        )


def _head(
    generator: HeatmapGenerator, found: Checkpoint, joints: Sequence[int] | None
) -> tuple[dict[str, Tensor], str]:
    """What becomes of the head, by name and in words."""
    head, count = found.head, found.num_joints
    if joints is not None:
        head = head | _pick(found, joints, generator.num_joints)
    own = {n: v.shape for n, v in generator.state_dict().items() if n.startswith("head.")}
    shapes = {name: value.shape for name, value in head.items()}
    if {**own, **shapes} == own and generator.head_name == found.head_name and count:
        return head, TAKEN
    if not count:
        why = "none in the checkpoint"
    elif generator.head_name != found.head_name:
        why = f"{found.head_name!r} in the checkpoint, {generator.head_name!r} here"
    elif count != generator.num_joints and joints is None:
        why = f"{count} joints in the checkpoint, {generator.num_joints} here"
    else:
        why = "layers of other shapes in the checkpoint"
    return {}, f"head left as it was: {why}"


def _pick(found: Checkpoint, joints: Sequence[int], wanted: int) -> dict[str, Tensor]:
    """The last layer of the head, with these rows."""
    count, last = found.num_joints, found.last
    if len(joints) != wanted or not all(0 <= joint < count for joint in joints):
        raise ValueError(
            f"joints: expected {wanted} rows of a head of {count} joints, got {list(joints)}"
        )
    rows = list(joints)
    return {n: found.weights[n][rows] for n in (f"{last}.weight", f"{last}.bias")}
