from __future__ import annotations

import argparse

import pytest
import swap_layers
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import H36M
from handgraph.datasets import SyntheticHands
from handgraph.geometry import normalize_uv
from handgraph.nn import ModulatedGraphConv, SemGraphConv, from_dense


def test_published_skeleton_has_16_joints():
    assert set(H36M.joints) - set(swap_layers.H36M_16.joints) == {"neck"}
    assert len(swap_layers.H36M_16.edges) == 15
    assert ("thorax", "head") in swap_layers.H36M_16.edges


@pytest.mark.parametrize(
    ("conv", "size", "published"),
    [(SemGraphConv, 267_343, 0.27), (ModulatedGraphConv, 287_923, 0.29)],
)
def test_published_sizes(conv, size, published):
    assert swap_layers.count(swap_layers.published_net(conv)) == size
    assert round(size / 1e6, 2) == published


@pytest.mark.parametrize("conv", [SemGraphConv, ModulatedGraphConv])
@torch.no_grad()
def test_published_net_is_residual(conv):
    """Blocks are residual: if they output 0, the first and last layer remain."""
    skeleton = swap_layers.H36M_16
    net = swap_layers.published_net(conv, channels=8).eval()
    first, *_, last = [m for m in net.modules() if isinstance(m, conv)]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(norms) == 9
    for norm in norms[1:]:
        nn.init.zeros_(norm.weight)
    batch = from_dense(torch.randn(5, 16, 2), skeleton)
    expected = last(norms[0](first(batch.x, batch.edge_index)).relu(), batch.edge_index)
    assert expected.shape == (80, 3)
    assert_close(net(batch.x, batch.edge_index), expected)


@pytest.mark.parametrize("name", swap_layers.NETS)
def test_every_net_maps_joints_to_poses(name):
    assert swap_layers.NETS[name]()(torch.rand(2, 21, 3)).shape == (2, 21, 3)


def test_true_poses_have_the_full_area():
    hands = SyntheticHands(100, seed=0, progress=False).tensors
    truth = torch.cat([normalize_uv(hands["uv_true"], 256), hands["d"].unsqueeze(-1)], dim=-1)
    assert swap_layers.severe_auc(lambda _: truth, hands) > 97  # at 0 mm, rounding is an error
    assert swap_layers.severe_auc(lambda _: truth.roll(1, dims=-2), hands) < 50


def test_small_run_prints_a_table(capsys):
    swap_layers.main(argparse.Namespace(samples=60, epochs=1, seeds=2, rate=1e-2))
    lines = capsys.readouterr().out.splitlines()
    for name in swap_layers.NETS:
        (row,) = [line for line in lines if line.startswith(f"{name:<26}")]
        assert float(row.split()[-1]) < 50
