"""The rotation to a camera that looks at the hand: orthogonal, minimal and exact."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.testing import assert_close

from handgraph.geometry import project, view_rotation

K = torch.tensor([[300.0, 0.0, 150.0], [0.0, 320.0, 160.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def box(u, v, side=20.0):
    """Return unevenly spread joints whose box is centred at (u, v)."""
    corners = [(-0.5, -0.5), (0.5, 0.5), (0.4, -0.2), (0.3, 0.1)]
    return torch.tensor([[u + side * a, v + side * b] for a, b in corners], dtype=torch.float64)


def about_y(degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]], dtype=torch.float64)


def test_hand_on_the_axis_is_left_alone():
    assert_close(view_rotation(box(150, 160), K), torch.eye(3, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("degrees", [-60.0, -10.0, 35.0])
def test_hand_to_the_side_turns_the_camera_about_the_vertical(degrees):
    u = 150 + 300 * math.tan(math.radians(degrees))
    assert_close(view_rotation(box(u, 160), K), about_y(degrees), **EXACT)


@settings(max_examples=50)
@given(st.floats(-500, 800), st.floats(-500, 800))
def test_it_is_the_least_rotation_that_brings_the_centre_to_the_axis(u, v):
    R = view_rotation(box(u, v), K)
    ray = torch.linalg.solve(K, torch.tensor([u, v, 1.0], dtype=torch.float64))
    assert_close(R @ (ray / ray.norm()), torch.tensor([0.0, 0.0, 1.0]).double(), **EXACT)
    assert_close(R @ R.mT, torch.eye(3, dtype=torch.float64), **EXACT)
    assert torch.linalg.det(R) > 0
    cosine = (torch.trace(R) - 1) / 2  # the rotation angle equals that of the ray
    assert_close(cosine, ray[2] / ray.norm(), **EXACT)


def test_turned_camera_sees_the_centre_in_its_middle():
    xyz = torch.tensor([[0.3, -0.1, 0.6], [0.32, -0.14, 0.7]], dtype=torch.float64)
    uv = project(xyz, K)
    middle = (uv[0] + uv[1]) / 2
    R = view_rotation(uv, K)
    point = torch.linalg.solve(K, torch.tensor([*middle.tolist(), 1.0], dtype=torch.float64))
    seen = project((R @ point)[None], K)[0]
    assert_close(seen, torch.tensor([150.0, 160.0], dtype=torch.float64), **EXACT)


def test_crop_of_camera_and_joints_keeps_the_rotation():
    """A K that is cropped together with the joints gives the same rotation."""
    crop = torch.tensor([[2.0, 0, -40], [0, 2, 7], [0, 0, 1]], dtype=torch.float64)
    uv = box(400, 20)
    moved = 2 * uv + torch.tensor([-40.0, 7.0], dtype=torch.float64)
    assert_close(view_rotation(moved, crop @ K), view_rotation(uv, K), **EXACT)


@pytest.mark.parametrize("lead", [(), (1,), (2, 3)])
def test_any_leading_dimensions(lead):
    uv = torch.rand(*lead, 4, 2, dtype=torch.float64) * 300
    R = view_rotation(uv, K)
    assert R.shape == (*lead, 3, 3)
    assert_close(view_rotation(uv, K.expand(*lead, 3, 3)), R, **EXACT)


def test_gradients():
    assert gradcheck(lambda K: view_rotation(box(220, 90), K), K.clone().requires_grad_())


def test_nan_does_not_reach_other_hands():
    uv = torch.stack([box(220, 90), box(10, 90)])
    uv[0, 1, 0] = torch.nan
    R = view_rotation(uv, K)
    assert R[0].isnan().any()
    assert_close(R[1], view_rotation(uv[1], K), **EXACT)


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match=r"expected K of shape \[5, 3, 3\]"):
        view_rotation(torch.rand(5, 21, 2), torch.rand(4, 3, 3))
    with pytest.raises(ValueError, match="at least one joint"):
        view_rotation(torch.rand(0, 2), torch.rand(3, 3))
