"""A process of the test that metrics agree across processes (see test_modules.py)."""

from __future__ import annotations

import torch
import torch.distributed as dist

from handgraph.metrics import MPJPE, PCK, PCKAUC, OcclusionAUC


def make_metrics():
    return [MPJPE(), MPJPE(average="joint"), PCK(), PCKAUC(average="joint"), OcclusionAUC()]


def make_data(num_images=30):
    rng = torch.Generator().manual_seed(0)
    target = 0.1 * torch.randn(num_images, 21, 3, generator=rng)
    pred = target + 0.02 * torch.randn(num_images, 21, 3, generator=rng)
    shown = torch.rand(num_images, 1, generator=rng)
    return pred, target, torch.rand(num_images, 21, generator=rng) < shown


def score(rank, world, folder):
    """Score this rank's uneven share of the images, and save the result over all images."""
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    start, stop = (0, 8) if rank == 0 else (8, 30)
    data = [x[start:stop] for x in make_data()]
    metrics = make_metrics()
    for metric in metrics:
        metric.update(*data)
    torch.save([metric.compute() for metric in metrics], f"{folder}/{rank}.pt")
    dist.destroy_process_group()
