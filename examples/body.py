"""A body instead of a hand: lift walking stick figures from 2D joints, one limb of each wrong.

No net is told which limb. All is simulated, the view is orthographic and one rate serves all, so
the numbers compare small nets on this task and say nothing about people.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn import GraphConv
from tqdm import tqdm
from walkers import LIMBS, detect, walkers

from handgraph import H36M, RemovalSets, coarsen
from handgraph.losses import pose_loss, psjnet_loss
from handgraph.metrics import joint_errors
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, PerBranch, SkeletonUNet, SubgraphMask


class Lifter(nn.Module):
    """The core of PSJNet: a branch for each removal set, and a merger."""

    def __init__(self, removal: RemovalSets, branches: nn.Module):
        super().__init__()
        self.removal = removal
        self.split, self.branches = SubgraphMask(removal), branches
        self.merge = GraphMerger(3, 3, removal, channels=8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Lift ``[*, 17, 2]`` to the whole pose ``[*, 17, 3]`` and those of the branches."""
        partial = self.branches(self.split(x))
        return self.merge(partial), partial


def make(name: str) -> nn.Module:
    """Make a net; all have between 82 and 88 thousand parameters."""
    if name == "one graph U-Net":
        return AdaptiveGraphUNet(2, 3, H36M, channels=12)
    if name == "four full graphs":
        full = RemovalSets.none(H36M, len(LIMBS))
        return Lifter(full, AdaptiveGraphUNet(2, 3, full, channels=4))
    if name == "PSJNet":
        return Lifter(LIMBS, AdaptiveGraphUNet(2, 3, LIMBS, channels=8))
    ladder = coarsen(H36M, 3)  # clusters of the whole body, restricted in each branch
    options = {"conv": GraphConv, "channels": 11, "ladder": ladder}
    return Lifter(LIMBS, PerBranch(LIMBS, lambda s: SkeletonUNet(2, 3, s, **options)))


def loss_of(net: nn.Module, x: Tensor, xyz: Tensor) -> Tensor:
    """Eq. 4, or Eq. 3 where there are no branches; with all weights 1, as all is in metres."""
    if isinstance(net, Lifter):
        return psjnet_loss(*net(x), xyz, net.removal, alpha=1.0)
    return pose_loss(net(x), xyz, alpha=1.0)


def train(net: nn.Module, args: argparse.Namespace, rng: torch.Generator) -> None:
    """Train with Adam and a one-cycle rate."""
    xyz = walkers(args.samples, rng)
    x, _ = detect(xyz, rng)
    steps = args.epochs * math.ceil(args.samples / 256)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=steps + 1)
    for _ in range(args.epochs):
        for some in torch.randperm(args.samples, generator=rng).split(256):
            optimizer.zero_grad()
            loss_of(net, x[some], xyz[some]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def evaluate(net: nn.Module) -> Tensor:
    """Mean error of the joints of the wrong limb, and of all others, in millimetres."""
    rng = torch.Generator().manual_seed(1000)
    xyz = walkers(2000, rng)
    x, wrong = detect(xyz, rng)
    errors = 1000 * joint_errors(net(x)[0] if isinstance(net, Lifter) else net(x), xyz)
    return torch.stack([errors[wrong].mean(), errors[~wrong].mean()])


def main(argv: Sequence[str] | None = None) -> None:
    """Train every net from every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=2e-2)
    parser.add_argument("--graph-conv", action="store_true", help="also along the bones (slower)")
    args = parser.parse_args(argv)
    names = ["one graph U-Net", "four full graphs", "PSJNet", "PSJNet, GraphConv"]
    names = names if args.graph_conv else names[:-1]
    scores = {name: torch.empty(args.seeds, 2) for name in names}
    for seed, name in tqdm([(seed, name) for seed in range(args.seeds) for name in names]):
        torch.manual_seed(seed)
        net = make(name)
        train(net, args, torch.Generator().manual_seed(seed))
        scores[name][seed] = evaluate(net)
    print(f"Mean joint error in mm, 2000 test figures: mean (range) over {args.seeds} seeds")
    print(f"{'':17} {'parameters':>10} {'wrong limb':>21} {'other joints':>21}")
    for name, rows in scores.items():
        size = sum(p.numel() for p in make(name).parameters())
        cells = [f"{c.mean():6.1f} ({c.min():.1f} to {c.max():.1f})" for c in rows.unbind(dim=1)]
        print(f"{name:17} {size:10,} {cells[0]:>21} {cells[1]:>21}")


if __name__ == "__main__":
    main()
