"""Rendered hands or hands of RHD, and batches of them as dicts of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch_geometric.data import Dataset
from torch_geometric.loader import DataLoader

from handgraph import HAND
from handgraph.datasets import RHDHands, SyntheticHands
from pipeline.settings import Settings
from shared.lifters import Hands

SEEDS = {"training": 0, "validation": 1000, "evaluation": 2000}
"""Seeds of the rendered hands, which are the same in all runs."""

HELD_OUT = 500
"""Number of hands held out at the end of RHD's training split, at most a tenth of it."""

PER_JOINT = ("uv_true", "xyz", "visible", "d")
PER_HAND = ("image", "K", "s", "depth", "mask")


def load(settings: Settings, split: str, num_samples: int = 0) -> Dataset:
    """Open the hands of a split; 0 opens all, or as many rendered hands as in training."""
    if num_samples < 0:
        raise ValueError(f"expected 0 or more {split} hands, got {num_samples}")
    size = settings.image_size
    if settings.data == "synthetic":
        number = num_samples or settings.samples
        return SyntheticHands(number, seed=SEEDS[split], image_size=size)
    name = "evaluation" if split == "evaluation" else "training"
    hands = RHDHands(settings.root, name, image_size=size)
    trained_on = len(hands) - min(HELD_OUT, max(1, len(hands) // 10))
    if split == "training":
        return hands[: min(settings.samples or trained_on, trained_on)]
    hands = hands[trained_on:] if split == "validation" else hands
    return hands[:num_samples] if num_samples else hands


def chunks(num_samples: int, size: int) -> list[list[int]]:
    """Return the indices of the hands of each batch, in order."""
    return [some.tolist() for some in torch.arange(num_samples).split(size)]


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
