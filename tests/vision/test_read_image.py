"""Images are read upright, as 8 bits and over white."""

import numpy as np
import pytest
import torch

from handgraph.vision import read_image

Image = pytest.importorskip("PIL.Image")

CORNERS = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
"""Two rows and three columns, upright."""
STORED = {  # EXIF's orientation: how the camera stored them
    1: CORNERS,
    2: np.fliplr(CORNERS),
    3: np.rot90(CORNERS, 2),
    4: np.flipud(CORNERS),
    5: CORNERS.T,
    6: np.rot90(CORNERS, 1),
    7: np.rot90(CORNERS.T, 2),
    8: np.rot90(CORNERS, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_photographs_are_turned_as_their_camera_was(orientation, tmp_path):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").tolist() == [CORNERS.tolist()] * 3


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bits_become_8(kind, tmp_path):
    deep = np.array([[0, 128, 129, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a.{kind}")
    assert read_image(tmp_path / f"a.{kind}")[:, 0].tolist() == [[0, 0, 1, 100, 255]] * 3


def test_turned_16_bits_become_8_too(tmp_path):
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png")[0].tolist() == [[255, 0]]


@pytest.mark.parametrize("value", [-1, 65536])
def test_whole_numbers_beyond_16_bits_are_refused(value, tmp_path):
    Image.fromarray(np.array([[0, value]], dtype=np.int32)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a.tiff: expected an image of 8 or 16 bits, got int32"):
        read_image(tmp_path / "a.tiff")


def test_floating_point_is_refused(tmp_path):
    Image.fromarray(np.array([[0.0, 1.0]], dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match="got float32 from 0 to 1: scale"):
        read_image(tmp_path / "a.tiff")


def blended(color, alpha):
    """Blend a colour with white by its alpha."""
    return torch.tensor([round(c * alpha / 255 + 255 * (1 - alpha / 255)) for c in color])


def test_transparent_pixels_are_on_white(tmp_path):
    color, alphas = [10, 100, 200], [255, 0, 128]
    Image.fromarray(np.array([[[*color, a] for a in alphas]], np.uint8)).save(tmp_path / "a.png")
    seen = read_image(tmp_path / "a.png")[:, 0].T
    for pixel, alpha in zip(seen, alphas, strict=True):
        assert (pixel.int() - blended(color, alpha)).abs().max() <= 1


def test_grey_with_transparency_is_on_white(tmp_path):
    bands = [Image.fromarray(np.array([row], dtype=np.uint8)) for row in ([40, 40], [255, 0])]
    Image.merge("LA", bands).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[:, 0].T.tolist() == [[40] * 3, [255] * 3]


def test_palettes_are_colours_and_may_be_transparent(tmp_path):
    image = Image.new("P", (3, 1))
    image.putdata([0, 1, 2])
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=1)
    colors = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert read_image(tmp_path / "a.png")[:, 0].T.tolist() == colors
    colors[1] = [255, 255, 255]
    assert read_image(tmp_path / "b.png")[:, 0].T.tolist() == colors


def test_one_bit_and_print_colours(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 0]]] * 3
    Image.new("CMYK", (1, 1), (0, 255, 255, 0)).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff")[:, 0, 0].tolist() == [255, 0, 0]
