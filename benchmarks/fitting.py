"""Fit a heatmap generator to a few images, so that its heatmaps have peaks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from handgraph.datasets import SyntheticHands
from handgraph.vision import HeatmapGenerator, gaussian_heatmaps

HANDS = 4
RATE = 2e-3


def rendered(size: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Return images ``[4, 3, S, S]`` of simulated hands and their joints ``[4, J, 2]``, pixels."""
    hands = list(SyntheticHands(HANDS, seed=seed, image_size=size))
    images = torch.cat([hand.image for hand in hands])
    return images.to(device), torch.stack([hand.uv_true for hand in hands]).to(device)


def fit(generator: HeatmapGenerator, images: Tensor, uv: Tensor, steps: int) -> None:
    """Fit a generator to images, so that the joints of two of its forms can be compared.

    A network with random weights has flat heatmaps, so rounding changes their argmax. The optimiser
    is Adam. Steps run in bfloat16 and channels_last, the fastest form.
    """
    target = gaussian_heatmaps(uv, images.shape[-1])
    generator.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(generator.parameters(), RATE)
    for _ in range(steps):
        with torch.autocast(images.device.type, torch.bfloat16):
            heatmaps, _ = generator(images)
        optimizer.zero_grad()
        mse_loss(heatmaps.float(), target).backward()
        optimizer.step()
    generator.eval().to(memory_format=torch.contiguous_format)
