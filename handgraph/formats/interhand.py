"""Reader of InterHand2.6M's JSON files of images, cameras and 3D joints."""

from __future__ import annotations

from functools import cache
from os import PathLike
from typing import Any, NamedTuple

from torch import Tensor

from handgraph.formats._json import field, flags, hide, load, record, table
from handgraph.formats._tables import Row, camera_matrix, image_size, referred, rows, rows_by_id
from handgraph.formats.keypoints import Hand, Keypoints, Side, stack
from handgraph.geometry import project
from handgraph.skeletons import HAND, INTERHAND

File = str | PathLike[str] | dict[str, Any]
"""A file or its content."""

SIDES: dict[Side, Tensor] = {
    "right": HAND.index_from(INTERHAND, side="right"),
    "left": HAND.index_from(INTERHAND, side="left"),
}
"""Indices of the joints of each hand."""


def read_interhand(
    data: File, camera: File | None = None, joint_3d: File | None = None
) -> Keypoints:
    """Read the hands of InterHand2.6M: ``*_data.json``, ``*_camera.json`` and ``*_joint_3d.json``.

    Source: Moon et al., "InterHand2.6M", ECCV 2020, and the page of the data set ("Annotation
    files").

    Each annotation gives up to two hands, the right hand first. Joints are reordered from
    :data:`handgraph.INTERHAND` to :data:`handgraph.HAND`, transformed from the world to the frame
    of the image's camera by :math:`R (x - t)` with ``camrot`` and ``campos``, and projected.

    Both files have flags of valid joints. In ``joint_3d`` valid joints are annotated; the ``xyz``
    of others is NaN. In ``data`` valid joints are annotated and inside the image; others are
    missing, as are joints behind the camera. A hand whose joints are all missing is left out. The
    result has no confidences, since the visibility is unknown.

    Args:
        data: Images and annotations.
        camera: Cameras. Default: the file next to data with ``_camera`` instead of ``_data``.
        joint_3d: Joints. Default: the file next to data with ``_joint_3d`` instead of ``_data``.

    Shapes:
        The files have ``world_coord`` ``[42][3]``, ``joint_valid`` ``[42][1]``, ``campos`` ``[3]``,
        ``camrot`` ``[3][3]``, ``focal`` and ``princpt`` ``[2]``. See :class:`Keypoints` for the
        result.

    Units:
        The files are in millimetres and pixels.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is not JSON, or a field is missing or wrong. The message names the
            file, the annotation (or capture, and frame or camera), and the field.

    Example:
        >>> from handgraph import INTERHAND
        >>> from handgraph.formats import read_interhand
        >>> image = {"id": 5, "file_name": "5.jpg", "width": 334, "height": 512,
        ...          "capture": 0, "camera": "400002", "frame_idx": 9}
        >>> valid = [[int(joint.startswith("left"))] for joint in INTERHAND.joints]
        >>> eye = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
        >>> camera = {"campos": [0, 0, -1000], "camrot": eye, "focal": [1200, 1200],
        ...           "princpt": [167, 256]}
        >>> joints = {"world_coord": [[i, 0, 0] for i in range(42)], "joint_valid": valid}
        >>> hands = read_interhand(
        ...     {"images": [image], "annotations": [{"image_id": 5, "joint_valid": valid}]},
        ...     {"0": {name: {"400002": value} for name, value in camera.items()}},
        ...     {"0": {"9": joints}},
        ... )
        >>> hands.side, [round(x, 3) for x in hands.xyz[0, 0].tolist()], hands.uv[0, 0].tolist()
        (('left',), [0.041, 0.0, 1.0], [216.1999969482422, 256.0])
    """
    content, name = load(data, "InterHand2.6M data")
    scene = _Scene(_beside(name, camera, "camera"), _beside(name, joint_3d, "joint_3d"))
    images = rows_by_id(content, "images", name)
    hands: list[Hand] = []
    for i, value in enumerate(rows(content, "annotations", name)):
        annotation = record(value, where := f"{name}: annotations[{i}]")
        image = referred(images, annotation, "image_id", where)
        hands += _hands(annotation, image, where, scene)
    return stack(hands, name)


def _beside(data: str, other: File | None, kind: str) -> tuple[Any, str]:
    """Return the content and name of another file of the same split."""
    if other is None:
        if not data.endswith("_data.json"):
            raise ValueError(f"{data}: expected {kind}, unless data is a file *_data.json")
        other = data.removesuffix("data.json") + f"{kind}.json"
    return load(other, f"InterHand2.6M {kind}")


class _View(NamedTuple):
    """A camera, which maps world coordinates x to R (x - t)."""

    R: Tensor
    t: Tensor
    K: Tensor


class _Scene:
    """Cameras and joints of all captures; each is checked once."""

    def __init__(self, cameras: tuple[Any, str], joints: tuple[Any, str]) -> None:
        self.cameras, self.joints = cameras, joints
        self.view, self.pose = cache(self._view), cache(self._pose)

    def _view(self, capture: str, camera: str) -> _View:
        content, name = self.cameras
        captured = field(content, capture, name)
        where = f"{name}: {capture}: camera {camera}"
        R, t, focal, princpt = (
            field(field(captured, key, f"{name}: {capture}"), camera, f"{name}: {capture}: {key}")
            for key in ("camrot", "campos", "focal", "princpt")
        )
        K = camera_matrix(focal, princpt, where)
        return _View(table(R, 3, 3, f"{where} camrot"), table(t, 1, 3, f"{where} campos"), K)

    def _pose(self, capture: str, frame: str) -> tuple[Tensor, Tensor]:
        """Return world coordinates in metres, and whether joints are annotated."""
        content, name = self.joints
        where = f"{name}: {capture}: frame {frame}"
        joints = field(field(content, capture, name), frame, f"{name}: {capture}")
        world, valid = (field(joints, key, where) for key in ("world_coord", "joint_valid"))
        J = INTERHAND.num_joints
        xyz = table(world, J, 3, f"{where}: world_coord") / 1000
        return xyz, flags(valid, J, f"{where}: joint_valid")


def _hands(annotation: Row, image: Row, where: str, scene: _Scene) -> list[Hand]:
    """Return both hands of an annotation, in the frame of the image's camera."""
    capture, camera, frame = (
        str(field(image, key, f"{where}: its image")) for key in ("capture", "camera", "frame_idx")
    )
    view, (world, annotated) = scene.view(capture, camera), scene.pose(capture, frame)
    valid = field(annotation, "joint_valid", where)
    inside = flags(valid, INTERHAND.num_joints, f"{where}: joint_valid")
    xyz = (world - view.t / 1000) @ view.R.T
    uv = hide(project(xyz, view.K), annotated & inside)
    xyz = hide(xyz, annotated)
    size, name = image_size(image, where), str(image.get("file_name", image["id"]))
    return [
        Hand(uv[index], None, None, side, size, name, xyz[index], view.K)
        for side, index in SIDES.items()
    ]
