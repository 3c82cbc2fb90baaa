"""Decoding of heatmaps: sub-pixel positions, order of coordinates, borders and NaN."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from handgraph.testing import assert_compiles
from handgraph.vision import decode_dark, decode_heatmaps, gaussian_heatmaps, soft_argmax

DECODERS = pytest.mark.parametrize("decode", [decode_heatmaps, decode_dark, soft_argmax])


def slow_decode(heatmap):
    """Decode as published, with loops, in heatmap pixels."""
    height, width = heatmap.shape
    pixels = [(x, y) for y in range(height) for x in range(width)]
    x, y = max(pixels, key=lambda pixel: heatmap[pixel[1], pixel[0]].item())
    u, v = float(x), float(y)
    if 0 < x < width - 1:
        u += 0.25 * float(torch.sign(heatmap[y, x + 1] - heatmap[y, x - 1]))
    if 0 < y < height - 1:
        v += 0.25 * float(torch.sign(heatmap[y + 1, x] - heatmap[y - 1, x]))
    return [u, v]


def slow_soft(heatmap, temperature):
    weights = (heatmap.double() / temperature).exp()
    pairs = [(x, y) for y in range(heatmap.shape[0]) for x in range(heatmap.shape[1])]
    total = weights.sum()
    return [sum(weights[p[1], p[0]] * p[axis] for p in pairs) / total for axis in (0, 1)]


@pytest.mark.parametrize("size", [(6, 9), (1, 5), (4, 1), (2, 2)])
def test_equals_the_slow_twin(size):
    maps = torch.rand(20, *size)
    uv, confidence = decode_heatmaps(maps, stride=1)
    assert_close(uv, torch.tensor([slow_decode(heatmap) for heatmap in maps]))
    assert torch.equal(confidence, maps.amax(dim=(-2, -1)))


def test_soft_argmax_equals_the_slow_twin():
    maps = torch.rand(5, 6, 9)
    uv, confidence = soft_argmax(maps, stride=1, temperature=0.3)
    expected = torch.tensor([slow_soft(heatmap, 0.3) for heatmap in maps])
    assert_close(uv, expected.float())
    assert torch.equal(confidence, maps.amax(dim=(-2, -1)))


@given(st.floats(0, 127), st.floats(0, 255), st.sampled_from([1.0, 2.0, 3.0]))
def test_targets_decode_to_within_a_pixel(u, v, sigma):
    """The error is a quarter of a heatmap pixel, which is one pixel, and one more at the border."""
    uv = torch.tensor([[u, v]], dtype=torch.float64)
    found, confidence = decode_heatmaps(gaussian_heatmaps(uv, (256, 128), sigma=sigma))
    inner = (uv >= 5.5) & (uv <= torch.tensor([127, 255]) - 5.5)
    assert ((found - uv).abs() <= torch.where(inner, 1, 2) + 1e-9).all()
    assert confidence.item() >= torch.tensor(-0.25 / sigma**2).exp()


def test_a_quarter_is_exact_where_the_joint_is_a_quarter_away():
    uv = torch.tensor([[41.5, 22.5], [42.5, 20.5], [40.5, 21.5]])  # 41.5 and 21.5 are pixel centres
    assert torch.equal(decode_heatmaps(gaussian_heatmaps(uv, 64))[0], uv)


def test_soft_argmax_is_finer_than_a_fifth_of_a_pixel():
    uv = 30 + 196 * torch.rand(200, 2)
    found, _ = soft_argmax(gaussian_heatmaps(uv, 256))
    assert (found - uv).norm(dim=-1).max() < 0.2


@DECODERS
def test_u_is_the_column_and_v_the_row(decode):
    maps = torch.zeros(1, 8, 16)
    maps[0, 2, 11] = 1.0
    found = decode(maps, temperature=0.01)[0] if decode is soft_argmax else decode(maps)[0]
    assert_close(found, torch.tensor([[4 * 11 + 1.5, 4 * 2 + 1.5]]))


def test_no_step_beyond_the_border():
    maps = torch.rand(4, 5, 5) / 2
    maps[0, 0, 0] = maps[1, 0, 4] = maps[2, 4, 0] = maps[3, 4, 4] = 1.0
    expected = torch.tensor([[0.0, 0], [4, 0], [0, 4], [4, 4]])
    assert torch.equal(decode_heatmaps(maps, stride=1)[0], expected)


def test_a_flat_map_gives_its_first_pixel():
    assert decode_heatmaps(torch.zeros(3, 4, 4), stride=1)[0].eq(0).all()


@pytest.mark.parametrize(("peak", "share"), [(0.5, 0.22), (0.3, 0.81)])
def test_low_peaks_pull_to_the_centre_as_documented(peak, share):
    uv = torch.tensor([[60.0, 60.0], [200.0, 80.0]])
    found, _ = soft_argmax(peak * gaussian_heatmaps(uv, 256))
    assert_close((found - uv) / (127.5 - uv), torch.full((2, 2), share), atol=0.01, rtol=0)


@DECODERS
@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
def test_any_leading_dimensions_and_strides(decode, lead):
    maps = torch.rand(7, *lead, 5).movedim(0, -1)
    uv, confidence = decode(maps)
    assert uv.shape == (*lead, 2)
    assert confidence.shape == lead
    flat = zip(maps.reshape(-1, 5, 7), uv.reshape(-1, 2), confidence.reshape(-1), strict=True)
    for sample, *expected in flat:
        assert_close([*decode(sample.contiguous())], expected)


@DECODERS
def test_dtype_is_kept_but_for_half_precision(decode):
    for dtype in (torch.float64, torch.float32):
        assert [x.dtype for x in decode(torch.rand(2, 8, 8, dtype=dtype))] == [dtype, dtype]
    maps = gaussian_heatmaps(torch.tensor([[250.5, 247.0]]), 256).bfloat16()
    uv, confidence = decode(maps)
    assert uv.dtype == confidence.dtype == torch.float32
    assert torch.equal(uv, decode(maps.float())[0])
    assert uv[0, 0] % 1 != 0  # bfloat16 has only integers between 128 and 256


@DECODERS
def test_nan_gives_nan_in_its_own_joint_only(decode):
    maps = torch.rand(2, 8, 8)
    maps[1, 3, 3] = torch.nan
    uv, confidence = decode(maps)
    assert uv[0].isfinite().all()
    assert uv[1].isnan().all()
    assert confidence.isnan().tolist() == [False, True]


def test_soft_argmax_has_gradients():
    maps = torch.rand(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: soft_argmax(x, temperature=0.5), maps)


@pytest.mark.parametrize("decode", [decode_heatmaps, decode_dark])
@pytest.mark.parametrize("size", [(4, 5), (9, 9)])
def test_argmax_has_gradients_of_the_confidence_only(decode, size):
    maps = torch.rand(2, *size, requires_grad=True)
    uv, confidence = decode(maps)
    assert not uv.requires_grad
    confidence.sum().backward()
    assert maps.grad.sum() == 2
    assert torch.equal(maps.grad.bool(), maps == maps.amax(dim=(-2, -1), keepdim=True))


@DECODERS
def test_compiles_and_exports(decode):
    class Decoder(torch.nn.Module):
        def forward(self, x):
            return decode(x)

    maps = torch.rand(3, 21, 8, 8)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Decoder(), (maps,), dynamic_shapes=[{0: batch}])
    maps = torch.rand(5, 21, 8, 8)
    assert_close(program.module()(maps), decode(maps))
    torch.compiler.reset()
    compiled = torch.compile(decode, fullgraph=True, backend="aot_eager")
    assert_close(compiled(maps), decode(maps))
    torch.compiler.reset()


def test_gradients_survive_compilation():
    assert_compiles(soft_argmax, torch.rand(2, 5, 5))


@DECODERS
@pytest.mark.parametrize(
    ("maps", "kwargs", "error", "match"),
    [
        (torch.zeros(4), {}, ValueError, r"heatmaps \[\*, H, W\] with H, W >= 1, got \[4\]"),
        (torch.zeros(2, 0, 4), {}, ValueError, "with H, W >= 1"),
        (torch.zeros(4, 4, dtype=torch.uint8), {}, TypeError, "floating point"),
        (torch.zeros(4, 4), {"stride": 0}, ValueError, "stride"),
    ],
)
def test_wrong_arguments(decode, maps, kwargs, error, match):
    with pytest.raises(error, match=match):
        decode(maps, **kwargs)


def test_temperature_is_positive():
    with pytest.raises(ValueError, match="temperature"):
        soft_argmax(torch.zeros(4, 4), temperature=0.0)


@DECODERS
def test_maps_of_published_nets_are_decoded_with_their_own_offset(decode):
    """The published code draws the Gaussian around ``uv / 4`` of the map."""
    uv = torch.tensor([[101.0, 61.0]])
    maps = drawn(uv / 4)
    assert_close(decode(maps, offset=0)[0], uv, rtol=0, atol=1)
    assert_close(decode(maps)[0], decode(maps, offset=0)[0] + 1.5)


@DECODERS
@pytest.mark.parametrize("size", [(64, 64), (64, 48)])
def test_unbiased_maps_are_decoded_with_their_corners_aligned(decode, size):
    """UDP's code draws it around ``uv (W - 1) / (4 W - 1)``, with the size of each axis."""
    uv = torch.tensor([[101.0, 61.0], [150.0, 200.0]])
    height, width = size
    places = uv * torch.tensor([(width - 1) / (4 * width - 1), (height - 1) / (4 * height - 1)])
    maps = drawn(places, size)
    assert_close(decode(maps, align_corners=True)[0], uv, rtol=0, atol=1.1)
    assert_close(decode_dark(maps, align_corners=True)[0], uv, rtol=0, atol=0.05)


@DECODERS
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)])
def test_a_map_of_one_pixel_has_no_other_corner(decode, shape):
    uv, _ = decode(torch.rand(2, *shape), align_corners=True)
    assert uv.isfinite().all()
    assert uv[:, [n == 1 for n in reversed(shape)]].eq(0).all()


@DECODERS
@given(grid=st.sampled_from([{}, {"offset": 0.0}, {"align_corners": True}, {"offset": -2.5}]))
def test_targets_are_the_inverse_in_any_convention(decode, grid):
    uv = 40 + 150 * torch.rand(5, 2)
    for stride in (2, 4):
        maps = gaussian_heatmaps(uv, (256, 224), stride=stride, **grid)
        assert_close(decode(maps, stride=stride, **grid)[0], uv, rtol=0, atol=1.1)


def drawn(places, size=(64, 64), sigma=2.0):
    """Draw a Gaussian at positions ``[J, 2]`` in heatmap pixels, pixel by pixel."""
    rows, columns = (torch.arange(float(n)) for n in size)
    x, y = (places[:, axis, None, None] for axis in (0, 1))
    return torch.exp(-((columns - x) ** 2 + (rows.unsqueeze(-1) - y) ** 2) / (2 * sigma**2))
