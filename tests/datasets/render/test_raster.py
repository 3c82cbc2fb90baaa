import numpy as np
import pytest
import torch

from handgraph.datasets import SyntheticHands
from handgraph.datasets.camera import Camera
from handgraph.datasets.occlusion import Boxes, box_entry
from handgraph.datasets.render.anatomy import BALLS, CONES, OBJECT, WEDGES
from handgraph.datasets.render.anatomy import BONES as NAMES
from handgraph.datasets.render.example import open_hand
from handgraph.datasets.render.raster import draw, first_hits, pack_depth, pixel_rays, unpack_depth
from handgraph.datasets.render.shapes import (
    FAR,
    MISS,
    Balls,
    Triangles,
    cones_between,
    wedge_faces,
)
from handgraph.datasets.render.stage import Stage
from handgraph.datasets.render.surface import (
    Shapes,
    _place_balls,
    bone_labels,
    hand_shapes,
    join,
    object_shapes,
    shape_numbers,
)

CPU = torch.device("cpu")


def to_rows(tiles, camera):
    """Convert tiles to rows of pixels."""
    side = -(-camera.image_size // 8)
    image = torch.empty(len(tiles), side * 8, side * 8)
    for tile in range(side * side):
        for pixel in range(64):
            v, u = tile // side * 8 + pixel // 8, tile % side * 8 + pixel % 8
            image[:, v, u] = tiles[:, tile, pixel]
    return image[:, : camera.image_size, : camera.image_size]


def stages(count, **arguments):
    dataset = SyntheticHands(count, **{"seed": 3, "image_size": 48, **arguments})
    stage = {name.removeprefix("stage_"): v for name, v in dataset._stage.items()}
    return Stage(xyz=dataset.tensors["xyz"], **stage)


def test_the_number_rides_in_the_depth():
    depth = torch.rand(1000) + 0.2
    number = torch.randint(0, 256, (1000,))
    back, read = unpack_depth(pack_depth(depth, number))
    assert torch.equal(read, number.to(torch.int32))
    assert ((depth - back) / depth).abs().max() < 2**-15
    assert (back <= depth).all()
    assert pack_depth(torch.tensor(MISS), torch.tensor(255)) > FAR


@pytest.mark.parametrize("size", [48, 41])
@pytest.mark.parametrize("focal", [10.0, 94.0, 2000.0])
def test_tiles_cover_all_shapes(size, focal):
    """Testing every pixel against every shape gives bitwise the same result as tiles and boxes."""
    stage = stages(6, occluder_fraction=1.0)
    camera = Camera(size, focal)
    shapes = join(hand_shapes(stage), object_shapes(stage))
    v, u = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    rays = pixel_rays(
        *(x.flatten().expand(6, -1).float() for x in (u, v)), camera.centre, camera.focal
    )
    slow = first_hits(rays, shapes, torch.arange(len(bone_labels(CPU)))).amin(-1)
    fast = to_rows(draw(shapes, camera), camera)
    hit = slow.view_as(fast) < FAR
    assert hit.any()
    assert torch.equal(fast[hit], slow.view_as(fast)[hit])
    assert (fast[~hit] > FAR).all()


def test_tiles_cover_shapes_that_are_near_or_far_aside():
    generator = torch.Generator().manual_seed(0)

    def somewhere(*shape):
        xy = 0.6 * torch.rand(*shape, 2, generator=generator) - 0.3
        return torch.cat([xy, 0.3 * torch.rand(*shape, 1, generator=generator) + 0.03], dim=-1)

    radius = 0.04 * torch.rand(3, 8, 20, generator=generator) + 0.001
    first, second, third = (Balls(somewhere(8, 20), r) for r in radius)
    outside = first.centre.norm(dim=-1) > first.radius + 1e-3  # the camera is outside the balls
    balls = Balls(first.centre, first.radius.where(outside, torch.nan))
    faces = wedge_faces(first, second, third)
    triangles = Triangles(faces.corners.flatten(1, 2), faces.normal.flatten(1, 2))
    shapes = Shapes(balls, cones_between(first, second), triangles)
    camera = Camera(40, 15.0)
    v, u = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    rays = pixel_rays(
        *(x.flatten().expand(8, -1).float() for x in (u, v)), camera.centre, camera.focal
    )
    slow = first_hits(rays, shapes, torch.arange(80)).amin(-1).view(8, 40, 40)
    fast = to_rows(draw(shapes, camera), camera)
    hit = slow < FAR
    assert 0.1 < hit.float().mean() < 0.99
    assert torch.equal(fast[hit], slow[hit])
    assert (fast[~hit] > FAR).all()


def test_a_hand_is_the_union_of_its_hulls():
    """Rays against thousands of balls in float64 give the same silhouette and depth."""
    stage, camera = open_hand(), Camera(40, 70.0)
    balls = _place_balls(stage)
    names = list(BALLS)
    centre, radius = [], []
    for corners in (*CONES, *WEDGES):
        rows = [names.index(name) for name in corners[:-1]]
        weights = np.random.default_rng(0).dirichlet([0.7] * len(rows), 1500)
        weights = np.concatenate([weights, np.eye(len(rows))])
        centre.append(weights @ balls.centre[0, rows].double().numpy())
        radius.append(weights @ balls.radius[0, rows].double().numpy())
    centre, radius = np.concatenate(centre), np.concatenate(radius)
    depth = to_rows(draw(hand_shapes(stage), camera), camera)[0]
    errors, missed = [], 0
    for v in range(0, 40, 2):
        for u in range(0, 40, 2):
            direction = np.array([(u - 19.5) / 70, (v - 19.5) / 70, 1.0])
            expected = first_ball(direction, centre, radius)
            found = depth[v, u].item()
            if np.isfinite(expected) and found < FAR:
                errors.append(expected - found)
            else:
                missed += np.isfinite(expected) != (found < FAR)
    assert len(errors) > 60
    assert missed <= 1  # a ray may graze the surface
    assert np.quantile(np.abs(errors), 0.9) < 3e-4  # the balls leave small dents
    assert np.min(errors) > -2e-5


def first_ball(direction, centre, radius):
    square = direction @ direction
    toward = centre @ direction
    rest = (centre**2).sum(-1) - radius**2
    inside = toward**2 - square * rest
    hit = inside > 0
    return ((toward[hit] - np.sqrt(inside[hit])) / square).min(initial=np.inf)


def test_labels_have_the_order_of_the_shapes():
    stage = stages(2, occluder_fraction=1.0)
    shapes = join(hand_shapes(stage), object_shapes(stage))
    count = sum(kind[0].shape[1] for kind in shapes)
    labels = bone_labels(CPU)
    assert len(labels) == count <= 256
    hand, thing = shape_numbers(CPU)
    assert sorted([*hand.tolist(), *thing.tolist()]) == list(range(count))
    assert (labels[thing] == NAMES.index(OBJECT)).all()
    assert len(thing) == 2 + 1 + 12
    assert (labels[hand] != NAMES.index(OBJECT)).all()


def test_a_box_has_the_depth_of_its_slabs():
    stage = stages(40, occluder_fraction=1.0)
    stage = stage.take((stage.kind == 2).nonzero()[:, 0])
    camera = Camera(48, 94.0)
    v, u = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    rays = pixel_rays(
        *(x.flatten().expand(len(stage.kind), -1).float() for x in (u, v)),
        camera.centre,
        camera.focal,
    )
    depth = first_hits(rays, object_shapes(stage), torch.zeros(15)).amin(-1)
    direction = torch.stack([rays.x, rays.y, torch.ones_like(rays.x)], -1).double().numpy()
    boxes = Boxes(*(part.double().numpy()[:, None] for part in (stage.box, stage.axes, stage.half)))
    expected = box_entry(direction, boxes)[..., 0]
    hit = np.isfinite(expected)
    assert 0.05 < hit.mean() < 0.9
    assert ((depth.numpy() < FAR) != hit).mean() < 1e-3  # rays that hit edges
    both = hit & (depth.numpy() < FAR)
    np.testing.assert_allclose(depth.numpy()[both], expected[both], rtol=5e-5)
