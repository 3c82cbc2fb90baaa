"""The core of PSJNet, trained on simulated hands."""

import argparse

import torch

from handgraph import HAND, RemovalSets
from handgraph.datasets import SyntheticHands
from handgraph.geometry import normalize_uv
from handgraph.losses import psjnet_loss
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--samples", type=int, default=4000)
parser.add_argument("--epochs", type=int, default=30)
args = parser.parse_args()
torch.manual_seed(0)
removal = RemovalSets.by_level(HAND)  # TIP, DIP, PIP, MCP of every finger: N = 4 sets of 5
split = SubgraphMask(removal)  # [*, 21, C] -> [*, 4, 16, C]
branches = AdaptiveGraphUNet(3, 3, removal)  # 4 graph U-Nets, computed as one
merge = GraphMerger(3, 3, removal)  # [*, 4, 16, 3] -> [*, 21, 3]

hands = SyntheticHands(args.samples, seed=0).tensors
x = torch.cat([normalize_uv(hands["uv"], 256), hands["cue"]], dim=-1)  # detected 2D, depth cue
target = torch.cat([hands["uv_true"] - 127.5, hands["d"].unsqueeze(-1)], dim=-1)  # (u, v, d)
pixels = torch.tensor([128.0, 128.0, 1.0])
optimizer = torch.optim.Adam([*branches.parameters(), *merge.parameters()], lr=1e-2)
for epoch in range(args.epochs):
    for batch in torch.randperm(args.samples).split(256):
        partial = branches(split(x[batch]))  # the incomplete pose of each branch
        pose = merge(partial)
        loss = psjnet_loss(pose * pixels, partial * pixels, target[batch], removal)  # Eq. 4
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss of the last batch (Eq. 4) {loss.item():.2f}")
depth = merge(branches(split(x)))[..., 2].detach()
error = (depth - hands["d"]).abs().mean(dim=1) * hands["s"]
print(f"mean depth error on the training hands: {1000 * error.mean().item():.1f} mm")
