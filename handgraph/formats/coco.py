"""Reader of hands in COCO and COCO-WholeBody annotations."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from handgraph._check import check_skeleton
from handgraph.formats._json import entries, fail, field, hide, load, record, table
from handgraph.formats._names import FROM_BASE, FROM_TIP, Order, find_hands
from handgraph.formats._tables import Row, camera_matrix, image_size, referred, rows, rows_by_id
from handgraph.formats.keypoints import Hand, Keypoints, Side, stack
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND, RHD

WHOLE_BODY: dict[str, Side] = {"lefthand_kpts": "left", "righthand_kpts": "right"}
"""Fields of COCO-WholeBody, in the order of ``HAND``."""

MAX_V = 2.0
"""Upper bound of COCO's v: 0 not labelled, 1 labelled, 2 labelled and visible."""


def read_coco(
    source: str | PathLike[str] | dict[str, Any], *, order: Skeleton | None = None
) -> Keypoints:
    """Read the hands of a COCO annotation file.

    Source: COCO's "Data format", 2; COCO-WholeBody's ``data_format.md``; the hand data sets as
    mmpose converts them (OneHand10K, FreiHAND, RHD). mmpose's InterHand2D reads the files of
    InterHand2.6M itself, as :func:`read_interhand` does.

    Joints are matched by the names of the category, which may contain more joints, or two hands
    with the prefixes ``left_`` and ``right_``. ``lefthand_kpts`` and ``righthand_kpts`` are used if
    an annotation has them. Finger joints are numbered 1 to 4 from the palm, except in mmpose's RHD
    files (``info.description`` is ``"RHD"``), which number joints from the tip.

    A joint with v = 0 is missing. ``score`` is v / 2: 1 for a visible joint, and 0.5 for a joint
    that is labelled but occluded, or of unknown visibility (mmpose's files have v = 1 everywhere).
    If some v are fractions and none exceeds 1, they are a detector's confidences and used
    unchanged.

    Args:
        source: The file or its content.
        order: Skeleton whose joint names replace those of the file.

    Shapes:
        The file has u, v, flag for each joint, flat or nested. See :class:`Keypoints` for the
        result: ``side`` is from the names or from ``hand_type``, ``xyz`` from ``joint_cam``, ``K``
        from the image's ``cam_param``.

    Units:
        Pixels; ``joint_cam`` in millimetres.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not JSON, a field is missing or wrong, or joints of a hand are
            not among the names. The message names the annotation and the field.

    Example:
        >>> from handgraph import INTERHAND
        >>> from handgraph.formats import read_coco
        >>> names = [joint.removeprefix("right_") for joint in INTERHAND.joints[:21]]
        >>> rows = [[10.0 * i, 5.0, 2] for i in range(21)]
        >>> rows[0] = [0, 0, 0]  # the thumb tip is the first joint
        >>> hands = read_coco({
        ...     "images": [{"id": 7, "file_name": "7.jpg", "width": 640, "height": 480}],
        ...     "categories": [{"id": 1, "name": "hand", "keypoints": names}],
        ...     "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "keypoints": rows}],
        ... })
        >>> hands.name, hands.missing[0].nonzero().tolist(), hands.uv[0, 0].tolist()
        (('7.jpg',), [[4]], [200.0, 5.0])
    """
    if order is not None:
        check_skeleton(order, "order")
    content, name = load(source, "COCO")
    file = _File(record(content, name), name, order)
    hands: list[Hand] = []
    for i, annotation in enumerate(rows(content, "annotations", name)):
        hands += file.hands(record(annotation, where := f"{name}: annotations[{i}]"), where)
    if hands:
        v = torch.stack([hand.score for hand in hands if hand.score is not None])
        are_scores = bool((v % 1 != 0).any()) and bool((v <= 1).all())
        v = v if are_scores else v / 2
        hands = [hand._replace(score=score) for hand, score in zip(hands, v, strict=True)]
    return stack(hands, name)


class _File:
    """Tables of a file, by id."""

    def __init__(self, content: Row, name: str, order: Skeleton | None) -> None:
        self.name, self.order = name, order
        self.images = rows_by_id(content, "images", name)
        self.categories = {} if order is not None else rows_by_id(content, "categories", name)
        info = content.get("info")
        from_tip = isinstance(info, Mapping) and info.get("description") == RHD.name
        self.levels = FROM_TIP if from_tip else FROM_BASE
        self.orders: dict[object, Order] = {}

    def hands(self, annotation: Row, where: str) -> list[Hand]:
        """Return the hands of an annotation."""
        image = referred(self.images, annotation, "image_id", where)
        if any(key in annotation for key in WHOLE_BODY):
            order = Order(HAND.num_joints, {None: list(range(HAND.num_joints))})
            return [
                _hand(annotation, image, where, key, order, None)._replace(side=side)
                for key, side in WHOLE_BODY.items()
                if annotation.get(key)
            ]
        if not entries(field(annotation, "keypoints", where), f"{where}: keypoints"):
            return []
        order = self._order(annotation, where)
        return [_hand(annotation, image, where, "keypoints", order, side) for side in order.hands]

    def _order(self, annotation: Row, where: str) -> Order:
        """Return the joint order of the annotation's category."""
        if self.order is not None:
            return find_hands(self.order.joints, self.order.name)
        category = referred(self.categories, annotation, "category_id", where)
        key = category["id"]
        if key not in self.orders:
            title = f"{self.name}: category {key}"
            names = entries(field(category, "keypoints", title), f"{title}: keypoints")
            self.orders[key] = find_hands([str(joint) for joint in names], title, self.levels)
        return self.orders[key]


def _hand(
    annotation: Row,
    image: Row,
    where: str,
    key: str,
    order: Order,
    side: Side | None,
) -> Hand:
    """Return a hand, with v as the score."""
    index = order.hands[side]
    points = table(annotation[key], order.length, 3, f"{where}: {key}")[index]
    v = points[:, 2]
    if bool(((v < 0) | (v > MAX_V)).any()):
        raise fail(f"{where}: {key}", "v from 0 to 2", v.tolist())
    xyz = None
    if "joint_cam" in annotation:
        xyz = table(annotation["joint_cam"], order.length, 3, f"{where}: joint_cam")[index] / 1000
    uv, size = hide(points[:, :2], v > 0), image_size(image, where)
    title = str(image.get("file_name", image["id"]))
    side = side or _side(annotation, where)
    return Hand(uv, v, None, side, size, title, xyz, _camera(image, where))


def _side(annotation: Row, where: str) -> Side | None:
    """Return the side in ``hand_type``, or ``None``."""
    known: dict[object, Side | None] = {"left": "left", "right": "right", "interacting": None}
    value = annotation.get("hand_type", "interacting")
    if not isinstance(value, str) or value not in known:
        raise fail(f"{where}: hand_type", "left, right or interacting", value)
    return known[value]


def _camera(image: Row, where: str) -> Tensor | None:
    """Return the camera matrix of mmpose's ``cam_param``."""
    if "cam_param" not in image:
        return None
    what = f"{where}: the image's cam_param"
    focal, princpt = (field(image["cam_param"], key, what) for key in ("focal", "princpt"))
    return camera_matrix(focal, princpt, what)
