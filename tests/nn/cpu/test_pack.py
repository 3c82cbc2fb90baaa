"""The flat arrays hold what the tensors do, where the layout says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, HypothesisGraphMerger, fold

numba = pytest.importorskip("numba")

from handgraph.nn.cpu import batch, ops  # noqa: E402
from handgraph.nn.cpu.layout import layout  # noqa: E402
from handgraph.nn.cpu.pack import levels_of, maps_of, pack_maps  # noqa: E402
from handgraph.nn.kernels.sizes import Sizes  # noqa: E402

RAGGED = RemovalSets(HAND, {"tips": "TIP", "two": ["thumb", "pinky_tip"], "nothing": ()})
NETS = [
    (HAND, {}),
    (RAGGED, {}),
    (HAND, {"nodes": (21, 4)}),
    (HAND, {"nodes": (21, 30, 5), "channels": 5}),
    (Skeleton.edgeless(1), {"nodes": (1, 1), "channels": 1, "bottleneck_channels": 1}),
]


def unet(graph, **options):
    net = AdaptiveGraphUNet(2, 3, graph, **options).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter))
    return net


def parameters_of(net):
    return [*(part for level in net._levels() for part in level), *net._bottleneck()]


def tensors_of(maps):
    stages = (*maps.encoder, maps.squeeze, *maps.decoder)
    return [t for stage in stages for t in stage] + [maps.expand, maps.expand_bias]


@pytest.fixture(params=NETS, ids=["hand", "ragged", "two levels", "growing", "one"])
def net(request):
    graph, options = request.param
    return unet(graph, **options)


def test_maps_go_there_and_back(net):
    maps = net.maps()
    packed = pack_maps(maps)
    again = maps_of(packed, net.sizes, net.nodes[0])
    assert_close(tensors_of(again), tensors_of(maps), rtol=0, atol=0)
    assert packed.shape == (len(net.node_mask), layout(net.sizes).maps.size)


def test_merged_maps_are_the_packed_ones(net):
    for normalization in ("abs", "signed"):
        net.normalization = normalization
        merged = ops.compiled_maps(net._levels(), net._bottleneck(), normalization)
        assert_close(merged, pack_maps(net.maps()), rtol=1e-12, atol=1e-13)


def test_unpacked_maps_are_views(net):
    packed = pack_maps(net.maps())
    maps_of(packed, net.sizes, net.nodes[0]).expand.detach().fill_(7)
    assert (packed == 7).sum() == net.expand.weight.numel()


def test_maps_with_a_map_behind():
    merge = HypothesisGraphMerger(3, 3, RemovalSets.none(Skeleton.edgeless(3), 2), feature_nodes=2)
    folded = fold(merge).unet
    assert folded.out_nodes == 3 != folded.nodes[0]
    assert folded.merged.shape == (1, layout(folded.sizes, 3).maps.size)
    maps = folded.maps()
    assert [stage.skip_nodes.shape[1] for stage in maps.decoder] == [3, *folded.nodes[1:-1]]
    assert_close(pack_maps(maps), folded.merged, rtol=0, atol=0)


def test_map_sizes_are_those_of_the_tensors(net):
    maps = net.maps()
    downs = (*maps.encoder, maps.squeeze)
    expected = [stage.nodes[0].numel() for stage in downs]
    expected += [stage.nodes.shape[1] for stage in downs]  # the first has room for a bias, too
    expected += [field[0].numel() for part in (2, 3) for field in (stage[part] for stage in downs)]
    for part in range(5):
        expected += [stage[part][0].numel() for stage in maps.decoder]
    expected += [maps.expand[0].numel(), maps.expand_bias[0].numel()]
    at = layout(net.sizes).maps
    starts = np.concatenate([np.atleast_1d(part) for part in at[:-1]])
    assert np.diff([*starts, at.size]).tolist() == expected
    assert sum(expected) == at.size


def test_parameters_go_there_and_back(net):
    parameters = parameters_of(net)
    flat = torch.cat([parameter.flatten() for parameter in parameters])
    levels, bottleneck = levels_of(flat, net.sizes)
    found = [*(part for level in levels for part in level), *bottleneck]
    assert_close(found, parameters, rtol=0, atol=0)
    assert all(part._base is flat for part in found)


def test_parameters_lie_where_the_layout_says(net):
    parameters, sizes = parameters_of(net), net.sizes
    flat = torch.cat([parameter.flatten() for parameter in parameters]).detach().numpy()
    at = layout(sizes).parameters
    p = batch.by_branch(flat, sizes.branches, at.starts)
    np.testing.assert_array_equal(batch.by_parameter(p, at.starts), flat)
    levels = list(zip(*at[1:-2], strict=False))  # down and down_bias also have the bottleneck's
    starts = [*(start for level in levels for start in level)]
    starts += [at.down[-1], at.down_bias[-1], at.expand, at.expand_bias]
    assert len(starts) == len(parameters)
    for start, parameter in zip(starts, parameters, strict=True):
        own = parameter.detach().flatten(1).numpy()
        np.testing.assert_array_equal(p[:, start : start + own.shape[1]], own)


def test_rows_are_those_of_the_intermediates(net):
    sizes = net.sizes
    shape, _, _, rows = layout(sizes)
    nodes, widths = sizes.nodes, (sizes.in_channels, *sizes.widths, sizes.bottleneck)
    mixed = [n * c for n, c in zip(nodes, widths, strict=False)]
    down = [n * c for n, c in zip(nodes, widths[1:], strict=True)]
    outs = (sizes.out_channels, *sizes.widths[:-1])
    skip = [n * c for n, c in zip(nodes, outs, strict=False)]
    deep = [n * c for n, c in zip(nodes[1:], outs, strict=True)]
    expanded = [nodes[-1] * sizes.widths[-1]]
    expected = [[nodes[0] * sizes.in_channels], mixed, down, expanded, skip, deep, skip]
    starts = np.concatenate([np.atleast_1d(part) for part in rows])
    assert np.diff(starts).tolist() == [size for part in expected for size in part]
    assert shape.goes.tolist() == list(nodes[:-1])
    assert sizes == Sizes.decode(sizes.encode())


@pytest.mark.parametrize("rows", [1, 2000, 3000, 2**14 + 1, 2**20])
def test_blocks_fit_the_work_space(rows):
    block, least, most = ops.block_size(rows, 1000), ops.LEAST, ops.MOST
    assert [ops.block_size(rows, n) for n in (0, 1, least)] == [least] * 3
    assert block % least == 0
    assert least <= block <= most
    assert block == least or block * rows <= ops.WORK_SPACE
    assert block == most or (block + least) * rows > ops.WORK_SPACE


def test_a_block_is_no_larger_than_the_batch():
    assert [ops.block_size(1, n) for n in (17, 32, 33)] == [32, 32, 48]
