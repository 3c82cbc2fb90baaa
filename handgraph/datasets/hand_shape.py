"""Distribution of hand shapes: bone lengths, finger bases and finger directions at rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from handgraph.datasets.draws import bell, spread
from handgraph.datasets.hand_fit import fit_shape
from handgraph.datasets.hand_frame import THUMB_BEND, measure
from handgraph.datasets.kinematics import Array, HandBones, turn_in_palm
from handgraph.skeletons import FINGERS

Row = tuple[float, ...]
Table = tuple[Row, ...]

_SIZES = {"bones": (5, 3), "bases": (5, 3), "fan": (4,), "fan_spread": (4,)}
_LARGEST = {
    "size_spread": 0.3, "bone_spread": 0.3, "base_spread": 0.3, "palm_spread": 0.3,
    "fan_spread": 30.0, "thumb_spread": 30.0, "thumb_turn": 30.0,
}  # fmt: skip

_THUMB = FINGERS.index("thumb")
_THUMB_ALONG = np.array([0.62, 0.62, 0.48])


@dataclass(frozen=True)
class HandShape:
    r"""A distribution of hand shapes: means, and the spread around them.

    The default covers differences between people and between annotation conventions: in several
    data sets of real hands, the palm is 1.6 to 2.7 keybone lengths long and 1.2 to 1.9 wide.
    :meth:`adult` has the same means and half the spread. :meth:`narrow` is nearly constant.
    :meth:`from_hands` fits a shape to your own 3D hands.

    Each length is its mean times :math:`1 + \sigma b` for each spread that applies to it, where b
    is random with a bell-shaped density of standard deviation 1 within [-3, 3].

    Args:
        bones: The three bones of each finger from base to tip, ``5 x 3``, thumb to pinky.
        bases: Position of each finger's first joint in the hand's frame (x radial, y distal, z
            palmar; the wrist is the origin), ``5 x 3``.
        fan: Directions of the four fingers at rest, from the palm's axis toward the thumb's side.
        size_spread: Spread of the size of the whole hand.
        bone_spread: Spread of each bone's length.
        base_spread: Spread of the distance of each base from the wrist.
        palm_spread: Spread of the palm's width, length (times 1.2) and depth (times 30 mm).
        fan_spread: Spread of each finger's direction.
        thumb_spread: Spread of the direction of the thumb's base, in two angles.
        thumb_turn: Spread of the orientation of the thumb's frame, around three axes.

    Units:
        Bones and bases in millimetres; fan, fan_spread, thumb_spread and thumb_turn in degrees; the
        other spreads are relative.

    Raises:
        ValueError: If a table has the wrong size or a number that is not finite, a bone is not
            positive, or a spread is negative or too large.

    Example:
        >>> bones = HandShape().sample(np.random.default_rng(0), 1000)
        >>> ratio = bones.bases[:, 2, 1] / bones.lengths[:, 2, 0]  # palm over keybone
        >>> np.percentile(ratio, [2.5, 97.5]).round(1).tolist()
        [1.6, 2.6]
    """

    bones: Table = ((41, 33, 28), (42, 27, 23.5), (47, 31, 25), (43, 29, 24), (33, 20.5, 20.5))
    bases: Table = ((20, 26, 22), (27, 95, 3.5), (0, 98, 0), (-21, 92, -0.5), (-41, 84, 3.5))
    fan: Row = (0.0, -7.0, -9.0, -9.0)
    size_spread: float = 0.08
    bone_spread: float = 0.05
    base_spread: float = 0.045
    palm_spread: float = 0.08
    fan_spread: Row = (7.0, 5.0, 5.0, 9.0)
    thumb_spread: float = 18.0
    thumb_turn: float = 6.0

    def __post_init__(self) -> None:
        """Check all numbers, and convert tables to tuples."""
        for name, shape in _SIZES.items():
            table = np.asarray(getattr(self, name), dtype=np.float64)
            if table.shape != shape or not np.isfinite(table).all():
                raise ValueError(
                    f"HandShape: expected {name} as finite numbers, {list(shape)}, "
                    f"got {list(table.shape)}"
                )
            object.__setattr__(self, name, _row(table) if table.ndim == 1 else _table(table))
        if np.min(self.bones) <= 0:
            raise ValueError(f"HandShape: expected bones longer than 0, got {self.bones}")
        for name, limit in _LARGEST.items():
            value = np.asarray(getattr(self, name))
            if not ((value >= 0) & (value <= limit)).all():
                raise ValueError(f"HandShape: expected {name} from 0 to {limit:g}, got {value}")

    @classmethod
    def adult(cls) -> HandShape:
        """Return adult shapes under one annotation convention: default means, half the spread."""
        return cls(
            bone_spread=0.025, base_spread=0.02, palm_spread=0.04, fan_spread=(3, 2, 2, 4),
            thumb_spread=9.0, thumb_turn=3.0,
        )  # fmt: skip

    @classmethod
    def narrow(cls) -> HandShape:
        """Return a nearly constant shape; documented results state where it is used."""
        return cls(
            bones=((44, 33, 27), (42, 26, 22), (47, 30, 23), (43, 29, 23), (34, 21, 20)),
            bases=((27, 25, 16), (22, 91, 5), (0, 93, 0), (-18, 85, 0), (-36, 74, 5)),
            fan=(4, 0, -4, -9), bone_spread=0.035, base_spread=0.035, palm_spread=0.0,
            fan_spread=(0, 0, 0, 0), thumb_spread=0.0, thumb_turn=0.0,
        )  # fmt: skip

    @classmethod
    def from_hands(cls, xyz: ArrayLike) -> HandShape:
        """Fit means and spreads to 3D right hands in the joint order of ``HAND``.

        Args:
            xyz: Joints of the hands.

        Shapes:
            xyz: ``[n, 21, 3]``.

        Units:
            Metres, in any frame.

        Raises:
            ValueError: If the shape is wrong, or a coordinate is not finite.

        Example:
            >>> from handgraph.datasets import SyntheticHands
            >>> hands = SyntheticHands(500, shape=HandShape.adult(), progress=False)
            >>> shape = HandShape.from_hands(hands.tensors["xyz"])
            >>> round(shape.bones[2][0]), round(shape.bone_spread, 2)
            (47, 0.02)
        """
        return cls(**fit_shape(measure(xyz)))

    def mean(self) -> HandBones:
        """Return the mean hand, without batch dimensions."""
        frames = np.concatenate([_thumb_frame()[None], turn_in_palm(np.array(self.fan))])
        bases, bones = (1e-3 * np.array(table) for table in (self.bases, self.bones))
        return HandBones(bases, bones, np.ones(()), frames)

    def sample(self, rng: np.random.Generator, num_hands: int) -> HandBones:
        """Draw hands.

        Shapes:
            output: bases ``[n, 5, 3]``, lengths ``[n, 5, 3]``, scale ``[n]``, frames
            ``[n, 5, 3, 3]``, or ``[5, 3, 3]`` if all hands share them.

        Units:
            Metres.
        """
        mean, num_fingers = self.mean(), len(FINGERS)
        scale = 1.0 + spread(rng, self.size_spread, (num_hands,))
        base = 1.0 + spread(rng, self.base_spread, (num_hands, num_fingers, 1))
        bone = 1.0 + spread(rng, self.bone_spread, (num_hands, num_fingers, 3))
        size = scale[:, None, None]
        bases, lengths = 1e3 * mean.bases * base, 1e3 * mean.lengths * bone
        if self.palm_spread:
            bases = self._stretch_palm(rng, bases)
        if self.thumb_spread:
            bases[:, _THUMB] = self._move_thumb(rng, bases[:, _THUMB])
        metres = 1e-3 * size
        return HandBones(metres * bases, metres * lengths, scale, self._frames(rng, num_hands))

    def _stretch_palm(self, rng: np.random.Generator, bases: Array) -> Array:
        sides = 1.0 + self.palm_spread * bell(rng, (len(bases), 1, 2)) * np.array([1.0, 1.2])
        stretched = bases.copy()
        stretched[..., :2] *= sides
        depth = 30.0 * self.palm_spread * bell(rng, (len(bases), len(FINGERS)))
        depth[:, FINGERS.index("middle")] = 0.0  # this base defines the palm's axis
        stretched[..., 2] += depth
        return stretched

    def _move_thumb(self, rng: np.random.Generator, base: Array) -> Array:
        """Rotate the thumb's base around the wrist, within and out of the palm's plane."""
        away, out = (self.thumb_spread * bell(rng, (len(base),)) * share for share in (1.0, 1.0))
        turn = Rotation.from_euler("zx", np.stack([-away, out], axis=-1), degrees=True)
        return np.asarray(turn.apply(base))

    def _frames(self, rng: np.random.Generator, num_hands: int) -> Array:
        if not (any(self.fan_spread) or self.thumb_turn):
            return self.mean().frames
        fan = self.fan + np.array(self.fan_spread) * bell(rng, (num_hands, len(self.fan)))
        turn = Rotation.from_euler("xyz", spread(rng, self.thumb_turn, (num_hands, 3)), True)
        thumb = turn.as_matrix() @ _thumb_frame()
        return np.concatenate([thumb[:, None], turn_in_palm(fan)], axis=1)


def _thumb_frame() -> Array:
    """Return the thumb's frame at rest, ``[3, 3]``."""
    along, bend = (v / np.linalg.norm(v) for v in (_THUMB_ALONG, THUMB_BEND))
    bend = bend - (bend @ along) * along
    bend = bend / np.linalg.norm(bend)
    return np.stack([np.cross(along, bend), along, bend], axis=-1)


def _row(values: Array) -> Row:
    return tuple(values.tolist())


def _table(values: Array) -> Table:
    return tuple(_row(row) for row in values)
