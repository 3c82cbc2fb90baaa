"""Reader of results of mmpose's inferencer and demos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from handgraph._check import check_skeleton
from handgraph.formats._json import check_scores, entries, fail, field, hide, load, record, table
from handgraph.formats._names import FROM_BASE, FROM_TIP, WHOLE_BODY, Order, find_hands
from handgraph.formats.keypoints import Hand, Keypoints, stack
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND

HANDS = Order(HAND.num_joints, {None: list(range(HAND.num_joints))})
"""Order of mmpose's hand models, except for RHD and InterHand2D."""


def read_mmpose(
    source: str | PathLike[str] | dict[str, Any] | list[Any], *, order: Skeleton | None = None
) -> Keypoints:
    """Read hands from results of mmpose.

    Source: mmpose's guide "Inference with existing models" and ``mmpose/structures/utils.py``
    (``split_instances``).

    The reader supports the output of ``MMPoseInferencer`` (``predictions``), its files in
    ``pred_out_dir`` (a list of instances, or of frames of a video), and the files of the demos
    (``instance_info``). Joints are matched by the names in ``meta_info``, if present. Finger joints
    are numbered 1 to 4 from the palm, or from the tip for models of RHD (``dataset_name`` is
    ``"rhd2d"``). Without names, 21 joints are those of :data:`handgraph.HAND`, and 133 joints are
    those of COCO-WholeBody, with a left and a right hand. Results of models of RHD or InterHand2D
    need ``order``.

    A joint with a confidence of 0 or less is missing. Confidences above 1 are set to 1; a warning
    gives their number.

    Args:
        source: The file of one image or video, or its content.
        order: Skeleton whose joint order replaces that of the file.

    Shapes:
        Each instance has ``keypoints`` ``[J][2]`` and ``keypoint_scores`` ``[J]``. See
        :class:`Keypoints` for the result; ``side`` is ``None`` except for COCO-WholeBody.

    Units:
        Pixels.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not JSON, a field is missing or wrong, or the joint order is
            unknown. The message names the instance and the field.

    Example:
        >>> from handgraph.formats import read_mmpose
        >>> rows = [[10.0 * i, 5.0] for i in range(21)]
        >>> hands = read_mmpose([{"keypoints": rows, "keypoint_scores": [0.9] * 20 + [0.0]}])
        >>> hands.side, hands.missing[0].nonzero().tolist()
        ((None,), [[20]])
    """
    if order is not None:
        check_skeleton(order, "order")
    content, name = load(source, "mmpose")
    known = None if order is None else find_hands(order.joints, order.name)
    if isinstance(content, Mapping) and known is None and "meta_info" in content:
        known = _named(record(content["meta_info"], f"{name}: meta_info"), f"{name}: meta_info")
    hands: list[Hand] = []
    for instance, where, frame in _instances(content, name, Path(name).stem):
        hands += _hands(instance, known, where, frame)
    return stack(hands, name)


def _named(meta: Mapping[str, Any], where: str) -> Order:
    """Return the joint order of ``meta_info``."""
    names = record(field(meta, "keypoint_id2name", where), f"{where}: keypoint_id2name")
    levels = FROM_TIP if meta.get("dataset_name") == "rhd2d" else FROM_BASE
    try:
        ordered = [str(names[key]) for key in sorted(names, key=int)]
    except ValueError as error:
        raise fail(f"{where}: keypoint_id2name", "numbers and names", names) from error
    return find_hands(ordered, where, levels)


def _instances(content: object, where: str, frame: str) -> Iterator[tuple[object, str, str]]:
    """Yield each instance, its location, and the name of its image or frame."""
    if isinstance(content, Mapping) and "keypoints" not in content:
        keys = [key for key in ("predictions", "instance_info", "instances") if key in content]
        if not keys:
            raise fail(where, "keypoints, predictions, instance_info or instances", content)
        number = f" {content['frame_id']}" if "frame_id" in content else ""
        yield from _instances(content[keys[0]], f"{where}: {keys[0]}", frame + number)
    elif isinstance(content, Mapping):
        yield content, where, frame
    else:
        for i, entry in enumerate(entries(content, where)):
            yield from _instances(entry, f"{where}[{i}]", frame)


def _hands(instance: object, order: Order | None, where: str, name: str) -> list[Hand]:
    """Return the hands of an instance."""
    keypoints = entries(field(instance, "keypoints", where), f"{where}: keypoints")
    order = order or {o.length: o for o in (HANDS, WHOLE_BODY)}.get(len(keypoints))
    if order is None:
        raise ValueError(
            f"{where}: keypoints: expected 21 or 133 joints, got {len(keypoints)}: pass order=..., "
            "a skeleton with this joint order"
        )
    uv = table(keypoints, order.length, 2, f"{where}: keypoints")
    what = f"{where}: keypoint_scores"
    score = table(field(instance, "keypoint_scores", where), order.length, 1, what)[:, 0]
    score = check_scores(score.clamp(min=0), what)
    uv = hide(uv, score > 0)
    return [
        Hand(uv[index], score[index], None, side, None, name) for side, index in order.hands.items()
    ]
