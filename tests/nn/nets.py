"""Nets, inputs and comparisons shared by several tests."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, NodePool, SubgraphMask, engines
from handgraph.nn.plan import Stage, Term

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "two": ["thumb", "pinky_tip"], "nothing": ()})
EXACT = {"rtol": 1e-9, "atol": 1e-10}
NO_NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
ENGINES = ["reference", pytest.param("numba", marks=NO_NUMBA)]
"""Engines that run on the CPU."""


def trained(net, *, dtype=torch.float64):
    """Perturb all parameters as training does, with positive signed degrees."""
    torch.manual_seed(1)
    signed = any(getattr(module, "normalization", "") == "signed" for module in net.modules())
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            noise = 0.2 * torch.randn(parameter.shape)
            parameter.add_(noise.abs() if signed and "adjacency" in name else noise)
    return net.to(dtype)


def unet(graph=HAND, *, sizes=(2, 3), dtype=torch.float64, **options):
    torch.manual_seed(0)
    return trained(AdaptiveGraphUNet(*sizes, graph, **options), dtype=dtype)


def core(removal=LEVELS, merger=GraphMerger, *, dtype=torch.float64, **options):
    """Build PSJNet's core with options of the merger."""
    torch.manual_seed(0)
    branches = AdaptiveGraphUNet(2, 3, removal)
    net = nn.Sequential(SubgraphMask(removal), branches, merger(3, 3, removal, **options))
    return trained(net, dtype=dtype)


def pose(net, *batch):
    """Return a batch for a U-Net in its dtype."""
    nodes = net.node_mask.shape[0 if isinstance(net.graph, RemovalSets) else 1 :]
    return torch.randn(*batch, *nodes, net.in_channels, dtype=next(net.parameters()).dtype)


def soft_mask(x):
    """Return a random gate per node and sample, some of them 0."""
    gate = torch.rand(x.shape[:-1], dtype=x.dtype)
    return gate.where(gate > 0.3, 0)


def values_and_gradients(net, *inputs):
    """Return the output and the gradients of inputs and parameters, for a fixed weighting."""
    leaves = [x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    out = net(*leaves)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape).cos()
    wanted = [x for x in (*leaves, *net.parameters()) if x.requires_grad]
    return out.detach(), *torch.autograd.grad(out, wanted, weights)


def readable(function, *args):
    """Call a function with the readable forward of each module."""
    with engines.use("readable"):
        return function(*args)


def engines_of(net, *args):
    """Return the engine that runs each part."""
    return [choice.engine for choice in engines.explain(net, *args)]


class Custom(nn.Module):
    """A user's module with a plan: a linear layer, a ReLU and a pooling."""

    reads = (NodePool,)
    branched = (False, False)

    def __init__(self):
        super().__init__()
        self.pool = NodePool(21, 5)
        self.weight = nn.Parameter(torch.randn(3, 2))
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x):
        if engines.may_run(self, x):
            return engines.run(self.lower(), x.unsqueeze(-3)).squeeze(-3)
        return self.pool((x @ self.weight.mT + self.bias).relu())

    def lower(self):
        hidden = Stage((Term(0, weight=self.weight[None]),), self.bias[None])
        ((last,),) = (stage.terms for stage in self.pool.lower())
        return (hidden, Stage((last._replace(source=1),), relu=False))
