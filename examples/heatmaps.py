"""Train a small heatmap generator on rendered hands; see what it finds, hidden joints included.

python examples/heatmaps.py
python examples/heatmaps.py --image-size 256 --backbone hrnet_w32 --samples 200000 --device cuda
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from handgraph.datasets import SyntheticHands
from handgraph.losses import heatmap_loss
from handgraph.metrics import per_occlusion, visible_mean
from handgraph.plot import draw_image, draw_poses
from handgraph.vision import HeatmapGenerator, decode_heatmaps, gaussian_heatmaps
from lifters import Hands, batches, minimize


def losses(net: HeatmapGenerator, args: argparse.Namespace, steps: int) -> Iterator[Tensor]:
    """Step 1 of the paper's training: Eq. 2, with a Gaussian at each joint, hidden or not."""
    hands = SyntheticHands(args.samples, seed=1000, image_size=args.image_size)
    for some in tqdm(batches(len(hands), args.batch_size, args.epochs), "training", steps):
        image = hands.render(some, args.device)["image"]
        uv = hands.tensors["uv_true"][some].to(args.device)
        wanted = gaussian_heatmaps(uv, args.image_size, sigma=args.sigma)
        yield heatmap_loss(net(image)[0], wanted)


@torch.no_grad()
def find(net: HeatmapGenerator, hands: SyntheticHands, args: argparse.Namespace) -> Hands:
    """Images and labels of all hands, and what the net finds: heatmaps, joints, their peaks."""
    parts = []
    for some in tqdm(torch.arange(len(hands)).split(args.batch_size), "testing"):
        image = hands.render(some, args.device)["image"]
        heatmaps, _ = net.eval()(image)
        uv, peak = decode_heatmaps(heatmaps)
        parts.append({"image": image, "heatmaps": heatmaps, "found": uv, "peak": peak})
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    return {"uv": hands.tensors["uv_true"], "visible": hands.tensors["visible"], **found}


def report(title: str, hand: Hands) -> None:
    """Print mean errors: of visible joints, by the occlusion of the image, and of hidden ones."""
    errors, seen = (hand["found"] - hand["uv"]).norm(dim=-1), hand["visible"]
    means = [*per_occlusion(errors, seen).values(), visible_mean(errors, ~seen)]
    print(f"{title:16}" + "".join(f"{mean.item():9.2f}" for mean in means))


def choose(hand: Hands, wanted: tuple[int, ...] = (21, 18, 15, 12, 9, 6)) -> Hands:
    """One hand for each of these numbers of visible joints, or near to it."""
    count = hand["visible"].sum(dim=-1)
    index = [int((count - number).abs().argmin()) for number in wanted]
    return {name: value[index] for name, value in hand.items()}


def draw(hand: Hands) -> Figure:
    """The highest heatmap over each image, and below it the joints: hidden ones are hollow."""
    figure = Figure(figsize=(2.6 * len(hand["image"]), 5.4), layout="constrained")
    axes = figure.subplots(2, len(hand["image"]), squeeze=False)
    for i, (top, bottom) in enumerate(axes.T):
        image, highest = hand["image"][i], hand["heatmaps"][i].amax(dim=0).clamp(0, 1).numpy()
        draw_image(image, ax=top).set_axis_off()
        edge = image.shape[-1] - 0.5
        extent = (-0.5, edge, edge, -0.5)
        top.imshow(highest, cmap="inferno", vmin=0, vmax=1, alpha=highest**0.5, extent=extent)
        poses = {"truth": hand["uv"][i], "found": hand["found"][i]}
        draw_image(image, ax=bottom).set_axis_off()
        draw_poses(poses, visible=hand["visible"][i], ax=bottom)
        error = (hand["found"][i] - hand["uv"][i]).norm(dim=-1).mean().item()
        bottom.set_title(f"{error:.1f} pixels off", fontsize=10)
        if i > 0:
            bottom.get_legend().remove()
    return figure


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--samples", type=int, default=40000, help="hands to train on")
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--image-size", type=int, default=64, help="side in pixels, a multiple of 32")
parser.add_argument("--backbone", default="hrnet_w18_small", help="a net of timm")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
parser.add_argument("--sigma", type=float, default=1.5, help="of the Gaussians, heatmap pixels")
parser.add_argument("--device", default="cpu")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("runs/heatmaps"))
args = parser.parse_args()
torch.manual_seed(args.seed)
args.out.mkdir(parents=True, exist_ok=True)
net = HeatmapGenerator(backbone=args.backbone)
net = net.to(args.device, memory_format=torch.channels_last)
tests = SyntheticHands(min(args.samples, 1000), seed=2000, image_size=args.image_size)
before = find(net, tests, args)
steps = args.epochs * -(-args.samples // args.batch_size)
minimize(losses(net.train(), args, steps), [net.parameters()], args.rate, steps)
after = find(net, tests, args)
print(f"Mean error in pixels of {args.image_size}\n{'':16}      all    small   severe   hidden")
report("before training", before)
report("mean position", {**after, "found": after["uv"].mean(dim=0).expand_as(after["uv"])})
report("after training", after)
peaks = [after["peak"][mask].mean().item() for mask in (after["visible"], ~after["visible"])]
print(f"Mean peak: {peaks[0]:.2f} of visible joints, {peaks[1]:.2f} of hidden ones")
draw(choose(after)).savefig(args.out / "hands.png", dpi=110)
print(f"Picture: {args.out / 'hands.png'}")
