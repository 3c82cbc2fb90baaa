"""JSON of skeletons and removal sets by joint names, and validation of configs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from handgraph import __version__
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets

FORMAT = 1
"""Version of the config format. Increment it if older versions cannot read the new format,
and convert the previous format in :func:`read_config`."""

Config = dict[str, Any]
"""``format``, ``handgraph`` (version of the writer), ``class``, ``arguments``, ``about``."""


def skeleton_to_json(skeleton: Skeleton) -> dict[str, Any]:
    """Convert a skeleton to JSON.

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
    """Build a skeleton from the output of :func:`skeleton_to_json`."""
    keep = values.get("keep")
    return Skeleton(**{**values, "keep": None if keep is None else tuple(keep)})


def removal_to_json(removal: RemovalSets) -> dict[str, Any]:
    """Convert removal sets to JSON: a skeleton, and an ordered list of sets of removed joints.

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
    """Build removal sets from the output of :func:`removal_to_json`."""
    sets = {entry["name"]: entry["removes"] for entry in values["sets"]}
    if len(sets) != len(values["sets"]):
        raise ValueError(f"two removal sets have one name: {[s['name'] for s in values['sets']]}")
    return RemovalSets(skeleton_from_json(values["skeleton"]), sets)


def read_config(path: Path, kind: str) -> Config:
    """Read and validate the config of a lifter.

    Args:
        path: The file.
        kind: Name of the expected class.

    Raises:
        ValueError: If the file is not JSON, not a config of handgraph, of a later format, or of
            another class.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not JSON, or not text
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not _is_ours(config):
        raise ValueError(f"{path} is not the config of a lifter of handgraph")
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path} was written by handgraph {config['handgraph']} in format {config['format']}; "
            f"handgraph {__version__} reads formats up to {FORMAT}: upgrade handgraph"
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
