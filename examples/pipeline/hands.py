"""Rendered hands or hands of RHD: their order in training, and batches as dicts of tensors."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch_geometric.data import Dataset
from torch_geometric.loader import DataLoader

from handgraph import HAND
from handgraph.datasets import RHDHands, SyntheticHands
from pipeline.settings import Settings
from shared.lifters import Hands

SEEDS = {"training": 0, "validation": 1000, "evaluation": 2000}  # of the rendered hands
PER_JOINT, PER_HAND = ("uv_true", "xyz", "visible", "d"), ("image", "K", "s", "depth", "mask")


def load(settings: Settings, split: str, num_samples: int = 0) -> Dataset:
    """Open the hands of a split; 0 opens all, or as many rendered hands as in training.

    Validation is on the last 500 hands of RHD's training split, but at most a tenth of it.
    """
    if num_samples < 0:
        raise ValueError(f"expected 0 or more {split} hands, got {num_samples}")
    size = settings.image_size
    if settings.data == "synthetic":
        return SyntheticHands(num_samples or settings.samples, seed=SEEDS[split], image_size=size)
    name = "evaluation" if split == "evaluation" else "training"
    hands = RHDHands(settings.root, name, image_size=size)
    trained_on = len(hands) - min(500, max(1, len(hands) // 10))
    if split == "training":
        return hands[: min(settings.samples or trained_on, trained_on)]
    hands = hands[trained_on:] if split == "validation" else hands
    return hands[:num_samples] if num_samples else hands


@dataclass(frozen=True)
class Order:
    """The hands and random draws of each iteration of a step, for process ``rank`` of ``world``.

    They depend on seed, step and iteration only, so a run can be resumed at any iteration. The
    processes share each batch.
    """

    num_samples: int
    batch_size: int
    seed: int
    step: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        """Raise unless processes share a batch evenly, and there is at least one batch."""
        if self.batch_size % self.world or not 0 < self.batch_size <= self.num_samples:
            raise ValueError(
                f"expected a batch size from 1 to {self.num_samples} that {self.world} processes "
                f"share evenly, got {self.batch_size}"
            )

    def batch(self, iteration: int) -> list[int]:
        """Return the hands of this process; an incomplete last batch of an epoch is skipped."""
        epoch, place = divmod(iteration, self.num_samples // self.batch_size)
        order = _permutation(self.num_samples, self.seed, self.step, epoch)
        batch = order[place * self.batch_size : (place + 1) * self.batch_size]
        return batch[self.rank :: self.world].tolist()

    def jitter(self, iteration: int, amount: float) -> Tensor:
        """Draw gain and shift of each colour of this process's images, ``[B, 2, 3]``."""
        rng = _keyed("jitter", self.seed, self.step, iteration)
        drawn = amount * (2 * torch.rand(self.batch_size, 2, 3, generator=rng) - 1)
        return drawn[self.rank :: self.world]


@lru_cache(maxsize=2)
def _permutation(num_samples: int, seed: int, step: int, epoch: int) -> Tensor:
    return torch.randperm(num_samples, generator=_keyed("order", seed, step, epoch))


def _keyed(*key: object) -> torch.Generator:
    """Return a generator that is seeded by a key."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def chunks(hands: range, size: int) -> list[list[int]]:
    """Return the indices of the hands of each batch, in order."""
    return [list(hands[first : first + size]) for first in range(0, len(hands), size)]


def batches(
    hands: Dataset, index: Iterable[list[int]], device: torch.device, workers: int = 0
) -> Iterator[Hands]:
    """Yield the hands of each batch on the device.

    Rendered hands are rendered on the device, one batch at a time. ``workers`` processes read RHD.
    """
    if hasattr(hands, "render"):
        for some in index:
            labels = {name: hands.tensors[name][some] for name in (*PER_JOINT, "K", "s")}
            yield {**to(labels, device), **hands.render(some, device)}
        return
    for batch in DataLoader(hands, batch_sampler=index, num_workers=workers):
        joints = {name: batch[name].unflatten(0, (-1, HAND.num_joints)) for name in PER_JOINT}
        yield to(joints | {name: batch[name] for name in PER_HAND if name in batch}, device)


def to(hands: Hands, device: torch.device) -> Hands:
    """Move hands to a device."""
    return {name: value.to(device) for name, value in hands.items()}


def jittered(hands: Hands, amounts: Tensor) -> Hands:
    """Change the colours: ``amounts [B, 2, 3]`` are gain minus 1 and shift of each channel."""
    gain, shift = amounts.to(hands["image"].device)[..., None, None].unbind(dim=1)
    image = hands["image"].float() / 255 * (1 + gain) + shift
    return {**hands, "image": (image.clamp(0, 1) * 255).round().to(torch.uint8)}
