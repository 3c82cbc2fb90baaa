"""Compare the feature encoders by their accuracy on rendered hands.

``python -m benchmarks.encoders --out FILE``

A heatmap generator is trained on rendered hands (Eq. 2) and frozen. Then the branches, the merger
and one kind of feature encoder are trained together on other hands (Eq. 4), once for each kind and
seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.machine import machine, write
from benchmarks.parts import Encoders, GraphCore, Samplers
from benchmarks.tables import plain
from handgraph import HAND, RemovalSets
from handgraph.datasets import SyntheticHands
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera
from handgraph.losses import heatmap_loss, psjnet_loss
from handgraph.metrics import joint_errors, occlusion_groups, visible_mean
from handgraph.vision import HeatmapGenerator, decode_heatmaps, gaussian_heatmaps

FULL = {"generator_samples": 40_000, "samples": 6000, "epochs": 12, "tests": 1000, "seeds": 3}
QUICK = {"generator_samples": 64, "samples": 64, "epochs": 1, "tests": 32, "seeds": 2}
BATCH, RATE, GENERATOR_RATE = 64, 3e-3, 2e-3
GROUPS = ("all", "small", "severe")
Hands = dict[str, Tensor]


class NoFeatures(nn.Module):
    """Zeros instead of features: the control."""

    def __init__(self, removal: RemovalSets) -> None:
        super().__init__()
        self.removal = removal

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return zeros for the branches ``[B, N, K, 2]`` and for the merger ``[B, J, 3]``."""
        removal, size = self.removal, len(features)
        kept = features.new_zeros(size, len(removal), removal.num_nodes, 2)
        return kept, features.new_zeros(size, removal.skeleton.num_joints, 3)


def kinds(channels: int, hidden: int, removal: RemovalSets) -> dict[str, Callable[[], nn.Module]]:
    """Return the constructors of the encoders by name."""
    return {
        "Table 1": lambda: Encoders(channels, removal, hidden),
        "shared trunk": lambda: Encoders(channels, removal, hidden, shared=True),
        "sampled": lambda: Samplers(channels, removal),
        "no features": lambda: NoFeatures(removal),
    }


class Lifter(nn.Module):
    """The branches and the merger with one kind of encoder."""

    def __init__(self, encoder: nn.Module, removal: RemovalSets) -> None:
        super().__init__()
        self.encoder, self.core = encoder, GraphCore(removal)

    def forward(self, hands: Hands) -> tuple[Tensor, Tensor]:
        """Return the pose ``[B, J, 3]`` and the branches' poses ``[B, N, K, 3]``."""
        found, features = hands["found"], hands["features"]
        if isinstance(self.encoder, Samplers):
            of_branches, of_joints = self.encoder.sample(features, found)
        else:
            of_branches, of_joints = self.encoder(features)
        partial = self.core.partial(normalize_uv(found, side(features)), of_branches)
        return self.core.merge(partial, of_joints), partial


def side(features: Tensor) -> int:
    """Return the image side that belongs to a feature map of stride 4."""
    return 4 * features.shape[-1]


def descend(module: nn.Module, losses: Iterable[Tensor], rate: float, steps: int) -> None:
    """Train by Adam with a one-cycle rate."""
    optimizer = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
    for loss in losses:
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def batches(number: int, epochs: int, name: str) -> Iterator[Tensor]:
    """Yield the batches of all epochs, with a progress bar."""
    order = [some for _ in range(epochs) for some in torch.randperm(number).split(BATCH)]
    yield from tqdm(order, name, unit="step", disable=None)


def generator_losses(net: HeatmapGenerator, hands: SyntheticHands) -> Iterator[Tensor]:
    """Yield Eq. 2 of each batch of one epoch, with a Gaussian at each joint, hidden or not."""
    for some in batches(len(hands), 1, "generator"):
        image, uv = hands.render(some)["image"], hands.tensors["uv_true"][some]
        yield heatmap_loss(net(image)[0], gaussian_heatmaps(uv, image.shape[-1], sigma=1.0))


@torch.no_grad()
def detect(net: HeatmapGenerator, hands: SyntheticHands) -> Hands:
    """Return the labels of all hands, the detected joints in pixels and the feature maps."""
    found, features = [], []
    for some in torch.arange(len(hands)).split(BATCH):
        maps, feature_map = net(hands.render(some)["image"])
        found.append(decode_heatmaps(maps)[0])
        features.append(feature_map)
    return {**hands.tensors, "found": torch.cat(found), "features": torch.cat(features)}


def lifter_losses(net: Lifter, hands: Hands, epochs: int, name: str) -> Iterator[Tensor]:
    """Yield Eq. 4 of each batch, in pixels of an image of 256."""
    pixels = torch.tensor([128.0, 128.0, 1.0])
    uv = normalize_uv(hands["uv_true"], side(hands["features"]))
    target = pixels * torch.cat([uv, hands["d"].unsqueeze(-1)], dim=-1)
    for some in batches(len(uv), epochs, name):
        pose, partial = net({key: hands[key][some] for key in ("found", "features")})
        yield psjnet_loss(pixels * pose, pixels * partial, target[some], net.core.split.removal)


@torch.no_grad()
def errors(net: Lifter, hands: Hands) -> list[float]:
    """Return the error of visible joints in mm for all, small and severe occlusion.

    Scale and root depth are known, as in the paper's evaluation.
    """
    size = side(hands["features"])
    pose, _ = net(hands)
    uvd = torch.cat([denormalize_uv(pose[..., :2], size), pose[..., 2:]], dim=-1)
    root_depth = hands["xyz"][:, HAND.index("wrist"), 2]
    xyz = uvd_to_camera(uvd, hands["K"], hands["s"], root_depth)
    distance, visible = 1000 * joint_errors(xyz, hands["xyz"]), hands["visible"]
    groups = occlusion_groups(visible) | {"all": torch.ones(len(visible), dtype=torch.bool)}
    rows = [groups[group] for group in GROUPS]
    return [visible_mean(distance[some], visible[some]).item() for some in rows]


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train the generator, then each encoder with each seed."""
    torch.manual_seed(args.seed)
    first, train, test = (
        SyntheticHands(number, seed=seed, image_size=args.image_size)
        for number, seed in ((args.generator_samples, 0), (args.samples, 1000), (args.tests, 2000))
    )
    generator = HeatmapGenerator(HAND.num_joints, args.backbone).train()
    losses = generator_losses(generator, first)
    descend(generator, losses, GENERATOR_RATE, -(-len(first) // BATCH))
    seen, unseen = (detect(generator.eval(), hands) for hands in (train, test))
    removal = RemovalSets.by_level(HAND)
    rows = []
    for name, make in kinds(generator.feature_channels, args.hidden_channels, removal).items():
        found = []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            net = Lifter(make(), removal)
            losses = lifter_losses(net, seen, args.epochs, f"{name}, seed {seed}")
            descend(net, losses, RATE, args.epochs * -(-len(train) // BATCH))
            found.append(errors(net.eval(), unseen))
        parameters = sum(p.numel() for p in net.encoder.parameters())
        rows.append({"name": name, "parameters": parameters, "mm": found})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of the table, header first: means and standard deviations over seeds."""
    lines = [["encoders", "parameters", *(f"{group}, mm" for group in GROUPS)]]
    for row in rows:
        values = torch.tensor(row["mm"])
        spread = zip(values.mean(dim=0), values.std(dim=0, correction=0), strict=True)
        cells = [f"{mean:.2f} ± {std:.2f}" for mean, std in spread]
        lines.append([row["name"], f"{row['parameters']:,}", *cells])
    return lines


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encoders", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="few hands, one epoch")
    parser.add_argument("--backbone", default="lcnet_050", help="timm model")
    parser.add_argument("--hidden-channels", type=int, default=32, help="width of the encoders")
    parser.add_argument("--image-size", type=int, default=64, help="pixels, a multiple of 32")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    for name in FULL:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    args = parser.parse_args(arguments)
    for name, value in (QUICK if args.quick else FULL).items():
        setattr(args, name, value if getattr(args, name) is None else getattr(args, name))
    return args


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print a table and write the JSON file."""
    args = parse(arguments)
    torch.set_num_threads(1)
    sizes = ("backbone", "hidden_channels", "image_size", *FULL)
    result = {
        "benchmark": "encoders",
        "quick": args.quick,
        "seed": args.seed,
        "machine": machine(torch.device("cpu")),
        "sizes": {name: getattr(args, name) for name in sizes},
        "rows": run(args),
    }
    print(plain(table(result["rows"])))
    write(result, args.out)


if __name__ == "__main__":
    main()
