"""Images under affine maps against Pillow, PyTorch's pooling, closed forms and loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handgraph.geometry import crop_matrix, mirror_matrix, transform_points, warp_image


def noise(*shape, dtype=torch.uint8):
    if dtype == torch.uint8:
        return torch.randint(0, 256, shape, dtype=dtype)
    return torch.rand(shape, dtype=dtype)


def similarity(zoom=1.0, degrees=0.0, shift=(0.0, 0.0), about=(0.0, 0.0), dtype=torch.float64):
    """Return a zoom and rotation about a point, followed by a shift, ``[3, 3]``."""
    a, (u, v) = math.radians(degrees), about
    cos, sin = zoom * math.cos(a), zoom * math.sin(a)
    rows = [
        [cos, -sin, shift[0] + u - cos * u + sin * v],
        [sin, cos, shift[1] + v - sin * u - cos * v],
        [0.0, 0.0, 1.0],
    ]
    return torch.tensor(rows, dtype=dtype)


def shrink(factor):
    """Return the map that shrinks the whole image by a factor."""
    return similarity(1 / factor, shift=(0.5 / factor - 0.5, 0.5 / factor - 0.5))


def old_pixels(A, height, width):
    """Return the source position of each new pixel, ``[h, w, 2]``."""
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return transform_points(torch.linalg.inv(A), torch.stack([u, v], dim=-1).to(A))


def slow_twin(image, A, size, samples):
    """Warp one channel with loops over pixels and samples."""
    back = np.linalg.inv(A.numpy())
    image = image.double().numpy()

    def value(u, v):
        inside = 0 <= u < image.shape[1] and 0 <= v < image.shape[0]
        return image[v, u] if inside else 0.0

    output = np.zeros((size, size))
    for v in range(size):
        for u in range(size):
            for i in range(samples):
                for j in range(samples):
                    du, dv = ((k + 0.5) / samples - 0.5 for k in (i, j))
                    x, y, _ = back @ (u + du, v + dv, 1)
                    left, top = math.floor(x), math.floor(y)
                    for column, weight in ((left, left + 1 - x), (left + 1, x - left)):
                        for row, height in ((top, top + 1 - y), (top + 1, y - top)):
                            output[v, u] += weight * height * value(column, row) / samples**2
    return torch.from_numpy(output)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_the_identity_changes_nothing(dtype, mode):
    image = noise(2, 3, 37, 53, dtype=dtype)
    same = warp_image(image, torch.eye(3), (37, 53), mode=mode)
    assert same.dtype == dtype
    exact = dtype == torch.uint8 or mode == "nearest"
    torch.testing.assert_close(same, image, rtol=0, atol=0 if exact else 1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_mirroring_flips(mode):
    image = noise(2, 3, 40, 56)
    assert torch.equal(warp_image(image, mirror_matrix(56), (40, 56), mode=mode), image.flip(-1))


def test_a_shift_brings_zeros_in():
    image = noise(1, 9, 9)
    shifted = warp_image(image, similarity(shift=(2, -3)), 9)
    expected = torch.zeros_like(image)
    expected[:, :-3, 2:] = image[:, 3:, :-2]
    assert torch.equal(shifted, expected)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_whole_factor_takes_means_of_blocks_as_pillow_does(factor):
    image = noise(3, 12 * factor, 8 * factor)
    small = warp_image(image, shrink(factor), (12, 8))
    means = torch.nn.functional.avg_pool2d(image.double(), factor)
    assert (small - means).abs().max() <= 0.5 + 1e-9
    reduced = Image.fromarray(image.permute(1, 2, 0).numpy()).reduce(factor)
    pillow = torch.from_numpy(np.array(reduced)).permute(2, 0, 1)
    assert (small.int() - pillow.int()).abs().max() <= 1  # Pillow rounds in fixed point


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_enlarged_image_equals_that_of_pillow(degrees):
    image = noise(3, 48, 48)
    A = similarity(1.4, degrees, (3.3, -2.2), about=(24, 24))
    back = torch.linalg.inv(A)
    corner = back[:2, 2] + 0.5 - 0.5 * back[:2, :2].sum(dim=1)  # Pillow measures from the corner
    coefficients = [*back[0, :2], corner[0], *back[1, :2], corner[1]]
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).transform(
        (40, 40),
        Image.Transform.AFFINE,
        [float(c) for c in coefficients],
        Image.Resampling.BILINEAR,
    )
    expected = torch.from_numpy(np.array(pillow)).permute(2, 0, 1)
    old = old_pixels(A, 40, 40)
    inside = ((old > 1) & (old < 46)).all(dim=-1)
    assert inside.float().mean() > 0.5
    difference = (warp_image(image, A, 40).int() - expected.int()).abs()
    assert difference[:, inside].max() <= 1


@pytest.mark.parametrize(
    ("zoom", "samples"), [(1.7, 1), (1.0, 1), (0.7, 2), (1 / 2.009, 2), (0.4, 3)]
)
def test_as_in_loops(zoom, samples):
    image = noise(1, 12, 12, dtype=torch.float64)
    A = similarity(zoom, 0.0, (1.25, 0.6))
    torch.testing.assert_close(
        warp_image(image, A, 10)[0], slow_twin(image[0], A, 10, samples), rtol=0, atol=1e-12
    )


def test_turned_as_in_loops():
    image = noise(1, 12, 12, dtype=torch.float64)
    A = similarity(0.7, 25.0, (1.25, 3.6))
    torch.testing.assert_close(
        warp_image(image, A, 10)[0], slow_twin(image[0], A, 10, 2), rtol=0, atol=1e-12
    )


@given(
    zoom=st.floats(0.25, 4.0),
    degrees=st.floats(-180, 180),
    shift=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    slope=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_a_ramp_stays_the_ramp(zoom, degrees, shift, slope):
    v, u = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    image = (slope[0] * u.double() + slope[1] * v.double() + 3).unsqueeze(0)
    A = similarity(zoom, degrees, shift, about=(20, 20))
    old = old_pixels(A, 40, 40)
    reach = 0.5 / min(zoom, 1) * 1.5 + 1
    inside = ((old > reach) & (old < 39 - reach)).all(dim=-1)
    expected = slope[0] * old[..., 0] + slope[1] * old[..., 1] + 3
    warped = warp_image(image, A, 40)[0]
    torch.testing.assert_close(warped[inside], expected[inside], rtol=0, atol=1e-9)


def test_shrinking_does_not_alias():
    stripes = torch.zeros(1, 100, 100)
    stripes[:, :, ::2] = 1
    inner = warp_image(stripes, shrink(2.5), 40)[0, 2:-2, 2:-2]
    assert (inner - 0.5).abs().max() < 0.1
    single = warp_image(stripes, shrink(2.5), 40, mode="nearest")[0, 2:-2, 2:-2]
    assert single.std() > 0.4  # one sample per pixel causes aliasing


@pytest.mark.parametrize("degrees", [0.0, 50.0])
@pytest.mark.parametrize("zoom", [0.45, 1.0, 1.9])
def test_warped_spot_lies_at_its_warped_joint(zoom, degrees):
    joint = torch.tensor([[31.0, 22.0]], dtype=torch.float64)
    image = torch.zeros(1, 64, 64, dtype=torch.float64)
    image[0, 22, 31] = 1
    A = similarity(zoom, degrees, (2.3, 1.1), about=(32, 32))
    warped = warp_image(image, A, 64)[0]
    v, u = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    centre = torch.stack([(warped * u).sum(), (warped * v).sum()]) / warped.sum()
    expected = transform_points(A, joint)[0]
    torch.testing.assert_close(centre, expected, rtol=0, atol=0.3)
    assert warped.sum() == pytest.approx(zoom**2, rel=0.35)


def test_the_crop_holds_what_its_joints_enclose():
    image = torch.zeros(1, 64, 64)
    image[:, 20:40, 10:30] = 1  # edges at 9.5 to 29.5, 19.5 to 39.5
    corners = torch.tensor([[9.5, 19.5], [29.5, 39.5]])
    assert (warp_image(image, crop_matrix(corners, 40, 1.0), 40)[:, 1:-1, 1:-1] == 1).all()
    wide = warp_image(image, crop_matrix(corners, 40, 2.0), 40)
    assert wide.sum() == pytest.approx(400, rel=1e-3)
    assert (wide[:, 11:29, 11:29] == 1).all()
    assert wide[:, :9].sum() == 0


def test_nearest_returns_only_input_values():
    mask = torch.tensor([0, 1, 33], dtype=torch.uint8)[torch.randint(0, 3, (1, 30, 30))]
    warped = warp_image(mask, similarity(0.6, 20, about=(15, 15)), 30, mode="nearest")
    assert set(warped.unique().tolist()) == {0, 1, 33}
    old = old_pixels(similarity(0.6, 20, about=(15, 15)), 30, 30).round().long()
    for v, u in ((3, 4), (15, 15), (20, 11)):
        column, row = old[v, u].tolist()
        inside = 0 <= column < 30 and 0 <= row < 30
        assert warped[0, v, u] == (mask[0, row, column] if inside else 0)


def test_single_images_equal_the_batch():
    images = noise(2, 3, 3, 24, 24)
    maps = torch.stack([similarity(z, 10 * z) for z in (0.3, 0.5, 0.9, 1.0, 1.5, 3.0)])
    maps = maps.reshape(2, 3, 3, 3)
    batch = warp_image(images, maps, 16)
    assert batch.shape == (2, 3, 3, 16, 16)
    for i in range(2):
        for j in range(3):
            assert torch.equal(batch[i, j], warp_image(images[i, j], maps[i, j], 16))
    one = warp_image(images, maps[0, 0], 16)
    assert torch.equal(one[1, 2], warp_image(images[1, 2], maps[0, 0], 16))


def test_no_images():
    assert warp_image(noise(0, 3, 8, 8), torch.eye(3), 4).shape == (0, 3, 4, 4)


def test_strides_do_not_count():
    image = noise(1, 20, 30, 3).permute(0, 3, 1, 2)
    A = similarity(0.8)
    assert torch.equal(warp_image(image, A, 16), warp_image(image.contiguous(), A, 16))


def test_rounds_to_the_nearest_level():
    image = torch.tensor([[[0, 3]]], dtype=torch.uint8)
    between = warp_image(image, similarity(shift=(-0.6, 0.0)), (1, 1))
    assert between.tolist() == [[[2]]]  # 1.8
    white = torch.full((1, 30, 30), 255, dtype=torch.uint8)
    assert (warp_image(white, similarity(1.3, 33, about=(15, 15)), 20)[:, 8:12, 8:12] == 255).all()


def test_gradients():
    image = noise(1, 6, 6, dtype=torch.float64).requires_grad_()
    for zoom in (1.3, 0.6):
        A = similarity(zoom, 12.0, (0.17, 0.23)).requires_grad_()
        fixed = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)

        def warp(image, top, fixed=fixed):
            return warp_image(image, torch.cat([top, fixed[None]]), 5)

        assert torch.autograd.gradcheck(warp, (image, A[:2].detach().requires_grad_()))


TILTED = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1e-3, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("image", "A", "size", "mode", "error", "message"),
    [
        (noise(3, 4, 4).int(), torch.eye(3), 4, "nearest", TypeError, "uint8 or floating point"),
        (noise(3, 4, 4).bool(), torch.eye(3), 4, "nearest", TypeError, "got torch.bool"),
        (noise(4, 4), torch.eye(3), 4, "nearest", ValueError, r"\[\*, C, H, W\], got \[4, 4\]"),
        (noise(3, 0, 4), torch.eye(3), 4, "nearest", ValueError, r"got \[3, 0, 4\]"),
        (noise(3, 4, 4), torch.eye(3).int(), 4, "bilinear", TypeError, "A to be floating point"),
        (noise(3, 4, 4), torch.eye(2), 4, "bilinear", ValueError, r"\(one for all\), got \[2, 2\]"),
        (noise(3, 4, 4), torch.eye(3)[None], 4, "bilinear", ValueError, r"got \[1, 3, 3\]"),
        (noise(2, 3, 4, 4), torch.eye(3).expand(3, 3, 3), 4, "bilinear", ValueError, "got .3, 3"),
        (noise(3, 4, 4), torch.eye(3), 0, "bilinear", ValueError, "size .* got 0"),
        (noise(3, 4, 4), torch.eye(3), (4, 2.5), "bilinear", TypeError, "size as int, got float"),
        (noise(3, 4, 4), torch.eye(3), (4, 4, 4), "bilinear", ValueError, "size .* got"),
        (noise(3, 4, 4), torch.eye(3), 4, "cubic", ValueError, "bilinear, nearest, got 'cubic'"),
        (noise(3, 4, 4), torch.zeros(3, 3), 4, "bilinear", ValueError, "affine and finite"),
        (noise(3, 4, 4), torch.eye(3) * torch.nan, 4, "nearest", ValueError, "affine and finite"),
        (
            noise(3, 4, 4),
            torch.diag(torch.tensor([1.0, 0, 1])),
            4,
            "nearest",
            ValueError,
            "inverse",
        ),
        (noise(3, 4, 4), TILTED, 4, "bilinear", ValueError, "affine and finite"),
        (noise(3, 4, 4), similarity(0.2), 4, "bilinear", ValueError, "side 4, .* shrinks by 5"),
        (noise(3, 4, 4), similarity(1e-30), 4, "nearest", ValueError, "more than a pixel"),
    ],
)
def test_errors_name_the_invalid_argument(image, A, size, mode, error, message):
    with pytest.raises(error, match=message):
        warp_image(image, A, size, mode=mode)
