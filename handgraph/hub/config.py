"""Skeletons and removal sets as JSON, by the names of their joints; what a config must hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from handgraph import __version__
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets

FORMAT = 1
"""The format that is written. Raise it when older versions could no longer read what is written,
and turn the format before into the new one in :func:`read_config`."""

Config = dict[str, Any]
"""``format``, ``handgraph`` (the version that wrote it), ``class``, ``arguments``, ``about``."""


def skeleton_to_json(skeleton: Skeleton) -> dict[str, Any]:
    """Everything that a skeleton is made of.

    Example:
        >>> from handgraph import HAND
        >>> from handgraph.hub.config import skeleton_from_json, skeleton_to_json
        >>> skeleton_from_json(skeleton_to_json(HAND)) == HAND
        True
    """
    return {
        "name": skeleton.name,
        "joints": list(skeleton.joints),
        "edges": [list(edge) for edge in skeleton.edges],
        "groups": {name: list(joints) for name, joints in skeleton.groups.items()},
        "aliases": dict(skeleton.aliases),
        "root": skeleton.root,
        "keep": None if skeleton.keep is None else list(skeleton.keep),
    }


def skeleton_from_json(values: Mapping[str, Any]) -> Skeleton:
    """Build a skeleton from what :func:`skeleton_to_json` gave."""
    keep = values.get("keep")
    return Skeleton(**{**values, "keep": None if keep is None else tuple(keep)})


def removal_to_json(removal: RemovalSets) -> dict[str, Any]:
    """A skeleton, and the joints that each set removes; a list, since branches have an order.

    Example:
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.hub.config import removal_to_json
        >>> removal_to_json(RemovalSets.by_level(HAND))["sets"][0]["removes"][0]
        'thumb_tip'
    """
    joints = removal.skeleton.joints
    sets = [
        {"name": name, "removes": [joints[i] for i in (~mask).nonzero().flatten().tolist()]}
        for name, mask in zip(removal.names, removal.keep_mask, strict=True)
    ]
    return {"skeleton": skeleton_to_json(removal.skeleton), "sets": sets}


def removal_from_json(values: Mapping[str, Any]) -> RemovalSets:
    """Build removal sets from what :func:`removal_to_json` gave."""
    sets = {entry["name"]: entry["removes"] for entry in values["sets"]}
    if len(sets) != len(values["sets"]):
        raise ValueError(f"two removal sets have one name: {[s['name'] for s in values['sets']]}")
    return RemovalSets(skeleton_from_json(values["skeleton"]), sets)


def read_config(path: Path, kind: str) -> Config:
    """Read the config of a lifter, and refuse what is none.

    Args:
        path: The file.
        kind: The class that it must be of.

    Raises:
        ValueError: If it is no JSON, was not written by handgraph, or by a later version in a
            format that this one does not know, or belongs to another class.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, or no text
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not _is_ours(config):
        raise ValueError(f"{path} is not the config of a lifter of handgraph")
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path} was written by handgraph {config['handgraph']} in format {config['format']}; "
            f"handgraph {__version__} knows formats up to {FORMAT}: upgrade handgraph"
        )
    if config["class"] != kind:
        raise ValueError(f"{path} is the config of a {config['class']}, expected a {kind}")
    return config


def _is_ours(config: object) -> TypeGuard[Config]:
    kinds = {"format": int, "handgraph": str, "class": str, "arguments": dict, "about": dict}
    if not isinstance(config, dict):
        return False
    typed = all(isinstance(config.get(key), kind) for key, kind in kinds.items())
    return typed and config["format"] >= 1
