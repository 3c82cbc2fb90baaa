"""DARK on Gaussians with known centres, and against a slow reference."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from handgraph.vision import decode_dark, decode_heatmaps, gaussian_heatmaps


def highest(heatmaps):
    """Return the highest pixel, (x, y) in heatmap pixels."""
    index = heatmaps.flatten(-2).argmax(dim=-1)
    return torch.stack([index % heatmaps.shape[-1], index // heatmaps.shape[-1]], dim=-1)


def slow_dark(heatmap, sigma):
    """Smooth, take the logarithm, differentiate and solve, with loops and a 2D kernel."""
    height, width = heatmap.shape
    (x, y), radius = highest(heatmap).tolist(), round(2.5 * sigma)
    if not (0 < x < width - 1 and 0 < y < height - 1):
        return [x, y]
    shifts = [(i, j) for i in range(-radius, radius + 1) for j in range(-radius, radius + 1)]
    weights = {s: math.exp(-(s[0] ** 2 + s[1] ** 2) / (2 * sigma**2)) for s in shifts}

    def log(dx, dy):
        total = 0.0
        for (i, j), weight in weights.items():
            u, v = x + dx + i, y + dy + j
            if 0 <= u < width and 0 <= v < height:
                total += weight * heatmap[v, u].item()
        return math.log(max(total / sum(weights.values()), 1e-10))

    gradient = torch.tensor([log(1, 0) - log(-1, 0), log(0, 1) - log(0, -1)]).double() / 2
    mixed = (log(1, 1) - log(1, -1) - log(-1, 1) + log(-1, -1)) / 4
    second = [log(1, 0) - 2 * log(0, 0) + log(-1, 0), log(0, 1) - 2 * log(0, 0) + log(0, -1)]
    hessian = torch.tensor([[second[0], mixed], [mixed, second[1]]]).double()
    if torch.linalg.eigvalsh(hessian).max() >= 0:
        return [x, y]
    step = -torch.linalg.solve(hessian, gradient)
    return [x, y] if step.abs().max() > 1 else [x + step[0].item(), y + step[1].item()]


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
def test_centres_of_gaussians_are_found(sigma):
    """The error is at most 0.001 heatmap pixels; the highest pixel is up to 0.5 off per axis."""
    torch.manual_seed(0)
    uv = 48 + 160 * torch.rand(500, 2)
    maps = gaussian_heatmaps(uv, 256, sigma=sigma)
    found, confidence = decode_dark(maps, sigma=sigma)
    assert (found - uv).abs().max() / 4 < 1e-3
    assert 0.49 < ((4 * highest(maps) + 1.5) - uv).abs().max() / 4 <= 0.5 + 1e-5
    assert 0.24 < (decode_heatmaps(maps)[0] - uv).abs().max() / 4 <= 0.25 + 1e-5
    assert torch.equal(confidence, maps.amax(dim=(-2, -1)))


@pytest.mark.parametrize(("pixels", "error"), [(5, 0.001), (3, 0.052), (1.5, 0.4)])
def test_the_error_near_the_border_is_the_documented_one(pixels, error):
    away = torch.linspace(0, 30, 3001)
    place = torch.stack([pixels + away, torch.full_like(away, 32.0)], dim=-1)
    uv = 4 * torch.cat([place, 63 - place]) + 1.5
    found, _ = decode_dark(gaussian_heatmaps(uv, 256))
    worst = (found - uv).abs().max().item() / 4
    assert error / 2 < worst < error


@given(st.integers(0, 2**31), st.sampled_from([0.8, 2.0]))
def test_equals_the_slow_twin(seed, sigma):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(1, 7, 8, generator=generator, dtype=torch.float64) - 0.2
    maps = maps + 2 * gaussian_heatmaps(8 * torch.rand(1, 2, generator=generator), (7, 8), stride=1)
    expected = torch.tensor([slow_dark(maps[0], sigma)])
    assert_close(decode_dark(maps, stride=1, sigma=sigma)[0], expected.double())


def test_a_tilted_gaussian_is_found():
    """The Gaussian's axes are not those of the map, so the mixed derivative matters."""
    x, y = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy")
    x, y = x - 15.3, y - 14.6
    maps = torch.exp(-(x**2 + y**2 - 1.2 * x * y) / 16).unsqueeze(0)
    assert_close(decode_dark(maps, stride=1)[0], torch.tensor([[15.3, 14.6]]), atol=0.02, rtol=0)


def test_no_step_to_the_bottom_of_a_bowl():
    """The highest pixel is a spike where the smoothed map has a minimum."""
    x, y = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="xy")
    bowl = (0.05 + ((x - 16.4) ** 2 + (y - 15.7) ** 2) / 100).clamp(max=0.8)
    bowl[16, 16] = 0.81
    assert decode_dark(bowl.unsqueeze(0), stride=1)[0].tolist() == [[16.0, 16.0]]


def test_noise_is_smoothed():
    torch.manual_seed(0)
    uv = 48 + 160 * torch.rand(300, 2)
    maps = gaussian_heatmaps(uv, 256) + 0.05 * torch.randn(300, 64, 64)
    mean = [(decode(maps)[0] - uv).norm(dim=-1).mean() for decode in (decode_dark, decode_heatmaps)]
    assert mean[0] < 0.7 * mean[1]


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0])
def test_flat_maps_give_their_first_pixel(value):
    assert decode_dark(torch.full((3, 9, 9), value), stride=1)[0].eq(0).all()


def test_sigma_is_positive():
    with pytest.raises(ValueError, match="sigma"):
        decode_dark(torch.zeros(4, 4), sigma=0.0)
