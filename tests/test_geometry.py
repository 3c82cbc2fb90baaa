from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn.functional import grid_sample

from handgraph import COCO, HAND, RHD, Skeleton
from handgraph.geometry import (
    absolute_depth,
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

RELATIVE = {torch.float32: 1e-5, torch.float64: 1e-12}
LEADS = [(), (0,), (1,), (2,), (2, 3)]
WRIST = HAND.index("wrist")


def random_hand(lead=(), *, dtype=torch.float64, seed=0):
    """Return a hand half a metre away and a camera with skew, different in each sample."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.tensor([0.05, -0.03, 0.6], dtype=torch.float64)
    xyz = centre + 0.05 * torch.randn(*lead, 21, 3, generator=g, dtype=torch.float64)
    K = torch.tensor([[310.0, 0.4, 150.0], [0.0, 290.0, 170.0], [0.0, 0.0, 1.0]])
    K = K.to(torch.float64) + torch.zeros(*lead, 3, 3, dtype=torch.float64)
    K[..., 0, 2] += 20 * torch.rand(lead, generator=g, dtype=torch.float64)
    return xyz.to(dtype), K.to(dtype)


# Eq. 1


@pytest.mark.parametrize("skeleton", [HAND, RHD])
def test_eq1_meets_a_slow_twin(skeleton):
    xyz, _ = random_hand((2,))
    s = keybone_length(xyz, skeleton)
    d = relative_depth(xyz, s, skeleton)
    for b, hand in enumerate(xyz.tolist()):
        at = dict(zip(skeleton.joints, hand, strict=True))
        length = math.dist(at["middle_mcp"], at["middle_pip"])
        assert s[b].item() == pytest.approx(length, rel=1e-12)
        for j, joint in enumerate(skeleton.joints):
            expected = (at[joint][2] - at["wrist"][2]) / length
            assert d[b, j].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_eq1_does_not_depend_on_the_order_of_the_joints():
    xyz, K = random_hand((2,))
    to_rhd = RHD.index_from(HAND)
    uvd, s, root = camera_to_uvd(xyz, K)
    uvd_rhd, s_rhd, root_rhd = camera_to_uvd(xyz[:, to_rhd], K, RHD)
    torch.testing.assert_close(uvd_rhd, uvd[:, to_rhd])
    torch.testing.assert_close((s_rhd, root_rhd), (s, root))
    assert not torch.allclose(camera_to_uvd(xyz[:, to_rhd], K)[1], s)


def test_the_keybone_may_be_another_bone():
    xyz = torch.zeros(21, 3, dtype=torch.float64)
    xyz[HAND.index("index_dip")] = torch.tensor([0.0, 0.012, 0.016], dtype=torch.float64)
    bone = ("index_pip", "index_dip")
    assert keybone_length(xyz, bone=bone).item() == pytest.approx(0.02)
    xyz[..., 2] += 0.5
    uvd, s, _ = camera_to_uvd(xyz, torch.eye(3, dtype=torch.float64), bone=bone)
    assert s.item() == pytest.approx(0.02)
    assert uvd[HAND.index("index_dip"), 2].item() == pytest.approx(0.8)


def test_the_root_need_not_be_the_first_joint():
    arm = Skeleton("ARM", ["hand", "elbow", "shoulder"], [], root="shoulder")
    xyz = torch.zeros(3, 3)
    xyz[:, 2] = torch.tensor([1.0, 2.0, 4.0])
    assert relative_depth(xyz, torch.tensor(0.5), arm).tolist() == [-6.0, -4.0, 0.0]
    assert camera_to_uvd(xyz, torch.eye(3), arm, ("hand", "elbow"))[2].item() == 4.0


def test_absolute_depth_by_hand():
    d = torch.tensor([[0.0, -1.0], [2.0, 0.5]], dtype=torch.float64)
    s = torch.tensor([0.03, 0.05], dtype=torch.float64)
    z = absolute_depth(d, s, torch.tensor([0.5, 0.7], dtype=torch.float64))
    expected = torch.tensor([[0.5, 0.47], [0.8, 0.725]], dtype=torch.float64)
    torch.testing.assert_close(z, expected)


@pytest.mark.parametrize("scale", [0.0, -0.03, math.nan])
def test_a_scale_that_is_not_positive_gives_nan_for_that_sample_only(scale):
    xyz, K = random_hand((2,))
    s = torch.tensor([scale, 0.03], dtype=torch.float64)
    z0 = xyz[:, WRIST, 2]
    d = relative_depth(xyz, s)
    z = absolute_depth(xyz[..., 2], s, z0)
    back = uvd_to_camera(xyz + 1, K, s, z0)
    for result in (d, z, back):
        assert result[0].isnan().all()
        assert result[1].isfinite().all()


def test_a_keybone_of_length_zero_gives_nan_depths():
    xyz, K = random_hand()
    xyz[HAND.index("middle_pip")] = xyz[HAND.index("middle_mcp")]
    uvd, s, _ = camera_to_uvd(xyz, K)
    assert s.item() == 0
    assert uvd[:, 2].isnan().all()
    assert uvd[:, :2].isfinite().all()


def test_nan_does_not_reach_other_joints():
    xyz, K = random_hand()
    tip = HAND.index("index_tip")
    xyz[tip] = math.nan
    uvd, s, root_depth = camera_to_uvd(xyz, K)
    others = torch.arange(21) != tip
    assert uvd[tip].isnan().all()
    assert uvd[others].isfinite().all()
    back = uvd_to_camera(uvd, K, s, root_depth)
    assert back[tip].isnan().all()
    torch.testing.assert_close(back[others], xyz[others])


def test_nan_in_root_or_keybone_reaches_every_depth():
    for joint in ("wrist", "middle_mcp", "middle_pip"):
        xyz, K = random_hand()
        xyz[HAND.index(joint)] = math.nan
        assert camera_to_uvd(xyz, K)[0][:, 2].isnan().all()


# Camera


def test_project_meets_a_slow_twin():
    xyz, K = random_hand((3,))
    uv = project(xyz, K)
    for b in range(3):
        fx, skew, cx = K[b, 0].tolist()
        _, fy, cy = K[b, 1].tolist()
        for j, (x, y, z) in enumerate(xyz[b].tolist()):
            expected = [fx * x / z + skew * y / z + cx, fy * y / z + cy]
            assert uv[b, j].tolist() == pytest.approx(expected, rel=1e-12)


def test_back_project_meets_a_linear_solver():
    _, K = random_hand((3,))
    K = K + torch.rand(3, 3, 3, dtype=torch.float64) * torch.tensor([1e-3]).double()
    uv = 300 * torch.rand(3, 21, 2, dtype=torch.float64)
    z = 0.3 + torch.rand(3, 21, dtype=torch.float64)
    ones = torch.ones(3, 21, 1, dtype=torch.float64)
    rays = torch.linalg.solve(K, torch.cat([uv, ones], dim=-1).mT).mT
    expected = rays / rays[..., 2:] * z.unsqueeze(-1)
    torch.testing.assert_close(back_project(uv, z, K), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("z", [0.0, -0.5, math.nan])
def test_project_gives_nan_where_a_point_is_not_in_front_of_the_camera(z):
    K = torch.tensor([[300.0, 0.0, 160.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
    uv = project(torch.tensor([[0.1, 0.1, z], [0.1, 0.1, 0.5]]), K)
    assert uv[0].isnan().all()
    assert uv[1].tolist() == pytest.approx([220.0, 220.0])


def test_back_project_continues_the_line_behind_the_camera():
    K = torch.tensor([[300.0, 0.0, 160.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
    xyz = back_project(torch.tensor([[220.0, 130.0]]), torch.tensor([-0.5]), K)
    assert xyz[0].tolist() == pytest.approx([-0.1, 0.05, -0.5])


def test_a_singular_camera_gives_no_finite_point():
    K = torch.diag(torch.tensor([0.0, 300.0, 1.0]))
    xyz = back_project(torch.tensor([[220.0, 130.0]]), torch.tensor([0.5]), K)
    assert not xyz[0, :2].isfinite().any()


# Crop and mirror


def test_crop_by_hand():
    # The box is 40 wide and 80 high around (30, 60); margin 1.25 gives a side of 100.
    uv = torch.tensor([[10.0, 60.0], [50.0, 20.0], [30.0, 100.0]])
    A = crop_matrix(uv, 50)
    assert A.tolist() == [[0.5, 0.0, 9.5], [0.0, 0.5, -5.5], [0.0, 0.0, 1.0]]
    assert transform_points(A, uv).tolist() == [[14.5, 24.5], [34.5, 4.5], [24.5, 44.5]]


def test_crop_edges_become_image_edges():
    uv = torch.tensor([[10.0, 20.0], [50.0, 60.0]], dtype=torch.float64)
    corners = transform_points(crop_matrix(uv, 256, margin=1.0), uv)
    torch.testing.assert_close(corners, torch.tensor([[-0.5, -0.5], [255.5, 255.5]]).double())
    torch.testing.assert_close(
        normalize_uv(corners, 256), torch.tensor([[-1, -1], [1, 1]]).double()
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 512),
    margin=st.floats(1, 3),
    lead=st.sampled_from(LEADS),
)
def test_crop_holds_the_joints_with_the_margin(seed, size, margin, lead):
    g = torch.Generator().manual_seed(seed)
    uv = 400 * torch.rand(*lead, 21, 2, generator=g, dtype=torch.float64) - 50
    new = transform_points(crop_matrix(uv, size, margin), uv)
    low, high = new.amin(dim=-2), new.amax(dim=-2)
    middle = torch.full_like(low, (size - 1) / 2)
    longer = torch.full_like(low[..., 0], size / margin)
    torch.testing.assert_close((low + high) / 2, middle)
    torch.testing.assert_close((high - low).amax(dim=-1), longer)


def test_crop_looks_at_the_joints_of_the_mask_only():
    uv = torch.tensor([[10.0, 60.0], [50.0, 20.0], [30.0, 100.0], [900.0, math.nan]])
    mask = torch.tensor([True, True, True, False])
    assert torch.equal(crop_matrix(uv, 50, mask=mask), crop_matrix(uv[:3], 50))


@pytest.mark.parametrize(
    ("uv", "mask"),
    [
        ([[5.0, 7.0], [5.0, 7.0]], None),
        ([[-5.0, -7.0], [-5.0, -7.0]], None),
        ([[5.0, 7.0], [math.nan, 9.0]], None),
        ([[5.0, 7.0], [math.inf, 9.0]], None),
        ([[5.0, 7.0], [8.0, 9.0]], [False, False]),
        ([[5.0, 7.0], [8.0, 9.0]], [True, False]),
    ],
)
def test_a_crop_without_a_box_is_nan(uv, mask):
    mask = None if mask is None else torch.tensor(mask)
    A = crop_matrix(torch.tensor(uv), 256, mask=mask)
    assert transform_points(A, torch.tensor([[0.0, 0.0], [3.0, 4.0]])).isnan().all()


def test_a_crop_without_a_box_spoils_no_other_sample():
    uv = torch.rand(2, 21, 2)
    A = crop_matrix(torch.stack([uv[0], torch.ones(21, 2), uv[1]]), 256)
    assert torch.equal(A[[0, 2]], crop_matrix(uv, 256))


def test_projection_follows_the_map_of_the_image():
    xyz, K = random_hand((2,))
    turn = torch.tensor([[0.8, -0.6, 12.0], [0.6, 0.8, -7.0], [0.0, 0.0, 1.0]]).double()
    for A in (turn, crop_matrix(project(xyz, K), 256), mirror_matrix(320, dtype=torch.float64)):
        new = project(xyz, transform_intrinsics(A, K))
        torch.testing.assert_close(new, transform_points(A, project(xyz, K)))


def test_a_perspective_map_divides():
    A = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 4.0], [0.25, 0.0, 1.0]])
    assert transform_points(A, torch.tensor([[4.0, 8.0]])).tolist() == [[3.0, 6.0]]


def test_intrinsics_meet_the_matrix_product():
    A, K = torch.rand(2, 4, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(transform_intrinsics(A, K), A @ K)
    torch.testing.assert_close(transform_intrinsics(A[0], K), A[0] @ K)
    torch.testing.assert_close(transform_intrinsics(A, K[0]), A @ K[0])
    torch.testing.assert_close(transform_intrinsics(A[0], K[0]), A[0] @ K[0])


def test_a_mirrored_hand_projects_to_the_mirrored_image():
    xyz, K = random_hand((2,))
    new, camera = mirror_hand(xyz, K, 320)
    uv = project(xyz, K)
    expected = torch.stack([319 - uv[..., 0], uv[..., 1]], dim=-1)
    torch.testing.assert_close(project(new, camera), expected)
    torch.testing.assert_close(transform_points(mirror_matrix(320).double(), uv), expected)
    assert (camera[..., 0, 0] > 0).all()
    torch.testing.assert_close(keybone_length(new), keybone_length(xyz))
    assert torch.equal(new[..., 2], xyz[..., 2])


def test_mirroring_turns_a_left_hand_into_a_right_hand():
    xyz, K = random_hand()

    def side(hand):
        palm = hand[[HAND.index(f"{finger}_mcp") for finger in ("thumb", "index", "pinky")]]
        return torch.linalg.det(palm - hand[WRIST]).sign()

    assert side(mirror_hand(xyz, K, 320)[0]) == -side(xyz) != 0


def test_mirroring_twice_changes_nothing():
    xyz, K = random_hand((2,))
    torch.testing.assert_close(mirror_hand(*mirror_hand(xyz, K, 320), 320), (xyz, K))


def test_normalised_pixels_are_those_of_grid_sample():
    image = torch.rand(1, 1, 8, 8)
    v, u = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    uv = torch.stack([u, v], dim=-1).reshape(1, 64, 2)
    grid = normalize_uv(uv, 8).reshape(1, 8, 8, 2)
    torch.testing.assert_close(grid_sample(image, grid, align_corners=False), image)


def test_mirroring_negates_normalised_u():
    uv = 256 * torch.rand(21, 2, dtype=torch.float64)
    mirrored = transform_points(mirror_matrix(256, dtype=torch.float64), uv)
    expected = normalize_uv(uv, 256) * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(normalize_uv(mirrored, 256), expected)


# Round trips


@given(
    dtype=st.sampled_from(list(RELATIVE)),
    seed=st.integers(0, 2**32 - 1),
    lead=st.sampled_from([(), (1,), (2, 3)]),
    focal=st.floats(150, 1500),
    centre=st.floats(0, 640),
    depth=st.floats(0.3, 2),
    size=st.integers(64, 512),
    margin=st.floats(0.8, 2.5),
    mirror=st.booleans(),
)
def test_camera_to_crop_and_back(dtype, seed, lead, focal, centre, depth, size, margin, mirror):
    g = torch.Generator().manual_seed(seed)
    xyz = 0.16 * torch.rand(*lead, 21, 3, generator=g, dtype=dtype) - 0.08
    xyz += torch.tensor([0.3, -0.2, 1.0], dtype=dtype) * depth
    K = torch.tensor([[focal, 0, centre], [0, focal, 0.8 * centre], [0, 0, 1]], dtype=dtype)

    hand, camera = mirror_hand(xyz, K, 640) if mirror else (xyz, K)
    A = crop_matrix(project(hand, camera), size, margin)
    camera = transform_intrinsics(A, camera)
    uvd, s, root_depth = camera_to_uvd(hand, camera)
    uv = denormalize_uv(normalize_uv(uvd[..., :2], size), size)
    back = uvd_to_camera(torch.cat([uv, uvd[..., 2:]], dim=-1), camera, s, root_depth)
    if mirror:
        back = mirror_hand(back, camera, size)[0]

    assert back.dtype == dtype
    error = (back - xyz).norm(dim=-1) / xyz.norm(dim=-1)
    assert error.max() <= RELATIVE[dtype]


@pytest.mark.parametrize("lead", LEADS)
def test_any_batch_shape_equals_one_by_one(lead):
    xyz, K = random_hand(lead)
    A = crop_matrix(project(xyz, K), 256)
    uvd, s, root_depth = camera_to_uvd(xyz, transform_intrinsics(A, K))
    back = uvd_to_camera(uvd, transform_intrinsics(A, K), s, root_depth)
    assert uvd.shape == (*lead, 21, 3)
    assert s.shape == root_depth.shape == lead
    flat = zip(*(t.reshape(-1, *t.shape[len(lead) :]) for t in (xyz, K, uvd, back)), strict=True)
    for hand, camera, expected, same in flat:
        crop = transform_intrinsics(crop_matrix(project(hand, camera), 256), camera)
        one = camera_to_uvd(hand, crop)
        torch.testing.assert_close(one[0], expected)
        torch.testing.assert_close(uvd_to_camera(one[0], crop, *one[1:]), same)


def test_one_matrix_serves_all_samples():
    xyz, _ = random_hand((2, 3))
    _, K = random_hand()
    each = K.expand(2, 3, 3, 3)
    torch.testing.assert_close(camera_to_uvd(xyz, K), camera_to_uvd(xyz, each))
    torch.testing.assert_close(
        project(*mirror_hand(xyz, K, 9)), project(*mirror_hand(xyz, each, 9))
    )


def test_non_contiguous_input():
    xyz, K = random_hand((4, 2))
    uvd = camera_to_uvd(xyz.transpose(0, 1), K.transpose(0, 1))[0]
    torch.testing.assert_close(uvd, camera_to_uvd(xyz, K)[0].transpose(0, 1))


def test_gradients():
    xyz, K = random_hand((2,))
    xyz.requires_grad_()
    K.requires_grad_()
    uvd, s, root_depth = (t.detach().requires_grad_() for t in camera_to_uvd(xyz, K))
    uv = uvd[..., :2].detach().requires_grad_()
    A = crop_matrix(uv, 256).detach().requires_grad_()
    assert gradcheck(camera_to_uvd, (xyz, K))
    assert gradcheck(uvd_to_camera, (uvd, K, s, root_depth))
    assert gradcheck(lambda p: crop_matrix(p, 256), (uv,))
    assert gradcheck(transform_points, (A, uv))
    assert gradcheck(transform_intrinsics, (A, K))
    assert gradcheck(lambda x, k: mirror_hand(x, k, 320), (xyz, K))
    assert gradcheck(lambda p: normalize_uv(p, 256), (uv,))
    assert gradcheck(lambda p: denormalize_uv(p, 256), (uv,))


def test_points_that_are_not_in_front_have_no_gradient():
    xyz, K = random_hand((2,))
    seen = torch.ones(2, 21, dtype=torch.bool)
    for joint, z in enumerate((0.0, -0.0, -0.5, math.nan)):
        xyz[1, joint] = torch.tensor([0.1, 0.2, z], dtype=torch.float64)
        seen[1, joint] = False
    xyz[1, 0, :2] = 0  # like padding
    leaves = xyz.requires_grad_(), K.requires_grad_()
    expected = torch.autograd.grad(project(xyz, K)[seen].sum(), leaves)
    uv = project(xyz, K)
    assert uv[~seen].isnan().all()
    gradients = torch.autograd.grad(torch.where(seen.unsqueeze(-1), uv, 0).sum(), leaves)
    for gradient in gradients:
        assert gradient.isfinite().all()
    assert not gradients[0][~seen].any()
    torch.testing.assert_close(gradients[0][seen], expected[0][seen])
    single = [project(xyz[1, 4:], K[1]).sum(), project(xyz[0], K[0]).sum()]
    torch.testing.assert_close(gradients[1], torch.autograd.grad(sum(single), K)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_to_its_digits(dtype):
    xyz, K = random_hand((2,), dtype=dtype)
    xyz, K = xyz.double(), K.double()  # values that half precision can represent
    uv, depth = project(xyz, K).to(dtype), xyz[..., 2].to(dtype)
    back = back_project(uv, depth, K.to(dtype))
    assert back.dtype == dtype
    expected = back_project(uv.double(), depth.double(), K)
    torch.testing.assert_close(back.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-4)


def there_and_back(xyz, K):
    hand, camera = mirror_hand(xyz, K, 320)
    uv = project(hand, camera)
    A = crop_matrix(uv, 256)
    camera = transform_intrinsics(A, camera)
    uvd, s, root_depth = camera_to_uvd(hand, camera)
    uv = denormalize_uv(normalize_uv(transform_points(A, uv), 256), 256)
    return uv, uvd, uvd_to_camera(uvd, camera, s, root_depth)


def test_compiles_without_a_graph_break():
    xyz, K = random_hand((2,), dtype=torch.float32)
    compiled = torch.compile(there_and_back, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(xyz, K), there_and_back(xyz, K))


def test_autocast_does_not_round_pixels():
    xyz, K = random_hand((2,), dtype=torch.float32)
    expected = there_and_back(xyz, K)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(there_and_back(xyz, K), expected)


# Errors

ROOTLESS = Skeleton("ROOTLESS", HAND.joints, HAND.edges)
XYZ, K33, UV, D, S = (torch.ones(*s) for s in ((2, 21, 3), (2, 3, 3), (2, 21, 2), (2, 21), (2,)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keybone_length(XYZ[..., :2]), r"xyz of shape \[\*, J, 3\], got \[2, 21, 2\]"),
        (lambda: keybone_length(XYZ[0, 0]), r"xyz of shape \[\*, J, 3\], got \[3\]"),
        (lambda: keybone_length(XYZ[:, :20]), "21 joints of skeleton 'HAND', got 20"),
        (lambda: keybone_length(XYZ, COCO), "17 joints of skeleton 'COCO', got 21"),
        (lambda: keybone_length(XYZ, bone=("middle_mcp", "elbow")), "elbow"),
        (lambda: relative_depth(XYZ, S, ROOTLESS), "'ROOTLESS' has no root"),
        (lambda: camera_to_uvd(XYZ, K33, ROOTLESS), "'ROOTLESS' has no root"),
        (lambda: relative_depth(XYZ[:, :20], S), "21 joints of skeleton 'HAND', got 20"),
        (lambda: relative_depth(XYZ, S[:1]), r"scale of shape \[2\], got \[1\]"),
        (lambda: relative_depth(XYZ, S[0]), r"scale of shape \[2\], got \[\]"),
        (lambda: relative_depth(XYZ, S[:, None]), r"scale of shape \[2\], got \[2, 1\]"),
        (lambda: absolute_depth(D, S[:1], S), r"scale of shape \[2\], got \[1\]"),
        (lambda: absolute_depth(D, S, S[0]), r"root_depth of shape \[2\], got \[\]"),
        (lambda: absolute_depth(S[0], S[0], S[0]), r"got \[1\]"),
        (lambda: project(UV, K33), r"xyz of shape \[\*, J, 3\], got \[2, 21, 2\]"),
        (
            lambda: project(XYZ, K33[:1]),
            r"K of shape \[2, 3, 3\] .* or \[3, 3\] .* got \[1, 3, 3\]",
        ),
        (lambda: project(XYZ, K33[:, :2]), r"got \[2, 2, 3\]"),
        (lambda: project(XYZ[0], K33), r"K of shape \[3, 3\] .* got \[2, 3, 3\]"),
        (lambda: back_project(XYZ, D, K33), r"uv of shape \[\*, J, 2\], got \[2, 21, 3\]"),
        (lambda: back_project(UV, D[:1], K33), r"depth of shape \[2, 21\], got \[1, 21\]"),
        (
            lambda: back_project(UV, D[..., None], K33),
            r"depth of shape \[2, 21\], got \[2, 21, 1\]",
        ),
        (lambda: back_project(UV, D, K33[:1]), r"K of shape"),
        (lambda: camera_to_uvd(XYZ, K33[:1]), r"K of shape"),
        (lambda: camera_to_uvd(XYZ[:, :20], K33), "21 joints of skeleton 'HAND', got 20"),
        (lambda: uvd_to_camera(UV, K33, S, S), r"uvd of shape \[\*, J, 3\], got \[2, 21, 2\]"),
        (lambda: uvd_to_camera(XYZ, K33[:1], S, S), r"K of shape"),
        (lambda: uvd_to_camera(XYZ, K33, S[:1], S), r"scale of shape \[2\], got \[1\]"),
        (lambda: uvd_to_camera(XYZ, K33, S, S[:1]), r"root_depth of shape \[2\], got \[1\]"),
        (lambda: crop_matrix(XYZ, 256), r"uv of shape \[\*, J, 2\], got \[2, 21, 3\]"),
        (lambda: crop_matrix(UV[:, :0], 256), r"at least one joint, got \[2, 0, 2\]"),
        (lambda: crop_matrix(UV, 0), "size to be positive and finite, got 0"),
        (lambda: crop_matrix(UV, 256, -1.0), "margin to be positive and finite, got -1.0"),
        (lambda: crop_matrix(UV, 256, math.nan), "margin to be positive and finite, got nan"),
        (lambda: crop_matrix(UV, 256, math.inf), "margin to be positive and finite, got inf"),
        (lambda: crop_matrix(UV, 256, mask=D[0] > 0), r"mask of shape \[2, 21\], got \[21\]"),
        (lambda: mirror_matrix(0), "width to be positive and finite, got 0"),
        (lambda: mirror_hand(XYZ, K33, -1), "width to be positive and finite, got -1"),
        (lambda: mirror_hand(XYZ, K33[:1], 320), r"K of shape"),
        (lambda: mirror_hand(UV, K33, 320), r"xyz of shape \[\*, J, 3\]"),
        (lambda: transform_points(K33, XYZ), r"uv of shape \[\*, J, 2\]"),
        (lambda: transform_points(K33[:1], UV), r"A of shape \[2, 3, 3\]"),
        (
            lambda: transform_intrinsics(K33[:, :2], K33),
            r"A of shape \[\*, 3, 3\], got \[2, 2, 3\]",
        ),
        (lambda: transform_intrinsics(K33[0], K33[:, :2]), r"K of shape .* got \[2, 2, 3\]"),
        (lambda: transform_intrinsics(K33, K33[:1]), r"K of shape \[2, 3, 3\]"),
        (lambda: transform_intrinsics(K33[:1], K33), r"K of shape \[1, 3, 3\]"),
        (lambda: normalize_uv(XYZ, 256), r"uv of shape \[\*, J, 2\]"),
        (lambda: normalize_uv(UV, 0), "size to be positive and finite, got 0"),
        (lambda: denormalize_uv(XYZ, 256), r"uv of shape \[\*, J, 2\]"),
        (lambda: denormalize_uv(UV, -2), "size to be positive and finite, got -2"),
    ],
)
def test_value_errors_name_the_actual_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keybone_length(XYZ.long()), "xyz to be floating point, got torch.int64"),
        (
            lambda: relative_depth(XYZ, S.double()),
            "scale in the dtype of .* got torch.float64",
        ),
        (
            lambda: project(XYZ, K33.double()),
            "K in the dtype of .* got torch.float64",
        ),
        (lambda: back_project(UV.int(), D, K33), "uv to be floating point, got torch.int32"),
        (
            lambda: back_project(UV, D.double(), K33),
            "depth in the dtype of .* got torch.float64",
        ),
        (lambda: absolute_depth(D.long(), S, S), "d to be floating point"),
        (
            lambda: transform_points(K33.double(), UV),
            "A in the dtype of .* got torch.float64",
        ),
        (lambda: transform_intrinsics(K33[0].double(), K33), "A in the dtype of .*torch.float32"),
        (lambda: transform_intrinsics(K33, K33[0].double()), "K in the dtype of .*torch.float32"),
        (lambda: crop_matrix(UV, 256, mask=D), "mask as torch.bool, got torch.float32"),
    ],
)
def test_type_errors_name_the_actual_type(call, message):
    with pytest.raises(TypeError, match=message):
        call()
