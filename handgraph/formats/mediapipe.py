"""Reader of MediaPipe's hands, from the legacy API and the Tasks API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple, TypeGuard

import torch

from handgraph._check import check_positive
from handgraph.formats._json import entries, fail, load, number
from handgraph.formats.keypoints import Hand, Keypoints, Side, stack
from handgraph.skeletons import HAND


class Api(NamedTuple):
    """Field names of landmarks and labels in one of MediaPipe's APIs."""

    landmarks: tuple[str, ...]
    labels: tuple[str, ...]


LEGACY = Api(
    ("multi_hand_landmarks", "multiHandLandmarks"), ("multi_handedness", "multiHandedness")
)
"""``mediapipe.solutions.hands``."""

TASKS = Api(("hand_landmarks", "landmarks"), ("handedness", "handednesses"))
"""``mediapipe.tasks``, ``HandLandmarker``."""

_LABEL = ("label", "category_name", "categoryName")


def read_mediapipe(
    source: str | PathLike[str] | object,
    image_size: tuple[float, float],
    *,
    mirrored_labels: bool | None = None,
) -> Keypoints:
    """Read hands of MediaPipe from a result, landmarks, a list of them, or JSON.

    Source: MediaPipe's documentation of ``solutions.hands`` (``multi_hand_landmarks``,
    ``multi_handedness``) and of ``HandLandmarkerResult`` (``hand_landmarks``, ``handedness``; in
    JavaScript ``landmarks``).

    The joints are in the order of :data:`handgraph.HAND`, and none is missing. Joints have no
    confidence; ``visibility`` and ``presence`` are not set for hands and are ignored.

    ``side`` refers to the hand in the image. MediaPipe's legacy API assumes a mirrored image (a
    selfie), so the label of a left hand in the pixels is "Right". Tasks swaps labels in version
    0.10.0, but not in 0.10.15 (on Android), so it requires ``mirrored_labels``. A mirrored image of
    a right hand shows a left hand and is lifted as one. The landmarks of a hand alone have no side.

    Args:
        source: A file, its content, a result, the 21 landmarks of a hand, or a list of these.
        image_size: Width and height of the image.
        mirrored_labels: Whether labels refer to the mirrored image and are swapped. Default: True
            for the legacy API, an error for Tasks.

    Shapes:
        The source has 21 landmarks x, y, z for each hand. See :class:`Keypoints` for the result.

    Units:
        The source has x and z (relative to the wrist) as fractions of the image width, and y as a
        fraction of the height. The result is in pixels.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the source has no landmarks, a field is missing or wrong, or Tasks labels are
            read without ``mirrored_labels``. The message names the record and the field.

    Example:
        >>> from handgraph.formats import read_mediapipe
        >>> hand = {"landmark": [{"x": 0.5, "y": 0.25, "z": -0.01}] * 21}
        >>> label = {"classification": [{"index": 1, "score": 0.98, "label": "Right"}]}
        >>> result = {"multi_hand_landmarks": [hand], "multi_handedness": [label]}
        >>> hands = read_mediapipe(result, image_size=(640, 480))
        >>> hands.side, hands.uv[0, 0].tolist(), round(hands.depth[0, 0].item(), 1)
        (('left',), [320.0, 120.0], -6.4)
    """
    _check_size(image_size)
    content, name = load(source, "MediaPipe")
    several = _is_list(content) and not _is_hand(content)
    results = entries(content, name) if several else [content]
    hands = []
    for i, result in enumerate(results):
        where = f"{name}: [{i}]" if several else name
        title = Path(name).stem + (f" {i}" if several else "")
        hands += _hands(result, where, title, image_size, mirrored_labels)
    return stack(hands, name)


def _check_size(size: tuple[float, float]) -> None:
    """Raise unless ``size`` is the width and height of an image."""
    if isinstance(size, int | float) or len(size) != 2:
        raise ValueError(f"image_size: expected (width, height) in pixels, got {size!r}")
    for length in size:
        check_positive(length, "image_size")


def _hands(
    result: object, where: str, name: str, size: tuple[float, float], mirrored: bool | None
) -> list[Hand]:
    """Return the hands of an image."""
    if _is_hand(result):
        return [_hand(result, where, None, name, size)]
    api = LEGACY if _key(result, LEGACY.landmarks) else TASKS
    key = _key(result, api.landmarks)
    if key is None:
        raise fail(where, "multi_hand_landmarks, hand_landmarks or landmarks", result)
    hands = entries(_get(result, key, []), f"{where}: {key}")
    labels = _labels(result, api, where, len(hands))
    if mirrored is None and api is TASKS and any(labels):
        raise ValueError(
            f"{where}: {_key(result, api.labels)}: pass mirrored_labels, whether labels refer to "
            "the mirrored image, which depends on the version of Tasks"
        )
    sides = labels if mirrored is False else [_other(label) for label in labels]
    return [
        _hand(hand, f"{where}: {key}[{i}]", side, name, size)
        for i, (hand, side) in enumerate(zip(hands, sides, strict=True))
    ]


def _is_hand(content: object) -> bool:
    """Return whether ``content`` is the landmarks of one hand, not a result."""
    if _is_list(content):
        return len(content) > 0 and _key(content[0], ("x",)) is not None
    return _key(content, ("landmark",)) is not None


def _is_list(content: object) -> TypeGuard[Sequence[object]]:
    """Return whether ``content`` is a list; results of the legacy API are named tuples."""
    return isinstance(content, Sequence) and not isinstance(content, str | tuple)


def _hand(
    landmarks: object, where: str, side: Side | None, name: str, size: tuple[float, float]
) -> Hand:
    """Return a hand in pixels."""
    joints = entries(_get(landmarks, "landmark", landmarks), where)
    if len(joints) != HAND.num_joints:
        raise ValueError(f"{where}: expected {HAND.num_joints} landmarks, got {len(joints)}")
    rows = [
        [number(_get(joint, axis), f"{where}[{j}].{axis}") for axis in "xyz"]
        for j, joint in enumerate(joints)
    ]
    width, height = size
    points = torch.tensor(rows, dtype=torch.float64, device="cpu")
    pixels = (points * points.new_tensor([width, height, width])).to(torch.float32)
    return Hand(pixels[:, :2], None, pixels[:, 2], side, (float(width), float(height)), name)


def _labels(result: object, api: Api, where: str, hands: int) -> list[Side | None]:
    """Return the label of each hand, or ``None``."""
    key = _key(result, api.labels)
    if key is None:
        return [None] * hands
    values = entries(_get(result, key, []), f"{where}: {key}")
    if len(values) != hands:
        raise ValueError(f"{where}: {key}: expected {hands} entries, got {len(values)}")
    return [_label(value, f"{where}: {key}[{i}]") for i, value in enumerate(values)]


def _label(value: object, where: str) -> Side:
    """Return the side of the most likely category."""
    value = _get(value, "classification", value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    key = _key(value, _LABEL)
    label = value if key is None else _get(value, key)
    sides: dict[object, Side] = {"left": "left", "right": "right"}
    if not isinstance(label, str) or label.lower() not in sides:
        raise fail(where, "'Left' or 'Right'", label)
    return sides[label.lower()]


def _other(side: Side | None) -> Side | None:
    return side and ("left" if side == "right" else "right")


def _key(value: object, keys: Sequence[str]) -> str | None:
    """Return the first existing field of ``keys``."""
    fields = value if isinstance(value, Mapping) else [key for key in keys if hasattr(value, key)]
    return next((key for key in keys if key in fields), None)


def _get(value: object, key: str, default: object = None) -> object:
    """Return a field of a JSON object, or an attribute."""
    found = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
    return default if found is None else found
