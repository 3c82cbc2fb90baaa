"""The sampler: bilinear positions in image pixels, borders and non-finite positions."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from handgraph.vision import JointFeatureSampler, gaussian_heatmaps


def identity(channels=2, stride=4):
    """Return a sampler whose linear layer is the identity."""
    sampler = JointFeatureSampler(channels, channels, stride=stride)
    sampler.lin.weight.data.copy_(torch.eye(channels))
    sampler.lin.bias.data.zero_()
    return sampler


@pytest.mark.parametrize("stride", [1, 4, 5])
def test_a_map_of_positions_gives_the_positions(stride):
    """Bilinear interpolation of a map of pixel coordinates is exact."""
    height, width = 6, 9
    v, u = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing="ij")
    where = stride * torch.stack([u, v]) + (stride - 1) / 2
    sides = torch.tensor([width, height])
    uv = (stride - 1) / 2 + stride * torch.rand(2, 21, 2) * (sides - 1)
    assert_close(identity(stride=stride)(where.expand(2, 2, 6, 9), uv), uv)


def test_agrees_with_the_convention_of_the_heatmaps():
    """Sampled at a joint on a pixel centre, the joint's own heatmap has its peak of 1."""
    uv = torch.tensor([[[9.5, 21.5], [29.5, 5.5]]])
    maps = gaussian_heatmaps(uv, (32, 64))
    assert_close(identity()(maps, uv).diagonal(dim1=-2, dim2=-1), torch.ones(1, 2))


def test_linear_layer_follows_the_sampling():
    sampler, features = JointFeatureSampler(3, 5), torch.rand(2, 3, 8, 8)
    uv = torch.full((2, 1, 2), 4 * 2 + 1.5)
    assert_close(sampler(features, uv)[:, 0], sampler.lin(features[:, :, 2, 2]))


def test_outside_is_the_nearest_edge():
    features = torch.rand(1, 2, 4, 8)
    outside = torch.tensor([[[-40.0, -2.0], [900.0, 1e6]]])
    corners = torch.stack([features[0, :, 0, 0], features[0, :, -1, -1]])
    assert_close(identity()(features, outside)[0], corners)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_position_that_is_not_finite_gives_nan_in_its_joint_only(bad):
    uv = torch.full((1, 3, 2), 5.0)
    uv[0, 1, 1] = bad
    out = identity()(torch.rand(1, 2, 4, 4), uv)
    assert out.isnan().all(dim=-1).tolist() == [[False, True, False]]
    assert out[0, [0, 2]].isfinite().all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_position_that_is_not_finite_has_no_gradient(bad):
    """Gradients of the other joints are unchanged."""
    sampler, features = JointFeatureSampler(2, 3), torch.rand(1, 2, 4, 4, requires_grad=True)
    uv = 15 * torch.rand(1, 3, 2)
    gradients = []
    for value, joints in ((bad, [0, 1, 2]), (5.0, [0, 2])):
        there = uv.clone()
        there[0, 1, 1] = value
        there.requires_grad_()
        out = sampler(features, there[:, joints])
        wanted = [features, there, *sampler.parameters()]
        gradients.append(torch.autograd.grad(out[out.isfinite()].square().sum(), wanted))
    for got, expected in zip(*gradients, strict=True):
        assert_close(got, expected)


def test_half_precision_maps_are_sampled_where_they_should_be():
    """Pixel centres return the pixel's value; in bfloat16, positions would be inexact."""
    columns = torch.arange(48)
    features = torch.eye(48, dtype=torch.bfloat16).view(48, 1, 1, 48)
    uv = torch.stack([4.0 * columns + 1.5, torch.full((48,), 1.5)], dim=-1).unsqueeze(1)
    out = identity(1).bfloat16()(features, uv)
    assert out.dtype == torch.bfloat16
    assert out.eq(1).all()


def test_gradients_reach_map_and_positions():
    sampler = JointFeatureSampler(2, 3).double()
    features = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    uv = (18 * torch.rand(1, 4, 2, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(sampler, (features, uv))


@pytest.mark.parametrize(
    ("uv", "error", "match"),
    [
        (torch.zeros(21, 2), ValueError, r"expected uv \[2, J, 2\] .* got \[21, 2\]"),
        (torch.zeros(1, 21, 2), ValueError, r"expected uv \[2, J, 2\]"),
        (torch.zeros(2, 21, 3), ValueError, "expected uv of shape"),
        (torch.zeros(2, 21, 2, dtype=torch.long), TypeError, "floating point"),
    ],
)
def test_wrong_positions(uv, error, match):
    with pytest.raises(error, match=match):
        JointFeatureSampler(4, 2)(torch.rand(2, 4, 8, 8), uv)


def test_wrong_stride():
    with pytest.raises(ValueError, match="stride"):
        JointFeatureSampler(4, 2, stride=0)
