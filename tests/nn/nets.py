"""Nets and inputs that several tests use."""

from __future__ import annotations

import torch

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, kernels


def unet(graph=HAND, *, dtype=torch.float64, **options):
    """As if after training: no parameter is what it started as, and no degree negative."""
    torch.manual_seed(0)
    net = AdaptiveGraphUNet(2, 3, graph, **options).to(dtype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter))
    return net


def pose(net, *batch):
    """A batch for the net, in its dtype."""
    nodes = net.node_mask.shape[0 if isinstance(net.graph, RemovalSets) else 1 :]
    return torch.randn(*batch, *nodes, 2, dtype=net.squeeze.weight.dtype)


def by_torch(net, *args):
    """What PyTorch's operations compute."""
    with kernels.disabled():
        return net(*args)
