"""Read pose checkpoints and rename their tensors to the generator's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from handgraph.vision._heads import LAST
from handgraph.vision._standins import load_tensors

SMALL = {(16, 2): "hrnet_w18_small", (18, 2): "hrnet_w18_small_v2"}
"""timm's small HRNets by (channels, blocks) of the highest-resolution branch."""

RESNETS = {(2, 2): 18, (6, 2): 34, (6, 3): 50, (23, 3): 101, (36, 3): 152}
"""Depth of ResNets by (blocks, convolutions of a block) of ``layer3``."""


class Checkpoint(NamedTuple):
    """Tensors by the generator's names, their names in the file, and the grid of the heatmaps."""

    weights: dict[str, Tensor]
    names: dict[str, str]
    grid: dict[str, Any] | None

    @property
    def head(self) -> dict[str, Tensor]:
        """Tensors of the head."""
        return {name: value for name, value in self.weights.items() if name.startswith("head.")}

    @property
    def head_name(self) -> str:
        """Form of the head, as in :class:`HeatmapGenerator`."""
        forms = ("deconv", "concat")
        return next((form for form in forms if f"{LAST[form]}.weight" in self.weights), "conv")

    @property
    def last(self) -> str:
        """Name of the last layer of the head."""
        return LAST[self.head_name]

    @property
    def num_joints(self) -> int:
        """Number of heatmaps of the head, 0 if there is no head."""
        both = [self.weights.get(f"{self.last}.{name}") for name in ("weight", "bias")]
        return 0 if both[0] is None or both[1] is None else len(both[1])

    @property
    def backbone(self) -> str:
        """Name of the HRNet or ResNet in timm."""
        if convs := self._find(r"stage4\.0\.branches\.0\.\d+\.conv1"):
            width = convs[0].shape[0]
            return SMALL.get((width, len(convs)), f"hrnet_w{width}")
        blocks = len(self._find(r"body\.layer3\.\d+\.conv1"))
        size = blocks, len(self._find(r"body\.layer3\.0\.conv\d"))
        if size not in RESNETS:
            raise ValueError("expected the weights of an HRNet or a ResNet, got those of neither")
        return f"resnet{RESNETS[size]}"

    def _find(self, layer: str) -> list[Tensor]:
        """Return the weights of the backbone's layers whose names match a pattern."""
        weights = self.weights.items()
        return [w for name, w in weights if re.fullmatch(rf"backbone\.{layer}\.weight", name)]


def read_checkpoint(checkpoint: str | Path | Mapping[str, object]) -> Checkpoint:
    """Read a checkpoint file or its content, a state dict or a mapping with ``"state_dict"``."""
    content = checkpoint if isinstance(checkpoint, Mapping) else load_tensors(checkpoint)
    inner = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(inner, Mapping) or not all(isinstance(w, Tensor) for w in inner.values()):
        raise ValueError(
            f"expected a checkpoint that maps names to tensors, at the top level or under "
            f"'state_dict', got {_describe(inner)}"
        )
    names = _generator_names(inner)
    meta = content.get("meta") if isinstance(content, Mapping) else None
    texts = [v for v in meta.values() if isinstance(v, str)] if isinstance(meta, Mapping) else []
    file = "" if isinstance(checkpoint, Mapping) else Path(checkpoint).name
    weights = {name: inner[old] for name, old in names.items()}
    return Checkpoint(weights, names, _grid(names, "\n".join(texts), file))


def _generator_names(weights: Mapping[str, object]) -> dict[str, str]:
    """Map the generator's names of the tensors to those in the file."""
    names = {_rename(old): old for old in weights}
    if len(names) < len(weights):
        twice = next(old for old in weights if names[_rename(old)] != old)
        raise ValueError(
            f"expected the weights of one network, got {twice!r} and {names[_rename(twice)]!r}: "
            "pass the tensors of one of them"
        )
    if "head.0.weight" in names:  # in files, the last layer is a separate module
        last = LAST["deconv" if any("deconv_layers." in old for old in weights) else "concat"]
        renamed = {f"head.{part}": f"{last}.{part}" for part in ("weight", "bias")}
        names = {renamed.get(name, name): old for name, old in names.items()}
    if any(name.startswith("backbone.layer4.") for name in names):  # a ResNet
        names = {re.sub(r"^backbone\.", "backbone.body.", name): old for name, old in names.items()}
    return names


def _rename(name: str) -> str:
    name = re.sub(r"^((module|model|generator|_orig_mod)\.)*(backbone\.)?", "", name)
    name = re.sub(r"^((keypoint_)?head\.)?final_layer\.(weight|bias)$", r"head.\3", name)
    name = re.sub(r"^((keypoint_)?head\.)?(final|conv|deconv)_layers?\.(\d)", r"head.\4", name)
    return name if re.match(r"head\.(\d\.)?\w+$", name) else f"backbone.{name}"


def _grid(names: dict[str, str], config: str, file: str) -> dict[str, Any] | None:
    """Return the grid of a published head, ``None`` for a head saved by the generator."""
    if not any(new.startswith("head.") and "_layer" in old for new, old in names.items()):
        return None
    udp = re.search(r"use_udp=True|encoding='UDP'|UDPHeatmap", config) or "_udp" in file
    return {"stride": 4, "offset": 0.0, "align_corners": bool(udp)}


def _describe(weights: object) -> str:
    if not isinstance(weights, Mapping):
        return type(weights).__name__
    others = [f"{n}: {type(w).__name__}" for n, w in weights.items() if not isinstance(w, Tensor)]
    return ", ".join(others[:5])
