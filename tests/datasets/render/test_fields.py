import torch
from torch.nn.functional import conv2d, interpolate, pad

from handgraph.datasets.render.fields import Draws, blur, bump, smooth_step, stretch


def test_stretch_is_bilinear_interpolation():
    x = torch.rand(2, 3, 5, 5)
    expected = interpolate(x, size=(32, 32), mode="bilinear")
    torch.testing.assert_close(stretch(x, 32), expected, rtol=0, atol=1e-6)
    assert torch.equal(stretch(torch.ones(1, 1), 4), torch.ones(4, 4))


def test_blur_is_a_convolution():
    x = torch.rand(2, 3, 9, 9)
    for reach, share in ((1, 0.25), (2, 0.1)):
        line = torch.zeros(2 * reach + 1)
        line[[0, reach, 2 * reach]] = torch.tensor([share, 1 - 2 * share, share])
        kernel = torch.outer(line, line)[None, None]
        padded = pad(x.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
        expected = conv2d(padded, kernel).view_as(x)
        torch.testing.assert_close(blur(x, share, reach), expected, rtol=0, atol=1e-6)


def test_blur_accepts_a_share_for_each_image():
    x, share = torch.rand(2, 1, 6, 6), torch.tensor([0.0, 0.2])
    both = blur(x, share.view(2, 1, 1, 1))
    assert torch.equal(both[0], x[0])
    assert torch.equal(both[1:], blur(x[1:], 0.2))


def test_steps_and_bumps():
    at = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert smooth_step(at).tolist() == [0, 0, 0.5, 1, 1]
    assert bump(at).tolist() == [0, 1, 0.5625, 0, 0]


def test_draws_are_taken_in_order():
    draws = Draws(torch.arange(10.0).view(1, 10) / 10)
    torch.testing.assert_close(draws.take(0, 10, 2, 2), torch.tensor([[[0.0, 1], [2, 3]]]))
    assert draws.chance(0.45).item() == 1.0
    assert draws.chance(0.45).item() == 0.0
