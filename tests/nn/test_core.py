"""The six lines of a typical use of the library."""

from __future__ import annotations

import copy
import io
import pickle
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import COCO, HAND, RHD, RemovalSets, Skeleton
from handgraph.nn import (
    AdaptiveGraphUNet,
    GatedMerger,
    GraphMerger,
    HypothesisGraphMerger,
    MeanMerger,
    SubgraphMask,
)
from handgraph.testing import assert_compiles, assert_no_leak

MERGERS = [MeanMerger, GatedMerger, GraphMerger, HypothesisGraphMerger]
LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})


def compose(removal=LEVELS, merger=GraphMerger):
    return nn.Sequential(
        SubgraphMask(removal), AdaptiveGraphUNet(2, 3, removal), merger(3, 3, removal)
    )


def test_the_six_lines():
    removal = RemovalSets.by_level(HAND)  # TIP, DIP, PIP, MCP of every finger: N = 4 sets of m = 5
    split = SubgraphMask(removal)  # [*, J, C] -> [*, N, J - m, C]
    branches = AdaptiveGraphUNet(2, 3, removal)  # N graph U-Nets, computed as one
    merge = GraphMerger(3, 3, removal)  # [*, N, J - m, 3] -> [*, J, 3]

    keypoints = torch.rand(8, 21, 2)
    pose = merge(branches(split(keypoints)))  # [8, 21, 3]

    assert pose.shape == (8, 21, 3)
    assert pose.isfinite().all()
    assert split(keypoints).shape == (8, 4, 16, 2)
    assert branches(split(keypoints)).shape == (8, 4, 16, 3)
    pose.sum().backward()
    assert all(p.grad is not None for p in [*branches.parameters(), *merge.parameters()])


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2,), (2, 3), (3, 0), (2, 1, 2)])
@pytest.mark.parametrize("merger", MERGERS, ids=lambda cls: cls.__name__)
def test_any_leading_dimensions(merger, lead):
    net = compose(RAGGED, merger)
    x = torch.randn(*lead, 21, 2, requires_grad=True)
    pose = net(x)
    assert pose.shape == (*lead, 21, 3)
    for sample, expected in zip(x.reshape(-1, 21, 2), pose.reshape(-1, 21, 3), strict=True):
        assert_close(net(sample), expected)
    pose.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    "removal",
    [
        RemovalSets.by_finger(RHD),
        RemovalSets(COCO, {"left": ["left_arm", "left_leg"], "right": "right_arm", "head": "head"}),
        RemovalSets.none(Skeleton.edgeless(5), 3),
        RemovalSets.by_level(RHD),
        RemovalSets(HAND, {"one": ()}),
    ],
    ids=["fingers", "body", "toy", "rhd", "single"],
)
@pytest.mark.parametrize("merger", MERGERS, ids=lambda cls: cls.__name__)
def test_every_graph_has_its_branches(removal, merger):
    joints = removal.skeleton.num_joints
    net = compose(removal, merger)
    assert net(torch.randn(2, joints, 2)).shape == (2, joints, 3)
    assert_no_leak(net[:2], removal, in_channels=2)


@pytest.mark.parametrize("merger", [MeanMerger, GatedMerger], ids=lambda cls: cls.__name__)
def test_a_hidden_joint_spoils_only_the_branches_that_see_it(merger):
    """NaN in a fingertip affects three of four branches, whose hypotheses can be masked."""
    split, branches, merge = compose(LEVELS, merger)
    x = torch.randn(2, 21, 2)
    x[:, HAND.index("ring_tip")] = torch.nan
    partial = branches(split(x))
    there = ~partial.isnan().any(dim=-1)
    assert there.all(dim=-1).tolist() == [[True, False, False, False]] * 2
    pose = merge(partial, node_mask=there)
    lost = pose.isnan().any(dim=-1).any(dim=0).nonzero().flatten().tolist()
    assert lost == HAND.select("TIP")
    kept = LEVELS.kept[0]
    assert_close(pose[:, kept], partial[:, 0])


@pytest.mark.parametrize("merger", MERGERS, ids=lambda cls: cls.__name__)
def test_copies_compute_the_same(merger):
    net, x = compose(RAGGED, merger), torch.randn(8, 21, 2)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    loaded = compose(RAGGED, merger)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), loaded):
        assert torch.equal(other(x), net(x))


def test_bfloat16_autocast_trains():
    net, x = compose(), torch.randn(8, 21, 2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(x).square().mean()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("merger", [GatedMerger, GraphMerger], ids=lambda cls: cls.__name__)
def test_training_lowers_the_loss(merger):
    net = compose(LEVELS, merger)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    x = torch.randn(64, 21, 2)
    target = torch.cat([x, x.sum(dim=-1, keepdim=True)], dim=-1)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (net(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert sum(b > a for a, b in pairwise(losses)) < 10


@pytest.mark.parametrize("merger", [GatedMerger, GraphMerger], ids=lambda cls: cls.__name__)
def test_exported_program_accepts_any_batch_size(merger):
    net = compose(RAGGED, merger).eval()
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(net, (torch.randn(4, 21, 2),), dynamic_shapes=shapes)
    for batch in (1, 4, 33):
        x = torch.randn(batch, 21, 2)
        assert_close(program.module()(x), net(x))


def test_compiled_equals_eager():
    assert_compiles(compose(), torch.randn(3, 21, 2))


@pytest.mark.slow
@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
@pytest.mark.parametrize("merger", MERGERS, ids=lambda cls: cls.__name__)
def test_every_compiled_composition_equals_eager(merger, removal):
    assert_compiles(compose(removal, merger), torch.randn(3, 21, 2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_inductor_equals_eager(tmp_path, monkeypatch):
    """Two levels are used, because every kernel of another level takes seconds to compile."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # compile without a cache
    branches = AdaptiveGraphUNet(2, 3, RAGGED, nodes=(RAGGED.num_nodes, 4, 1))
    net = nn.Sequential(SubgraphMask(RAGGED), branches, GatedMerger(3, 3, RAGGED))
    assert_compiles(net, torch.randn(3, 21, 2), backend="inductor")
