"""Random tensors from NumPy's or PyTorch's generators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Random(Protocol):
    """A source of random tensors of one dtype on one device."""

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draw standard normal numbers."""

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Draw uniform numbers from 0 to 1."""

    def exponential(self, shape: Sequence[int]) -> Tensor:
        """Draw standard exponential numbers."""


class NumpyRandom:
    """Draw float64 on the CPU from a NumPy generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draw standard normal numbers."""
        return torch.from_numpy(self.generator.standard_normal(tuple(shape)))

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Draw uniform numbers from 0 to 1."""
        return torch.from_numpy(self.generator.random(tuple(shape)))

    def exponential(self, shape: Sequence[int]) -> Tensor:
        """Draw standard exponential numbers."""
        return torch.from_numpy(self.generator.standard_exponential(tuple(shape)))


class TorchRandom:
    """Draw in the dtype and on the device of a tensor, from a generator or PyTorch's default."""

    def __init__(self, like: Tensor, generator: torch.Generator | None) -> None:
        self.dtype, self.device, self.generator = like.dtype, like.device, generator

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(
            tuple(shape), generator=self.generator, dtype=self.dtype, device=self.device
        )

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Draw uniform numbers from 0 to 1."""
        return torch.rand(
            tuple(shape), generator=self.generator, dtype=self.dtype, device=self.device
        )

    def exponential(self, shape: Sequence[int]) -> Tensor:
        """Draw standard exponential numbers."""
        return -torch.log1p(-self.uniform(shape))
