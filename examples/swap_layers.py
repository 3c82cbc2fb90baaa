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

import handgraph.nn as hnn
from handgraph import H36M, HAND, RemovalSets
from handgraph.datasets import SyntheticHands
from handgraph.losses import pose_loss
from shared.lifters import Hands, count, inputs, table2, target, to_pixels, train

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


def loss_of(net: nn.Module, x: Tensor, wanted: Tensor) -> Tensor:
    """Eq. 3."""
    return pose_loss(to_pixels(net(x)), wanted)


@torch.no_grad()
def severe_auc(net: nn.Module, hands: Hands) -> float:
    """AUC x 100 of the visible joints on images with severe occlusion."""
    return table2(net(inputs(hands, "cue")), hands)["severe"].item()


def main(args: argparse.Namespace) -> None:
    """Print the sizes of the published nets, then train all layers and print the table."""
    for conv, size in PUBLISHED.items():
        rebuilt = count(published_net(conv))
        print(f"net of {conv.__name__}: {rebuilt:,} parameters, published {size}")
    hands, test = (SyntheticHands(args.samples, seed=seed).tensors for seed in (1000, 3000))
    print(f"\nAUC x 100 of visible joints on severe images: mean and range of {args.seeds} seeds")
    print(f"{'layer':<26}{'parameters':>10}{'ms a step':>11}{'AUC':>8}{'range':>16}")
    samples, steps = (
        (inputs(hands, "cue"), to_pixels(target(hands))),
        -(-args.samples // BATCH_SIZE),
    )
    for name, make in NETS.items():
        times, scores = [], []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            net, start = make(), time.perf_counter()
            train(net, loss_of, samples, args.epochs, args.rate, BATCH_SIZE)
            times.append(1000 * (time.perf_counter() - start) / steps)
            scores.append(severe_auc(net, test))
        mean, spread = sum(scores) / len(scores), f"{min(scores):.1f} to {max(scores):.1f}"
        print(f"{name:<26}{count(net):>10,}{min(times):>11.1f}{mean:>8.1f}{spread:>16}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-2, help="highest learning rate")
    main(parser.parse_args())
