"""Table 2 for trained runs: predictions, AUC by occlusion with intervals, in every range of PCK."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from handgraph.geometry import denormalize_uv
from handgraph.metrics import (
    Interval,
    bootstrap_interval,
    bootstrap_means,
    joint_auc,
    joint_errors,
    occlusion_groups,
    relative_value,
    thresholds,
    visible_mean,
)
from pipeline.settings import Settings
from pipeline.targets import Hands, camera_space
from psjnet import PoseNet

GROUPS = ("all", "small", "severe")


class Range(NamedTuple):
    """How PCK is measured (decision 29)."""

    title: str
    grid: Tensor
    average: Literal["pooled", "joint"] = "pooled"


RANGES = (
    Range("0 to 50 mm in 20 steps, visible joints pooled", thresholds()),
    Range("0 to 50 mm in 20 steps, mean over joints", thresholds(), "joint"),
    Range("20 to 50 mm in 20 steps, visible joints pooled", thresholds(0.05, 20, 0.02)),
    Range("0 to 30 mm in 20 steps, visible joints pooled", thresholds(0.03)),
)
"""The first is the default; Zimmermann and Brox have the second, other papers the rest."""


class Predictions(NamedTuple):
    """What a model says of hands, and the truth.

    Args:
        xyz: Poses in the camera's frame, in metres. ``[n, J, 3]``.
        uv: Their pixels. ``[n, J, 2]``.
        detected: Where the heatmaps have the joints, in pixels. ``[n, J, 2]``.
        true_xyz, true_uv, visible: The truth.
    """

    xyz: Tensor
    uv: Tensor
    detected: Tensor
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
        part = (camera_space(pose, hands, image_size), uv, detected, *truth)
        parts.append([value.cpu() for value in part])
    return Predictions(*(torch.cat(values) for values in zip(*parts, strict=True)))


class Row(NamedTuple):
    """One method's row: AUC of each group, and their relative value, with intervals of 95 %."""

    title: str
    nets: int
    auc: dict[str, Interval]
    relative: Interval
    millimetres: float
    pixels: float


def row(title: str, nets: list[Predictions], how: Range, seed: int = 0) -> Row:
    """Score the nets of a method: joint areas are averaged over the nets, images are resampled."""
    visible = nets[0].visible
    areas = torch.stack([joint_auc(net.errors(), how.grid, visible) for net in nets]).mean(dim=0)
    groups = occlusion_groups(visible)
    rng = torch.Generator().manual_seed(seed)
    auc = {
        name: bootstrap_interval(areas[m], visible[m], average=how.average, generator=rng)
        for name, m in groups.items()
    }
    errors = torch.stack([net.errors() for net in nets]).mean(dim=0)
    pixels = torch.stack([joint_errors(net.detected, net.true_uv) for net in nets]).mean(dim=0)
    return Row(
        title,
        len(nets),
        auc,
        _relative(areas, visible, groups, auc, how, rng),
        1000 * visible_mean(errors, visible).item(),
        visible_mean(pixels, visible).item(),
    )


def _relative(
    areas: Tensor,
    visible: Tensor,
    groups: Mapping[str, Tensor],
    auc: Mapping[str, Interval],
    how: Range,
    rng: torch.Generator,
) -> Interval:
    small, severe = (
        bootstrap_means(areas[groups[g]], visible[groups[g]], average=how.average, generator=rng)
        for g in ("small", "severe")
    )
    ratios = relative_value(small=small, severe=severe)
    low, high = ratios.quantile(ratios.new_tensor([0.025, 0.975]))
    value = relative_value(small=auc["small"].value, severe=auc["severe"].value)
    return Interval(value, low, high)


def counts(visible: Tensor) -> str:
    """How many images and visible joints each group has."""
    groups = occlusion_groups(visible)
    each = [f"{g} {int(groups[g].sum())} ({int(visible[groups[g]].sum())})" for g in GROUPS]
    return f"images (visible joints): {', '.join(each)}"


def markdown(rows: Iterable[Row], how: Range) -> str:
    """Write a table. AUC and relative values x 100, with intervals."""
    head = "| method | nets | All | Small | Severe | Rel | mm | px |\n|---|---:" + "|---:" * 6 + "|"
    lines = [f"## AUC x 100, {how.title}\n", head]
    for each in rows:
        cells = [*(each.auc[group] for group in GROUPS), each.relative]
        numbers = [f"{100 * c.value:.1f} [{100 * c.low:.1f}, {100 * c.high:.1f}]" for c in cells]
        numbers += [f"{each.millimetres:.1f}", f"{each.pixels:.2f}"]
        lines.append(f"| {each.title} | {each.nets} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def heading(settings: Settings) -> str:
    """Say what is measured, and on what."""
    data = "RHD, evaluation split" if settings.data == "rhd" else "rendered hands, seed 2000"
    return (
        f"# Table 2 on {data}, {settings.image_size} px\n\n"
        "Visible joints, camera space with known scale, root depth and K; severe: at most 10 "
        "joints visible; [95 % bootstrap over images]. mm: mean error in 3D; px: of the heatmaps' "
        "joints."
    )


def as_json(how: Range, rows: list[Row]) -> list[dict[str, object]]:
    """The numbers of a table."""
    return [
        {
            "title": each.title,
            "nets": each.nets,
            "average": how.average,
            "auc": {group: [x.item() for x in value] for group, value in each.auc.items()},
            "relative": [x.item() for x in each.relative],
            "millimetres": each.millimetres,
            "pixels": each.pixels,
        }
        for each in rows
    ]
