"""Train the lifter that comes with the package, measure it on held-out hands, and save it.

21 detected 2D joints, some of which may be missing, with scores or without, to a 3D hand relative
to the wrist, in keybone lengths. The defaults make the files in ``handgraph/hub/keypoint_lifter``.
``--real FILE.npz`` (``xyz [n, 21, 3]`` in metres and ``K [n, 3, 3]``) adds errors on real hands.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from handgraph import HAND, metrics
from handgraph.datasets import SyntheticHands
from handgraph.detectors import HeatmapDetector, Missing, RegressionDetector
from handgraph.geometry import keybone_length, project, view_rotation
from handgraph.hub import KeypointLifter

WRIST = HAND.index("wrist")
DETECTORS = (HeatmapDetector(), RegressionDetector())
"""Each hand is seen by one of these."""
MISSING = Missing(share=0.5)
"""Joints that are left out in training, other ones in each epoch."""
COLUMNS = ("MPJPE mm", "PA-MPJPE mm", "PCK at 30 mm", "AUC 0-50 mm", "missing joints mm")
LIMITS = [
    "Trained on simulated hands only: expect larger errors on real ones.",
    "Scale and root depth are unknown: the output is in keybone lengths, relative to the wrist.",
    "Often two hands fit the 2D joints, and the lifter says something between them.",
    "A missing joint is a guess from the others; with more than half of them missing, so is all.",
    "Right hands. Left ones are mirrored by side='left'; telling which is which is up to you.",
    "A hand far from the centre of a wide image is seen from the side, which a crop does not show.",
]
Hands = dict[str, Tensor]


class PlainNet(nn.Module):
    """The control: three wide layers over all numbers of the hand at once.

    Args:
        joints: How many joints.
        width: Of the layers.
    """

    def __init__(self, joints: int, width: int = 512):
        super().__init__()
        ins = 4 * joints
        sizes = [(ins, width), (width, width), (width, width)]
        layers = [part for size in sizes for part in (nn.Linear(*size), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 3 * joints))

    def forward(self, x: Tensor) -> Tensor:
        """Regress all joints."""
        return self.layers(x.flatten(-2)).unflatten(-1, (-1, 3))


def real(path: Path) -> Hands:
    """Real hands, their 2D joints by projection."""
    with np.load(path) as file:
        xyz, K = (torch.from_numpy(file[name]).float() for name in ("xyz", "K"))
    visible = torch.ones(xyz.shape[:2], dtype=torch.bool)
    return {"xyz": xyz, "K": K, "uv": project(xyz, K), "s": keybone_length(xyz), "visible": visible}


def target(hands: Hands, there: Tensor) -> Tensor:
    """What the lifter should say: relative to the wrist, in keybone lengths, in the view's axes."""
    axes = view_rotation(hands["uv"], hands["K"], mask=there)
    return (hands["xyz"] - hands["xyz"][:, [WRIST]]) @ axes.mT / hands["s"].reshape(-1, 1, 1)


def train(lifter: KeypointLifter, hands: Hands, epochs: int, seed: int, rate: float) -> None:
    """Adam with a one-cycle rate on the mean distance of all joints, hidden and missing too."""
    rng = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(hands["uv"]) // 256) + 1
    optimizer = torch.optim.Adam(lifter.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in tqdm(range(epochs), desc=f"seed {seed}", unit="epoch"):
        for batch in torch.randperm(len(hands["uv"]), generator=rng).split(256):
            some = {name: values[batch] for name, values in hands.items()}
            score = some["confidence"][..., 0]
            there = ~MISSING.sample(some["uv"], score, generator=rng)
            told = torch.rand(len(batch), 1, generator=rng) < 0.5  # scores, of half of the hands
            score = score.where(told, 0.5).where(there, 0)
            loss = distance(lifter(some["uv"], score), target(some, there)).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(lifter.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def distance(pose: Tensor, wanted: Tensor) -> Tensor:
    """The distance of each joint, with a gradient at 0."""
    return (pose - wanted).square().sum(dim=-1).add(1e-6).sqrt()


@torch.no_grad()
def measure(lifter: KeypointLifter, hands: Hands, told: bool, missing: int) -> list[float]:
    """Errors of visible joints but the wrist, which is zero, and of the missing ones."""
    rng = torch.Generator().manual_seed(missing)
    order = torch.rand(hands["uv"].shape[:2], generator=rng).argsort(dim=1)
    there = order >= missing
    shown = hands["visible"] & there
    shown[:, WRIST] = False
    score = hands["confidence"][..., 0] if told else torch.full(there.shape, 0.5)
    metres = hands["s"].reshape(-1, 1, 1)
    pose = metres * lifter(hands["uv"], score.where(there, 0))
    truth = metres * target(hands, there)
    errors = metrics.joint_errors(pose, truth)
    aligned = metrics.joint_errors(metrics.procrustes_align(pose, truth), truth)
    area = metrics.joint_auc(errors, metrics.thresholds(), shown)
    values = (1000 * errors, 1000 * aligned, 100.0 * (errors < 0.03), 100 * area)
    lost = ~there
    lost[:, WRIST] = False
    return [
        *(metrics.visible_mean(value, shown).item() for value in values),
        metrics.visible_mean(1000 * errors, lost).item(),
    ]


def table(lifter: KeypointLifter, held_out: Hands, others: Hands | None) -> dict[str, list[float]]:
    """A row for each group of images, and for each number of missing joints."""
    groups = metrics.occlusion_groups(held_out["visible"])
    rows = {}
    for group in ("small", "severe"):
        some = {name: values[groups[group]] for name, values in held_out.items()}
        for told in (True, False):
            name = f"{group}, {'scores' if told else 'no scores'}"
            rows[name] = measure(lifter, some, told, 0)
    for missing in (1, 3, 6, 9):
        rows[f"all, {missing} missing"] = measure(lifter, held_out, True, missing)
    for missing in (0, 1, 3, 6, 9) if others is not None else ():
        rows[f"real, true 2D, {missing} missing"] = measure(lifter, others, False, missing)
    return rows


def show(tables: Sequence[dict[str, list[float]]]) -> dict[str, dict[str, str]]:
    """Mean and spread over the trainings."""
    errors = {}
    for row in tables[0]:
        values = torch.tensor([table[row] for table in tables])
        spread = zip(values.mean(dim=0), values.std(dim=0, correction=0), strict=True)
        cells = (f"{m:.1f} ± {s:.1f}" if m.isfinite() else "-" for m, s in spread)
        cells = cells if len(tables) > 1 else (cell.partition(" ±")[0] for cell in cells)
        errors[row] = dict(zip(COLUMNS, cells, strict=True))
        print(row, errors[row])
    return errors


def fit(seed: int, plain: bool) -> tuple[KeypointLifter, dict[str, list[float]]]:
    """Train a lifter, or the control in its place, and measure it."""
    torch.manual_seed(seed)
    lifter = KeypointLifter()
    if plain:
        lifter.net = PlainNet(HAND.num_joints)
    train(lifter, hands, args.epochs, seed, 1e-3 if plain else 1e-2)
    return lifter.eval(), table(lifter, held_out, others)


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--samples", type=int, default=80_000)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seeds", type=int, default=3, help="trainings; the first is saved")
parser.add_argument("--control", action="store_true", help="a plain net beside it, trained once")
parser.add_argument("--real", type=Path, help="npz of real hands, to measure on")
parser.add_argument("--out", type=Path, default=Path("runs/keypoint_lifter"))
args = parser.parse_args()
hands, held_out = (
    SyntheticHands(number, seed=seed, detector=DETECTORS).tensors
    for number, seed in ((args.samples, 1000), (args.samples // 4, 3000))
)
others = None if args.real is None else real(args.real)
lifters, tables = zip(*(fit(seed, plain=False) for seed in range(args.seeds)), strict=True)
lifters[0].about |= {
    "Training": {
        "data": f"{len(hands['uv'])} SyntheticHands, seen by {' or '.join(map(str, DETECTORS))}; "
        f"in each epoch other joints are missing, by {MISSING}",
        "command": f"`python examples/train_lifter.py --samples {args.samples} "
        f"--epochs {args.epochs} --seeds {args.seeds}`"
        + (" with `--control`" if args.control else "")
        + (f" and `--real {args.real.name}`" if others else ""),
    },
    "Errors": show(tables),
    "How they are measured": f"On {len(held_out['uv'])} held-out simulated hands; visible joints "
    "but the wrist, keybone length known. Severe: at most 10 joints visible. Missing: so many "
    "joints of each hand left out at random; the last column is their own error. PA: after the "
    "best similarity. "
    + (f"Real: {len(others['uv'])} hands of {args.real.stem}, no scores. " if others else "")
    + f"Mean ± standard deviation of {args.seeds} trainings; the first is saved.",
}
if args.control:
    control = show([fit(0, plain=True)[1]])
    lifters[0].about["Errors of a plain net of three layers of 512, trained once"] = control
lifters[0].about |= {"Limits": LIMITS, "Licence": "MIT, as the package."}
(args.out / "README.md").unlink(missing_ok=True)
lifters[0].save_pretrained(args.out)
