"""Three genuine RHD images in its folder layout: crops and joint positions."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from handgraph import HAND, RHD
from handgraph.datasets import RHDHands
from handgraph.geometry import denormalize_uv, normalize_uv, project

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "rhd_sample"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the RHD samples are not here")


@pytest.fixture(scope="module")
def content():
    return json.loads((FOLDER / "test_rhd.json").read_text())


@pytest.fixture(scope="module")
def root(content, tmp_path_factory):
    """Write the images and annotations as in RHD; the mask is the box of the hand."""
    root = tmp_path_factory.mktemp("rhd")
    folder = root / "evaluation"
    for name in ("color", "mask"):
        (folder / name).mkdir(parents=True)
    records = {}
    for image, hand in zip(content["images"], content["annotations"], strict=True):
        name, camera = f"{hand['image_id']:05d}.png", image["cam_param"]
        (folder / "color" / name).write_bytes((FOLDER / image["file_name"]).read_bytes())
        left = hand["hand_type"] == "left"
        mask = np.zeros((320, 320), dtype=np.uint8)
        u, v, width, height = (round(number) for number in hand["bbox"])
        mask[v : v + height, u : u + width] = 17 if left else 33
        Image.fromarray(mask).save(folder / "mask" / name)
        rows = slice(0, 21) if left else slice(21, 42)
        record = {"uv_vis": np.zeros((42, 3)), "xyz": np.zeros((42, 3)), "K": np.eye(3)}
        record["uv_vis"][rows] = hand["keypoints"]
        record["xyz"][rows] = np.array(hand["joint_cam"]) / 1000
        record["K"][:2, :2] = np.diag(camera["focal"])
        record["K"][:2, 2] = camera["princpt"]
        records[hand["image_id"]] = record
    (folder / "anno_evaluation.pickle").write_bytes(pickle.dumps(records))
    return root


def read(root, **arguments):
    return RHDHands(root, "evaluation", load=["image", "mask"], **arguments)


def test_all_are_of_use(root, content):
    dataset = read(root)
    assert dataset.skipped == {}
    assert dataset.sample_ids.tolist() == [111, 1111, 11111]
    left = [hand["hand_type"] == "left" for hand in content["annotations"]]
    assert dataset.mirrored.tolist() == left
    millimetres = 1000 * dataset.tensors["s"]
    torch.testing.assert_close(millimetres, torch.tensor([34.63, 36.86, 36.85]), rtol=0, atol=0.02)


@pytest.mark.parametrize("image_size", [None, 128, 256])
def test_joints_project_to_their_pixels(root, image_size):
    tensors = read(root, image_size=image_size).tensors
    error = (project(tensors["xyz"], tensors["K"]) - tensors["uv_true"]).norm(dim=-1)
    whole = read(root, image_size=None).tensors
    zoom = tensors["K"][:, 0, 0] / whole["K"][:, 0, 0]
    assert (error <= 0.1 * zoom[:, None]).all()


def test_joints_are_those_of_the_annotation(root, content):
    tensors = read(root, image_size=None).tensors
    for i, hand in enumerate(content["annotations"]):
        for joint in ("wrist", "thumb_tip", "middle_mcp", "pinky_dip"):
            u, v, _ = hand["keypoints"][RHD.index(joint)]
            u = 319 - u if hand["hand_type"] == "left" else u
            assert tensors["uv_true"][i, HAND.index(joint)].tolist() == pytest.approx([u, v])


def test_the_whole_image_is_the_file(root, content):
    for hand, image in zip(read(root, image_size=None), content["images"], strict=True):
        with Image.open(FOLDER / image["file_name"]) as file:
            pixels = torch.from_numpy(np.array(file)).permute(2, 0, 1)
        flipped = torch.equal(hand.image[0], pixels.flip(-1))
        assert flipped or torch.equal(hand.image[0], pixels)
        assert set(hand.mask.unique().tolist()) == {0, 33}


@pytest.mark.parametrize("image_size", [64, 256])
def test_crop_equals_that_of_pillow(root, image_size):
    crops, wholes = read(root, image_size=image_size), read(root, image_size=None)
    for crop, whole in zip(crops, wholes, strict=True):
        zoom = float(crop.K[0, 0, 0] / whole.K[0, 0, 0])
        shift = crop.uv_true[0] - zoom * whole.uv_true[0]
        corner = (torch.tensor([-0.5, -0.5]) - shift) / zoom + 0.5  # Pillow counts from corners
        box = (*corner.tolist(), *(corner + image_size / zoom).tolist())
        inside = tuple(min(max(side, 0.0), 320.0) for side in box)
        image = Image.fromarray(whole.image[0].permute(1, 2, 0).numpy())
        filters = Image.Resampling.BILINEAR if zoom > 1 else Image.Resampling.BOX
        size = [round((inside[k + 2] - inside[k]) * zoom) for k in (0, 1)]
        pillow = np.array(image.resize(size, filters, box=inside))
        left, top = (round((inside[k] - box[k]) * zoom) for k in (0, 1))
        ours = crop.image[0, :, top : top + size[1], left : left + size[0]].permute(1, 2, 0)
        difference = np.abs(ours.numpy().astype(int) - pillow)[2:-2, 2:-2]
        assert difference.mean() < 3.0, difference.mean()


def test_batches_and_normalised_joints(root):
    (batch,) = DataLoader(read(root), batch_size=3)
    uv = batch.uv_true.reshape(3, 21, 2)
    assert batch.image.shape == (3, 3, 256, 256)
    assert (normalize_uv(uv, 256).abs() <= 0.8 + 1e-5).all()  # the margin is 1.25
    torch.testing.assert_close(denormalize_uv(normalize_uv(uv, 256), 256), uv)
