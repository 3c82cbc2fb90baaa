"""Removal sets that follow the image: hide what is likely hidden, in every sample its own joints.

Nets are trained on clean detections and tested on occluded ones. One net, which lost joints at
random in training, is tested with masks of all kinds; another has learned from simulated occlusions
which joints are hidden.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.losses import pose_loss
from handgraph.masks import cover, drop_joints, keep_always, merge_draws, sample_visible
from handgraph.nn import AdaptiveGraphUNet, VisibilityLifter
from handgraph.transforms import sample_region, simulate_occlusion
from occlusion.masked import with_head
from shared.lifters import batches, inputs, minimize, table2
from shared.lifters import train as fit

PIXELS = torch.tensor([128.0, 128.0, 1.0])
"""From a net's (u, v, d), u and v in [-1, 1], to pixels and keybone lengths."""

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--samples", type=int, default=8000)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seeds", type=int, default=2)
args = parser.parse_args()
train = SyntheticHands(args.samples, seed=1000).tensors
test = SyntheticHands(args.samples, seed=3000).tensors
target = torch.cat([train["uv_true"] - 127.5, train["d"].unsqueeze(-1)], dim=-1)
clean = [train[f"{name}_clean"] for name in ("uv", "cue", "confidence")]
seen = inputs({"uv": clean[0], "cue": clean[1]}, "cue")


def dropout_loss(net: nn.Module, x: Tensor, target: Tensor, rng: torch.Generator) -> Tensor:
    """Joints are dropped at random, and whatever else is known of them is not used."""
    mask = keep_always(drop_joints((len(x), HAND.num_joints), 0.25, rng), HAND, "wrist")
    return pose_loss(net(x, mask) * PIXELS, target, mask=mask)


def learned_losses(net: VisibilityLifter, rng: torch.Generator) -> Iterator[Tensor]:
    """Joints are dropped by how visible the net estimates them to be; others hidden each epoch."""
    for _ in range(args.epochs):
        hidden = sample_region(clean[0], generator=rng)
        uv, cue, score, visible = simulate_occlusion(*clean, hidden, generator=rng)
        x = inputs({"uv": uv, "cue": cue}, "cue")
        for batch in batches(args.samples, 256, 1, rng):
            logit = net.logit(x[batch], score[batch])
            mask = net.draw(logit, rng)
            loss = pose_loss(net.lifter(x[batch], mask) * PIXELS, target[batch], mask=mask)
            yield loss + binary_cross_entropy_with_logits(logit, visible[batch].to(x))


def drawn(net: nn.Module, x: Tensor, score: Tensor) -> Tensor:
    """Average the poses of eight draws by a score."""
    rng = torch.Generator().manual_seed(0)
    draws = sample_visible(score.expand(8, *score.shape), generator=rng)
    masks, speaks = cover(keep_always(draws, HAND, "wrist"))
    return merge_draws(net(x.expand(9, *x.shape), masks), speaks)


scores: dict[str, list[list[Tensor]]] = {}
steps = args.epochs * -(-args.samples // 256)
x, confidence, visible = inputs(test, "cue"), test["confidence"], test["visible"]
for seed in tqdm(range(args.seeds), unit="seed"):
    torch.manual_seed(seed)
    net, rng = with_head(3, 9), torch.Generator().manual_seed(seed)
    fit(net, partial(dropout_loss, rng=rng), (seen, target), args.epochs, 2e-2, rng=rng)
    learned = VisibilityLifter(AdaptiveGraphUNet(4, 1, HAND), with_head(3, 8), HAND)
    minimize(learned_losses(learned, rng.manual_seed(seed)), [learned.parameters()], 2e-2, steps)
    with torch.no_grad():
        poses = {
            "nothing": net(x),
            "a quarter, at random": drawn(net, x, torch.full(visible.shape, 0.75)),
            "by the detector's score": drawn(net, x, confidence.squeeze(-1)),
            "what is truly hidden": drawn(net, x, visible.to(x)),
            "by learned visibility": learned(x, confidence),
        }
    for name, pose in poses.items():
        areas = table2(pose, test)
        scores.setdefault(name, []).append([areas["small"], areas["severe"]])

print(f"AUC x 100 of visible joints, 0-50 mm, {args.samples} test hands, {args.seeds} seeds")
print("removed                    small          severe")
for name, values in scores.items():
    spread, mean = torch.std_mean(torch.tensor(values), dim=0, correction=0)
    cells = "    ".join(f"{m:.1f} ± {s:.1f}" for m, s in zip(mean, spread, strict=True))
    print(f"{name:25s}  {cells}")
