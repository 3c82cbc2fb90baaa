"""Generators and images for the tests of this folder."""

from __future__ import annotations

import torch

from handgraph.vision import HeatmapGenerator


def ready_generator(backbone, head="conv"):
    """Return a generator in eval mode with non-trivial statistics and head."""
    torch.manual_seed(0)
    generator = HeatmapGenerator(backbone=backbone, head=head)
    for _ in range(3):
        generator(torch.rand(8, 3, 64, 64))
    last = generator.head if head == "conv" else generator.head[-1]
    torch.nn.init.normal_(last.weight, std=0.1)
    return generator.eval()


def images(batch=2, height=64, width=64):
    return torch.randint(256, (batch, 3, height, width), dtype=torch.uint8)
