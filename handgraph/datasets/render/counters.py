"""Counter-based random numbers: a function of the seed, the sample and the position.

A number depends neither on earlier numbers nor on the batch or the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GAMMA = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def split_mix(counter: Tensor) -> Tensor:
    """Mix the bits of 64 bit integers: the output function of SplitMix64 (Steele et al. 2014).

    The k-th number of SplitMix64 with seed s is ``split_mix(s + k * gamma)`` with gamma =
    0x9E3779B97F4A7C15.

    Shapes:
        counter, output: Long ``[*]``.

    Example:
        >>> hex(split_mix(torch.tensor(_GAMMA)).item() % 2**64)  # seed 0, first number
        '0xe220a8397b1dcdaf'
    """
    mixed = (counter ^ _shift(counter, 30)) * _FIRST
    mixed = (mixed ^ _shift(mixed, 27)) * _SECOND
    return mixed ^ _shift(mixed, 31)


def uniform(seed: int, index: Tensor, num_numbers: int) -> Tensor:
    """Return uniform random numbers in [0, 1) for each sample.

    Args:
        seed: Seed of the dataset.
        index: Index of each sample in its dataset.
        num_numbers: Count of numbers per sample. A larger count does not change the first ones.

    Shapes:
        index: Long ``[n]``; output: float32 ``[n, num_numbers]``, on the device of ``index``.

    Example:
        >>> uniform(3, torch.tensor([5, 6]), 2)[0].equal(uniform(3, torch.tensor([5]), 2)[0])
        True
    """
    first = split_mix(torch.full_like(index, _signed(seed)) + _GAMMA)
    sample = split_mix(first + (index + 1) * _GAMMA)
    place = torch.arange(1, num_numbers + 1, device=index.device)
    return to_unit(split_mix(sample[:, None] + place * _GAMMA))


def to_unit(bits: Tensor) -> Tensor:
    """Convert the upper 24 bits of each 64 bit integer to a number in [0, 1)."""
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def _shift(bits: Tensor, count: int) -> Tensor:
    """Return a logical right shift."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _signed(number: int) -> int:
    """Return the signed 64 bit integer with the same lowest 64 bits."""
    return (number + 2**63) % 2**64 - 2**63
