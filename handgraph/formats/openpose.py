"""OpenPose's JSON: people with hands of 21 joints."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from handgraph.formats._json import check_scores, entries, field, hide, load, record, table
from handgraph.formats.keypoints import Hand, Keypoints, Side, stack
from handgraph.skeletons import HAND

_KEYS: dict[Side, str] = {
    "left": "hand_left_keypoints_2d",
    "right": "hand_right_keypoints_2d",
}


def read_openpose(source: str | PathLike[str] | dict[str, Any]) -> Keypoints:
    """Read the hands that OpenPose writes with ``--hand --write_json``.

    Source: OpenPose's documentation, "Output" (``hand_left_keypoints_2d``,
    ``hand_right_keypoints_2d``).

    The joints are in the order of :data:`handgraph.HAND`. A joint whose score is 0 is missing, as
    OpenPose writes 0, 0, 0. Scores are peaks of heatmaps and may exceed 1: those become 1, and a
    warning says how many. An empty list, or one of missing joints only, gives no hand.

    Args:
        source: The file of one image, or its content.

    Shapes:
        In the file: 63 numbers u, v, score for each hand. See :class:`Keypoints` for the result.

    Units:
        Those of the file: pixels unless ``--keypoint_scale`` was changed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no JSON or a field is missing or wrong. The message names the
            person and the field.

    Example:
        >>> from handgraph.formats import read_openpose
        >>> row = [310.0, 242.0, 0.9]
        >>> person = {"hand_left_keypoints_2d": 20 * row + [0, 0, 0], "hand_right_keypoints_2d": []}
        >>> hands = read_openpose({"version": 1.3, "people": [person]})
        >>> hands.side, hands.missing.nonzero().tolist()
        (('left',), [[0, 20]])
    """
    content, name = load(source, "OpenPose")
    title = Path(name).stem
    hands = []
    for i, person in enumerate(entries(field(content, "people", name), f"{name}: people")):
        where = f"{name}: people[{i}]"
        if not any(key in record(person, where) for key in _KEYS.values()):
            raise ValueError(f"{where}: no {' and no '.join(_KEYS.values())}: run OpenPose --hand")
        for side, key in _KEYS.items():
            if numbers := entries(person.get(key, []), f"{where}.{key}"):
                hands.append(_hand(numbers, f"{where}.{key}", side, title))
    return stack(hands, name)


def _hand(numbers: list[Any], where: str, side: Side, name: str) -> Hand:
    rows = table(numbers, HAND.num_joints, 3, where)
    score = check_scores(rows[:, 2], where)
    return Hand(hide(rows[:, :2], score > 0), score, None, side, None, name)
