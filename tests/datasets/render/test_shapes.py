import numpy as np
import pytest
import torch

from handgraph.datasets.render.shapes import (
    FAR,
    MISS,
    Balls,
    Cones,
    Triangles,
    ball_depth,
    cone_depth,
    cones_between,
    make_rays,
    triangle_depth,
    wedge_faces,
)


def balls(rng, count, largest=0.02):
    """Return balls of the size of a hand at half a metre."""
    centre = rng.uniform(-0.04, 0.04, (count, 3)) + np.array([0, 0, 0.5])
    return Balls(torch.from_numpy(centre), torch.from_numpy(rng.uniform(0.005, largest, count)))


def marched(x, y, centres, radii):
    """Return the depth at which a ray enters a union of balls, by ray marching in float64."""
    direction = np.array([x, y, 1.0])
    centres, radii = np.asarray(centres), np.asarray(radii)
    depth, length = 0.3, np.linalg.norm(direction)
    for _ in range(3000):
        gap = (np.linalg.norm(depth * direction - centres, axis=-1) - radii).min()
        if gap < 1e-9:
            return depth
        depth += gap / length
        if depth > 0.8:
            return np.inf
    return depth


def hull(*corners, count):
    """Interpolate so many balls that their union is the convex hull."""
    steps = np.linspace(0, 1, count)
    if len(corners) == 2:
        weights = np.stack([1 - steps, steps], axis=-1)
    else:
        a, b = np.meshgrid(steps, steps)
        weights = np.stack([a, b, 1 - a - b], axis=-1)[a + b <= 1 + 1e-9]
    centre = sum(w[:, None] * np.asarray(c.centre) for w, c in zip(weights.T, corners, strict=True))
    radius = sum(w * float(c.radius) for w, c in zip(weights.T, corners, strict=True))
    return centre, radius


def pick(many, row):
    return Balls(many.centre[row], many.radius[row])


def test_ray_enters_a_ball_at_the_closed_form_depth():
    rays = make_rays(torch.tensor([0.0, 0.1, 0.3]), torch.tensor([0.0, 0.0, 0.0]))
    ball = Balls(torch.tensor([0.0, 0.0, 5.0]), torch.tensor(1.0))
    depth = ball_depth(rays, ball)
    square = 1.01
    expected = (5 - (25 - square * 24) ** 0.5) / square
    torch.testing.assert_close(depth, torch.tensor([4.0, expected, MISS]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_balls_and_a_cone_are_their_convex_hull(dtype):
    rng = np.random.default_rng(0)
    first, second = balls(rng, 40), balls(rng, 40)
    xy = rng.uniform(-0.06, 0.06, (40, 2))
    rays = make_rays(*torch.from_numpy(xy).to(dtype).T)
    to = [Balls(*(v.to(dtype) for v in b)) for b in (first, second)]
    found = torch.stack([*(ball_depth(rays, b) for b in to), cone_depth(rays, cones_between(*to))])
    found = found.amin(0).double().numpy()
    expected = [
        marched(*xy[k], *hull(pick(first, k), pick(second, k), count=4001)) for k in range(40)
    ]
    hit = np.isfinite(expected)
    assert 10 < hit.sum() < 35
    np.testing.assert_array_equal(found < FAR, hit)
    np.testing.assert_allclose(found[hit], np.array(expected)[hit], rtol=0, atol=2e-6)


def test_a_cone_is_seen_along_its_axis():
    """The cone's side widens between its balls, so rays almost along the axis hit it."""
    ends = [Balls(torch.tensor([0.0, 0, z]), torch.tensor(r)) for z, r in ((4.0, 0.1), (5.0, 0.6))]
    cone = cones_between(*ends)
    ray = make_rays(torch.tensor(0.05), torch.tensor(0.0))
    expected = marched_far(0.05, *hull(*ends, count=4001))
    assert cone_depth(ray, cone).item() == pytest.approx(expected, abs=1e-5)


def marched_far(x, centres, radii):
    direction, depth = np.array([x, 0.0, 1.0]), 3.0
    for _ in range(2000):
        gap = (np.linalg.norm(depth * direction - centres, axis=-1) - radii).min()
        depth += gap / np.linalg.norm(direction)
    return depth


def test_a_wedge_is_the_convex_hull_of_three_balls():
    rng = np.random.default_rng(1)
    corners = [balls(rng, 30, 0.008) for _ in range(3)]
    xy = rng.uniform(-0.04, 0.04, (30, 2))
    rays = make_rays(*torch.from_numpy(xy).T)
    pairs = [(0, 1), (1, 2), (2, 0)]
    cones = [cone_depth(rays, cones_between(corners[a], corners[b])) for a, b in pairs]
    faces = triangle_depth(
        make_rays(*torch.from_numpy(xy).T[..., None]), wedge_faces(*corners)
    ).amin(1)
    found = torch.stack([*cones, faces, *(ball_depth(rays, c) for c in corners)]).amin(0).numpy()
    expected = np.array(
        [marched(*xy[k], *hull(*(pick(c, k) for c in corners), count=200)) for k in range(30)]
    )
    hit = np.isfinite(expected)
    assert hit.sum() >= 6
    assert (faces.numpy()[hit] <= found[hit]).sum() >= 3  # some rays hit a face
    np.testing.assert_array_equal(found < FAR, hit)
    np.testing.assert_allclose(found[hit], expected[hit], rtol=0, atol=2e-5)


def test_faces_touch_all_three_balls():
    corners = [balls(np.random.default_rng(2), 6) for _ in range(3)]
    faces = wedge_faces(*corners)
    for k, ball in enumerate(corners):
        for corner in faces.corners.movedim(1, 0):
            gap = (corner - ball.centre[:, None]).norm(dim=-1) - ball.radius[:, None]
            on_ball = gap.abs().amin(-1)
            assert (on_ball < 1e-12).logical_or(faces.normal.isnan().any(-1).any(-1)).all(), k
    unit = faces.normal.norm(dim=-1)
    torch.testing.assert_close(unit[unit.isfinite()], torch.ones_like(unit[unit.isfinite()]))


def test_a_ball_within_another_has_neither_cone_nor_wedge():
    big = Balls(torch.tensor([0.0, 0, 5]), torch.tensor(1.0))
    small = Balls(torch.tensor([0.2, 0, 5]), torch.tensor(0.1))
    other = Balls(torch.tensor([0.0, 0.2, 5]), torch.tensor(0.1))
    ray = make_rays(torch.tensor([0.0, 0.05]), torch.tensor([0.0, 0.01]))
    assert (cone_depth(ray, cones_between(big, small)) == MISS).all()
    faces = wedge_faces(big, small, other)
    assert faces.normal.isnan().all()
    assert (triangle_depth(make_rays(ray.x[:, None], ray.y[:, None]), faces) == MISS).all()


def test_triangles_are_seen_from_one_side():
    corners = torch.tensor([[0.0, 0, 2], [0.0, 1, 3], [1.0, 0, 2]])
    normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    ray = make_rays(torch.tensor(0.1), torch.tensor(0.1))
    front = Triangles(corners, normal)
    depth = triangle_depth(ray, front)
    assert depth.item() == pytest.approx(2 / 0.9)  # z = 2 + y and y = z / 10
    assert triangle_depth(ray, Triangles(corners.flip(0), -normal)) == MISS


def test_shapes_behind_the_camera_are_not_seen():
    ray = make_rays(torch.tensor(0.0), torch.tensor(0.0))
    assert ball_depth(ray, Balls(torch.tensor([0.0, 0, -5]), torch.tensor(1.0))) == MISS
    cone = Cones(*(torch.tensor(v) for v in ([-1.0, 0, -5], [1.0, 0, 0], 2.0, 1.0, 0.0)))
    assert cone_depth(ray, cone) == MISS


def test_nan_shapes_are_not_seen():
    ray, nan = make_rays(torch.tensor(0.0), torch.tensor(0.0)), torch.tensor(torch.nan)
    ball = Balls(torch.tensor([0.0, 0, 5]), nan)
    assert ball_depth(ray, ball) == MISS
    assert cone_depth(ray, cones_between(ball, ball)) == MISS
