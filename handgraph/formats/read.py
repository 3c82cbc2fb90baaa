"""One reader for the files of all detectors, which recognises their format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from handgraph.formats._json import Loaded, load
from handgraph.formats.coco import read_coco
from handgraph.formats.freihand import read_freihand
from handgraph.formats.h3wb import read_h3wb
from handgraph.formats.interhand import read_interhand
from handgraph.formats.keypoints import Keypoints, Side
from handgraph.formats.mediapipe import read_mediapipe
from handgraph.formats.mmpose import read_mmpose
from handgraph.formats.openpose import read_openpose
from handgraph.formats.rhd import read_rhd
from handgraph.skeleton import Skeleton


class Format(NamedTuple):
    """A file format.

    Args:
        read: Reader of the format.
        fields: Sets of fields; a file that has all fields of one set has this format.
        options: Arguments of the reader that other readers do not have.
        endings: File name endings of a format without fields; its reader takes the path.
    """

    read: Callable[..., Keypoints]
    fields: tuple[set[str], ...] = ()
    options: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()


def _read_freihand(joints: str | PathLike[str]) -> Keypoints:
    """Read FreiHAND, given the path of its file of joints."""
    path = Path(joints)
    return read_freihand(path.parent, path.name.removesuffix("_xyz.json"))


FORMATS = {
    "mediapipe": Format(
        read_mediapipe,
        ({"multi_hand_landmarks"}, {"multiHandLandmarks"}, {"hand_landmarks"},
         {"landmarks", "handedness"}, {"landmarks", "handednesses"}, {"landmark"}, {"x", "y", "z"}),
        ("image_size", "mirrored_labels"),
    ),
    "openpose": Format(read_openpose, ({"people"},)),
    "coco": Format(
        read_coco,
        ({"images", "annotations", "categories"}, {"images", "annotations", "keypoints"}),
        ("order",),
    ),
    "mmpose": Format(
        read_mmpose,
        ({"predictions"}, {"instance_info"}, {"instances", "frame_id"},
         {"keypoints", "keypoint_scores"}),
        ("order",),
    ),
    "h3wb": Format(read_h3wb, ({"keypoints_2d"}, {"keypoints_3d", "image_path"})),
    "interhand": Format(read_interhand, ({"images", "annotations", "joint_valid"},)),
    "freihand": Format(_read_freihand, endings=("training_xyz.json", "evaluation_xyz.json")),
    "rhd": Format(read_rhd, endings=(".pickle",)),
}  # fmt: skip
"""Formats by name."""


def read_keypoints(
    source: str | PathLike[str] | object,
    format: str | None = None,
    *,
    side: Side | None = None,
    image_size: tuple[float, float] | None = None,
    mirrored_labels: bool | None = None,
    order: Skeleton | None = None,
) -> Keypoints:
    """Read hands from a file of any format.

    :func:`guess_format` recognises the format, and :func:`read_mediapipe`, :func:`read_openpose`,
    :func:`read_coco`, :func:`read_mmpose`, :func:`read_h3wb`, :func:`read_interhand`,
    :func:`read_freihand` or :func:`read_rhd` reads the file. FreiHAND and InterHand2.6M have
    several files in one folder. Pass ``*_xyz.json`` or ``*_data.json``; the others are read
    from the same folder.

    Args:
        source: A file, its content, or a result of MediaPipe or its landmarks. FreiHAND and RHD
            need a file.
        format: ``"mediapipe"``, ``"openpose"``, ``"coco"``, ``"mmpose"``, ``"h3wb"``,
            ``"interhand"``, ``"freihand"`` or ``"rhd"``. Default: recognised.
        side: Side of all hands, instead of the sides that the file states.
        image_size: Width and height of the image. Required for MediaPipe, refused for the others.
        mirrored_labels: For MediaPipe; see :func:`read_mediapipe`.
        order: For COCO and mmpose; see :func:`read_coco` and :func:`read_mmpose`.

    Shapes:
        See :class:`Keypoints`.

    Units:
        image_size in pixels. See :class:`Keypoints` for the result.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the format is not recognised, an argument is not for this format, or a field
            is missing or wrong. The message names the record and the field.

    Example:
        >>> from handgraph.formats import read_keypoints
        >>> person = {"hand_left_keypoints_2d": [1, 2, 0.9, 3, 5, 0.8, 4, 4, 0.7] + 54 * [0]}
        >>> hands = read_keypoints({"people": [person]})
        >>> hands.side, hands.uv[0, 1].tolist(), hands.missing.sum().item()
        (('left',), [3.0, 5.0], 18)
    """
    if side not in (None, "right", "left"):
        raise ValueError(f"side: expected 'right' or 'left', got {side!r}")
    if format is not None and format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    content = load_keypoints(source, format)
    form = guess_format(content) if format is None else format
    options = {"image_size": image_size, "mirrored_labels": mirrored_labels, "order": order}
    given = {name: value for name, value in options.items() if value is not None}
    _check_options(given, form, content.name if isinstance(content, Loaded) else str(content))
    if form == "mediapipe" and side is not None:
        given["mirrored_labels"] = False  # the labels are replaced, whatever they refer to
    hands = FORMATS[form].read(content, **given)
    return hands if side is None else replace(hands, side=(side,) * len(hands))


def _check_options(given: Mapping[str, Any], form: str, name: str) -> None:
    """Raise if an argument is not for the file's format, or if a required one is missing."""
    for option in given:
        forms = [key for key, known in FORMATS.items() if option in known.options]
        if form not in forms:
            raise ValueError(
                f"{name}: {option} is for {' and '.join(forms)}, but the file's format is {form}"
            )
    if form == "mediapipe" and "image_size" not in given:
        raise ValueError(f"{name}: MediaPipe's coordinates are relative: expected image_size")


def load_keypoints(source: object, format: str | None) -> object:
    """Load a JSON file; return the path of a file whose reader takes the path."""
    form = _by_name(source) if format is None else format
    return source if form is not None and FORMATS[form].endings else load(source, "keypoints")


def guess_format(source: str | PathLike[str] | object) -> str:
    """Return the format that matches the fields of a file, or its name (FreiHAND and RHD).

    Args:
        source: A file, its content, or a result of MediaPipe.

    Shapes:
        None.

    Units:
        None.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the fields match no format, or several.

    Example:
        >>> from handgraph.formats import guess_format
        >>> guess_format({"people": []})
        'openpose'
    """
    if (named := _by_name(source)) is not None:
        return named
    content, name = load(source, "keypoints")
    keys = _fields(content)
    found = [form for form, known in FORMATS.items() if any(one <= keys for one in known.fields)]
    if len(found) != 1:
        raise ValueError(
            f"{name}: expected fields of one format, got those of {' and '.join(found) or 'none'}: "
            f"pass format, one of {', '.join(FORMATS)}"
        )
    return found[0]


def _by_name(source: object) -> str | None:
    """Return the format whose file name ending matches, or ``None``."""
    name = Path(source).name if isinstance(source, str | PathLike) else ""
    return next((form for form, known in FORMATS.items() if name.endswith(known.endings)), None)


def _fields(content: object) -> set[str]:
    """Return the fields of the first record, and of its first sample or annotation.

    A result of a detector's Python API is not a JSON object, but has attributes of the same names.
    """
    first = _first(content)
    if not isinstance(first, Mapping):
        return set(dir(first))
    inner = (next(iter(first.values()), None), _first(first.get("annotations")))
    return set(first).union(*(one for one in inner if isinstance(one, Mapping)))


def _first(content: object) -> object:
    """Return the first entry of nested lists."""
    while isinstance(content, list) and content:
        content = content[0]
    return content
