"""Reader of OpenPose's JSON files with hands of 21 joints."""

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
    """Read hands from the output of OpenPose with ``--hand --write_json``.

    Source: OpenPose's documentation, "Output" (``hand_left_keypoints_2d``,
    ``hand_right_keypoints_2d``).

    The joints are in the order of :data:`handgraph.HAND`. A joint with a confidence of 0 is missing
    (OpenPose writes 0, 0, 0). Confidences are heatmap peaks; those above 1 are set to 1, and a
    warning gives their number. An empty list, null (written by other programs in this format), or a
    list of missing joints only, gives no hand.

    Args:
        source: The file of an image, or its content.

    Shapes:
        The file has 63 numbers u, v, confidence for each hand. See :class:`Keypoints` for the
        result.

    Units:
        The units of the file: pixels, unless ``--keypoint_scale`` is changed.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not JSON or a field is missing or wrong. The message names the
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
            numbers = person.get(key)
            if numbers is not None and (numbers := entries(numbers, f"{where}.{key}")):
                hands.append(_hand(numbers, f"{where}.{key}", side, title))
    return stack(hands, name)


def _hand(numbers: list[Any], where: str, side: Side, name: str) -> Hand:
    rows = table(numbers, HAND.num_joints, 3, where)
    score = check_scores(rows[:, 2], where)
    return Hand(hide(rows[:, :2], score > 0), score, None, side, None, name)
