import numpy as np
import pytest
import torch

from handgraph import HAND
from handgraph.datasets.camera import Camera
from handgraph.datasets.hand_shape import HandShape
from handgraph.datasets.kinematics import HandAngles, forward_kinematics
from handgraph.datasets.render.anatomy import BONES, OBJECT, PERSON
from handgraph.datasets.render.example import open_hand
from handgraph.datasets.render.fragments import Tiles, _normals, _shape_table, look_up
from handgraph.datasets.render.frames import bone_frames
from handgraph.datasets.render.raster import draw
from handgraph.datasets.render.shapes import Balls, Triangles, cones_between
from handgraph.datasets.render.surface import Shapes, hand_shapes, join, object_shapes


def frame(stage, name):
    return [vectors[0, BONES.index(name)] for vectors in bone_frames(stage)]


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "pinky"])
def test_the_back_of_a_flat_hand_is_away_from_its_palm(finger):
    stage = open_hand()
    for level in ("mcp", "pip", "dip", "tip"):
        base, along, upward = frame(stage, f"{finger}_{level}")
        torch.testing.assert_close(upward, torch.tensor([0.0, 0, 1]), rtol=0, atol=1e-6)
        assert along[1] < 0  # fingers up in the image
        joint = HAND.index(f"{finger}_{level}")
        if level != "mcp":
            torch.testing.assert_close(base + along, stage.xyz[0, joint])


def test_the_back_turns_with_a_bent_finger():
    """A finger bent by a right angle points at the camera, and its back faces up."""
    flexion = np.zeros((5, 3))
    flexion[2, 0] = 90.0
    bent = forward_kinematics(HandAngles(flexion, np.zeros(5)), HandShape.narrow().mean())
    stage = open_hand()
    stage = stage._replace(xyz=torch.from_numpy(bent).float()[None] @ stage.palm[0].T)
    _, along, upward = frame(stage, "middle_tip")
    torch.testing.assert_close(along / along.norm(), torch.tensor([0.0, 0, -1]))
    torch.testing.assert_close(upward, torch.tensor([0.0, -1, 0]), rtol=0, atol=1e-6)


def test_forearm_and_object_have_frames():
    stage = open_hand()
    base, along, upward = frame(stage, PERSON)
    torch.testing.assert_close(base, stage.xyz[0, HAND.index("wrist")])
    torch.testing.assert_close(along, torch.tensor([0.0, -0.09, 0]))
    torch.testing.assert_close(upward, torch.tensor([0.0, 0, 1]))
    for kind in (0, 1, 2):
        _, along, upward = frame(stage._replace(kind=torch.tensor([kind])), OBJECT)
        assert along.isfinite().all()
        assert upward.isfinite().all()


def test_normals_face_the_camera_and_fit_the_depth():
    """Normals match differences of neighbouring points away from edges."""
    stage, camera = open_hand(), Camera(256, 500.0)
    shapes = join(hand_shapes(stage), object_shapes(stage))
    seen = look_up(draw(shapes, camera), shapes, stage, camera)
    shown = seen.tiles.spread(seen.shown)[0] > 0
    normal, depth = seen.tiles.spread(seen.normal)[:, 0], seen.tiles.spread(seen.depth)[0]
    v, u = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    point = torch.stack([(u - 127.5) / 500 * depth, (v - 127.5) / 500 * depth, depth])
    right, down = point[:, 1:-1, 2:] - point[:, 1:-1, :-2], point[:, 2:, 1:-1] - point[:, :-2, 1:-1]
    measured = torch.linalg.cross(down, right, dim=0)
    measured = measured / measured.norm(dim=0)
    inner = (shown[1:-1, 1:-1] & (right.norm(dim=0) < 0.004) & (down.norm(dim=0) < 0.004)).flatten()
    cos = (measured * normal[:, 1:-1, 1:-1]).sum(0).flatten()[inner]
    assert inner.sum() > 5000
    assert cos.quantile(0.1) > 0.97
    assert cos.median() > 0.999


def test_the_normal_of_a_steep_cone():
    """Where the cone touches a ball, its normal is the ball's normal."""
    ends = [
        Balls(torch.tensor([[[x, 0, 5.0]]]), torch.tensor([[r]])) for x, r in ((0, 2), (3, 0.5))
    ]
    nothing = Triangles(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3))
    table = _shape_table(Shapes(ends[0], cones_between(*ends), nothing))[0]
    outward = torch.tensor([0.5, 0.0, -(0.75**0.5)])  # the radius shrinks by half a metre per metre
    point = torch.tensor([1.0, 0, 5]) + 1.5 * outward  # the ball around 1 on the axis
    normal = _normals(point[:, None, None], table[1][:, None, None])
    torch.testing.assert_close(normal.flatten(), outward)
    ball = _normals((ends[0].centre[0, 0] + 2 * outward)[:, None, None], table[0][:, None, None])
    torch.testing.assert_close(ball.flatten(), outward)


def test_tiles_are_spread_and_collected():
    image = torch.rand(3, 2, 32, 32)
    tiles = Tiles(torch.arange(2 * 16), 2, 4)
    assert torch.equal(tiles.spread(tiles.collect(image)), image)
    some = Tiles(torch.tensor([1, 20]), 2, 4)
    assert torch.equal(some.collect(image)[0, 0], image[0, 0, :8, 8:16].flatten())
    assert torch.equal(some.collect(image)[2, 1], image[2, 1, 8:16, :8].flatten())
    back = some.spread(some.collect(image))
    assert (back != 0).sum() == 3 * 2 * 64
    assert some.image.tolist() == [0, 1]
