"""Train the lifter that comes with the package, measure it on held-out hands, and save it.

21 detected 2D joints, with scores or without, to a 3D hand relative to the wrist, in keybone
lengths. The defaults make the files in ``handgraph/hub/keypoint_lifter`` (8 minutes).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from handgraph import HAND, metrics
from handgraph.datasets import SyntheticHands
from handgraph.geometry import view_rotation
from handgraph.hub import KeypointLifter

FOCALS = (350.0, 500.0, 800.0, 1500.0)
"""Focal lengths in pixels of an image of 256: 40, 29, 18 and 10 degrees."""
WRIST = HAND.index("wrist")
COLUMNS = ("MPJPE mm", "PA-MPJPE mm", "PCK at 30 mm", "AUC 0-50 mm")
LIMITS = [
    "Trained and measured on simulated hands only: expect larger errors on real ones.",
    "Scale and root depth are unknown: the output is in keybone lengths, relative to the wrist.",
    "Often two hands fit the 2D joints, and the lifter says something between them.",
    "Right hands. Left ones are mirrored by side='left'; telling which is which is up to you.",
    "A hand far from the centre of a wide image is seen from the side, which a crop does not show.",
]
Hands = dict[str, Tensor]


def simulate(num_samples: int, seed: int) -> Hands:
    """Hands before four cameras, as many before each."""
    cameras = [{"seed": seed + i, "focal": focal} for i, focal in enumerate(FOCALS)]
    parts = [SyntheticHands(num_samples // len(FOCALS), **camera).tensors for camera in cameras]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def target(hands: Hands) -> Tensor:
    """What the lifter should say: relative to the wrist, in keybone lengths, in the view's axes."""
    axes = view_rotation(hands["uv"], hands["K"])
    return (hands["xyz"] - hands["xyz"][:, [WRIST]]) @ axes.mT / hands["s"].reshape(-1, 1, 1)


def train(lifter: KeypointLifter, hands: Hands, epochs: int, seed: int) -> None:
    """Adam with a one-cycle rate on the mean distance of all joints, hidden ones too."""
    rng = torch.Generator().manual_seed(seed)
    uv, score, wanted = hands["uv"], hands["confidence"][..., 0], target(hands)
    steps = epochs * -(-len(uv) // 256) + 1
    optimizer = torch.optim.Adam(lifter.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in tqdm(range(epochs), desc=f"seed {seed}", unit="epoch"):
        for batch in torch.randperm(len(uv), generator=rng).split(256):
            told = torch.rand(len(batch), 1, generator=rng) < 0.5  # scores, of half of the hands
            pose = lifter(uv[batch], score[batch].where(told, 0.5))
            loss = (pose - wanted[batch]).square().sum(dim=-1).add(1e-6).sqrt().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(lifter.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def measure(lifter: KeypointLifter, hands: Hands, told: str) -> dict[str, list[float]]:
    """Errors of visible joints but the wrist, which is zero: a row for each group of images."""
    metres, visible = hands["s"].reshape(-1, 1, 1), hands["visible"].clone()
    visible[:, WRIST] = False
    score = hands["confidence"][..., 0] if told == "scores" else None
    pose, truth = metres * lifter(hands["uv"], score), metres * target(hands)
    errors = metrics.joint_errors(pose, truth)
    aligned = metrics.joint_errors(metrics.procrustes_align(pose, truth), truth)
    area = metrics.joint_auc(errors, metrics.thresholds(), visible)
    values = (1000 * errors, 1000 * aligned, 100.0 * (errors < 0.03), 100 * area)
    groups = metrics.occlusion_groups(hands["visible"])
    return {
        f"{group}, {told}": [
            metrics.visible_mean(v[groups[group]], visible[groups[group]]).item() for v in values
        ]
        for group in ("small", "severe")
    }


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--samples", type=int, default=80_000)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seeds", type=int, default=3, help="trainings; the first is saved")
parser.add_argument("--out", type=Path, default=Path("runs/keypoint_lifter"))
args = parser.parse_args()
hands, held_out = simulate(args.samples, 1000), simulate(args.samples // 4, 3000)
lifters, tables, errors = [], [], {}
for seed in range(args.seeds):
    torch.manual_seed(seed)
    lifters.append(KeypointLifter())
    train(lifters[-1], hands, args.epochs, seed)
    rows = [measure(lifters[-1].eval(), held_out, told) for told in ("scores", "no scores")]
    tables.append(rows[0] | rows[1])
for row in tables[0]:
    values = torch.tensor([table[row] for table in tables])
    spread = zip(values.mean(dim=0), values.std(dim=0, correction=0), strict=True)
    errors[row] = dict(zip(COLUMNS, (f"{m:.1f} ± {s:.1f}" for m, s in spread), strict=True))
    print(row, errors[row])
lifters[0].about |= {
    "Training": {
        "data": f"{len(hands['uv'])} SyntheticHands, focal lengths {FOCALS} pixels of 256",
        "command": f"`python examples/train_lifter.py --samples {args.samples} "
        f"--epochs {args.epochs} --seeds {args.seeds}`",
    },
    "Errors": errors,
    "How they are measured": f"On {len(held_out['uv'])} held-out simulated hands; visible joints "
    "but the wrist, keybone length known. Severe: at most 10 joints visible. PA: after the best "
    f"similarity. Mean ± standard deviation of {args.seeds} trainings; the first is saved.",
    "Limits": LIMITS,
    "Licence": "MIT, as the package.",
}
(args.out / "README.md").unlink(missing_ok=True)
lifters[0].save_pretrained(args.out)
