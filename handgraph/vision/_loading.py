"""Load the tensors of a checkpoint into a generator and report which were loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from handgraph.vision._checkpoint_file import Checkpoint

TAKEN = "head taken"
"""Start of the report on a head that was loaded."""

COUNTS = "num_batches_tracked"
"""Last part of the names of tensors that a checkpoint may lack."""


class LoadedCheckpoint(NamedTuple):
    """Report of :func:`load_pose_checkpoint` on the tensors that were loaded.

    Args:
        taken: Names of the generator's tensors that were loaded.
        left: Names of the checkpoint's tensors that were not loaded.
        head: Whether the head was loaded, entirely or for how many joints, or why it was not.

    Example:
        >>> from handgraph.vision import LoadedCheckpoint
        >>> print(LoadedCheckpoint(("backbone.conv1.weight",), (), "head unchanged: ..."))
        took 1 tensors, left 0; head unchanged: ...
    """

    taken: tuple[str, ...]
    left: tuple[str, ...]
    head: str

    def __str__(self) -> str:
        """Return a summary in one line."""
        return f"took {len(self.taken)} tensors, left {len(self.left)}; {self.head}"


def load(
    generator: nn.Module, backbone_name: str, found: Checkpoint, joints: Sequence[int] | None
) -> LoadedCheckpoint:
    """Load a checkpoint; if it does not fit, raise and leave the generator unchanged."""
    own = Checkpoint(generator.state_dict(), {}, None)
    backbone = _backbone(own.weights, found.weights, backbone_name)
    head, head_report = _head(own, found, joints)
    taken = {**backbone, **head}
    generator.load_state_dict(taken, strict=False)
    left = tuple(old for new, old in found.names.items() if new not in taken)
    return LoadedCheckpoint(tuple(taken), left, head_report)


def _backbone(
    own: Mapping[str, Tensor], found: Mapping[str, Tensor], backbone_name: str
) -> dict[str, Tensor]:
    """Return the tensors of the backbone; raise if one is missing or has another shape."""
    all_names = [name for name in own if name.startswith("backbone.")]
    names = [n for n in all_names if COUNTS not in n]
    missing = [n for n in names if n not in found]
    shapes = [
        f"{n} {list(found[n].shape)} instead of {list(own[n].shape)}"
        for n in names
        if n in found and found[n].shape != own[n].shape
    ]
    if missing or shapes:
        raise ValueError(
            f"expected the weights of {backbone_name!r}, got a checkpoint in which "
            f"{len(missing)} of {len(names)} tensors are missing and {len(shapes)} have another "
            "shape: " + ", ".join([*missing[:3], *shapes[:3]])
        )
    return {n: found[n] for n in all_names if n in found}


def _head(
    own: Checkpoint, found: Checkpoint, joints: Sequence[int] | None
) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of the head by name, if it fits, and the report on the head."""
    head, count = found.head, found.num_joints
    if joints is not None:
        head = head | _pick(found, joints, own.num_joints)
    shapes = {name: value.shape for name, value in own.head.items() if COUNTS not in name}
    found_shapes = {name: value.shape for name, value in head.items() if COUNTS not in name}
    if found_shapes == shapes and own.head_name == found.head_name:
        picked = set(range(count) if joints is None else joints)
        return head, TAKEN if len(picked) == count else f"{TAKEN}: {len(picked)} of {count} joints"
    if not count:
        why = "the checkpoint has no head"
    elif own.head_name != found.head_name:
        why = f"the checkpoint's head is {found.head_name!r}, the generator's {own.head_name!r}"
    elif count != own.num_joints and joints is None:
        why = f"the checkpoint has {count} joints, the generator {own.num_joints}"
    elif missing := sorted(shapes.keys() - found_shapes.keys()):
        why = f"the checkpoint lacks {', '.join(missing[:3])}"
    else:
        why = "its layers have other shapes in the checkpoint"
    return {}, f"head unchanged: {why}"


def _pick(found: Checkpoint, joints: Sequence[int], wanted: int) -> dict[str, Tensor]:
    """Select the rows ``joints`` of the head's last layer."""
    count, last = found.num_joints, found.last
    if len(joints) != wanted or not all(0 <= joint < count for joint in joints):
        raise ValueError(
            f"joints: expected {wanted} rows of a head of {count} joints, got {list(joints)}"
        )
    rows = list(joints)
    return {n: found.weights[n][rows] for n in (f"{last}.weight", f"{last}.bias")}
