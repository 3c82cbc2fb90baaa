import copy
import hashlib
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch_geometric.loader import DataLoader

from handgraph import HAND
from handgraph.datasets import NARROW, HandPose, HandShape, HandView, SyntheticHands, simulator
from handgraph.detectors import HeatmapDetector, Missing, RegressionDetector
from handgraph.geometry import keybone_length, project, uvd_to_camera

SHAPES = {
    "uv": (21, 2),
    "uv_clean": (21, 2),
    "uv_true": (21, 2),
    "confidence": (21, 1),
    "confidence_clean": (21, 1),
    "cue": (21, 1),
    "cue_clean": (21, 1),
    "xyz": (21, 3),
    "K": (3, 3),
    "visible": (21,),
    "d": (21,),
    "s": (),
    "left": (),
}
BONES = np.array(HandShape.narrow().bones)
KNOWN_UV = [38.55314, 116.84937]
KNOWN_VISIBLE = 3947


@pytest.fixture(scope="module")
def dataset():
    return SyntheticHands(6000, seed=11, **NARROW)


@pytest.fixture(scope="module")
def tensors(dataset):
    return dataset.tensors


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def bytes_of(tensors):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def test_stacked_tensors_have_their_shapes(tensors):
    assert {name: tuple(value.shape[1:]) for name, value in tensors.items()} == SHAPES
    for name, value in tensors.items():
        assert len(value) == 6000
        assert value.dtype == (torch.bool if name in ("visible", "left") else torch.float32)
        assert value.isfinite().all()
        assert value.is_contiguous()


def test_an_item_is_a_hand_graph(dataset, tensors):
    item = dataset[7]
    assert item.num_nodes == 21
    assert torch.equal(item.edge_index, HAND.edge_index)
    assert item.K.shape == (1, 3, 3)
    assert item.s.shape == (1,)
    for name in SHAPES:
        torch.testing.assert_close(
            item[name].reshape(SHAPES[name]), tensors[name][7], rtol=0, atol=0
        )
    item.uv.zero_()
    assert not torch.equal(dataset[7].uv, item.uv)  # items are copies


def test_joints_project_to_their_pixels(tensors):
    uv = project(tensors["xyz"], tensors["K"])
    torch.testing.assert_close(uv, tensors["uv_true"], rtol=0, atol=1e-3)
    matrix = torch.tensor([[500.0, 0, 127.5], [0, 500.0, 127.5], [0, 0, 1]])
    assert torch.equal(tensors["K"][0], matrix)


def test_relative_depth_is_equation_1(tensors):
    xyz = tensors["xyz"].double()
    bone = xyz[:, HAND.index("middle_pip")] - xyz[:, HAND.index("middle_mcp")]
    s = bone.square().sum(-1).sqrt()
    d = (xyz[..., 2] - xyz[:, [HAND.index("wrist")], 2]) / s[:, None]
    torch.testing.assert_close(tensors["s"], s.float(), rtol=1e-5, atol=0)
    torch.testing.assert_close(tensors["d"], d.float(), rtol=0, atol=1e-4)
    assert (tensors["d"][:, HAND.index("wrist")] == 0).all()


def test_pixels_and_relative_depth_give_the_joints_back(tensors):
    uvd = torch.cat([tensors["uv_true"], tensors["d"][..., None]], dim=-1).double()
    root = tensors["xyz"][:, HAND.index("wrist"), 2].double()
    xyz = uvd_to_camera(uvd, tensors["K"].double(), tensors["s"].double(), root)
    torch.testing.assert_close(xyz, tensors["xyz"].double(), rtol=0, atol=1e-6)


def test_bones_have_the_lengths_of_hands(tensors):
    joints = torch.stack(
        [tensors["xyz"][:, HAND.select(f)] for f in ("thumb", "index", "middle", "ring", "pinky")],
        1,
    )
    mm = 1e3 * joints.diff(dim=2).norm(dim=-1).numpy() / BONES
    assert mm.min() >= 0.76 * 0.895 - 1e-4
    assert mm.max() <= 1.24 * 1.105 + 1e-4
    assert np.median(mm) == pytest.approx(1.0, abs=0.01)
    assert keybone_length(tensors["xyz"]).mean() == pytest.approx(0.047, abs=0.0005)


def test_fingers_bend_within_the_limits(tensors):
    """Measure the middle and last joints of the four fingers by the angles between bones."""
    for finger in ("index", "middle", "ring", "pinky"):
        bones = tensors["xyz"][:, HAND.select(finger)].double().diff(dim=1)
        bones = bones / bones.norm(dim=-1, keepdim=True)
        bend = torch.rad2deg((bones[:, :-1] * bones[:, 1:]).sum(-1).clamp(-1, 1).acos())
        assert bend[:, 0].max() <= 110.01
        assert bend[:, 1].max() <= 82.6  # 0.75 * 110, the limit is 85
        ratio = bend[:, 1] / bend[:, 0]
        assert ratio[bend[:, 0] > 5].min() > 0.44
        assert ratio[bend[:, 0] > 5].max() < 0.76


def test_all_joints_lie_in_the_image(tensors):
    assert tensors["uv_true"].min() >= -0.5
    assert tensors["uv_true"].max() <= 255.5


def test_clean_detections_equal_the_detected_at_visible_joints(tensors):
    visible = tensors["visible"]
    assert torch.equal(tensors["uv"][visible], tensors["uv_clean"][visible])
    for name in ("confidence", "cue"):
        assert torch.equal(tensors[name][visible], tensors[f"{name}_clean"][visible])
        assert (tensors[name][~visible] < tensors[f"{name}_clean"][~visible]).all()
    noise = tensors["uv_clean"] - tensors["uv_true"]
    assert noise[visible].std() == pytest.approx(1.5, abs=0.02)
    assert noise[~visible].std() == pytest.approx(1.5, abs=0.02)


def test_hidden_joints_are_fifteen_pixels_off(tensors):
    error = (tensors["uv"] - tensors["uv_true"]).norm(dim=-1)[~tensors["visible"]]
    assert error.median() == pytest.approx(15.0, abs=1.0)


def test_score_orders_visible_before_hidden_joints(tensors):
    score, visible = tensors["confidence"].flatten().numpy(), tensors["visible"].flatten().numpy()
    num_visible, num_hidden = visible.sum(), (~visible).sum()
    rank_sum = rankdata(score)[visible].sum()
    auc = (rank_sum - num_visible * (num_visible + 1) / 2) / (num_visible * num_hidden)
    assert auc == pytest.approx(0.90, abs=0.01)
    assert score.min() > 0
    assert score.max() < 1


def test_depth_cue_is_that_of_the_joint_or_its_occluder(tensors):
    visible = tensors["visible"]
    noise = tensors["cue_clean"][..., 0] - tensors["d"]
    assert noise.std() == pytest.approx(0.5, abs=0.01)
    assert noise.mean() == pytest.approx(0.0, abs=0.01)
    nearer = (tensors["cue_clean"] - tensors["cue"])[..., 0] * tensors["s"][:, None]
    assert (nearer[visible] == 0).all()
    assert nearer[~visible].min() > 0.007 * 0.76 * 0.2  # hidden joints lie below some skin
    assert nearer[~visible].max() < 0.5


def test_share_of_severe_images(tensors):
    num_visible = tensors["visible"].sum(dim=1)
    assert (num_visible <= 10).float().mean() == pytest.approx(0.2, abs=0.02)
    assert num_visible.min() >= 1
    everything = SyntheticHands(600, severe_fraction=1.0).tensors["visible"].sum(dim=1)
    assert everything.max() <= 10
    nothing = SyntheticHands(600, severe_fraction=0.0).tensors["visible"].sum(dim=1)
    assert nothing.min() >= 11


def test_objects_hide_more_than_the_hand_does():
    hidden = [
        (~SyntheticHands(1500, severe_fraction=0.0, occluder_fraction=f).tensors["visible"])
        .sum(1)
        .float()
        .mean()
        for f in (0.0, 1.0)
    ]
    assert hidden[0] == pytest.approx(5.1, abs=0.4)
    assert hidden[1] > hidden[0] + 1.5


def test_the_first_thousand_of_five_thousand_are_the_thousand():
    long, short = SyntheticHands(5000, seed=3), SyntheticHands(1000, seed=3)
    assert same(long[:1000].tensors, short.tensors)


def test_samples_of_different_chunks_and_seeds_differ():
    first = SyntheticHands(600, seed=3).tensors["xyz"]
    other = SyntheticHands(600, seed=4).tensors["xyz"]
    assert not (first == other).all(-1).any()
    assert len(torch.unique(first[:, HAND.index("index_tip")], dim=0)) == 600


def test_the_same_arguments_give_the_same_bytes():
    torch.manual_seed(1)
    first = SyntheticHands(300, seed=5).tensors
    torch.manual_seed(2)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    second = SyntheticHands(300, seed=5).tensors
    torch.set_num_threads(threads)
    assert bytes_of(first) == bytes_of(second)


def test_known_numbers():
    """Regression values of this version. If the simulator changes, change its cache version."""
    tensors = SyntheticHands(300, seed=0, **NARROW).tensors
    torch.testing.assert_close(
        tensors["uv"][299, HAND.index("index_tip")], torch.tensor(KNOWN_UV), rtol=0, atol=1e-3
    )
    assert tensors["visible"].sum() == KNOWN_VISIBLE


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_gives_the_same_batches_for_any_number_of_workers(num_workers):
    dataset = SyntheticHands(20, seed=2)
    batches = list(DataLoader(dataset, batch_size=8, num_workers=num_workers))
    assert [batch.num_graphs for batch in batches] == [8, 8, 4]
    assert batches[0].uv.shape == (8 * 21, 2)
    assert batches[0].K.shape == (8, 3, 3)
    assert batches[0].s.shape == (8,)
    assert batches[0].edge_index.max() == 8 * 21 - 1
    for name, value in dataset.tensors.items():
        loaded = torch.cat([batch[name] for batch in batches])
        assert torch.equal(loaded.reshape(value.shape), value)


def test_slices_transforms_and_copies():
    dataset = SyntheticHands(30, transform=lambda data: data.num_nodes)
    assert dataset[0] == 21
    assert len(dataset[10:20]) == 10
    plain = SyntheticHands(30)
    mask = torch.arange(30) % 3 == 0
    assert torch.equal(plain[mask].tensors["d"], plain.tensors["d"][mask])
    assert same(pickle.loads(pickle.dumps(plain)).tensors, plain.tensors)
    assert same(copy.deepcopy(plain).tensors, plain.tensors)


def test_image_size_noise_and_focal_length_are_arguments():
    small = SyntheticHands(
        500, image_size=64, detector=HeatmapDetector(noise=0.0), **NARROW
    ).tensors
    assert small["uv_true"].max() <= 63.5
    assert torch.equal(small["uv_clean"], small["uv_true"])
    assert small["K"][0].tolist() == [[125, 0, 31.5], [0, 125, 31.5], [0, 0, 1]]
    view = HandView(focal=(300 / 256,))
    assert SyntheticHands(10, view=view).tensors["K"][0, 0, 0] == 300


def test_a_cache_is_written_and_read(tmp_path, monkeypatch):
    first = SyntheticHands(50, root=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert same(first.tensors, SyntheticHands(50).tensors)
    monkeypatch.setattr("handgraph.datasets.synthetic.simulate", None)  # must not be called
    assert same(SyntheticHands(50, root=str(tmp_path / "cache")).tensors, first.tensors)


@pytest.mark.parametrize(
    "change",
    [
        {"num_samples": 51},
        {"seed": 1},
        {"image_size": 128},
        {"image_size": 256},
        {"view": HandView(focal=(2.0,))},
        {"shape": HandShape.adult()},
        {"pose": HandPose(gestures=0.0)},
        {"left_fraction": 0.5},
        {"missing": Missing()},
        {"detector": RegressionDetector()},
        {"severe_fraction": 0.1},
        {"occluder_fraction": 0.1},
        {"detector": HeatmapDetector(noise=2.0)},
    ],
)
def test_other_arguments_have_another_cache_file(tmp_path, change):
    SyntheticHands(50, root=tmp_path)
    SyntheticHands(**{"num_samples": 50, **change}, root=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_cache_is_rebuilt(tmp_path):
    before = SyntheticHands(50, root=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="damaged"):
        after = SyntheticHands(50, root=tmp_path)
    assert same(after.tensors, before.tensors)
    assert path.read_bytes() == whole
    SyntheticHands(50, root=tmp_path)  # no warning, as the file is repaired


def test_no_file_is_written_without_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SyntheticHands(10)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_in_terminals_only(capsys, monkeypatch):
    SyntheticHands(10)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    SyntheticHands(10, progress=False)
    assert capsys.readouterr().err == ""
    SyntheticHands(10, progress=True)
    assert "SyntheticHands: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_samples": 0}, ValueError, "num_samples to be at least 1, got 0"),
        ({"num_samples": 10.0}, TypeError, "num_samples as int, got float"),
        ({"num_samples": True}, TypeError, "num_samples as int, got bool"),
        ({"seed": -1}, ValueError, "seed to be from 0 to 18446744073709551615, got -1"),
        ({"seed": 2**64}, ValueError, "seed to be from 0 to 18446744073709551615"),
        ({"image_size": 15}, ValueError, "image_size to be at least 16, got 15"),
        ({"image_size": 128.0}, TypeError, "image_size as int, got float"),
        ({"severe_fraction": 1.1}, ValueError, "severe_fraction to be from 0 to 1, got 1.1"),
        ({"occluder_fraction": -0.1}, ValueError, "occluder_fraction to be from 0 to 1"),
        ({"left_fraction": -1}, ValueError, "left_fraction to be from 0 to 1, got -1"),
        ({"detector": "heatmap"}, TypeError, "detector must be .*, got 'heatmap'"),
        ({"shape": [1.0]}, TypeError, "shape must be a HandShape, got list"),
        (
            {"image_size": 16, "view": HandView(focal=(0.4,))},
            ValueError,
            "focal lengths of at least 8 pixels, got 6.4",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_simulated(
    monkeypatch, arguments, error, message
):
    monkeypatch.setattr(simulator, "simulate_chunk", None)
    with pytest.raises(error, match=message):
        SyntheticHands(**{"num_samples": 10, **arguments})


def test_a_root_that_cannot_be_written_to_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="the hands were not cached"):
        hands = SyntheticHands(3, root=tmp_path / "file" / "cache", progress=False)
    assert len(hands) == 3


def test_the_default_covers_more_shapes_and_poses_than_the_narrow_hands(tensors):
    wide = SyntheticHands(3000, seed=11).tensors
    middle, index, pinky = (HAND.index(f"{f}_mcp") for f in ("middle", "index", "pinky"))
    for ends, (low, high) in (((0, middle), (1.6, 2.65)), ((index, pinky), (1.2, 1.9))):
        ratios = [
            (x["xyz"][:, ends[0]] - x["xyz"][:, ends[1]]).norm(dim=-1) / x["s"]
            for x in (tensors, wide)
        ]
        assert ratios[1].quantile(0.01) < low + 0.1
        assert ratios[1].quantile(0.99) > high - 0.1
        assert ratios[1].std() > 1.25 * ratios[0].std()


def test_each_hand_is_before_one_of_the_cameras():
    focal = SyntheticHands(500).tensors["K"][:, 0, 0]
    expected = torch.tensor(HandView().focal) * 256
    torch.testing.assert_close(focal.unique(), expected, rtol=1e-6, atol=0)


def test_left_hands_are_mirrored_right_hands():
    right = SyntheticHands(200, seed=2, image_size=48)
    some = SyntheticHands(200, seed=2, image_size=48, left_fraction=0.5)
    left = some.tensors["left"]
    assert 0.4 < left.float().mean() < 0.6
    assert not right.tensors["left"].any()
    for name in ("uv", "uv_true", "uv_clean"):
        mirrored = right.tensors[name] * torch.tensor([-1.0, 1.0]) + torch.tensor([47.0, 0.0])
        torch.testing.assert_close(some.tensors[name][left], mirrored[left], rtol=0, atol=1e-4)
        assert torch.equal(some.tensors[name][~left], right.tensors[name][~left])
    tensors = some.tensors
    projected = project(tensors["xyz"], tensors["K"])
    torch.testing.assert_close(projected, tensors["uv_true"], rtol=0, atol=1e-3)
    first = int(left.nonzero()[0])
    pictures, mirrored = some.render([first]), right.render([first])
    for name in ("image", "depth"):
        assert torch.equal(pictures[name], mirrored[name].flip(-1))
    assert set(pictures["mask"].unique().tolist()) <= set(range(18))  # classes of left hands in RHD


def test_missing_joints_are_nan_with_found_false():
    tensors = SyntheticHands(500, missing=Missing(share=1.0)).tensors
    found = tensors["found"]
    assert 0.5 < found.float().mean() < 0.9
    for name in ("uv", "cue"):
        assert torch.equal(tensors[name].isfinite().all(-1), found)
    assert torch.equal(tensors["confidence"][..., 0] > 0, found)
    assert tensors["uv_clean"].isfinite().all()


def test_several_detectors_see_one_hand_each():
    tensors = SyntheticHands(600, detector=(HeatmapDetector(), RegressionDetector())).tensors
    regressed = (tensors["confidence"] == 0.5).flatten(1).all(dim=1)
    assert 0.4 < regressed.float().mean() < 0.6
    alone = SyntheticHands(600).tensors
    assert torch.equal(tensors["xyz"], alone["xyz"])
    assert torch.equal(tensors["uv"][:256][~regressed[:256]], alone["uv"][:256][~regressed[:256]])
