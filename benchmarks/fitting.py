"""A heatmap generator with peaks: fitted to the few images that it is timed and compared on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from handgraph.datasets import SyntheticHands
from handgraph.vision import HeatmapGenerator, gaussian_heatmaps

HANDS = 4
RATE = 2e-3


def rendered(size: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Images ``[4, 3, S, S]`` of simulated hands, and their joints in pixels ``[4, J, 2]``."""
    hands = list(SyntheticHands(HANDS, seed=seed, image_size=size))
    images = torch.cat([hand.image for hand in hands])
    return images.to(device), torch.stack([hand.uv_true for hand in hands]).to(device)


def fit(generator: HeatmapGenerator, images: Tensor, uv: Tensor, steps: int) -> None:
    """Fit a generator to images, so that two ways to run it can be compared by their joints.

    A net with random weights has flat heatmaps, whose argmax any rounding moves. The steps are
    those of Adam, in bfloat16 and channels_last, which is the fastest.
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
