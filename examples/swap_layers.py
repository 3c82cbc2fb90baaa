"""Eight convolutions in the same small U-Net, one table: parameters, time, AUC with spread.

Before it, the sizes of two published nets, rebuilt from the same layers.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch
from torch import Tensor, nn
from torch_geometric.nn import ChebConv, GATv2Conv, GCNConv, GraphConv, Sequential, TransformerConv
from tqdm import tqdm

import handgraph.nn as hnn
from handgraph import H36M, HAND, RemovalSets
from handgraph.datasets import SyntheticHands
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera
from handgraph.losses import pose_loss
from handgraph.metrics import joint_auc, joint_errors, per_occlusion, thresholds

LAYERS = {
    "GCNConv": GCNConv,
    "GraphConv": GraphConv,
    "ChebConv, K=3": partial(ChebConv, K=3),
    "GATv2Conv, 4 heads": partial(GATv2Conv, heads=4, concat=False),
    "TransformerConv, 4 heads": partial(TransformerConv, heads=4, concat=False),
    "SemGraphConv": hnn.PerLevel(hnn.SemGraphConv),
    "ModulatedGraphConv": hnn.PerLevel(hnn.ModulatedGraphConv),
    "AGCNConv": hnn.PerLevel(hnn.AGCNConv),
}
NETS = {n: partial(hnn.SkeletonUNet, 3, 3, HAND, conv=conv) for n, conv in LAYERS.items()}
NETS["AdaptiveGraphUNet"] = partial(hnn.AdaptiveGraphUNet, 3, 3, HAND)

# Human3.6M as SemGCN and Modulated GCN lift it: 16 of its 17 joints, the neck (or nose) left out.
H36M_16 = RemovalSets(H36M, {"without neck": "neck", "all": ()}).subgraph("without neck")
PUBLISHED = {hnn.SemGraphConv: "0.27 M", hnn.ModulatedGraphConv: "0.29 M"}
IMAGE_SIZE = 256
BATCH_SIZE = 128


def published_net(conv: type[nn.Module], channels: int = 128) -> nn.Module:
    """The net of SemGCN without non-local layers, and that of Modulated GCN: 4 residual blocks."""

    def layer(in_channels: int, arrow: str = "x, edge_index -> x") -> list[object]:
        made = conv(in_channels, channels, H36M_16)
        return [(made, arrow), nn.BatchNorm1d(channels), nn.ReLU()]

    def block() -> Sequential:
        inside = [*layer(channels, "x, edge_index -> h"), *layer(channels, "h, edge_index -> h")]
        return Sequential("x, edge_index", [*inside, (torch.add, "x, h -> x")])

    blocks = [(block(), "x, edge_index -> x") for _ in range(4)]
    last = (conv(channels, 3, H36M_16), "x, edge_index -> x")
    return Sequential("x, edge_index", [*layer(2), *blocks, last])


def count(net: nn.Module) -> int:
    """Give the number of parameters."""
    return sum(p.numel() for p in net.parameters())


def inputs(hands: dict[str, Tensor]) -> Tensor:
    """Detected 2D joints in [-1, 1] beside a depth cue."""
    return torch.cat([normalize_uv(hands["uv"], IMAGE_SIZE), hands["cue"]], dim=-1)


def train(net: nn.Module, hands: dict[str, Tensor], epochs: int, rate: float, bar: tqdm) -> float:
    """Fit (u, v) in pixels and relative depth d; give the seconds of a step."""
    x, pixels = inputs(hands), torch.tensor([IMAGE_SIZE / 2, IMAGE_SIZE / 2, 1.0])
    uv = normalize_uv(hands["uv_true"], IMAGE_SIZE)
    target = torch.cat([uv, hands["d"].unsqueeze(-1)], dim=-1) * pixels
    batches = [b for _ in range(epochs) for b in torch.randperm(len(x)).split(BATCH_SIZE)]
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(batches) + 1)
    start = time.perf_counter()
    for batch in batches:
        loss = pose_loss(net(x[batch]) * pixels, target[batch])  # Eq. 3
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.update()
    return (time.perf_counter() - start) / len(batches)


@torch.no_grad()
def severe_auc(net: nn.Module, hands: dict[str, Tensor]) -> float:
    """AUC x 100 of the visible joints on severe images; scale, root depth and K are known."""
    pose = net(inputs(hands))
    uvd = torch.cat([denormalize_uv(pose[..., :2], IMAGE_SIZE), pose[..., 2:]], dim=-1)
    root_depth = hands["xyz"][:, HAND.index(HAND.root), 2]
    xyz = uvd_to_camera(uvd, hands["K"], hands["s"].flatten(), root_depth)
    areas = joint_auc(joint_errors(xyz, hands["xyz"]), thresholds(), hands["visible"])
    return 100 * per_occlusion(areas, hands["visible"])["severe"].item()


def main(args: argparse.Namespace) -> None:
    """Print the sizes of the published nets, then train all layers and print the table."""
    for conv, size in PUBLISHED.items():
        rebuilt = count(published_net(conv))
        print(f"net of {conv.__name__}: {rebuilt:,} parameters, published {size}")
    hands = SyntheticHands(args.samples, seed=1000).tensors
    test = SyntheticHands(args.samples, seed=3000).tensors
    print(f"\nAUC x 100 of visible joints on severe images: mean and range of {args.seeds} seeds")
    print(f"{'layer':<26}{'parameters':>10}{'ms a step':>11}{'AUC':>8}{'range':>16}")
    steps = args.epochs * -(-args.samples // BATCH_SIZE)
    with tqdm(total=len(NETS) * args.seeds * steps, unit="step") as bar:
        for name, make in NETS.items():
            times, scores = [], []
            for seed in range(args.seeds):
                torch.manual_seed(seed)
                net = make()
                times.append(1000 * train(net, hands, args.epochs, args.rate, bar))
                scores.append(severe_auc(net, test))
            mean, spread = sum(scores) / len(scores), f"{min(scores):.1f} to {max(scores):.1f}"
            bar.write(f"{name:<26}{count(net):>10,}{min(times):>11.1f}{mean:>8.1f}{spread:>16}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-2, help="highest learning rate")
    main(parser.parse_args())
