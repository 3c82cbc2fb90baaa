"""Write and read RHD's files: values, and errors that name the cause."""

import pickle
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from handgraph import HAND, RHD
from handgraph.datasets import RHDHands, SyntheticHands, write_rhd
from handgraph.datasets.rhd.png import read_png
from handgraph.geometry import keybone_length, normalize_uv, project, relative_depth

SIDE = 64
COUNT = 6
KEYPOINTS = SyntheticHands(COUNT, seed=5, image_size=256).tensors


def photographed():
    """Return hands with images of noise in which no two pixels are equal."""
    random = torch.Generator().manual_seed(1)
    hands = []
    for i in range(COUNT):
        hand = HAND.to_data(**{n: KEYPOINTS[n][i] for n in ("xyz", "visible")})
        hand.K = torch.diag(torch.tensor([SIDE / 256, SIDE / 256, 1.0])) @ KEYPOINTS["K"][i][None]
        hand.uv_true = project(hand.xyz[None], hand.K)[0]
        pixels = torch.randint(0, 256, (1, 3, SIDE, SIDE), generator=random)
        hand.image = pixels.to(torch.uint8)
        hand.mask = torch.randint(18, 34, (1, SIDE, SIDE), generator=random).to(torch.uint8)
        hand.depth = 5 * torch.rand(1, SIDE, SIDE, generator=random)
        hands.append(hand)
    return hands


HANDS = photographed()


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "training", HANDS)
    return root


@pytest.fixture
def root(written, tmp_path):
    """Copy the dataset, so that a test may damage it."""
    shutil.copytree(written / "training", tmp_path / "training")
    return tmp_path


def pixels_of(path):
    with Image.open(path) as image:
        return np.array(image)


def annotations(root):
    return pickle.loads((root / "training" / "anno_training.pickle").read_bytes())


def annotate(root, records, protocol=4):
    content = pickle.dumps(records, protocol)
    (root / "training" / "anno_training.pickle").write_bytes(content)


def change(root, sample=2, **changes):
    """Modify arrays of a sample with functions."""
    records = annotations(root)
    for name, function in changes.items():
        records[sample][name] = function(records[sample][name].copy())
    annotate(root, records)


def put(rows, columns, value):
    def changed(array):
        array[rows, columns] = value
        return array

    return changed


def to_left(root, sample):
    """Move a hand to the rows of the left hand and mirror it, as in the files of a left hand.

    The other rows contain another hand, which must not be read.
    """
    folder = root / "training"
    records = annotations(root)
    record = records[sample]
    for name, other in (("uv_vis", 7.0), ("xyz", 0.3)):
        record[name] = np.concatenate([record[name][21:], np.full_like(record[name][21:], other)])
    record["uv_vis"][:21, 0] = SIDE - 1 - record["uv_vis"][:21, 0]
    record["xyz"][:21, 0] *= -1
    record["K"][0, 2] = SIDE - 1 - record["K"][0, 2]
    annotate(root, records)
    for name in ("color", "mask", "depth"):
        path = folder / name / f"{sample:05d}.png"
        pixels = pixels_of(path)[:, ::-1]
        Image.fromarray(pixels - 16 * (name == "mask")).save(path)


def entries(hand):
    return {name: value for name, value in hand.to_dict().items() if name != "num_nodes"}


def test_written_and_read_back(written):
    dataset = RHDHands(written, image_size=None)
    assert len(dataset) == COUNT
    assert dataset.skipped == {}
    for hand, back in zip(HANDS, dataset, strict=True):
        for name in ("image", "mask", "visible", "xyz", "K", "edge_index"):
            assert torch.equal(back[name], hand[name]), name
            assert back[name].dtype == hand[name].dtype
        torch.testing.assert_close(back.uv_true, hand.uv_true, rtol=0, atol=1e-3)
        torch.testing.assert_close(back.depth, hand.depth, rtol=0, atol=2.5 / 65535 * 1.001)
        s = keybone_length(hand.xyz)
        torch.testing.assert_close(back.s[0], s)
        torch.testing.assert_close(back.d, relative_depth(hand.xyz, s), rtol=0, atol=1e-5)


def test_sample_has_the_documented_shapes_and_dtypes(written):
    hand = RHDHands(written, image_size=48)[1]
    shapes = {
        "image": (torch.uint8, [1, 3, 48, 48]),
        "mask": (torch.uint8, [1, 48, 48]),
        "depth": (torch.float32, [1, 48, 48]),
        "uv_true": (torch.float32, [21, 2]),
        "xyz": (torch.float32, [21, 3]),
        "K": (torch.float32, [1, 3, 3]),
        "visible": (torch.bool, [21]),
        "d": (torch.float32, [21]),
        "s": (torch.float32, [1]),
        "edge_index": (torch.long, [2, 40]),
    }
    assert {n: (v.dtype, list(v.shape)) for n, v in entries(hand).items()} == shapes
    assert hand.num_nodes == 21


def test_the_files_are_those_of_rhd(written):
    folder = written / "training"
    assert {path.name for path in folder.iterdir()} == {
        "anno_training.pickle",
        "color",
        "depth",
        "mask",
    }
    names = {f"{i:05d}.png" for i in range(COUNT)}
    for name in ("color", "mask", "depth"):
        assert {path.name for path in (folder / name).iterdir()} == names
    records = annotations(written)
    assert list(records) == list(range(COUNT))
    hand, record = HANDS[3], records[3]
    assert {name: array.shape for name, array in record.items()} == {
        "uv_vis": (42, 3),
        "xyz": (42, 3),
        "K": (3, 3),
    }
    tip = 21 + RHD.index("thumb_tip")
    assert tip == 22
    assert record["xyz"][tip].tolist() == hand.xyz[HAND.index("thumb_tip")].tolist()
    assert record["uv_vis"][21, 2] == hand.visible[HAND.index("wrist")]
    assert not record["uv_vis"][:21].any()
    assert not record["xyz"][:21].any()
    depth = pixels_of(folder / "depth" / "00003.png")
    assert depth.shape == (SIDE, SIDE, 3)
    metres = (depth[..., 0].astype(int) * 256 + depth[..., 1]) / 65535 * 5
    np.testing.assert_allclose(metres, hand.depth[0].numpy(), rtol=0, atol=4e-5)
    assert pixels_of(folder / "mask" / "00003.png").shape == (SIDE, SIDE)


def test_crop_contains_all_joints_and_k_projects_to_it(written):
    for margin in (1.0, 1.25, 2.0):
        tensors = RHDHands(written, image_size=100, margin=margin).tensors
        projected = project(tensors["xyz"], tensors["K"])
        torch.testing.assert_close(projected, tensors["uv_true"], rtol=0, atol=1e-3)
        unit = normalize_uv(tensors["uv_true"], 100)
        sides = unit.amax(dim=1) - unit.amin(dim=1)
        torch.testing.assert_close(sides.amax(dim=-1), torch.full((COUNT,), 2 / margin))
        middle = (unit.amax(dim=1) + unit.amin(dim=1)) / 2
        torch.testing.assert_close(middle, torch.zeros(COUNT, 2), rtol=0, atol=1e-4)
        for name in ("xyz", "visible", "s"):
            expected = RHDHands(written, image_size=None).tensors[name]
            assert torch.equal(tensors[name], expected)


def test_joints_outside_a_crop_with_margin_below_one_are_hidden(written):
    tensors = RHDHands(written, image_size=100, margin=0.5).tensors
    uv = tensors["uv_true"]
    outside = ((uv < -0.5) | (uv > 99.5)).any(dim=-1)
    assert outside.any()
    assert not (tensors["visible"] & outside).any()
    assert torch.equal(tensors["visible"] | outside, KEYPOINTS["visible"] | outside)


def spot(root, sample, u, v):
    """Set all but one pixel of an image to black in all files."""
    for name, value in (("color", 255), ("mask", 20), ("depth", 128)):
        path = root / "training" / name / f"{sample:05d}.png"
        pixels = np.zeros_like(pixels_of(path))
        if name == "mask":
            pixels[:] = 33
        pixels[v, u] = value
        Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("image_size", [None, 40, 200])
def test_image_and_joints_are_transformed_together(root, left, image_size):
    joint = HAND.index("index_tip")
    records = annotations(root)
    for sample, hand in enumerate(HANDS):
        u, v = hand.uv_true[joint].round().long().tolist()
        shift = np.float32([u, v]) - hand.uv_true[joint].numpy()  # to a pixel's centre
        record = records[sample]
        record["uv_vis"][21:, :2] += shift
        record["K"][:2, 2] += shift
        spot(root, sample, u, v)
    annotate(root, records)
    if left:
        for sample in range(COUNT):
            to_left(root, sample)
    dataset = RHDHands(root, image_size=image_size)
    assert dataset.mirrored.tolist() == [left] * COUNT
    for hand in dataset:
        rows, columns = torch.nonzero(hand.image[0, 0].float() > 0, as_tuple=True)
        weight = hand.image[0, 0, rows, columns].double()
        centre = [float((weight * at).sum() / weight.sum()) for at in (columns, rows)]
        scale = 1 if image_size is None else float(hand.K[0, 0, 0] / HANDS[0].K[0, 0, 0])
        assert centre == pytest.approx(hand.uv_true[joint].tolist(), abs=max(0.6, 0.1 * scale))
        u, v = hand.uv_true[joint].round().long().tolist()
        if scale >= 1:
            assert hand.mask[0, v, u] == 20
            assert hand.depth[0, v, u] == pytest.approx(5 * 257 * 128 / 65535, abs=1e-6)


def test_left_hands_are_mirrored_and_others_are_not(root):
    expected = list(RHDHands(root, image_size=80))
    for sample in (1, 4):
        to_left(root, sample)
    dataset = RHDHands(root, image_size=80)
    assert dataset.mirrored.tolist() == [False, True, False, False, True, False]
    assert torch.equal(dataset[1:3].mirrored, torch.tensor([True, False]))
    for hand, twin in zip(dataset, expected, strict=True):
        for name, value in entries(twin).items():
            torch.testing.assert_close(hand[name], value, rtol=1e-5, atol=1e-4)
        assert torch.equal(hand.image, twin.image)
        assert torch.equal(hand.mask, twin.mask)


@pytest.mark.parametrize(
    ("left", "right", "mirrored"), [(3, 2, True), (2, 2, False), (0, 0, False)]
)
def test_the_hand_with_more_pixels_is_taken(root, left, right, mirrored):
    to_left(root, 0)
    records = annotations(root)
    records[0]["uv_vis"][21:] = records[0]["uv_vis"][:21]  # a hand of equal size on the right side
    records[0]["xyz"][21:] = records[0]["xyz"][:21]
    annotate(root, records)
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[0, :left], mask[1, :right], mask[2] = 17, 18, 1
    Image.fromarray(mask).save(root / "training" / "mask" / "00000.png")
    assert RHDHands(root).mirrored[0] == mirrored


def test_only_requested_entries_are_read(root):
    shutil.rmtree(root / "training" / "color")
    shutil.rmtree(root / "training" / "depth")
    dataset = RHDHands(root, load=["mask"])
    assert "image" not in dataset[0]
    assert "depth" not in dataset[0]
    assert dataset[0].mask.shape == (1, 256, 256)
    assert set(entries(RHDHands(root, load=())[2])) == {*dataset.tensors, "edge_index"}
    with pytest.raises(ValueError, match=r"color/00000.png: the image of sample 0 is missing"):
        RHDHands(root, load=["image"])


def test_batches_from_workers(written):
    dataset = RHDHands(written, image_size=32)
    (batch,) = DataLoader(dataset, batch_size=COUNT, num_workers=2)
    assert batch.image.shape == (COUNT, 3, 32, 32)
    assert batch.mask.shape == batch.depth.shape == (COUNT, 32, 32)
    assert batch.K.shape == (COUNT, 3, 3)
    for i in range(COUNT):
        assert torch.equal(batch.image[i], dataset[i].image[0])
        assert torch.equal(batch.get_example(i).uv_true, dataset.tensors["uv_true"][i])


def test_slices_and_transforms(written):
    dataset = RHDHands(written, transform=lambda hand: hand.update({"a": hand.s + 1}))
    some = dataset[[4, 1]]
    assert some.sample_ids.tolist() == [4, 1]
    assert torch.equal(some[0].a, dataset.tensors["s"][4:5] + 1)
    assert torch.equal(some.tensors["uv_true"], dataset.tensors["uv_true"][[4, 1]])


def test_can_be_pickled(written):
    dataset = pickle.loads(pickle.dumps(RHDHands(written)[2:]))
    assert torch.equal(dataset[1].xyz, HANDS[3].xyz)


def test_a_sample_does_not_share_memory_with_the_dataset(written):
    dataset = RHDHands(written, load=())
    dataset[0].xyz.zero_()
    assert torch.equal(dataset[0].xyz, HANDS[0].xyz)


def test_samples_have_the_numbers_of_their_files(root):
    records = annotations(root)
    moved = {100_000: records[5], 41: records[2], 7: records[0]}
    for number, old in ((100_000, 5), (41, 2), (7, 0)):
        for name in ("color", "mask", "depth"):
            folder = root / "training" / name
            (folder / f"{old:05d}.png").rename(folder / f"{number:05d}.png")
    annotate(root, moved)
    dataset = RHDHands(root, image_size=None)
    assert dataset.sample_ids.tolist() == [7, 41, 100_000]
    for hand, old in zip(dataset, (0, 2, 5), strict=True):
        assert torch.equal(hand.xyz, HANDS[old].xyz)
        assert torch.equal(hand.image, HANDS[old].image)


@pytest.mark.parametrize("dtype", ["f8", ">f4", "<f4", "f2"])
def test_any_type_of_number(root, dtype):
    records = annotations(root)
    for record in records.values():
        for name in record:
            if dtype != "f2" or name == "K":
                record[name] = record[name].astype(dtype)
    annotate(root, records)
    dataset = RHDHands(root, image_size=None, load=())
    torch.testing.assert_close(dataset.tensors["xyz"], KEYPOINTS["xyz"], rtol=0, atol=0)


# The index


def no_index(*_):
    raise AssertionError("the index was made again")


def test_second_construction_reads_no_masks(root, monkeypatch):
    first = RHDHands(root, progress=False)
    monkeypatch.setattr("handgraph.datasets.rhd.index.make_index", no_index)
    for image_size in (256, 64, None):  # one index for every crop
        second = RHDHands(root, image_size=image_size)
        assert torch.equal(second.tensors["xyz"], first.tensors["xyz"])
    assert torch.equal(RHDHands(root)[3].image, first[3].image)


def test_a_bar_is_shown_the_first_time_in_a_terminal_only(root, capsys, monkeypatch):
    RHDHands(root)
    assert capsys.readouterr().err == ""
    for path in root.glob("*.bin"):
        path.unlink()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    RHDHands(root)
    shown = capsys.readouterr().err
    assert "RHD: masks" in shown
    assert f"{COUNT}/{COUNT}" in shown
    RHDHands(root)
    RHDHands(root, cache=root / "elsewhere", progress=False)
    assert capsys.readouterr().err == ""


def test_index_is_written_to_the_cache_folder(root, tmp_path, monkeypatch):
    first = RHDHands(root, cache=tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
    assert list(root.glob("*.bin")) == []
    monkeypatch.setattr("handgraph.datasets.rhd.index.make_index", no_index)
    assert len(RHDHands(root, cache=tmp_path / "elsewhere")) == len(first)


def test_index_is_rebuilt_if_annotations_or_masks_change(root):
    assert RHDHands(root).sample_ids.tolist() == list(range(COUNT))
    records = annotations(root)
    del records[3]
    annotate(root, records)
    assert RHDHands(root).sample_ids.tolist() == [0, 1, 2, 4, 5]
    assert not RHDHands(root).mirrored.any()
    for name in ("uv_vis", "xyz"):
        records[0][name][:21] = records[0][name][21:]
    annotate(root, records)
    assert not RHDHands(root).mirrored.any()
    path = root / "training" / "mask" / "00000.png"
    path.unlink()
    Image.fromarray(np.full((SIDE, SIDE), 5, dtype=np.uint8)).save(path)
    assert RHDHands(root).mirrored.tolist() == [True, False, False, False, False]


def test_damaged_index_is_rebuilt(root):
    RHDHands(root)
    (path,) = root.glob("rhd_training_*.bin")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="is damaged; reading the masks again"):
        dataset = RHDHands(root)
    assert torch.equal(dataset[0].xyz, HANDS[0].xyz)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RHDHands(root)


def test_an_index_that_cannot_be_kept_is_a_warning(root):
    (root / "file").touch()
    with pytest.warns(UserWarning, match=r"the index was not cached \(pass cache=...\)"):
        dataset = RHDHands(root, cache=root / "file")
    assert len(dataset) == COUNT


# Samples that are skipped


SHIFT = 1000.0


def move(root, du):
    change(
        root,
        uv_vis=lambda a: a + np.float32([du, 0, 0]),
        K=lambda a: a + np.float32([[0, 0, du], [0, 0, 0], [0, 0, 0]]),
    )


def scale_hand(root, pixels, metres=1.0):
    """Change the focal length about a joint near the middle, which scales the hand in pixels."""
    record = annotations(root)[2]
    uv, xyz = record["uv_vis"], record["xyz"]
    at = uv[21 + RHD.index("middle_mcp"), :2].copy()
    uv[21:, 2] = 1
    uv[21:, :2] = at + pixels * (uv[21:, :2] - at)
    record["K"][:2] *= pixels
    record["K"][:2, 2] += (1 - pixels) * at
    change(root, uv_vis=lambda _: uv, K=lambda _: record["K"], xyz=lambda _: metres * xyz)


USELESS = {
    "a joint is not in front of the camera": lambda root: change(root, xyz=put(25, 2, 0.0)),
    "xyz does not project to uv": lambda root: change(root, uv_vis=put(30, 0, 5.0)),
    "the hand has not the size of a hand": lambda root: change(root, xyz=lambda a: 1000 * a),
    "the hand lies outside of the image": lambda root: move(root, 500),
    "no joint is visible": lambda root: change(root, uv_vis=put(slice(None), 2, 0)),
    "the hand is smaller than 8 pixels": lambda root: scale_hand(root, 0.1),
    "the hand is larger than 4 images": lambda root: scale_hand(root, 60),
}


@pytest.mark.parametrize("reason", USELESS)
def test_samples_of_no_use_are_skipped_and_counted(root, reason, capsys):
    USELESS[reason](root)
    dataset = RHDHands(root, load=())
    assert list(dataset.skipped) == [2]
    assert dataset.skipped[2].startswith(reason)
    assert dataset.sample_ids.tolist() == [0, 1, 3, 4, 5]
    said = capsys.readouterr()
    assert f"RHDHands: skipped 1 of 6 samples of {root / 'training'}: {reason}" in said.err
    assert said.out == ""
    assert RHDHands(root, progress=False).skipped == dataset.skipped
    assert capsys.readouterr().err == ""


def test_joints_outside_of_the_image_are_not_visible(root):
    records = annotations(root)
    uv = records[2]["uv_vis"][21:]
    du = SIDE - 1 - np.sort(uv[:, 0])[10]  # ten joints leave the image on the right
    uv[:, 2] = 1
    annotate(root, records)
    move(root, du)
    visible = RHDHands(root, load=()).tensors["visible"][2]
    left = (uv[:, 0] + du <= SIDE - 0.5)[HAND.index_from(RHD)]
    assert visible.tolist() == left.tolist()
    assert 0 < left.sum() < 21


def test_a_joint_far_from_the_wrist_is_no_joint(root):
    change(root, xyz=lambda a: np.concatenate([a[:41], a[41:] * np.float32(10)]))
    assert list(RHDHands(root).skipped.values()) == [
        "the hand has not the size of a hand: xyz is in metres"
    ]


def test_an_error_of_a_tenth_of_a_pixel_is_none(root):
    change(root, uv_vis=lambda a: a + np.float32([0.1, -0.1, 0]))
    assert RHDHands(root).skipped == {}


def test_no_sample_of_use_is_an_error(root):
    records = annotations(root)
    for record in records.values():
        record["xyz"] *= 1000
    annotate(root, records)
    with pytest.raises(
        ValueError, match="no sample is of use; sample 0: the hand has not .* in metres"
    ):
        RHDHands(root)


# Errors


WRONG = [
    ({"xyz": lambda a: a[:21]}, r"sample 2: expected xyz to be numbers \[42, 3\], got float32 of"),
    ({"xyz": lambda a: a.T}, r"sample 2: expected xyz .* \[3, 42\]"),
    ({"uv_vis": lambda a: a[:, :2]}, r"sample 2: expected uv_vis .* \[42, 2\]"),
    ({"K": lambda a: a[None]}, r"sample 2: expected K .* \[1, 3, 3\]"),
    ({"K": lambda _: 5}, r"sample 2: expected K to be an array, got a int"),
    ({"K": lambda _: None}, r"sample 2: expected K to be an array, got nothing"),
    ({"xyz": lambda a: a > 0}, r"sample 2: expected xyz .* got bool of"),
    ({"xyz": put(30, 1, np.nan)}, r"sample 2: xyz is not finite"),
    ({"xyz": lambda a: a.astype("f8") * 1e300}, r"sample 2: xyz is not finite"),
    ({"uv_vis": put(30, 1, np.inf)}, r"sample 2: uv_vis is not finite"),
    ({"uv_vis": put(30, 2, np.nan)}, r"sample 2: uv_vis is not finite"),
    ({"uv_vis": put(30, 2, 0.5)}, r"sample 2: a visibility is not 0 or 1"),
    ({"K": put(0, 0, np.nan)}, r"sample 2: K is not finite"),
    ({"K": put(0, 0, 0.0)}, r"sample 2: K is not a camera matrix"),
    ({"K": put(1, 1, -3.0)}, r"sample 2: K is not a camera matrix"),
    ({"K": lambda a: a.T}, r"sample 2: K is not a camera matrix"),
    ({"K": put(1, 0, 3.0)}, r"sample 2: K is not a camera matrix"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_annotations_are_named(root, changes, message):
    change(root, **changes)
    with pytest.raises(ValueError, match=f"^{root}/training/anno_training.pickle: {message}"):
        RHDHands(root)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({}, "expected a dict of samples, got a dict"),
        (np.zeros((42, 3)), "expected a dict of samples, got a ndarray"),
        (None, "expected a dict of samples, got nothing"),
        ({"0": {}}, "a sample without a number: its key is a str"),
        ({-1: {}}, "a sample without a number: its key is a int"),
        ({2**31: {}}, "a sample without a number"),
        ({0: {}}, "sample 0: expected uv_vis to be an array, got nothing"),
        ({0: np.zeros(3)}, "sample 0: expected a dict of arrays, got a ndarray"),
    ],
)
def test_annotations_that_are_not_a_dict_of_samples_raise(root, records, message):
    annotate(root, records)
    with pytest.raises(ValueError, match=f"anno_training.pickle: {message}"):
        RHDHands(root)


@pytest.mark.parametrize("which", ["anno_training.pickle", "mask"])
def test_missing_annotations_and_masks(root, which):
    path = root / "training" / which
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(FileNotFoundError, match=str(path)):
        RHDHands(root)


@pytest.mark.parametrize(("entry", "folder"), [("image", "color"), ("mask", "mask")])
def test_missing_pictures_are_named_at_once(root, entry, folder):
    path = root / "training" / folder / "00004.png"
    path.unlink()
    with pytest.raises(ValueError, match=f"^{path}: the {entry} of sample 4 is missing$"):
        RHDHands(root)


def spoil(path, how):
    content = path.read_bytes()
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "flipped":  # one flipped bit in the pixels
        middle = len(content) // 2
        content = content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :]
    elif how == "empty":
        content = b""
    elif how == "text":
        content = b"no image"
    elif how == "small":
        Image.fromarray(pixels_of(path)[1:]).save(path)
        return
    elif how == "mode":
        Image.fromarray(pixels_of(path)).convert("P").save(path)
        return
    elif how == "jpeg":
        Image.fromarray(pixels_of(path)).save(path, format="JPEG")
        return
    elif how == "bomb":  # the header declares 100,000 x 100,000 pixels
        size = (100_000).to_bytes(4, "big")
        content = content[:16] + size + size + content[24:]
    path.write_bytes(content)


HOW = ["truncated", "flipped", "empty", "text", "small", "mode", "jpeg", "bomb"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("entry", "folder"), [("image", "color"), ("mask", "mask"), ("depth", "depth")]
)
def test_damaged_pictures_are_named(root, how, entry, folder):
    path = root / "training" / folder / "00004.png"
    RHDHands(root)
    spoil(path, how)
    dataset = RHDHands(root)
    dataset[3]
    with pytest.raises(ValueError, match=f"^{path}: {entry} of sample 4: "):
        dataset[4]


def test_single_bit_errors_in_a_png_are_detected(tmp_path):
    pixels = (np.add.outer(np.arange(24), np.arange(24))[..., None] * [3, 2, 1]).astype(np.uint8)
    path = tmp_path / "00000.png"
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    refused = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read_png(path, "image", 0)
        except ValueError:
            refused += 1
            continue
        assert np.array_equal(found, pixels), bit
    assert refused > 0.9 * 8 * len(content)


@pytest.mark.parametrize("how", HOW)
def test_damaged_masks_are_named_when_they_are_first_read(root, how):
    path = root / "training" / "mask" / "00004.png"
    spoil(path, how)
    with pytest.raises(ValueError, match=f"^{path}: mask of sample 4: "):
        RHDHands(root)
    assert list(root.glob("*.bin*")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "one of training, evaluation, got 'test'"),
        ({"split": "../training"}, "one of training, evaluation"),
        ({"image_size": 0}, "image_size .* got 0"),
        ({"image_size": 25.5}, "image_size .* got 25.5"),
        ({"margin": -1.0}, "margin to be positive and finite, got -1"),
        ({"margin": float("nan")}, "margin to be positive and finite, got nan"),
        ({"load": "image"}, "some of image, mask, depth, got 'image'"),
        ({"load": ["colour"]}, "some of image, mask, depth, got .'colour'"),
    ],
)
def test_wrong_arguments_are_named(written, arguments, message):
    with pytest.raises(ValueError, match=message):
        RHDHands(written, **arguments)


def test_missing_pillow_raises_an_error_that_names_the_extra(written, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"handgraph\[vision\]"):
        RHDHands(written)
    with pytest.raises(ImportError, match=r"handgraph\[vision\]"):
        write_rhd(tmp_path, "training", HANDS)
    assert list(tmp_path.iterdir()) == []


# The writer


def with_entry(name, value):
    hand = HANDS[1].clone()
    hand[name] = value
    return [HANDS[0], hand]


def without_entry(name):
    hand = HANDS[1].clone()
    del hand[name]
    return [HANDS[0], hand]


@pytest.mark.parametrize(
    ("hands", "message"),
    [
        ([], "at least one sample"),
        (without_entry("image"), "sample 1: has no image"),
        (without_entry("visible"), "sample 1: has no visible"),
        (without_entry("depth"), "sample 1: has no depth"),
        (without_entry("depth")[::-1], "sample 1: has depth, and the first sample has none"),
        ([SyntheticHands(1).get(0)], "sample 0: has no image"),
        (
            with_entry("image", torch.zeros(1, 3, SIDE, SIDE)),
            "sample 1: expected image of torch.ui",
        ),
        (with_entry("mask", torch.zeros(1, SIDE, 9).byte()), r"sample 1: expected mask .* 9\]"),
        (with_entry("uv_true", torch.zeros(42, 2)), r"sample 1: expected uv_true .* \[42, 2\]"),
        (with_entry("xyz", HANDS[1].xyz * torch.nan), "sample 1: xyz is not finite"),
        (with_entry("visible", torch.ones(21)), "sample 1: expected visible of torch.bool"),
        (with_entry("depth", HANDS[1].depth + 0.1), "sample 1: expected depth from 0 to 5 m"),
        (with_entry("depth", HANDS[1].depth - 0.1), "sample 1: expected depth from 0 to 5 m"),
        (with_entry("depth", HANDS[1].depth + torch.inf), "sample 1: depth is not finite"),
        (with_entry("mask", HANDS[1].mask - 16), "sample 1: the mask shows 4096 pixels of a left"),
    ],
)
def test_invalid_samples_raise_and_write_no_files(tmp_path, hands, message):
    with pytest.raises(ValueError, match=f"^write_rhd: .*{message}"):
        write_rhd(tmp_path / "new", "training", hands)
    assert list(tmp_path.rglob("*")) in ([], [tmp_path / "new"])


class Stops(list):
    """Hands that raise ``KeyboardInterrupt`` at the fifth."""

    def __getitem__(self, index):
        if index == 4:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_interrupted_write_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr("handgraph.datasets.rhd.writer._BATCH_SIZE", 2)
    with pytest.raises(KeyboardInterrupt):
        write_rhd(tmp_path, "training", Stops(HANDS))
    assert list(tmp_path.iterdir()) == []
    write_rhd(tmp_path, "training", HANDS)
    assert len(RHDHands(tmp_path)) == COUNT


def test_existing_split_is_not_overwritten(root):
    before = sorted(root.rglob("*"))
    with pytest.raises(FileExistsError, match=r"training exists: delete it"):
        write_rhd(root, "training", HANDS)
    (root / "evaluation.part").mkdir()  # of a run that was killed or is still running
    with pytest.raises(FileExistsError, match=r"evaluation.part exists"):
        write_rhd(root, "evaluation", HANDS)
    assert sorted(root.rglob("*")) == sorted([*before, root / "evaluation.part"])


def test_without_depth(tmp_path):
    hands = [hand.clone() for hand in HANDS]
    for hand in hands:
        del hand["depth"]
    write_rhd(tmp_path, "evaluation", hands)
    dataset = RHDHands(tmp_path, "evaluation", load=["image", "mask"], image_size=None)
    assert torch.equal(dataset[2].image, HANDS[2].image)
    assert not (tmp_path / "evaluation" / "depth").exists()


def test_rendered_hands_are_restored_from_files(tmp_path):
    hands = SyntheticHands(5, seed=2, image_size=96, progress=False)
    write_rhd(tmp_path, "training", hands)
    dataset = RHDHands(tmp_path, image_size=None)
    assert dataset.skipped == {}
    for hand, back in zip(hands, dataset, strict=True):
        for name in ("image", "mask", "visible", "xyz", "K"):
            assert torch.equal(back[name], hand[name]), name
        torch.testing.assert_close(back.uv_true, hand.uv_true, rtol=0, atol=1e-3)
        torch.testing.assert_close(back.depth, hand.depth, rtol=0, atol=2.5 / 65535 * 1.001)
        torch.testing.assert_close(back.d, hand.d, rtol=0, atol=1e-5)
        torch.testing.assert_close(back.s, hand.s)


def test_the_random_numbers_of_others_stay(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    write_rhd(tmp_path, "training", HANDS[:1])
    RHDHands(tmp_path)[0]
    assert torch.equal(torch.rand(3), expected)


def test_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_rhd("~/rhd", "training", HANDS[:2])
    assert len(RHDHands(Path("~/rhd"))) == 2
