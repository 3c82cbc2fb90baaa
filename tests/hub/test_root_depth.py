"""The root depth is exact for exact joints, and matches scipy's least squares for noisy ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch.testing import assert_close

from handgraph.datasets import SyntheticHands
from handgraph.geometry import view_rotation
from handgraph.hub import fit_root_depth

HANDS = SyntheticHands(5, seed=2, progress=False).tensors


def exact(lost=()):
    """Return the true poses, and the true joints with some missing."""
    uv, xyz = HANDS["uv_true"].clone(), HANDS["xyz"]
    uv[:, list(lost)] = torch.nan
    axes = view_rotation(uv.nan_to_num(), HANDS["K"], mask=~uv.isnan().any(dim=-1))
    return (xyz - xyz[:, :1]) @ axes.mT / HANDS["s"].reshape(-1, 1, 1), uv


@pytest.mark.parametrize("lost", [[], [0, 8], list(range(3, 21))])
def test_depth_of_an_exact_hand_is_exact(lost):
    pose, uv = exact(lost)
    found = fit_root_depth(pose.double(), uv.double(), HANDS["K"].double(), keybone=HANDS["s"])
    assert_close(found.float(), HANDS["xyz"][:, 0, 2], rtol=2e-3, atol=0)


def test_noisy_joints_are_fitted_by_least_squares():
    pose, uv = (x.double() for x in exact())
    uv = uv + 3 * torch.randn(uv.shape, generator=torch.Generator().manual_seed(0))
    uv[0, 4] = torch.nan
    K = HANDS["K"].double()
    found = fit_root_depth(pose, uv, K, keybone=0.05)
    for i in range(len(pose)):
        there = ~uv[i].isnan().any(dim=-1)
        axes = view_rotation(uv[i].nan_to_num(), K[i], mask=there)
        rows, right = [], []
        for p, (u, v) in zip(0.05 * (pose[i] @ axes)[there], uv[i][there], strict=True):
            a, b, _ = (torch.linalg.inv(K[i]) @ torch.stack([u, v, u * 0 + 1])).tolist()
            rows += [[1, 0, -a], [0, 1, -b]]
            right += [a * p[2] - p[0], b * p[2] - p[1]]
        expected = lsq_linear(np.array(rows), np.array(right, dtype=float)).x[2]
        assert found[i].item() == pytest.approx(expected, rel=1e-6)


def test_one_joint_has_no_depth():
    pose, uv = exact(range(1, 21))
    assert fit_root_depth(pose, uv, HANDS["K"], keybone=0.05).isnan().all()
    one = fit_root_depth(pose[0], exact()[1][0], HANDS["K"][0], keybone=0.05)
    assert one.shape == ()


def test_shapes_and_types_are_checked():
    pose, uv = exact()
    with pytest.raises(ValueError, match=r"uv of shape \[5, 21, 2\], got \[5, 20, 2\]"):
        fit_root_depth(pose, uv[:, 1:], HANDS["K"], keybone=0.05)
    with pytest.raises(TypeError, match="uv"):
        fit_root_depth(pose, uv.double(), HANDS["K"], keybone=0.05)
