"""Train a small heatmap generator on rendered hands; see what it finds, hidden joints included.

python examples/heatmaps.py
python examples/heatmaps.py --image-size 256 --backbone hrnet_w32 --samples 200000 --device cuda
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from handgraph.datasets import SyntheticHands
from handgraph.losses import heatmap_loss
from handgraph.metrics import per_occlusion, visible_mean
from handgraph.vision import HeatmapGenerator, decode_heatmaps, gaussian_heatmaps
from images.genuine import read_sample
from images.pictures import save_errors, save_hands

Hands = dict[str, Tensor]
"""``image [B, 3, S, S]``, ``uv [B, 21, 2]`` and ``visible [B, 21]``; what the net ``found``, ..."""


def batches(hands: SyntheticHands, args: argparse.Namespace, title: str) -> Iterator[Hands]:
    """Render hands while they are taken out, in a random order if they are for training."""
    loader = DataLoader(hands, args.batch_size, shuffle=title == "training")
    for batch in tqdm(loader, title):
        batch = batch.to(args.device)
        uv, visible = (x.unflatten(0, (-1, 21)) for x in (batch.uv_true, batch.visible))
        yield {"image": batch.image, "uv": uv, "visible": visible}


def train(net: HeatmapGenerator, hands: SyntheticHands, args: argparse.Namespace) -> None:
    """Step 1 of the paper's training: Eq. 2, with a Gaussian at each joint, hidden or not."""
    steps = args.epochs * -(-len(hands) // args.batch_size)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=steps)
    net.train()
    for _ in range(args.epochs):
        for hand in batches(hands, args, "training"):
            target = gaussian_heatmaps(hand["uv"], args.image_size, sigma=args.sigma)
            loss = heatmap_loss(net(hand["image"])[0], target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def find(net: HeatmapGenerator, hands: Iterator[Hands] | list[Hands]) -> Hands:
    """All hands, and what the net finds: ``heatmaps``, ``found [B, 21, 2]`` and its ``peak``."""
    net.eval()
    parts = []
    for hand in hands:
        heatmaps, _ = net(hand["image"])
        uv, peak = decode_heatmaps(heatmaps)
        parts.append({**hand, "heatmaps": heatmaps, "found": uv, "peak": peak})
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}


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
parser.add_argument("--rhd-sample", type=Path, help="folder of test_rhd.json and its images")
args = parser.parse_args()
torch.manual_seed(args.seed)
args.out.mkdir(parents=True, exist_ok=True)
net = HeatmapGenerator(backbone=args.backbone)
net = net.to(args.device, memory_format=torch.channels_last)
tests = SyntheticHands(min(args.samples, 1000), seed=2000, image_size=args.image_size)
before = find(net, batches(tests, args, "testing"))
train(net, SyntheticHands(args.samples, seed=1000, image_size=args.image_size), args)
after = find(net, batches(tests, args, "testing"))
print(f"Mean error in pixels of {args.image_size}\n{'':16}      all    small   severe   hidden")
report("before training", before)
report("mean position", {**after, "found": after["uv"].mean(dim=0).expand_as(after["uv"])})
report("after training", after)
peaks = [after["peak"][mask].mean().item() for mask in (after["visible"], ~after["visible"])]
print(f"Mean peak: {peaks[0]:.2f} of visible joints, {peaks[1]:.2f} of hidden ones")
save_errors(after, args.out / "errors.png")
save_hands(choose(after), args.out / "hands.png")
if args.rhd_sample:
    genuine = read_sample(args.rhd_sample, args.image_size)
    genuine = {name: value.to(args.device) for name, value in genuine.items()}
    save_hands(find(net, [genuine]), args.out / "rhd.png")
print(f"Pictures: {', '.join(str(path) for path in sorted(args.out.glob('*.png')))}")
