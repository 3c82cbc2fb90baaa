import pickle
import subprocess
import sys

import pytest
import torch
from torch_geometric.loader import DataLoader

from handgraph import HAND
from handgraph.datasets import NARROW, HandView, SyntheticHands
from handgraph.datasets.camera import Camera
from handgraph.datasets.render.anatomy import BALLS, BONES
from handgraph.datasets.render.example import open_hand
from handgraph.datasets.render.pictures import MASK_CODES, render

CODES = {  # RHD's readme: right thumb 18 to 20 from the tip to the palm, ..., right palm 33
    "thumb": (20, 19, 18),
    "index": (23, 22, 21),
    "middle": (26, 25, 24),
    "ring": (29, 28, 27),
    "pinky": (32, 31, 30),
}


@pytest.fixture(scope="module")
def dataset():
    return SyntheticHands(200, seed=21, image_size=96)


@pytest.fixture(scope="module")
def rendered(dataset):
    return dataset.render(slice(None))


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def at_joints(images, uv):
    """Return the pixel value at each joint, ``[n, 21]``; all joints lie in the image."""
    u, v = uv.round().long().unbind(-1)
    return images[torch.arange(len(images))[:, None], v, u]


def own_codes(joint):
    """Return the mask codes of the bones that meet at a joint."""
    finger, _, level = joint.partition("_")
    if joint == "wrist":
        return {33}
    first, middle, last = CODES[finger]
    return {"mcp": {33, first}, "pip": {first, middle}, "dip": {middle, last}, "tip": {last}}[level]


IN_DOUBLE = """
import sys, torch
torch.set_default_dtype(torch.float64)
from handgraph.datasets import NARROW, HandView, SyntheticHands
pictures = SyntheticHands(3, seed=21, image_size=40, progress=False).render(slice(None))
torch.save(pictures, sys.argv[1])
"""


@pytest.mark.slow
def test_default_dtype_does_not_change_images(tmp_path):
    """The default dtype affects neither the import of the package nor rendering."""
    command = [sys.executable, "-c", IN_DOUBLE, str(tmp_path / "pictures")]
    subprocess.run(command, check=True)
    here = SyntheticHands(3, seed=21, image_size=40, progress=False).render(slice(None))
    assert equal(torch.load(tmp_path / "pictures"), here)


def test_types_and_shapes(rendered):
    assert list(rendered) == ["image", "depth", "mask"]
    assert rendered["image"].shape == (200, 3, 96, 96)
    assert rendered["depth"].shape == rendered["mask"].shape == (200, 96, 96)
    dtypes = [rendered[name].dtype for name in rendered]
    assert dtypes == [torch.uint8, torch.float32, torch.uint8]
    assert all(values.is_contiguous() for values in rendered.values())


def test_codes_are_those_of_rhd():
    for bone, code in zip(BONES, MASK_CODES, strict=True):
        finger, _, level = bone.partition("_")
        if bone in ("person", "object"):
            assert code == ("object", "person").index(bone)
        else:
            expected = {"mcp": 33, **dict(zip(("pip", "dip", "tip"), CODES[finger], strict=True))}
            assert code == expected[level]


def test_mask_and_depth_agree(rendered):
    depth, mask = rendered["depth"], rendered["mask"]
    assert set(mask.unique().tolist()) <= {0, 1, *range(18, 34)}
    assert (depth[mask > 0] > 0).all()
    thing = (depth > 0) & (mask == 0)
    assert 0.01 < thing.float().mean() < 0.3  # objects hide the hand and have a depth
    assert depth[depth > 0].min() > 0.05
    assert depth.max() < 2.0
    bits = (depth.double() / 5 * 65535).round()
    torch.testing.assert_close(bits / 65535 * 5, depth.double(), rtol=0, atol=5 / 65535 / 2 + 1e-9)
    assert ((bits == 0) == (depth == 0)).all()


@pytest.mark.parametrize("size", [16, 33, 64, 128])
def test_visible_joints_have_their_codes_in_the_mask(size):
    dataset = SyntheticHands(150, seed=8, image_size=size)
    tensors = dataset.tensors
    code = at_joints(dataset.render(slice(None))["mask"], tensors["uv_true"])
    for j, joint in enumerate(HAND.joints):
        own = torch.tensor([c in own_codes(joint) for c in code[:, j].tolist()])
        assert own[tensors["visible"][:, j]].all(), joint
        if not joint.endswith("_mcp") and joint != "wrist":  # the whole palm has one code
            assert torch.equal(own, tensors["visible"][:, j]), joint


def test_visible_joints_lie_right_under_the_skin(dataset, rendered):
    tensors = dataset.tensors
    gap = tensors["xyz"][..., 2] - at_joints(rendered["depth"], tensors["uv_true"])
    gap = 1e3 * gap[tensors["visible"]]
    assert gap.min() > 3.0
    assert 8 < gap.median() < 13
    assert gap.quantile(0.8) < 20  # the others are viewed along a bone


def test_skin_over_a_straight_finger_is_one_radius_deep():
    stage, camera = open_hand(), Camera(512, 1000.0)
    pictures = render(stage, camera, 0, torch.tensor([0]))
    for joint in ("index_pip", "middle_dip", "ring_pip", "pinky_dip"):
        xyz = stage.xyz[0, HAND.index(joint)]
        u, v = (1000 * xyz[:2] / xyz[2] + 255.5).round().long()
        gap = 1e3 * (xyz[2] - pictures.depth[0, v, u])
        assert gap.item() == pytest.approx(BALLS[joint].radius, rel=0.03)


def test_hidden_joints_lie_behind_something(dataset, rendered):
    tensors = dataset.tensors
    depth = at_joints(rendered["depth"], tensors["uv_true"])
    hidden = ~tensors["visible"]
    assert (depth[hidden] > 0).all()
    assert (depth[hidden] < tensors["xyz"][..., 2][hidden]).all()


def test_the_smallest_images_have_sane_numbers():
    """A pixel may be wider than a finger, so a joint's pixel may show the background."""
    dataset = SyntheticHands(200, seed=4, image_size=16)
    depth = at_joints(dataset.render(slice(None))["depth"], dataset.tensors["uv_true"])
    background = depth == 0
    assert background.any()
    assert not dataset.tensors["visible"][background].any()
    for name, values in dataset.tensors.items():
        assert values.isfinite().all(), name
    assert dataset.tensors["cue"].abs().max() < 20


def test_hidden_cues_are_the_depth_that_is_seen():
    dataset = SyntheticHands(256, seed=4, image_size=64)
    tensors = dataset.tensors
    depth = at_joints(dataset.render(slice(None))["depth"], tensors["uv_true"])
    root = tensors["xyz"][:, [HAND.index("wrist")], 2]
    seen = (depth - root) / tensors["s"][:, None]
    noise = (tensors["cue_clean"][..., 0] - tensors["d"])[~tensors["visible"]]
    cue = tensors["cue"][..., 0][~tensors["visible"]]
    torch.testing.assert_close(cue - noise, seen[~tensors["visible"]], rtol=0, atol=2e-3)


def test_severe_images_are_matched_and_counted():
    count = SyntheticHands(2000, seed=9, image_size=32).tensors["visible"].sum(1)
    assert (count <= 10).float().mean() == pytest.approx(0.2, abs=0.03)
    assert count.min() >= 1
    assert (
        SyntheticHands(300, image_size=32, severe_fraction=1.0).tensors["visible"].sum(1).max()
        <= 10
    )
    plain = SyntheticHands(300, image_size=32, severe_fraction=0.0).tensors["visible"].sum(1)
    assert plain.min() >= 11


def test_every_image_shows_a_hand(dataset, rendered):
    hand = (rendered["mask"] >= 18).flatten(1).float().mean(1)
    plain = dataset.tensors["visible"].sum(1) >= 11
    assert hand[plain].min() > 0.02
    assert hand.min() > 0.0005
    assert 0.08 < hand.mean() < 0.25


def test_images_have_the_statistics_of_photographs(rendered):
    image = rendered["image"].float() / 255
    means, spreads = image.mean((1, 2, 3)), image.flatten(1).std(1)
    assert means.min() > 0.08
    assert means.max() < 0.9
    assert spreads.min() > 0.03
    assert ((image == 0) | (image == 1)).float().mean() < 0.05
    assert means.std() > 0.08  # dark and bright images


def test_skin_is_warm_and_has_many_tones(rendered):
    image, hand = rendered["image"].double() / 255, rendered["mask"] >= 18
    colour = (image * hand[:, None]).sum((2, 3)) / hand.sum((1, 2))[:, None]
    warm = (colour[:, 0] > colour[:, 2]).float().mean()
    assert warm > 0.95
    assert colour[:, 0].quantile(0.1) < 0.5
    assert colour[:, 0].quantile(0.9) > 0.75


def test_a_hand_differs_from_its_background(rendered):
    """Measure the contrast over the silhouette in grey values."""
    grey, hand = rendered["image"].double().mean(1), rendered["mask"] >= 18
    inside = (grey * hand).sum((1, 2)) / hand.sum((1, 2))
    background = rendered["depth"] == 0
    outside = (grey * background).sum((1, 2)) / background.sum((1, 2))
    assert (inside - outside).abs().median() > 20


def test_an_image_does_not_depend_on_the_others(dataset, rendered):
    alone = [dataset.render(k) for k in (3, 170)]
    for picture, k in zip(alone, (3, 170), strict=True):
        assert equal(picture, {name: values[[k]] for name, values in rendered.items()})
    order = torch.tensor([9, 3, 150, 3])
    assert equal(dataset.render(order), {name: v[order] for name, v in rendered.items()})
    assert equal(
        SyntheticHands(20, seed=21, image_size=96).render(range(20)),
        {name: values[:20] for name, values in rendered.items()},
    )


def test_chunk_size_does_not_change_images(dataset, rendered, monkeypatch):
    monkeypatch.setattr("handgraph.datasets.render.pictures._PIXELS", 96 * 96 * 7)
    assert equal(dataset.render(range(30)), {name: v[:30] for name, v in rendered.items()})


def test_global_seed_and_threads_do_not_change_images(dataset, rendered):
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    again = dataset.render(range(40))
    torch.set_num_threads(threads)
    assert equal(again, {name: values[:40] for name, values in rendered.items()})


def test_slices_are_indexed_from_their_start(dataset, rendered):
    assert equal(dataset[50:60].render([-1, 2]), {n: v[[59, 52]] for n, v in rendered.items()})
    mask = torch.arange(200) % 3 == 0
    assert torch.equal(dataset[mask].render(1)["mask"], rendered["mask"][[3]])
    assert dataset.render(slice(0, 0))["image"].shape == (0, 3, 96, 96)
    assert dataset.render([])["depth"].shape == (0, 96, 96)


def test_seeds_give_other_pictures():
    first, second = (SyntheticHands(4, seed=k, image_size=32).render(range(4)) for k in (0, 1))
    assert not torch.equal(first["image"], second["image"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_render_batches(dataset, rendered, num_workers):
    loader = DataLoader(dataset[30:50], batch_size=8, num_workers=num_workers)
    batches = list(loader)
    assert [batch.num_graphs for batch in batches] == [8, 8, 4]
    assert batches[0].image.shape == (8, 3, 96, 96)
    assert batches[0].depth.shape == batches[0].mask.shape == (8, 96, 96)
    assert batches[0].K.shape == (8, 3, 3)
    assert batches[0].visible.shape == (8 * 21,)
    for name, values in rendered.items():
        assert torch.equal(torch.cat([batch[name] for batch in batches]), values[30:50])
    uv = torch.cat([batch.uv_true for batch in batches]).view(-1, 21, 2)
    assert torch.equal(uv, dataset.tensors["uv_true"][30:50])


def test_an_item_and_a_batch_hold_the_same(dataset):
    item, (same, other) = dataset[7], dataset.__getitems__([7, 8])
    assert item.image.shape == (1, 3, 96, 96)
    assert item.depth.shape == item.mask.shape == (1, 96, 96)
    assert item.keys() == same.keys()
    first, second = item.to_dict(), same.to_dict()
    assert first.pop("num_nodes") == second.pop("num_nodes") == 21
    assert equal(first, second)
    item.image.zero_()
    item.uv.zero_()
    assert torch.equal(dataset[7].image, same.image)
    assert torch.equal(dataset[7].uv, same.uv)
    assert not torch.equal(same.image, other.image)
    assert same.image.untyped_storage().nbytes() == 3 * 96 * 96  # does not store the whole batch


def test_transforms_are_applied_in_batches_too():
    dataset = SyntheticHands(6, image_size=32, transform=lambda data: int(data.image.shape[-1]))
    assert dataset.__getitems__([1, 2]) == [32, 32]
    assert dataset[0] == 32
    assert SyntheticHands(6, transform=lambda data: "image" in data).__getitems__([1]) == [False]


def test_cached_dataset_renders_the_same_images(tmp_path, monkeypatch):
    first = SyntheticHands(20, root=tmp_path, image_size=32)
    monkeypatch.setattr("handgraph.datasets.synthetic.simulate", None)  # must not be called
    second = SyntheticHands(20, root=tmp_path, image_size=32)
    assert equal(first.render(range(20)), second.render(range(20)))
    assert equal(pickle.loads(pickle.dumps(first)).render(range(3)), first.render(range(3)))


def test_each_image_size_has_its_own_cache(tmp_path):
    for size in (None, 32, 33, 256):
        SyntheticHands(5, root=tmp_path, image_size=size, view=HandView(focal=(0.5,)))
    assert len(list(tmp_path.iterdir())) == 4


def test_no_tensor_is_created_on_another_device(dataset, rendered):
    """All tensors specify their device, whatever the default device is."""
    with torch.device("meta"):
        again = dataset.render(range(5), device="cpu")
    assert equal(again, {name: values[:5] for name, values in rendered.items()})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_renders_the_same(dataset, rendered):
    pictures = dataset.render(slice(None), device="cuda")
    assert pictures["image"].is_cuda
    assert (pictures["mask"].cpu() != rendered["mask"]).float().mean() < 1e-4
    close = (pictures["image"].cpu().int() - rendered["image"].int()).abs() <= 2
    assert close.float().mean() > 0.999


@pytest.mark.parametrize("size", [16, 17, 50, 131])
def test_any_size(size):
    pictures = SyntheticHands(5, seed=2, image_size=size).render(slice(None))
    assert pictures["image"].shape == (5, 3, size, size)
    assert (pictures["mask"] >= 18).flatten(1).any(1).all()


def test_sizes_show_the_same_scene():
    """Without random choices, two image sizes place the hands equally and render them alike."""
    small, large = (
        SyntheticHands(30, seed=6, image_size=s, severe_fraction=0.0, occluder_fraction=0.0)
        for s in (64, 128)
    )
    same = (small.tensors["xyz"] - large.tensors["xyz"]).abs().amax((1, 2)) < 1e-5
    assert same.float().mean() > 0.6
    parts = [d.render(torch.nonzero(same)[:, 0])["mask"] > 0 for d in (small, large)]
    shares = [part.flatten(1).float().mean(1) for part in parts]
    torch.testing.assert_close(*shares, rtol=0.1, atol=0.01)


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (200, IndexError, "index must be from -200 to 199, got 200"),
        ([0, -201], IndexError, "index must be from -200 to 199"),
        (1.5, TypeError, "index must be an integer, a slice or integers, got 1.5"),
        (True, TypeError, "index must be an integer"),
        (torch.zeros(2, 2, dtype=torch.long), TypeError, "index must be an integer"),
    ],
)
def test_wrong_indices(dataset, index, error, message):
    with pytest.raises(error, match=message):
        dataset.render(index)


def test_render_raises_for_a_dataset_without_images():
    with pytest.raises(ValueError, match="this dataset has no images; give it an image_size"):
        SyntheticHands(3).render(0)
    assert "image" not in SyntheticHands(3)[0]


def test_known_picture():
    """Regression values of this version. Document intended changes of images in the changelog."""
    picture = SyntheticHands(3, seed=0, image_size=64, **NARROW).render(2)
    assert picture["mask"].double().mean().item() == pytest.approx(KNOWN_MASK, abs=0.05)
    assert picture["image"].double().mean().item() == pytest.approx(KNOWN_IMAGE, abs=0.5)
    assert picture["depth"].double().mean().item() == pytest.approx(KNOWN_DEPTH, abs=1e-4)


KNOWN_MASK, KNOWN_IMAGE, KNOWN_DEPTH = 7.654053, 135.712484, 0.118334
