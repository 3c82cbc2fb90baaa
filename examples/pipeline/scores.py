"""Scores of a step, and Table 2 of trained runs in every range of PCK."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from handgraph import metrics
from handgraph.geometry import denormalize_uv
from handgraph.metrics import Interval, joint_errors, occlusion_groups
from pipeline.objectives import StepModule
from pipeline.settings import Settings
from psjnet import PoseNet
from shared.lifters import Hands, camera_space

REACH = 0.05  # of the image's side, 12.8 pixels of 256: a 2D joint within it is correct


def hits_2d(uv: Tensor, hands: Hands, image_size: int) -> tuple[Tensor, Tensor]:
    """Count the visible joints within ``REACH``, and all visible ones; (u, v) in [-1, 1]."""
    off = joint_errors(denormalize_uv(uv.float(), image_size), hands["uv_true"])
    return ((off <= REACH * image_size) & hands["visible"]).sum(), hands["visible"].sum()


@torch.no_grad()
def score(module: StepModule, batches: Iterable[Hands], image_size: int) -> dict[str, float]:
    """Score the visible joints of a step's poses, over all batches and processes.

    Returns:
        PCK in percent and errors in pixels; if the poses are lifted, also errors in mm, and 100 x
        AUC by Table 2's groups.
    """
    module.eval()
    device = next(module.parameters()).device
    pck = metrics.PCK(torch.tensor([0.0, REACH * image_size])).to(device)
    pixels, metres = metrics.MPJPE().to(device), metrics.MPJPE().to(device)
    auc = metrics.OcclusionAUC().to(device)
    for hands in batches:
        pose, visible = module(hands)[1], hands["visible"]
        uv, lifted = denormalize_uv(pose[..., :2].float(), image_size), pose.shape[-1] == 3
        for metric in (pck, pixels):
            metric.update(uv, hands["uv_true"], visible)
        if lifted:
            for metric in (metres, auc):
                metric.update(camera_space(pose, hands, image_size), hands["xyz"], visible)
    found = {"pck_2d": 100 * pck.compute()[-1], "pixels_2d": pixels.compute()}
    if lifted:
        areas = {f"auc_{name}": 100 * value for name, value in auc.compute().items()}
        areas["auc_relative"] /= 100
        found |= {"mm": 1000 * metres.compute(), **areas}
    return {name: round(value.item(), 4) for name, value in found.items()}


class Range(NamedTuple):
    """How PCK is measured (decision 29)."""

    title: str
    grid: Tensor
    average: Literal["pooled", "joint"] = "pooled"


RANGES = (
    Range("0 to 50 mm in 20 steps, visible joints pooled", metrics.thresholds()),
    Range("0 to 50 mm in 20 steps, mean over joints", metrics.thresholds(), "joint"),
    Range("20 to 50 mm in 20 steps, visible joints pooled", metrics.thresholds(0.05, 20, 0.02)),
    Range("0 to 30 mm in 20 steps, visible joints pooled", metrics.thresholds(0.03)),
)
"""The first is the default, the second that of Zimmermann and Brox; other papers use the rest."""


class Predictions(NamedTuple):
    """Predictions of a model, and the truth; 3D in metres, 2D in pixels."""

    xyz: Tensor  # in the camera frame
    uv: Tensor
    detected: Tensor  # joints decoded from the heatmaps
    true_xyz: Tensor
    true_uv: Tensor
    visible: Tensor

    def errors(self) -> Tensor:
        """Distance of each joint from the truth, in metres. ``[n, J]``."""
        return joint_errors(self.xyz, self.true_xyz)


@torch.no_grad()
def predict(model: PoseNet, batches: Iterable[Hands], image_size: int) -> Predictions:
    """Run a model, which is put into eval mode, over batches."""
    model.eval()
    parts = []
    for hands in batches:
        found = model.detect(hands["image"])
        pose = model.lifter(found)[0]
        uv, detected = (denormalize_uv(x[..., :2].float(), image_size) for x in (pose, found.uv))
        truth = (hands["xyz"], hands["uv_true"], hands["visible"])
        found = (camera_space(pose, hands, image_size), uv, detected, *truth)
        parts.append([value.cpu() for value in found])
    return Predictions(*(torch.cat(values) for values in zip(*parts, strict=True)))


class Row(NamedTuple):
    """Scores of a method: AUC of each group, and severe relative to small, with 95 % intervals."""

    title: str
    nets: int
    average: str
    auc: dict[str, Interval]
    relative: Interval
    millimetres: float
    pixels: float


def row(title: str, nets: list[Predictions], how: Range, seed: int = 0) -> Row:
    """Score the nets of a method: joint areas are averaged over the nets, images are resampled."""
    visible, rng = nets[0].visible, torch.Generator().manual_seed(seed)
    draws = {"average": how.average, "generator": rng}
    areas = mean(metrics.joint_auc(net.errors(), how.grid, visible) for net in nets)
    parts = {name: (areas[m], visible[m]) for name, m in occlusion_groups(visible).items()}
    auc = {name: metrics.bootstrap_interval(*part, **draws) for name, part in parts.items()}
    small, severe = (metrics.bootstrap_means(*parts[n], **draws) for n in ("small", "severe"))
    ratios = metrics.relative_value(small=small, severe=severe)
    value = metrics.relative_value(small=auc["small"].value, severe=auc["severe"].value)
    relative = Interval(value, *ratios.quantile(ratios.new_tensor([0.025, 0.975])))
    off = metrics.visible_mean(mean(net.errors() for net in nets), visible)
    pixels = mean(joint_errors(net.detected, net.true_uv) for net in nets)
    pixels = metrics.visible_mean(pixels, visible).item()
    return Row(title, len(nets), how.average, auc, relative, 1000 * off.item(), pixels)


def mean(values: Iterable[Tensor]) -> Tensor:
    """Average tensors of several nets."""
    return torch.stack([*values]).mean(dim=0)


def counts(visible: Tensor) -> str:
    """Format the number of images and visible joints of each group."""
    groups = occlusion_groups(visible).items()
    each = [f"{name} {int(some.sum())} ({int(visible[some].sum())})" for name, some in groups]
    return f"images (visible joints): {', '.join(each)}"


def markdown(rows: Iterable[Row], how: Range) -> str:
    """Format a table with AUC and relative values x 100 and their intervals."""
    head = "| method | nets | All | Small | Severe | Rel | mm | px |\n|---|---:" + "|---:" * 6 + "|"
    lines = [f"## AUC x 100, {how.title}\n", head]
    for each in rows:
        cells = [*each.auc.values(), each.relative]
        numbers = [f"{100 * c.value:.1f} [{100 * c.low:.1f}, {100 * c.high:.1f}]" for c in cells]
        numbers += [f"{each.millimetres:.1f}", f"{each.pixels:.2f}"]
        lines.append(f"| {each.title} | {each.nets} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def heading(settings: Settings) -> str:
    """Format the title, with the data and the metrics."""
    data = "RHD, evaluation split" if settings.data == "rhd" else "rendered hands, seed 2000"
    return (
        f"# Table 2 on {data}, {settings.image_size} px\n\n"
        "Visible joints in the camera frame, with known scale, root depth and K. Severe: at most "
        "10 visible joints. Brackets: 95 % intervals by bootstrap over images. mm: mean error in "
        "3D. px: mean error of the joints that are decoded from the heatmaps."
    )
