"""Removal sets that follow the image: hide what is likely hidden, in every sample its own joints.

Nets are trained on clean detections and tested on occluded ones, as happens to a lifter in the
wild. One net, which lost joints at random in training, is tested with masks of all kinds; another
has learned from simulated occlusions to tell which joints are hidden.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera
from handgraph.losses import pose_loss
from handgraph.masks import cover, drop_joints, keep_always, merge_draws, sample_visible
from handgraph.metrics import joint_auc, joint_errors, per_occlusion, thresholds
from handgraph.nn import AdaptiveGraphUNet, JointHead, VisibilityLifter
from handgraph.transforms import Occluded, sample_region, simulate_occlusion

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
clean = Occluded(
    *(train[f"{name}_clean"] for name in ("uv", "cue", "confidence")), train["visible"]
)


def lifter(channels: int) -> JointHead:
    """A graph U-Net with an output head for each joint, from position and cue to (u, v, d)."""
    return JointHead(AdaptiveGraphUNet(3, 8, HAND, channels=channels), 3, 8, 3, HAND)


def inputs(uv: Tensor, cue: Tensor) -> Tensor:
    """Position in [-1, 1] and depth cue."""
    return torch.cat([normalize_uv(uv, 256), cue], dim=-1)


def dropout_loss(net: nn.Module, seen: Occluded, truth: Tensor, rng: torch.Generator) -> Tensor:
    """Joints are dropped at random, and whatever else is known of them is not used."""
    mask = keep_always(drop_joints(tuple(truth.shape[:-1]), 0.25, rng), HAND, "wrist")
    return pose_loss(net(inputs(seen.uv, seen.cue), mask) * PIXELS, truth, mask=mask)


def learned_loss(
    net: VisibilityLifter, seen: Occluded, truth: Tensor, rng: torch.Generator
) -> Tensor:
    """Joints are dropped by how visible the net takes them to be, which it learns on the way."""
    x = inputs(seen.uv, seen.cue)
    logit = net.logit(x, seen.confidence)
    mask = net.draw(logit, rng)
    loss = pose_loss(net.lifter(x, mask) * PIXELS, truth, mask=mask)
    return loss + binary_cross_entropy_with_logits(logit, seen.visible.to(x))


def occlude(rng: torch.Generator) -> Occluded:
    """Hide other joints of the clean hands in each epoch."""
    hidden = sample_region(clean.uv, generator=rng)
    return simulate_occlusion(*clean[:3], hidden, generator=rng)


def fit(
    net: nn.Module, seed: int, loss: Callable[..., Tensor], source: Callable[..., Occluded]
) -> None:
    """Adam with a one-cycle rate."""
    rng = torch.Generator().manual_seed(seed)
    steps = args.epochs * -(-args.samples // 256)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=steps + 1)
    for _ in tqdm(range(args.epochs), desc=f"{loss.__name__}, seed {seed}", unit="epoch"):
        seen = source(rng)
        for batch in torch.randperm(args.samples, generator=rng).split(256):
            optimizer.zero_grad()
            some = Occluded(*(values[batch] for values in seen))
            loss(net, some, target[batch], rng).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def drawn(net: nn.Module, x: Tensor, score: Tensor) -> Tensor:
    """Lift what eight draws by a score leave, and average."""
    draws = sample_visible(
        score.expand(8, *score.shape), generator=torch.Generator().manual_seed(0)
    )
    masks, speaks = cover(keep_always(draws, HAND, "wrist"))
    return merge_draws(net(x.expand(9, *x.shape), masks), speaks)


def area(pose: Tensor) -> tuple[float, float]:
    """AUC x 100 (0 to 50 mm, visible joints) on images with small and severe occlusion."""
    uvd = torch.cat([denormalize_uv(pose[..., :2], 256), pose[..., 2:]], dim=-1)
    root = test["xyz"][:, HAND.index("wrist"), 2]
    errors = joint_errors(uvd_to_camera(uvd, test["K"], test["s"].flatten(), root), test["xyz"])
    table = per_occlusion(joint_auc(errors, thresholds(), test["visible"]), test["visible"])
    return 100 * table["small"].item(), 100 * table["severe"].item()


scores: dict[str, list[tuple[float, float]]] = {}
for seed in range(args.seeds):
    torch.manual_seed(seed)
    net = lifter(9)
    fit(net, seed, dropout_loss, lambda rng: clean)
    learned = VisibilityLifter(AdaptiveGraphUNet(4, 1, HAND), lifter(8), HAND)
    fit(learned, seed, learned_loss, occlude)
    x, confidence, visible = inputs(test["uv"], test["cue"]), test["confidence"], test["visible"]
    with torch.no_grad():
        poses = {
            "nothing": net(x),
            "a quarter, at random": drawn(net, x, torch.full(visible.shape, 0.75)),
            "by the detector's score": drawn(net, x, confidence.squeeze(-1)),
            "what is truly hidden": drawn(net, x, visible.to(x)),
            "by learned visibility": learned(x, confidence),
        }
    for name, pose in poses.items():
        scores.setdefault(name, []).append(area(pose))

print(f"AUC x 100 of visible joints, 0-50 mm, {args.samples} test hands, {args.seeds} seeds")
print("removed                    small          severe")
for name, values in scores.items():
    mean, spread = torch.tensor(values).mean(dim=0), torch.tensor(values).std(dim=0, correction=0)
    cells = "    ".join(f"{m:.1f} ± {s:.1f}" for m, s in zip(mean, spread, strict=True))
    print(f"{name:25s}  {cells}")
