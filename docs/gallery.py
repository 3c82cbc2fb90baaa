"""Draw the pictures of the gallery, one in each function that returns a figure."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from handgraph import COCO, H36M, HAND, RemovalSets, Skeleton, metrics, plot
from handgraph.datasets import SyntheticHands
from handgraph.detectors import Missing
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera
from handgraph.hub import pretrained_lifter
from handgraph.nn import AdaptiveGraphUNet, GatedMerger, SubgraphMask

REMOVAL = RemovalSets.by_level(HAND)
SHOWN = 38  # a hand that is held up, eight joints visible
HELD = 329  # a hand behind an object, seven joints hidden


def lifted_hand() -> Figure:
    """Draw a hand lifted from detected joints; hidden joints are missing and inferred."""
    by_score = Missing(share=1.0, ways=("score",), threshold=(0.3, 0.3))
    hand = SyntheticHands(HELD + 1, seed=20, image_size=256, missing=by_score)[HELD]
    found, pose = hand.found.flatten(), pretrained_lifter()(hand.uv)
    error = (pose * hand.s - (hand.xyz - hand.xyz[:1])).norm(dim=-1).mean()
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    left, middle = figure.add_subplot(1, 3, 1), figure.add_subplot(1, 3, 2)
    space = figure.add_subplot(1, 3, 3, projection="3d")
    for ax in (left, middle):
        plot.draw_image(hand.image[0], ax=ax).set_axis_off()
    shown = torch.where(found.unsqueeze(-1), hand.uv, hand.uv_true)  # true if not detected
    plot.draw_pose(shown, visible=found, ax=middle)
    plot.draw_pose_3d(pose, visible=found, unit="keybones", ax=space)
    space.set(xlabel="", ylabel="", zlabel="", xticklabels=[], yticklabels=[], zticklabels=[])
    titles = (
        "image",
        "detected joints (hollow: missing)",
        f"3D hand, {1000 * error:.0f} mm off on average",
    )
    for ax, title in zip(figure.axes, titles, strict=True):
        ax.set_title(title, fontsize="medium")
    return figure


def skeletons() -> Figure:
    """Draw skeletons: hands and bodies are laid out by joint names, others by their edges."""
    axes = Figure(figsize=(14, 11), layout="constrained").subplots(2, 2).flatten()
    own = Skeleton("of your own", "abcdefg", [*zip("abcde", "bcdea", strict=True), ("f", "g")])
    for ax, skeleton in zip(axes, (HAND, H36M, own, COCO), strict=True):
        plot.draw_skeleton(skeleton, names=True, ax=ax).set_title(skeleton.name)
    return axes[0].figure


def removal_sets() -> Figure:
    """Draw the joints that each branch removes (crosses), and the bridged edges (dashed)."""
    axes = Figure(figsize=(12, 3), layout="constrained").subplots(1, 4)
    for ax, which in zip(axes, REMOVAL.names, strict=True):
        plot.draw_removal_set(REMOVAL, which, ax=ax)
    return axes[0].figure


def hand_in_image() -> Figure:
    """Draw a hand over its image; hidden joints are hollow."""
    hand = SyntheticHands(SHOWN + 1, seed=3, image_size=256)[SHOWN]
    ax = Figure(figsize=(3.6, 3.6), layout="constrained").add_subplot()
    plot.draw_pose(hand.uv_true, visible=hand.visible, ax=plot.draw_image(hand.image[0], ax=ax))
    return ax.legend(fontsize="small").figure


def hand_in_space(hands: dict[str, Tensor]) -> Figure:
    """Draw a hand in 3D; the camera looks along z, and y points down."""
    ax = plot.draw_pose_3d(hands["xyz"][SHOWN], visible=hands["visible"][SHOWN], unit="m")
    return ax.legend(loc="upper left").figure


def truth_and_prediction(net: nn.Module, hands: dict[str, Tensor]) -> Figure:
    """Draw several poses in the same axes; 2D poses work as well."""
    poses = {"truth": hands["xyz"][SHOWN], "lifted": lift(net, hands)[SHOWN]}
    return plot.draw_poses(poses, visible=hands["visible"][SHOWN]).figure


def learned_graph(net: AdaptiveGraphUNet) -> Figure:
    """Draw the learned adjacency of a net: all entries, and the largest ones as edges."""
    heat, arcs = Figure(figsize=(11, 5), layout="constrained").subplots(1, 2)
    plot.draw_adjacency(net.adjacencies()[0], HAND, ax=heat)
    plot.draw_adjacency_edges(net.adjacencies()[0], HAND, threshold=0.08, ax=arcs)
    return heat.figure


def gate_weights(net: nn.Sequential, hands: dict[str, Tensor]) -> Figure:
    """Draw the mean weight that a gate gives each branch at each joint."""
    _, weights = net[-1](net[:-1](inputs(hands)), return_weights=True)
    return plot.draw_weights(weights.mean(dim=0), REMOVAL).figure


def pck_curves(nets: dict[str, nn.Module], hands: dict[str, Tensor]) -> Figure:
    """Draw PCK under severe occlusion; bands hold 95 % of the bootstrap resamples of the images."""
    grid, severe = metrics.thresholds(steps=51), hands["visible"].sum(dim=1) <= 10
    seen, truth = hands["visible"][severe], hands["xyz"][severe]
    lifted = {name: lift(net, hands)[severe] for name, net in nets.items()}
    errors = {name: metrics.joint_errors(xyz, truth) for name, xyz in lifted.items()}
    curves = {name: metrics.bootstrap_pck(e, grid, seen) for name, e in errors.items()}
    return plot.draw_pck(curves, grid).figure


def uncertainty(net: nn.Sequential, hands: dict[str, Tensor]) -> Figure:
    """Draw how well the spread of the branches predicts the depth error."""
    partial = net[:-1](inputs(hands))
    pose, weights = net[-1](partial, return_weights=True)
    error, spread = (pose[..., 2] - hands["d"]).abs(), net[-1].spread(partial, weights)[..., 2]
    left, right = Figure(figsize=(10, 4), layout="constrained").subplots(1, 2)
    levels = torch.linspace(0, 1, 21)
    shown = {"visible joints": hands["visible"], "hidden joints": ~hands["visible"]}
    curves = {n: metrics.calibration_curve(error, spread, levels, m) for n, m in shown.items()}
    plot.draw_calibration(curves, levels, ax=left)
    curves = {"spread": metrics.sparsification_curve(error, spread)}
    curves["oracle"] = metrics.sparsification_curve(error, error)
    return plot.draw_sparsification(curves, ax=right).figure


def inputs(hands: dict[str, Tensor]) -> Tensor:
    """Return the detected (u, v) in [-1, 1] and the depth cue of each joint. ``[n, J, 3]``."""
    return torch.cat([normalize_uv(hands["uv"], 256), hands["cue"]], dim=-1)


def fit(net: nn.Module, hands: dict[str, Tensor], epochs: int) -> None:
    """Train a net to output (u, v) in [-1, 1] and the relative depth d."""
    uv = normalize_uv(hands["uv_true"], 256)
    x, target = inputs(hands), torch.cat([uv, hands["d"].unsqueeze(-1)], dim=-1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(x[batch]), target[batch]).backward()
            optimizer.step()
    net.requires_grad_(False)


def lift(net: nn.Module, hands: dict[str, Tensor]) -> Tensor:
    """Transform the output of a net to the camera frame, in metres. ``[n, J, 3]``."""
    pose, root_depth = net(inputs(hands)), hands["xyz"][:, HAND.index("wrist"), 2]
    uvd = torch.cat([denormalize_uv(pose[..., :2], 256), pose[..., 2:]], dim=-1)
    return uvd_to_camera(uvd, hands["K"], hands["s"], root_depth)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--samples", type=int, default=2000, help="at least 39")
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
args = parser.parse_args()
if args.samples < 39:  # the test hands must include SHOWN and some severe occlusion
    parser.error(f"--samples: expected at least 39, got {args.samples}")
args.out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
train, test = (SyntheticHands(args.samples, seed=seed).tensors for seed in (0, 3))
single, branches = AdaptiveGraphUNet(3, 3, HAND), AdaptiveGraphUNet(3, 3, REMOVAL)
parts = nn.Sequential(SubgraphMask(REMOVAL), branches, GatedMerger(3, 3, REMOVAL))
fit(single, train, args.epochs)
fit(parts, train, args.epochs)
for name, figure in {
    "lifted_hand": lifted_hand(),
    "skeletons": skeletons(),
    "removal_sets": removal_sets(),
    "hand_in_image": hand_in_image(),
    "hand_in_space": hand_in_space(test),
    "truth_and_prediction": truth_and_prediction(parts, test),
    "learned_graph": learned_graph(single),
    "gate_weights": gate_weights(parts, test),
    "pck_curves": pck_curves({"one graph": single, "four sets, gated": parts}, test),
    "uncertainty": uncertainty(parts, test),
}.items():
    figure.savefig(args.out / f"{name}.png", dpi=90)
