"""Target and loss of lifters: closed forms, and the way back to the camera."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from handgraph import Skeleton
from handgraph.datasets import SyntheticHands
from handgraph.hub import Estimate, KeypointLifter, lifter_loss, lifting_target, to_camera

HANDS = SyntheticHands(6, seed=3, progress=False).tensors


@pytest.mark.parametrize("lost", [[], [5, 8]])
def test_target_leads_back_to_the_camera(lost):
    uv, xyz, K, s = HANDS["uv_true"].clone(), HANDS["xyz"], HANDS["K"], HANDS["s"]
    uv[:, lost] = torch.nan
    pose = lifting_target(xyz, uv, K, keybone=s)
    assert (pose[:, 0] == 0).all()
    assert_close((pose[:, 10] - pose[:, 9]).norm(dim=-1), torch.ones(6))  # middle MCP to PIP
    known = {"keybone": s, "root_depth": xyz[:, 0, 2], "reading": "direct"}
    assert_close(to_camera(pose, uv, K, **known), xyz, atol=1e-5, rtol=0)
    one = lifting_target(xyz[0], uv[0], K[0], keybone=s[0].item())
    assert_close(one, pose[0])


def test_target_says_what_it_takes():
    xyz, uv, K = HANDS["xyz"], HANDS["uv_true"], HANDS["K"]
    with pytest.raises(ValueError, match=r"uv of shape \[6, 21, 2\], got \[6, 20, 2\]"):
        lifting_target(xyz, uv[:, 1:], K, keybone=1.0)
    with pytest.raises(ValueError, match="expected a skeleton with a root"):
        lifting_target(xyz, uv, K, keybone=1.0, skeleton=Skeleton.edgeless(21))
    with pytest.raises(TypeError, match="lifting_target: expected a Skeleton, such as HAND, got"):
        lifting_target(xyz, uv, K, keybone=1.0, skeleton="HAND")
    with pytest.raises(ValueError, match=r"xyz"):
        lifting_target(xyz[:, 1:], uv[:, 1:], K, keybone=1.0)


def test_target_is_exact_under_autocast():
    given = HANDS["xyz"], HANDS["uv_true"], HANDS["K"]
    expected = lifting_target(*given, keybone=HANDS["s"])
    with torch.autocast("cpu", torch.bfloat16):
        found = lifting_target(*given, keybone=HANDS["s"])
    assert_close(found, expected)


def test_loss_is_that_of_a_mixture():
    """The loss of one hypothesis is the mean distance; that of two is computed by hand."""
    wanted = torch.randn(4, 21, 3, dtype=torch.float64)
    poses = wanted[:, None] + torch.randn(4, 2, 21, 3, dtype=torch.float64)
    weights = torch.tensor([[0.3, 0.7]], dtype=torch.float64).expand(4, 2)
    half, ones = torch.full((4, 21), 0.5), torch.ones(4, 21)
    rest = 0.05 * math.log(2)

    def loss(poses, weights):
        found = Estimate(wanted, ones, half, ones == 0, poses, weights)
        return lifter_loss(found, wanted, ones == 1).item() - rest

    apart = (poses - wanted[:, None]).norm(dim=-1).mean(dim=-1)
    one = loss(poses[:, :1], weights[:, :1] / weights[:, :1])
    assert one == pytest.approx(apart[:, 0].mean().item(), abs=1e-4)
    by_hand = -0.3 * (0.3 * (-apart[:, 0] / 0.3).exp() + 0.7 * (-apart[:, 1] / 0.3).exp()).log()
    assert loss(poses, weights) == pytest.approx(by_hand.mean().item(), abs=1e-4)


def test_expected_errors_and_visibilities_are_trained():
    torch.manual_seed(0)
    lifter, uv = KeypointLifter(hypotheses=2), HANDS["uv"]
    target = lifting_target(HANDS["xyz"], uv, HANDS["K"], keybone=HANDS["s"])
    lifter_loss(lifter.estimate(uv), target, HANDS["visible"]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in lifter.parameters())
    found = lifter.estimate(uv)
    distance = (found.pose - target).square().sum(dim=-1).add(1e-6).sqrt()
    right = lifter_loss(found._replace(error=distance), target, HANDS["visible"])
    for factor in (0.8, 1.25):
        assert (
            lifter_loss(found._replace(error=factor * distance), target, HANDS["visible"]) > right
        )


def test_loss_says_what_it_takes():
    found = KeypointLifter().estimate(HANDS["uv"])
    with pytest.raises(ValueError, match=r"target of shape \[6, 21, 3\], got \[21, 3\]"):
        lifter_loss(found, found.pose[0].detach(), HANDS["visible"])
    with pytest.raises(TypeError, match="bool"):
        lifter_loss(found, found.pose.detach(), HANDS["visible"].float())
