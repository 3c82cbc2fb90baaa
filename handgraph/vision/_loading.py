"""Tensors of a checkpoint into a generator, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from handgraph.vision._checkpoint_file import Checkpoint

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


def load(
    generator: nn.Module, backbone_name: str, found: Checkpoint, joints: Sequence[int] | None
) -> LoadedCheckpoint:
    """Load what was read from a checkpoint, or raise and change nothing."""
    own = Checkpoint(generator.state_dict(), {}, None)
    backbone = _backbone(own.weights, found.weights, backbone_name)
    head, said = _head(own, found, joints)
    taken = {**backbone, **head}
    generator.load_state_dict(taken, strict=False)
    left = tuple(old for new, old in found.names.items() if new not in taken)
    return LoadedCheckpoint(tuple(taken), left, said)


def _backbone(
    own: Mapping[str, Tensor], there: Mapping[str, Tensor], backbone_name: str
) -> dict[str, Tensor]:
    """The tensors of the backbone; raise unless each is there, with the right shape."""
    all_names = [name for name in own if name.startswith("backbone.")]
    names = [n for n in all_names if not n.endswith("num_batches_tracked")]
    missing = [n for n in names if n not in there]
    shapes = [
        f"{n} {list(there[n].shape)} instead of {list(own[n].shape)}"
        for n in names
        if n in there and there[n].shape != own[n].shape
    ]
    if missing or shapes:
        raise ValueError(
            f"expected the weights of {backbone_name!r}: of its {len(names)} tensors "
            f"{len(missing)} are missing and {len(shapes)} have another shape: "
            + ", ".join([*missing[:3], *shapes[:3]])
        )
    return {n: there[n] for n in all_names if n in there}


def _head(
    own: Checkpoint, found: Checkpoint, joints: Sequence[int] | None
) -> tuple[dict[str, Tensor], str]:
    """What becomes of the head, by name and in words."""
    head, count = found.head, found.num_joints
    if joints is not None:
        head = head | _pick(found, joints, own.num_joints)
    here = {name: value.shape for name, value in own.head.items()}
    there = {name: value.shape for name, value in head.items()}
    if {**here, **there} == here and own.head_name == found.head_name and count:
        return head, TAKEN
    if not count:
        why = "none in the checkpoint"
    elif own.head_name != found.head_name:
        why = f"{found.head_name!r} in the checkpoint, {own.head_name!r} here"
    elif count != own.num_joints and joints is None:
        why = f"{count} joints in the checkpoint, {own.num_joints} here"
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
