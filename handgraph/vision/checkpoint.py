"""Weights of HRNets that were trained on poses: the official ones and mmpose's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.vision.generator import HeatmapGenerator


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
    ``generator.``, ``_orig_mod.`` and ``backbone.`` are taken off. The head is taken if it has as
    many joints as the generator, **in its own order of the joints**, and left as it was otherwise,
    which the report says:
    ``joints`` picks and orders them.

    Published nets place the first heatmap pixel at 0 of the image: decode their maps with
    ``decode_heatmaps(maps, offset=0)``.

    The file is read with ``weights_only=True``: nothing in it is run.

    Args:
        generator: What to load into.
        checkpoint: A file that ``torch.save`` wrote, or its content: the tensors by name, or a
            mapping that has them as ``"state_dict"``.
        joints: Which rows of the checkpoint's head become the generator's, in this order:
            ``range(112, 133)`` takes the right hand of COCO-WholeBody,
            ``HAND.index_from(RHD).tolist()`` a head in RHD's order.

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
    weights = _read(checkpoint)
    names = {_rename(name): name for name in weights}
    backbone = {n: weights[names[n]] for n in _backbone_names(generator) if n in names}
    _check_backbone(generator, backbone)
    head, said = _head(generator, {n: weights[old] for n, old in names.items()}, joints)
    taken = {**backbone, **head}
    generator.load_state_dict(taken, strict=False)
    left = tuple(old for new, old in names.items() if new not in taken)
    return LoadedCheckpoint(tuple(taken), left, said)


def _read(checkpoint: str | Path | Mapping[str, object]) -> Mapping[str, Tensor]:
    """The tensors by name, as the checkpoint names them."""
    content = checkpoint if isinstance(checkpoint, Mapping) else _load(checkpoint)
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(weights, Mapping) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ValueError(
            f"expected a checkpoint of tensors by name, or with them as 'state_dict', "
            f"got {_describe(weights)}"
        )
    return weights


def _load(path: str | Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged pickle makes PyTorch raise
        unknown = re.search(r"GLOBAL ([\w.]+) was not an allowed global", str(error))
        why = f"it holds a {unknown[1]}" if unknown else "it is damaged, or no such file"
        raise ValueError(
            f"{path}: expected a file of torch.save with nothing but tensors, numbers and text, "
            f"but {why}; none of it was run. If you trust it, load it with weights_only=False and "
            "give its 'state_dict'"
        ) from error


def _describe(weights: object) -> str:
    if not isinstance(weights, Mapping):
        return type(weights).__name__
    others = [f"{n}: {type(w).__name__}" for n, w in weights.items() if not isinstance(w, Tensor)]
    return ", ".join(others[:5])


def _rename(name: str) -> str:
    """The generator's name of a tensor."""
    name = re.sub(r"^((module|model|generator|_orig_mod)\.)*(backbone\.)?", "", name)
    name = re.sub(r"^((keypoint_)?head\.)?final_layer\.(weight|bias)$", r"head.\3", name)
    return name if name in ("head.weight", "head.bias") else f"backbone.{name}"


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
    generator: HeatmapGenerator, weights: Mapping[str, Tensor], joints: Sequence[int] | None
) -> tuple[dict[str, Tensor], str]:
    """What becomes of the head, by name and in words."""
    names = ("head.weight", "head.bias")
    head = {name: weights[name] for name in names if name in weights}
    count = len(head["head.bias"]) if len(head) == len(names) else 0
    if joints is not None:
        head = _pick(head, joints, count, generator.num_joints)
    own = {name: value.shape for name, value in generator.state_dict().items() if name in names}
    if {name: value.shape for name, value in head.items()} == own:
        return head, "head taken"
    there = f"{count} joints in the checkpoint, {generator.num_joints} here"
    return {}, f"head left as it was: {there if count else 'none in the checkpoint'}"


def _pick(
    head: dict[str, Tensor], joints: Sequence[int], count: int, wanted: int
) -> dict[str, Tensor]:
    if len(joints) != wanted or not all(0 <= joint < count for joint in joints):
        raise ValueError(
            f"joints: expected {wanted} rows of a head of {count} joints, got {list(joints)}"
        )
    return {name: value[list(joints)] for name, value in head.items()}
