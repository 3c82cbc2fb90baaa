"""Random removal of joints from the network's input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from handgraph._check import check_between, check_mask, check_skeleton, check_whole
from handgraph.skeleton import Skeleton, What
from handgraph.skeletons import HAND
from handgraph.transforms.base import RandomTransform, require, to_device_of


class RemoveJoints(RandomTransform):
    """Mark joints as removed: fixed joints, each with a probability, or a fixed number.

    The transform writes ``node_mask``, which is False for removed joints, and combines it with an
    existing ``node_mask``. The values of removed joints are kept, except in entries named in
    ``fill``. ``RemoveJoints("TIP")`` removes the fingertips. ``RemoveJoints(probability=0.25)``
    removes each joint except the wrist with that probability, ``RemoveJoints(number=5)`` five of
    them.

    Args:
        what: Names of joints or groups that may be removed. Default: all except the root.
        probability: Probability to remove each of them.
        number: Number of joints to remove at random, instead of ``probability``.
        fill: Names of entries ``[J, *]`` whose values at removed joints are replaced.
        value: Replacement value; NaN reveals accidental use.
        skeleton: Skeleton of the joints.
        generator: Random generator. Default: PyTorch's global generator, which data loaders seed in
            each worker. Other generators raise an error in a worker.

    Shapes:
        node_mask: Bool ``[J]``.

    Raises:
        TypeError: If generator is not a ``torch.Generator``, number is not an integer, an entry of
            ``fill`` is not float, or an existing ``node_mask`` is not bool.
        ValueError: If a name is unknown, the probability is not in [0, 1], or number is too large;
            if a ``Data`` lacks an entry of ``fill``, has the wrong number of joints, or an entry is
            not ``[J, *]``.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.transforms import RemoveJoints
        >>> hand = HAND.to_data(uv=torch.ones(21, 2))
        >>> removed = RemoveJoints("TIP", fill=["uv"], value=0.0)(hand)
        >>> int(removed.node_mask.sum()), removed.uv.sum().item(), hand.uv.sum().item()
        (16, 32.0, 42.0)
    """

    def __init__(
        self,
        what: What | None = None,
        *,
        probability: float = 1.0,
        number: int | None = None,
        fill: Sequence[str] = (),
        value: float = math.nan,
        skeleton: Skeleton = HAND,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        check_skeleton(skeleton, "RemoveJoints")
        if what is None:
            what = [joint for joint in skeleton.joints if joint != skeleton.root]
        self.candidates = torch.tensor(skeleton.select(what), dtype=torch.long)
        check_between(probability, "probability", 0, 1)
        if number is not None:
            check_whole(number=number)
        if number is not None and not 0 <= number <= len(self.candidates):
            raise ValueError(
                f"cannot remove {number} of {len(self.candidates)} joints of {skeleton.name!r}"
            )
        if isinstance(fill, str):
            raise TypeError(f"expected fill to be a list of names, got {fill!r}")
        self.probability, self.number = probability, number
        self.fill, self.value, self.skeleton = tuple(fill), value, skeleton

    def forward(self, data: Data) -> Data:
        """Write ``node_mask``, and fill values of removed joints."""
        require(self, data, *self.fill)
        if data.num_nodes != self.skeleton.num_joints:
            raise ValueError(
                f"RemoveJoints: expected the {self.skeleton.num_joints} joints of skeleton "
                f"{self.skeleton.name!r}, got {data.num_nodes}"
            )
        keep = torch.ones(self.skeleton.num_joints, dtype=torch.bool)
        keep[self._draw()] = False
        keep = to_device_of(data, keep)
        if "node_mask" in data:
            check_mask(data.node_mask, "node_mask", keep.shape)
            keep = data.node_mask & keep
        for name in self.fill:
            data[name] = self._filled(name, data[name], keep)
        data.node_mask = keep
        return data

    def _draw(self) -> Tensor:
        """Draw the indices of the joints to remove."""
        size, generator = len(self.candidates), self.generator
        if self.number is not None:
            return self.candidates[torch.randperm(size, generator=generator)[: self.number]]
        return self.candidates[torch.rand(size, generator=generator) < self.probability]

    def _filled(self, name: str, values: Tensor, keep: Tensor) -> Tensor:
        if not values.is_floating_point():
            raise TypeError(f"RemoveJoints: cannot fill {name} of {values.dtype}")
        if len(values) != len(keep):
            raise ValueError(
                f"RemoveJoints: expected {name} of shape [{len(keep)}, *], got {list(values.shape)}"
            )
        mask = keep.reshape(-1, *[1] * (values.ndim - 1))
        return values.where(mask, self.value)
