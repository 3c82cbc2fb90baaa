"""Pixel (u, v) of an image tensor is drawn at (u, v) of the axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from handgraph.plot import draw_image


def shown(ax):
    """Return the rendered picture and a map from data coordinates to its (column, row)."""
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3]

    def look(u, v):
        column, up = ax.transData.transform((u, v))
        return tuple(pixels[int(len(pixels) - up), int(column)].tolist())

    return look


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_a_pixel_is_centred_on_its_integers(dtype):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    image = torch.zeros(3, 4, 6, dtype=dtype)
    image[0, 1, 5] = 255 if dtype == torch.uint8 else 1  # red at u = 5, v = 1
    figure = Figure(figsize=(6, 4))
    FigureCanvasAgg(figure)
    look = shown(draw_image(image, ax=figure.add_subplot()))
    red, black = (255, 0, 0), (0, 0, 0)
    assert [look(5 + du, 1 + dv) for du, dv in ((-0.4, -0.4), (0.4, 0.4))] == [red, red]
    assert [look(u, v) for u, v in ((4.4, 1), (5, 0.4), (5, 1.6), (1, 5 - 3))] == [black] * 4


def test_axes_end_at_the_edges_of_the_image():
    ax = draw_image(torch.zeros(3, 4, 6))
    assert (*ax.get_xlim(), *ax.get_ylim()) == (-0.5, 5.5, 3.5, -0.5)
    assert tuple(ax.images[0].get_extent()) == (-0.5, 5.5, 3.5, -0.5)
    assert ax.get_aspect() == 1


def test_colours_are_those_of_the_tensor():
    image = torch.rand(3, 5, 7, dtype=torch.float64)
    array = draw_image(image).images[0].get_array()
    torch.testing.assert_close(torch.from_numpy(np.asarray(array)).permute(2, 0, 1), image)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.zeros(4, 6), ValueError, r"\[3, H, W\], got \[4, 6\]"),
        (torch.zeros(4, 6, 3), ValueError, r"\[3, H, W\]"),
        (torch.zeros(1, 3, 4, 6), ValueError, r"\[3, H, W\]"),
        (torch.zeros(3, 0, 6), ValueError, r"\[3, H, W\]"),
        (torch.zeros(3, 4, 6).long(), TypeError, "uint8 or floating point, got torch.int64"),
        (torch.full((3, 4, 6), 255.0), ValueError, "from 0 to 1"),
        (torch.full((3, 4, 6), -0.1), ValueError, "from 0 to 1"),
        (torch.full((3, 4, 6), torch.nan), ValueError, "from 0 to 1"),
        (np.zeros((3, 4, 6)), TypeError, "torch.Tensor, got ndarray"),
    ],
)
def test_refuses(image, error, message):
    with pytest.raises(error, match=message):
        draw_image(image)
