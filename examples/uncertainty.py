"""Merge branches by their predicted uncertainty, and measure how well it is calibrated."""

import argparse

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import handgraph.metrics as hm
import handgraph.nn as hnn
from handgraph import HAND, RemovalSets
from handgraph.datasets import SyntheticHands
from handgraph.losses import laplace_loss
from handgraph.plot import draw_calibration
from shared.lifters import errors, inputs, target, to_pixels
from shared.training import Recipe, train

REMOVAL = RemovalSets.by_level(HAND)
SPLIT, PRECISION = hnn.SubgraphMask(REMOVAL), hnn.PrecisionMerger(6, 3, REMOVAL)
MEAN, CONSISTENCY = hnn.MeanMerger(3, 3, REMOVAL), hnn.ConsistencyMerger(3, 3, REMOVAL)
UNITS = to_pixels(torch.ones(3))  # pixels; d stays in keybone lengths
LEVELS = torch.linspace(0, 1, 21)
GROUPS = ("visible, small", "hidden, small", "visible, severe", "hidden, severe")


def load(num_samples: int, seed: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return hands, inputs (2D, cue, score) and true (u, v, d) with u and v in pixels."""
    hands = SyntheticHands(num_samples, seed=seed).tensors
    return hands, inputs(hands, "cue", "confidence"), to_pixels(target(hands))


def loss_of(net: nn.Module, x: Tensor, wanted: Tensor) -> Tensor:
    """Compute the Laplace loss of all branches, in pixels and keybone lengths."""
    pose, log_scale = net(SPLIT(x)).split(3, dim=-1)
    return laplace_loss(to_pixels(pose), SPLIT(wanted), log_scale + UNITS.log())


@torch.no_grad()
def predict(net: nn.Module, x: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the branches, and the precision-weighted pose's residuals and scales in loss units."""
    partial = net(SPLIT(x))
    scale = UNITS * PRECISION.log_scale(partial).exp()
    return partial, to_pixels(PRECISION(partial)) - wanted, scale


def areas(pose: Tensor, hands: dict[str, Tensor]) -> Tensor:
    """Return AUC x 100 of visible joints in all, small and severe images, and of hidden joints."""
    area, seen = hm.joint_auc(errors(pose, hands), hm.thresholds()), hands["visible"]
    return 100 * torch.stack([*hm.per_occlusion(area, seen).values(), hm.visible_mean(area, ~seen)])


def coverage(residual: Tensor, scale: Tensor, visible: Tensor) -> Tensor:
    """Return the calibration curve of u, v and d together for each of the ``GROUPS``."""
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


parser = argparse.ArgumentParser(description=__doc__)
for name, default in (("samples", 8000), ("epochs", 20), ("seeds", 3)):
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--picture", default="calibration.png")
args = parser.parse_args()
_, x, wanted = load(args.samples, seed=1000)
validation, (hands, *test) = load(args.samples // 4, seed=2000), load(args.samples, seed=3000)
auc, raw, fitted = [], [], []
for seed in range(args.seeds):
    torch.manual_seed(seed)
    net = hnn.AdaptiveGraphUNet(4, 6, REMOVAL, channels=8)
    train(net, loss_of, (x, wanted), args.epochs, Recipe(rate=0.03))
    _, residual, scale = predict(net, *validation[1:])
    factor = (residual.abs() / scale).mean(dim=(0, 1))  # for u, v and d, by maximum likelihood
    partial, residual, scale = predict(net, *test)
    poses = (MEAN(partial[..., :3]), CONSISTENCY(partial[..., :3]), PRECISION(partial))
    auc.append(torch.stack([areas(pose, hands) for pose in poses]))
    raw.append(coverage(residual, scale, hands["visible"]))
    fitted.append(coverage(residual, scale * factor, hands["visible"]))
table("AUC x 100", ("all", "small", "severe", "hidden"), ("mean", "consistency", "precision"), auc)
axes = Figure(figsize=(10, 5), layout="constrained").subplots(1, 2)
scales = {"as predicted": raw, "times one factor from validation": fitted}
for ax, (title, curves) in zip(axes, scales.items(), strict=True):
    cells = [100 * curve[:, [10, 16, 18, 19]] for curve in curves]
    table(f"Truth inside (%), scales {title}", ("50 %", "80 %", "90 %", "95 %"), GROUPS, cells)
    means = torch.stack(curves).mean(dim=0)
    draw_calibration(dict(zip(GROUPS, means, strict=True)), LEVELS, ax=ax).set_title(title)
axes[0].figure.savefig(args.picture)
