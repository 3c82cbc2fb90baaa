"""Branches that say how sure they are: merge them by it, and count how often they are right."""

from __future__ import annotations

import argparse

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import trange

import handgraph.metrics as hm
import handgraph.nn as hnn
from handgraph import HAND, RemovalSets
from handgraph.datasets import SyntheticHands
from handgraph.losses import laplace_loss
from shared.lifters import batches, descend, errors, inputs

REMOVAL = RemovalSets.by_level(HAND)
SPLIT, PRECISION = hnn.SubgraphMask(REMOVAL), hnn.PrecisionMerger(6, 3, REMOVAL)
MEAN, CONSISTENCY = hnn.MeanMerger(3, 3, REMOVAL), hnn.ConsistencyMerger(3, 3, REMOVAL)
UNITS = torch.tensor([128.0, 128.0, 1.0])  # from [-1, 1] to pixels; d stays in keybone lengths
LEVELS = torch.linspace(0, 1, 21)
GROUPS = ("visible, small", "hidden, small", "visible, severe", "hidden, severe")
COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00")  # colour-blind-safe (Okabe and Ito)


def load(num_samples: int, seed: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Simulated hands; 2D, cue and score of each joint; true (u, v, d), from the centre, pixels."""
    hands = SyntheticHands(num_samples, seed=seed).tensors
    target = torch.cat([hands["uv_true"] - 127.5, hands["d"].unsqueeze(-1)], dim=-1)
    return hands, inputs(hands, "cue", "confidence"), target


def train(x: Tensor, target: Tensor, epochs: int, seed: int) -> nn.Module:
    """Fit every branch to the likelihood of its own joints, in pixels and keybone lengths."""
    torch.manual_seed(seed)
    net = hnn.AdaptiveGraphUNet(4, 6, REMOVAL, channels=8)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in trange(epochs, desc=f"training, seed {seed}"):
        for batch in batches(len(x), 256, 1):
            pose, log_scale = net(SPLIT(x[batch])).split(3, dim=-1)
            wanted = SPLIT(target[batch])
            descend(laplace_loss(pose * UNITS, wanted, log_scale + UNITS.log()), optimizer)
        schedule.step()
    return net


@torch.no_grad()
def predict(net: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The branches; residuals and scales of the precision-weighted pose, in the loss's units."""
    partial = net(SPLIT(x))
    return partial, PRECISION(partial) * UNITS - target, PRECISION.log_scale(partial).exp() * UNITS


def areas(pose: Tensor, hands: dict[str, Tensor]) -> Tensor:
    """AUC x 100 on visible joints of all, small and severe images, and on hidden joints."""
    area, seen = hm.joint_auc(errors(pose, hands), hm.thresholds()), hands["visible"]
    return 100 * torch.stack([*hm.per_occlusion(area, seen).values(), hm.visible_mean(area, ~seen)])


def coverage(residual: Tensor, scale: Tensor, visible: Tensor) -> Tensor:
    """Calibration curves of u, v and d together, one for each of the ``GROUPS``."""
    images = hm.occlusion_groups(visible)
    masks = [m & images[g][:, None] for g in ("small", "severe") for m in (visible, ~visible)]
    masks = [mask[..., None].expand_as(scale) for mask in masks]
    return torch.stack([hm.calibration_curve(residual, scale, LEVELS, mask) for mask in masks])


def table(title: str, columns: tuple[str, ...], rows: tuple[str, ...], seeds: list[Tensor]) -> None:
    """Print the mean and deviation over the seeds of ``[rows, columns]``."""
    print(f"\n{title}\n{'':16}" + "".join(f"{column:>16}" for column in columns))
    deviations, means = torch.std_mean(torch.stack(seeds), dim=0, correction=0)
    for row, cells in zip(rows, torch.stack([means, deviations], dim=-1), strict=True):
        print(f"{row:16}" + "".join(f"{mean:9.2f} ({some:.2f})" for mean, some in cells))


def draw(raw: Tensor, fitted: Tensor, path: str) -> None:
    """Draw nominal against observed levels, dashed before the factor and solid after it."""
    figure = Figure(figsize=(5, 5))
    axis = figure.subplots()
    axis.plot(LEVELS, LEVELS, ":", color="#999999")
    for before, after, name, colour in zip(raw, fitted, GROUPS, COLOURS, strict=True):
        axis.plot(LEVELS, before, "--", color=colour, linewidth=1)
        axis.plot(LEVELS, after, color=colour, label=name)
    axis.set(xlabel="nominal level", ylabel="share of true u, v and d inside")
    axis.legend()
    figure.savefig(path)


parser = argparse.ArgumentParser(description=__doc__)
for name, default in (("samples", 8000), ("epochs", 20), ("seeds", 3)):
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--picture", default="calibration.png")
args = parser.parse_args()
_, x, target = load(args.samples, seed=1000)
validation, (hands, *test) = load(args.samples // 4, seed=2000), load(args.samples, seed=3000)
auc, raw, fitted = [], [], []
for seed in range(args.seeds):
    net = train(x, target, args.epochs, seed)
    _, residual, scale = predict(net, *validation[1:])
    factor = (residual.abs() / scale).mean(dim=(0, 1))  # for u, v and d: the most likely one
    partial, residual, scale = predict(net, *test)
    poses = (MEAN(partial[..., :3]), CONSISTENCY(partial[..., :3]), PRECISION(partial))
    auc.append(torch.stack([areas(pose, hands) for pose in poses]))
    raw.append(coverage(residual, scale, hands["visible"]))
    fitted.append(coverage(residual, scale * factor, hands["visible"]))
table("AUC x 100", ("all", "small", "severe", "hidden"), ("mean", "consistency", "precision"), auc)
for title, curves in (("as predicted", raw), ("times one factor from validation", fitted)):
    cells = [100 * curve[:, [10, 16, 18, 19]] for curve in curves]
    table(f"Truth inside (%), scales {title}", ("50 %", "80 %", "90 %", "95 %"), GROUPS, cells)
draw(torch.stack(raw).mean(dim=0), torch.stack(fitted).mean(dim=0), args.picture)
