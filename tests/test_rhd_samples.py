"""Geometry of three genuine annotations of the Rendered Hand pose Dataset (mmpose's JSON)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from handgraph import HAND, RHD
from handgraph.geometry import (
    back_project,
    camera_to_uvd,
    crop_matrix,
    denormalize_uv,
    keybone_length,
    mirror_hand,
    mirror_matrix,
    normalize_uv,
    project,
    relative_depth,
    transform_intrinsics,
    transform_points,
    uvd_to_camera,
)

FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "rhd_sample" / "test_rhd.json"
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
LEVELS = ("mcp", "pip", "dip", "tip")

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the RHD samples are not here")


@pytest.fixture(scope="module")
def samples():
    """Return annotated pixels, metres and K in RHD's order: [3, 21, 2], [3, 21, 3], [3, 3, 3]."""
    content = json.loads(FILE.read_text())
    cameras = {image["id"]: image["cam_param"] for image in content["images"]}
    hands = content["annotations"]
    uv = torch.tensor([hand["keypoints"] for hand in hands], dtype=torch.float64)[..., :2]
    xyz = torch.tensor([hand["joint_cam"] for hand in hands], dtype=torch.float64) / 1000
    K = torch.eye(3, dtype=torch.float64).repeat(len(hands), 1, 1)
    for matrix, hand in zip(K, hands, strict=True):
        camera = cameras[hand["image_id"]]
        matrix[[0, 1], [0, 1]] = torch.tensor(camera["focal"], dtype=torch.float64)
        matrix[:2, 2] = torch.tensor(camera["princpt"], dtype=torch.float64)
    return uv, xyz, K


def test_fingers_are_stored_from_tip_to_base(samples):
    _, xyz, _ = samples
    # Bones of a finger grow from tip to base, and all MCPs lie close to the wrist.
    for finger in FINGERS:
        mcp, pip, dip, tip = (xyz[:, RHD.index(f"{finger}_{level}")] for level in LEVELS)
        assert ((pip - mcp).norm(dim=-1) > (dip - pip).norm(dim=-1)).all()
        assert ((pip - mcp).norm(dim=-1) > (tip - dip).norm(dim=-1)).all()
        limit = 0.045 if finger == "thumb" else 0.096
        assert ((mcp - xyz[:, RHD.index("wrist")]).norm(dim=-1) < limit).all()


@pytest.mark.parametrize("skeleton", [RHD, HAND])
def test_keybones_are_those_measured(samples, skeleton):
    _, xyz, _ = samples
    xyz = xyz[:, skeleton.index_from(RHD)]
    millimetres = 1000 * keybone_length(xyz, skeleton)
    expected = torch.tensor([34.63, 36.86, 36.85], dtype=torch.float64)
    torch.testing.assert_close(millimetres, expected, rtol=0, atol=0.02)


def test_projection_meets_the_annotated_pixels(samples):
    uv, xyz, K = samples
    assert (project(xyz, K) - uv).norm(dim=-1).max() < 0.1


def test_back_projection_meets_the_annotated_joints(samples):
    uv, xyz, K = samples
    assert (back_project(uv, xyz[..., 2], K) - xyz).norm(dim=-1).max() < 0.3e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mirror", [False, True])
def test_crop_target_and_back_meet_the_annotated_joints(samples, dtype, mirror):
    uv, xyz, K = (sample.to(dtype) for sample in samples)
    if mirror:
        xyz, K = mirror_hand(xyz, K, 320)
        uv = transform_points(mirror_matrix(320, dtype=dtype), uv)
    A = crop_matrix(uv, 256)
    scale = keybone_length(xyz, RHD)
    d = relative_depth(xyz, scale, RHD)
    target = normalize_uv(transform_points(A, uv), 256)
    assert target.abs().max() <= 1 / 1.25 + 1e-6
    assert d.abs().max() < 4

    uvd = torch.cat([denormalize_uv(target, 256), d.unsqueeze(-1)], dim=-1)
    root_depth = xyz[:, RHD.index("wrist"), 2]
    back = uvd_to_camera(uvd, transform_intrinsics(A, K), scale, root_depth)
    assert (back - xyz).norm(dim=-1).max() < 0.3e-3


def test_exact_pixels_lead_back_exactly(samples):
    _, xyz, K = samples
    uvd, scale, root_depth = camera_to_uvd(xyz, K, RHD)
    torch.testing.assert_close(uvd_to_camera(uvd, K, scale, root_depth), xyz)
