"""Plans as chains of small tiles, and their values in double precision."""

from __future__ import annotations

import torch

from handgraph.nn.engines import cuda
from handgraph.nn.engines.cuda.lower import lower
from handgraph.nn.engines.outline import outline, restore
from handgraph.nn.plan import NodeMap, Shape, Stage, Term
from tests.nn.engines.plans import evaluate, map_tensors

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def run(plan, x, tile=16):
    """Run a plan on ``[N, J, C, B]`` with the kernels."""
    return cuda.run(x, *lower(plan, Shape(*x.shape[:3]), tile))


def gradients(evaluator, plan, x):
    """Return the output and the gradients of the input and all tensors, in double precision."""
    leaves = [x.detach().requires_grad_()]

    def leaf(part):
        leaves.append(part.detach().clone().requires_grad_())
        return leaves[-1]

    out = evaluator(map_tensors(plan, leaf), leaves[0])
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out)
    found = torch.autograd.grad(out, leaves, weights, allow_unused=True)
    zeros = [
        torch.zeros_like(one) if g is None else g for one, g in zip(leaves, found, strict=True)
    ]
    return [t.double().cpu() for t in (out, *zeros)]


def both(plan, x, device, dtype=torch.float32, tile=16):
    """Run the kernels and the double-precision reference on the same numbers."""
    plan = map_tensors(plan, lambda part: (part / 2).to(dtype))
    x = x.to(dtype)
    there = map_everything(plan, device)
    found = gradients(lambda p, x: run(p, x, tile), there, x.to(device))
    return found, gradients(evaluate, map_tensors(plan, torch.Tensor.double), x.double())


def map_everything(plan, device):
    """Move the plan to a device, including its indices."""
    code, parts = outline(plan)
    return restore(code, [part.to(device) for part in parts])


def dense_stage(sources, widths, width, branches, relu=True):
    """Build a stage of random dense maps over nodes with one channel."""
    terms = tuple(
        Term(source, NodeMap(torch.randn(branches, width, widths[source]))) for source in sources
    )
    return Stage(terms, torch.randn(branches, width, 1), relu)


def dense_plan(branches, width, *stages):
    """Build a plan from the ``(sources, width)`` of each stage, with ReLUs between stages."""
    widths, plan = [width], []
    for number, (sources, out) in enumerate(stages, start=1):
        plan.append(dense_stage(sources, widths, out, branches, number < len(stages)))
        widths.append(out)
    return tuple(plan)


def unet(branches):
    """Build a plan with skip connections whose widths are not multiples of 16."""
    return dense_plan(branches, 5, ((0,), 20), ((1,), 18), ((2,), 3), ((2, 3), 7), ((1, 4), 33))
