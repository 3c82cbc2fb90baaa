"""Train the pretrained lifter of the package, measure it on held-out hands, and save it.

The lifter maps 21 detected 2D joints, with or without missing joints and scores, to a 3D hand in
keybone lengths from the wrist. The defaults write the files in ``handgraph/hub/keypoint_lifter``.
``--real FILE.npz`` (``xyz [n, 21, 3]`` in metres and ``K [n, 3, 3]``) adds errors on real hands.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from handgraph import HAND, metrics
from handgraph.datasets import KeypointDataset, SyntheticHands
from handgraph.detectors import HeatmapDetector, Missing, RegressionDetector
from handgraph.hub import KeypointLifter, lifter_loss, lifting_target, to_camera
from handgraph.hub.detected import UNKNOWN
from handgraph.hub.estimate import num_outputs
from handgraph.hub.keypoints import CHANNELS
from handgraph.nn import AdaptiveGraphUNet, JointHead
from shared.lifters import Hands
from shared.training import Recipe, train

WRIST = HAND.index("wrist")
DETECTORS = (HeatmapDetector(), RegressionDetector())  # each hand is detected by one of them
MISSING = Missing(share=0.5)  # draws the joints that are missing in training, anew in each epoch
COLUMNS = (
    "MPJPE mm", "expected mm", "by rays mm", "PA-MPJPE mm", "PCK at 30 mm", "AUC 0-50 mm",
    "missing joints mm",
)  # fmt: skip
LIMITS = [
    "Trained on simulated hands only. Errors on real hands are measured with true 2D joints; "
    "errors with a detector may be larger.",
    "Scale and root depth are unknown. The output is in keybone lengths, relative to the wrist.",
    "If several hands fit the same 2D joints, the output is the most probable hypothesis, or lies "
    "between these hands.",
    "A missing joint is inferred from the others. If more than half of the joints are missing, all "
    "joints are unreliable.",
    "The input must be a right hand. side='left' mirrors left hands. The lifter does not detect "
    "the side.",
    "Far from the centre of a wide image, perspective changes the view of a hand. The crop does "
    "not contain this information.",
]


def graph_net() -> nn.Module:
    """Build a graph U-Net with a head for each joint: a control, with one hypothesis."""
    net = AdaptiveGraphUNet(CHANNELS, 24, HAND, channels=24, bottleneck_channels=64)
    net = JointHead(net, CHANNELS, 24, num_outputs(1, 1), HAND)
    return nn.Sequential(nn.Unflatten(-1, (-1, CHANNELS)), net, nn.Flatten(-2))


def plain_net() -> nn.Module:
    """Build three hidden layers without residuals and normalisation: a control."""
    sizes = (CHANNELS * HAND.num_joints, 512, 512, 512)
    layers = [step for pair in pairwise(sizes) for step in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(512, num_outputs(HAND.num_joints, 1)))


CONTROLS = {
    "a graph U-Net with a head for each joint": (graph_net, 1e-2),
    "three plain layers of width 512": (plain_net, 1e-3),
}
"""Networks that replace the lifter's, and their learning rates."""


def real(path: Path) -> Hands:
    """Load real hands, with projected 2D joints."""
    with np.load(path) as file:
        hands = KeypointDataset({"xyz": file["xyz"], "K": file["K"]}, source=str(path)).tensors
    visible = torch.ones(hands["uv"].shape[:2], dtype=torch.bool)
    return {**hands, "visible": visible, "confidence": UNKNOWN * visible.unsqueeze(-1)}


def target(hands: Hands, there: Tensor) -> Tensor:
    """Return the target of the lifter for the present joints."""
    uv = hands["uv"].where(there.unsqueeze(-1), torch.nan)
    return lifting_target(hands["xyz"], uv, hands["K"], keybone=hands["s"])


def depth_of(hands: Hands) -> Tensor:
    """Return the depths of hands from a detector without scores, in pixels, and NaN for others.

    A keybone at the root's depth is ``s * focal / depth`` pixels long.
    """
    pixels = hands["s"] * hands["K"][:, 0, 0] / hands["xyz"][:, WRIST, 2]
    regressed = (hands["confidence"] == UNKNOWN).all(dim=1)
    return (hands["cue"][..., 0] * pixels.unsqueeze(-1)).where(regressed, torch.nan)


def loss_of(lifter: KeypointLifter, hands: Hands, rng: torch.Generator) -> Tensor:
    """Compute the loss of a batch, with newly drawn missing joints."""
    score, half = hands["confidence"][..., 0], (len(hands["uv"]), 1)
    there = ~MISSING.sample(hands["uv"], score, generator=rng)
    told = torch.rand(half, generator=rng) < 0.5  # half of the hands have scores
    score = score.where(told, UNKNOWN).where(there, 0)
    depth = depth_of(hands).where(torch.rand(half, generator=rng) < 0.5, torch.nan)
    found = lifter.estimate(hands["uv"], score, depth=depth)
    return lifter_loss(found, target(hands, there), hands["visible"])


@torch.no_grad()
def measure(
    lifter: KeypointLifter, hands: Hands, missing: int = 0, keep: Sequence[int] = ()
) -> list[float]:
    """Return mean errors of visible joints without the wrist, which is 0, and of missing joints."""
    draws = torch.rand(hands["uv"].shape[:2], generator=torch.Generator().manual_seed(missing))
    draws[:, keep] = 1  # these joints are the last to be left out
    there = draws.argsort(dim=1).argsort(dim=1) >= missing
    score = hands["confidence"][..., 0].where(there, 0)
    found = lifter.estimate(hands["uv"], score, depth=hands.get("depth"))
    metres = hands["s"].reshape(-1, 1, 1)
    pose, truth = metres * found.pose, metres * target(hands, there)
    errors = metrics.joint_errors(pose, truth)
    aligned = metrics.joint_errors(metrics.procrustes_align(pose, truth), truth)
    known = {"keybone": hands["s"], "root_depth": hands["xyz"][:, WRIST, 2]}
    uv = hands["uv"].where(there.unsqueeze(-1), torch.nan)
    by_rays = metrics.joint_errors(to_camera(found.pose, uv, hands["K"], **known), hands["xyz"])
    scored = torch.arange(HAND.num_joints) != WRIST
    shown, lost = hands["visible"] & there & scored, ~there & scored
    area = metrics.joint_auc(errors, metrics.thresholds(), shown)
    values = [1000 * each for each in (errors, metres[..., 0] * found.error, by_rays, aligned)]
    means = [metrics.visible_mean(v, shown) for v in (*values, 100.0 * (errors < 0.03), 100 * area)]
    return [mean.item() for mean in (*means, metrics.visible_mean(1000 * errors, lost))]


def table(lifter: KeypointLifter, held_out: Hands, others: Hands | None) -> dict[str, list[float]]:
    """Return a row for each group of images, detector, and number of missing joints."""
    groups = metrics.occlusion_groups(held_out["visible"])
    scored = (held_out["confidence"] != UNKNOWN).flatten(1).any(dim=1)
    small, severe, heatmap, regression = (
        {name: values[rows] for name, values in held_out.items()}
        for rows in (groups["small"], groups["severe"], scored, ~scored)
    )
    deep = {**regression, "depth": depth_of(regression)}
    unscored = {**heatmap, "confidence": torch.full_like(heatmap["confidence"], UNKNOWN)}
    rows = {
        "small occlusion": measure(lifter, small),
        "severe occlusion": measure(lifter, severe),
        "heatmap detector, scores": measure(lifter, heatmap),
        "heatmap detector, no scores": measure(lifter, unscored),
        "regression detector": measure(lifter, regression),
        "regression detector, depth": measure(lifter, deep),
    }
    for missing in (1, 3, 6, 9):
        rows[f"all, {missing} missing"] = measure(lifter, held_out, missing)
    if others is None:
        return rows
    for missing in (0, 1, 3, 6, 9):
        rows[f"real, true 2D, {missing} missing"] = measure(lifter, others, missing)
    for missing in (1, 3, 6, 9):
        row = f"real, true 2D, {missing} missing, not the wrist"
        rows[row] = measure(lifter, others, missing, [WRIST])
    return rows


def show(tables: Sequence[dict[str, list[float]]]) -> dict[str, dict[str, str]]:
    """Format and print mean and spread over the trainings."""
    errors, form = {}, "{:.1f} ± {:.1f}" if len(tables) > 1 else "{:.1f}"
    for row in tables[0]:
        values = torch.tensor([table[row] for table in tables])
        spread = zip(values.mean(dim=0), values.std(dim=0, correction=0), strict=True)
        cells = [form.format(m, s) if m.isfinite() else "-" for m, s in spread]
        errors[row] = dict(zip(COLUMNS, cells, strict=True))
        print(row, errors[row])
    return errors


def fit(
    seed: int, control: Callable[[], nn.Module] | None = None, rate: float = 4e-3
) -> tuple[KeypointLifter, dict[str, list[float]]]:
    """Train a lifter, or a control in place of its network, and measure it."""
    torch.manual_seed(seed)
    lifter = KeypointLifter(hypotheses=1 if control else 2)
    if control:
        lifter.net = control()
    rng = torch.Generator().manual_seed(seed)

    def loss(lifter: nn.Module, *values: Tensor) -> Tensor:
        return loss_of(lifter, dict(zip(hands, values, strict=True)), rng)

    train(lifter, loss, tuple(hands.values()), args.epochs, Recipe(rate), rng)
    return lifter.eval(), table(lifter, held_out, others)


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--samples", type=int, default=480_000)
parser.add_argument("--held-out", type=int, default=20_000, help="hands to measure on")
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--seeds", type=int, default=3, help="trainings; the first is saved")
parser.add_argument("--control", action="store_true", help="other networks, trained once")
parser.add_argument("--real", type=Path, help="npz of real hands, to measure on")
parser.add_argument("--out", type=Path, default=Path("runs/keypoint_lifter"))
args = parser.parse_args()
hands, held_out = (
    SyntheticHands(number, seed=seed, detector=DETECTORS).tensors
    for number, seed in ((args.samples, 1000), (args.held_out, 3000))
)
others = None if args.real is None else real(args.real)
lifters, tables = zip(*(fit(seed) for seed in range(args.seeds)), strict=True)
lifters[0].about |= {
    "Training": {
        "data": f"{len(hands['uv'])} SyntheticHands, detected by "
        f"{' or '.join(map(str, DETECTORS))}. Each epoch draws new missing joints by {MISSING}",
        "command": f"`python examples/train_lifter.py --samples {args.samples} "
        f"--epochs {args.epochs} --seeds {args.seeds}`"
        + (" with `--control`" if args.control else "")
        + (f" and `--real {args.real.name}`" if others else ""),
    },
    "Errors": show(tables),
    "How they are measured": f"On {len(held_out['uv'])} held-out simulated hands, over visible "
    "joints except the wrist, with known keybone length. Expected: error that the lifter predicts. "
    "By rays: with handgraph.hub.to_camera, K and root depth known. Severe: at most 10 visible "
    "joints. Missing: this number of joints of each hand is left out at random; the last column is "
    "the error of these joints. PA: after the best similarity transform. "
    + (f"Real: {len(others['uv'])} hands of {args.real.stem}, without scores. " if others else "")
    + f"Mean ± standard deviation of {args.seeds} trainings; the first one is saved.",
}
for name, (network, rate) in CONTROLS.items() if args.control else ():
    lifters[0].about[f"Errors of {name}, trained once"] = show([fit(0, network, rate)[1]])
lifters[0].about |= {"Limits": LIMITS, "Licence": "MIT, as for the package."}
(args.out / "README.md").unlink(missing_ok=True)
lifters[0].save_pretrained(args.out)
