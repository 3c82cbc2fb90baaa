"""Eight convolutions in the same small U-Net, one table: parameters, time, AUC with spread.

Before it, the sizes of two published nets, rebuilt from the same layers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch_geometric.nn import ChebConv, GATv2Conv, GCNConv, GraphConv, Sequential, TransformerConv
from tqdm import tqdm

import handgraph.nn as hnn
from handgraph import H36M, HAND, RemovalSets
from handgraph.datasets import SyntheticHands
from handgraph.losses import pose_loss
from lifters import Hands, batches, count, inputs, minimize, table2, target, to_pixels

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


def losses(net: nn.Module, hands: Hands, epochs: int, bar: tqdm) -> Iterator[Tensor]:
    """Eq. 3 of each batch."""
    x, wanted = inputs(hands, "cue"), to_pixels(target(hands))
    for batch in batches(len(x), BATCH_SIZE, epochs):
        yield pose_loss(to_pixels(net(x[batch])), wanted[batch])
        bar.update()


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
    steps = args.epochs * -(-args.samples // BATCH_SIZE)
    with tqdm(total=len(NETS) * args.seeds * steps, unit="step") as bar:
        for name, make in NETS.items():
            times, scores = [], []
            for seed in range(args.seeds):
                torch.manual_seed(seed)
                net, start = make(), time.perf_counter()
                found = losses(net, hands, args.epochs, bar)
                minimize(found, [net.parameters()], args.rate, steps)
                times.append(1000 * (time.perf_counter() - start) / steps)
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
