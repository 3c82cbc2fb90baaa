"""Lift walking stick figures, bodies instead of hands, from 2D joints with one wrong limb.

The nets do not know which limb is wrong. The figures are simulated, the view is orthographic and
all nets have the same learning rate. The results compare small nets on this task only.
"""

import argparse
import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from tqdm import tqdm

from handgraph import H36M, RemovalSets
from handgraph.losses import pose_loss, psjnet_loss
from handgraph.metrics import joint_errors
from handgraph.nn import AdaptiveGraphUNet, GraphMerger
from shared.lifters import PSJNetCore, count
from shared.training import Recipe, train

LIMBS = RemovalSets(H36M, {x: x for x in ("left_arm", "right_arm", "left_leg", "right_leg")})
LENGTH = {"hip": 0.13, "knee": 0.45, "ankle": 0.43, "spine": 0.23, "thorax": 0.25}
LENGTH |= {"neck": 0.1, "head": 0.15, "shoulder": 0.16, "elbow": 0.28, "wrist": 0.25}
"""Length in metres of the bone that ends at each joint."""


def walkers(num_samples: int, rng: torch.Generator) -> Tensor:
    """Draw random figures in mid-stride, ``[n, 17, 3]``.

    Each arm swings opposite to the leg on its side, so a limb can be inferred from the others.

    Units:
        Metres from the pelvis. Before rotation, x points to the figure's left, y up and z forward.
        The figures are rotated about the vertical axis by up to one radian.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(num_samples, generator=rng)

    zero = torch.zeros(num_samples)
    swing = uniform(0.3, 0.8) * torch.sin(uniform(-math.pi, math.pi))
    torso = (math.pi - uniform(-0.1, 0.3), zero)
    angles = dict.fromkeys(("spine", "thorax", "neck", "head"), torso)
    for side, sign in (("left", 1), ("right", -1)):
        splay = sign * uniform(0.0, 0.3)
        thigh, arm = uniform(-0.1, 0.1) + sign * swing, uniform(-0.1, 0.1) - sign * swing
        angles[f"{side}_hip"] = angles[f"{side}_shoulder"] = (zero, zero + sign * math.pi / 2)
        angles[f"{side}_knee"] = (thigh, zero)
        angles[f"{side}_ankle"] = (thigh - swing.abs() - uniform(0.0, 0.2), zero)
        angles[f"{side}_elbow"] = (arm, splay)
        angles[f"{side}_wrist"] = (arm + swing.abs() + uniform(0.2, 0.6), splay)
    return turned(pose(angles), uniform(-1.0, 1.0))


def pose(angles: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Place the joints by the pitch (0: down, positive: forward) and the roll of each bone."""
    place: dict[str, Tensor] = {"pelvis": torch.tensor(0.0)}
    for parent, joint in H36M.edges:
        pitch, roll = angles[joint]
        bone = [roll.sin(), -roll.cos() * pitch.cos(), roll.cos() * pitch.sin()]
        place[joint] = place[parent] + LENGTH[joint.split("_")[-1]] * torch.stack(bone, dim=-1)
    return torch.stack(torch.broadcast_tensors(*(place[j] for j in H36M.joints)), dim=-2)


def turned(xyz: Tensor, angle: Tensor) -> Tensor:
    """Rotate the figures about the vertical axis."""
    x, y, z = xyz.unbind(-1)
    cos, sin = angle.cos().unsqueeze(-1), angle.sin().unsqueeze(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], dim=-1)


def detect(xyz: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return 2D joints with noise of about 30 cm in one limb and 1 cm in the others.

    Returns:
        x and y in metres, ``[n, 17, 2]``, and which joints are of the wrong limb, Bool ``[n, 17]``.
    """
    wrong = ~LIMBS.keep_mask[torch.randint(len(LIMBS), (len(xyz),), generator=rng)]
    noise = torch.randn(*xyz.shape[:2], 2, generator=rng)
    return xyz[..., :2] + noise * torch.where(wrong, 0.3, 0.01).unsqueeze(-1), wrong


def with_branches(removal: RemovalSets, channels: int) -> PSJNetCore:
    """Build branches that each remove a set of joints, and a merger."""
    branches = AdaptiveGraphUNet(2, 3, removal, channels=channels)
    return PSJNetCore(branches, GraphMerger(3, 3, removal, channels=8), removal)


NETS = {
    "one graph U-Net": lambda: AdaptiveGraphUNet(2, 3, H36M, channels=12),
    "four full graphs": lambda: with_branches(RemovalSets.none(H36M, len(LIMBS)), channels=4),
    "PSJNet": lambda: with_branches(LIMBS, channels=8),
}
"""Functions that build the nets, which have between 82 and 88 thousand parameters."""


def loss_of(net: nn.Module, x: Tensor, xyz: Tensor) -> Tensor:
    """Compute Eq. 4, or Eq. 3 without branches; all weights are 1, as all units are metres."""
    if isinstance(net, PSJNetCore):
        partial = net.branch_poses(x)
        return psjnet_loss(net.merged(partial, x), partial, xyz, net.split.removal, alpha=1.0)
    return pose_loss(net(x), xyz, alpha=1.0)


@torch.no_grad()
def evaluate(net: nn.Module) -> Tensor:
    """Return the mean errors of joints of the wrong limb and of all others, in millimetres."""
    rng = torch.Generator().manual_seed(1000)
    xyz = walkers(2000, rng)
    x, wrong = detect(xyz, rng)
    errors = 1000 * joint_errors(net(x), xyz)
    return torch.stack([errors[wrong].mean(), errors[~wrong].mean()])


def main(argv: Sequence[str] | None = None) -> None:
    """Train every net with every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(argv)
    scores = {name: torch.empty(args.seeds, 2) for name in NETS}
    for seed, name in tqdm([*product(range(args.seeds), NETS)]):
        torch.manual_seed(seed)
        net, rng = NETS[name](), torch.Generator().manual_seed(seed)
        xyz = walkers(args.samples, rng)
        x, _ = detect(xyz, rng)
        train(net, loss_of, (x, xyz), args.epochs, Recipe(rate=2e-2), rng)
        scores[name][seed] = evaluate(net)
    print(f"Mean joint error in mm, 2000 test figures: mean (range) over {args.seeds} seeds")
    print(f"{'':17} {'parameters':>10} {'wrong limb':>21} {'other joints':>21}")
    for name, rows in scores.items():
        cells = [f"{c.mean():6.1f} ({c.min():.1f} to {c.max():.1f})" for c in rows.unbind(dim=1)]
        print(f"{name:17} {count(NETS[name]()):10,} {cells[0]:>21} {cells[1]:>21}")


if __name__ == "__main__":
    main()
