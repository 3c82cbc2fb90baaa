"""``python -m handgraph`` converts detector files to 3D hands and reports errors in files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch.testing import assert_close

from handgraph import HAND, RHD, __version__
from handgraph.__main__ import main
from handgraph.command import info
from handgraph.datasets import SyntheticHands, write_rhd
from handgraph.hub import pretrained_lifter

ROOT = Path(__file__).parents[1]
HAND_TO_RHD = RHD.index_from(HAND)


@pytest.fixture(scope="module")
def uv():
    return SyntheticHands(1, seed=11, progress=False)[0].uv


def openpose(uv, **sides):
    """Return a person; ``left=[8]`` has a left hand without joint 8."""
    person = {"hand_left_keypoints_2d": [], "hand_right_keypoints_2d": []}
    for side, lost in sides.items():
        rows = [[0, 0, 0] if i in lost else [*p, 0.5] for i, p in enumerate(uv.tolist())]
        person[f"hand_{side}_keypoints_2d"] = [x for row in rows for x in row]
    return {"version": 1.3, "people": [person]}


def mmpose(uv):
    return [{"keypoints": uv.tolist(), "keypoint_scores": [0.5] * 21}]


def coco(uv):
    rows = [[*point, 1] for point in uv.tolist()]
    return {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 1, "keypoints": rows}],
        "categories": [{"id": 1, "keypoints": list(HAND.joints)}],
    }


def h3wb(uv, key="keypoints_2d"):
    """Return a body with a left hand."""
    points = {str(j): {"x": 0, "y": 0} for j in range(133)}
    points |= {str(91 + j): {"x": u, "y": v} for j, (u, v) in enumerate(uv.tolist())}
    return {"2000": {"image_path": "S5.jpg", "bbox": {}, key: points}}


def mediapipe(uv):
    """Return coordinates as fractions of 640 x 480."""
    points = [{"x": u / 640, "y": v / 480, "z": 0.01 * u / 640} for u, v in uv.tolist()]
    return {"hand_landmarks": [points], "handedness": [[{"category_name": "Left"}]]}


@pytest.fixture
def run(tmp_path, capsys):
    """Write a file and run a command on it."""

    def run(content, *options, name="hand.json", command="lift"):
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
        out = tmp_path / "new" / "out"
        main([command, str(tmp_path / name), "--out", str(out), *options])
        return out, capsys.readouterr().out

    return run


def test_lift_as_a_user_runs_it(tmp_path, uv):
    (tmp_path / "é$1$_keypoints.json").write_text(json.dumps(openpose(uv, left=[8], right=[])))
    command = [sys.executable, "-m", "handgraph", "lift", "é$1$_keypoints.json"]
    env = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert "é$1$_keypoints.json: openpose, 2 hands" in done.stdout
    out = tmp_path / "runs" / "lifted"
    names = ["hand_0000.png", "hand_0001.png", "hands.json", "hands.npz"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert (out / "hand_0001.png").read_bytes().startswith(b"\x89PNG")


def test_files_hold_the_estimates_of_the_lifter(run, uv):
    out, printed = run(openpose(uv, left=[8], right=range(2, 21)), "--pictures", "0")
    assert "1 hand without a pose (NaN): fewer than 3 joints, or all in one place" in printed
    assert "0 pictures" in printed
    with np.load(out / "hands.npz") as archive:
        arrays = dict(archive)
    assert arrays["joints"].tolist() == list(HAND.joints)
    assert arrays["side"].tolist() == ["left", "right"]
    assert arrays["name"].tolist() == ["hand", "hand"]
    score = torch.full((21,), 0.5)
    score[8] = 0
    expected = pretrained_lifter().estimate(uv, score, side="left")
    for name in ("pose", "error", "visible", "missing"):
        value = getattr(expected, name)
        assert_close(torch.from_numpy(arrays[name][0]), value, rtol=1e-4, atol=1e-4)
    assert np.isnan(arrays["pose"][1]).all()
    content = json.loads((out / "hands.json").read_text(encoding="utf-8"))
    left, right = content["hands"]
    assert left["uv"][8] == [None, None]
    assert left["missing"][8] is True
    np.testing.assert_allclose(left["pose"], arrays["pose"][0])
    assert right["pose"][0] == [None, None, None]
    assert "keybone" in content["units"]["output"]


def test_all_formats_give_the_same_hand(run, uv):
    poses = []
    for content, options in (
        (openpose(uv, left=[]), ()),
        (mmpose(uv), ("--side", "left")),
        (coco(uv), ("--side", "left", "--format", "coco")),
        (mmpose(uv[HAND_TO_RHD]), ("--side", "left", "--order", "RHD")),
        (mmpose(uv[HAND_TO_RHD]), ("--side", "left", "--order", ",".join(RHD.joints))),
        (coco(uv[HAND_TO_RHD]), ("--side", "left", "--order", "RHD")),
    ):
        out, _ = run(content, *options, "--pictures", "0")
        poses.append(np.load(out / "hands.npz")["pose"])
    for pose in poses[1:]:
        np.testing.assert_allclose(pose, poses[0], atol=1e-3)


def test_mediapipe_gives_depths(run, uv):
    size = ("--image-size", "640", "480", "--pictures", "0")
    expected = pretrained_lifter().estimate(uv, depth=0.01 * uv[:, 0], side="left").pose
    for options in (("--no-mirrored-labels",), ("--side", "left")):
        out, _ = run(mediapipe(uv), *size, *options)
        pose = torch.from_numpy(np.load(out / "hands.npz")["pose"][0])
        assert_close(pose, expected, rtol=1e-3, atol=1e-3)


def test_h3wb_has_no_scores(run, uv):
    out, printed = run(h3wb(uv), "--pictures", "0")
    assert "hand.json: h3wb, 1 hand\n" in printed
    arrays = np.load(out / "hands.npz")
    assert (arrays["side"].tolist(), arrays["name"].tolist()) == (["left"], ["S5.jpg"])
    expected = pretrained_lifter().estimate(uv, side="left").pose
    assert_close(torch.from_numpy(arrays["pose"][0]), expected, rtol=1e-4, atol=1e-4)


def test_several_files_are_one_result(tmp_path, uv, capsys):
    paths = [tmp_path / f"{i}.json" for i in range(1, 6)]
    for i, path in enumerate(paths, start=1):
        path.write_text(json.dumps(openpose(uv, left=[i])))
    out = ["--out", str(tmp_path / "out"), "--pictures", "1", "--side", "right"]
    main(["lift", *map(str, paths), *out])
    printed = capsys.readouterr().out
    assert "4.json: openpose, 1 hand, all right" in printed
    assert "hands.npz and 1 picture to" in printed
    arrays = np.load(tmp_path / "out" / "hands.npz")
    assert arrays["name"].tolist() == ["1", "2", "3", "4", "5"]
    assert arrays["side"].tolist() == ["right"] * 5
    assert arrays["missing"].nonzero()[1].tolist() == [1, 2, 3, 4, 5]
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["hand_0000.png"]


def test_each_hand_with_a_pose_has_a_picture(run, drawn, uv):
    content = openpose(uv, left=[8], right=range(2, 21))
    content["people"] += 11 * openpose(uv, right=[])["people"]
    out, printed = run(content)
    assert "wrote hands.json, hands.npz and 12 pictures to" in printed
    assert list(drawn) == [out / f"hand_{i:04d}.png" for i in (0, *range(2, 13))]
    with pytest.raises(SystemExit, match="expected --pictures to be at least 0, got -1"):
        run(content, "--pictures", "-1")


def test_data_sets_are_lifted_and_drawn(tmp_path, capsys, drawn):
    hands = SyntheticHands(1, seed=11, image_size=32, progress=False)
    write_rhd(tmp_path, "training", hands)
    hand = hands.tensors
    for name in ("xyz", "K"):
        (tmp_path / f"training_{name}.json").write_text(json.dumps(hand[name].tolist()))
    freihand, rhd = tmp_path / "training_xyz.json", tmp_path / "training" / "anno_training.pickle"
    for command in ("lift", "draw"):
        drawn.clear()
        main([command, str(freihand), str(rhd), "--out", str(tmp_path / command)])
        printed = capsys.readouterr().out
        assert "training_xyz.json: freihand, 1 hand\n" in printed
        assert "anno_training.pickle: rhd, 1 hand\n" in printed
        assert len(drawn) == 2
    arrays = np.load(tmp_path / "lift" / "hands.npz")
    assert arrays["side"].tolist() == ["right", "right"]
    lifter, uv = pretrained_lifter(), hand["uv_true"][0]
    score = 0.5 + 0.5 * hand["visible"][0]
    expected = [lifter(uv), lifter(uv, score)]
    assert_close(torch.from_numpy(arrays["pose"]), torch.stack(expected), rtol=1e-3, atol=1e-3)


def test_no_hands_are_no_error(run, uv):
    out, printed = run(openpose(uv), "--pictures", "0")
    assert "openpose, 0 hands" in printed
    assert json.loads((out / "hands.json").read_text())["hands"] == []


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (mmpose, (), "hand: the file does not state the side: expected --side"),
        (mediapipe, (), "MediaPipe's coordinates are relative: expected image_size"),
        (mediapipe, ("--image-size", "640", "480"), "handedness: pass mirrored_labels"),
        (coco, ("--image-size", "6", "4"), "image_size is for mediapipe, .* format is coco"),
        (coco, ("--no-mirrored-labels",), "mirrored_labels is for mediapipe"),
        (coco, ("--format", "openpose"), "expected a field 'people', got images"),
        (openpose, ("--order", "RHD"), "order is for coco and mmpose, .* format is openpose"),
        (lambda uv: h3wb(uv, "keypoints_3d"), (), "sample 2000: no keypoints_2d: 2Dto3D"),
        (lambda uv: {"hands": []}, (), "expected fields of one format, got those of none: pass"),
        (lambda uv: [], (), "got those of none"),
        (lambda uv: coco(uv) | openpose(uv), (), "got those of openpose and coco"),
    ],
)
def test_errors_are_one_line(run, uv, content, options, message):
    with pytest.raises(SystemExit, match=f"^handgraph lift: .*hand.json: .*{message}"):
        run(content(uv), *options)


@pytest.mark.parametrize(
    ("order", "message"),
    [("RDH", "expected the 21 joints .* not found in RDH"), ("a,a", "the name 'a' is used twice")],
)
def test_an_order_must_name_a_hand(run, uv, order, message):
    with pytest.raises(SystemExit, match=f"^handgraph lift: --order: {message}"):
        run(mmpose(uv), "--order", order)


def test_missing_files_and_extras_are_named(run, uv, monkeypatch):
    with pytest.raises(SystemExit, match="No such file"):
        main(["lift", "nowhere.json"])
    for module in [name for name in sys.modules if name.startswith("handgraph.plot")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "handgraph.command.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for command in ("lift", "draw"):
        with pytest.raises(SystemExit, match=r"handgraph\[plot\]"):
            run(openpose(uv, left=[]), command=command)


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures instead of saving them."""
    figures = {}
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.update({path: self}))
    return figures


def shown(ax):
    """Return all points that an axes shows as joints, filled and hollow."""
    marks = [line for line in ax.lines if line.get_linestyle() == "None"]
    hollow = [line for line in marks if line.get_markerfacecolor() == "white"]
    both = [line for line in marks if line not in hollow], hollow
    return tuple(sorted(tuple(p) for line in some for p in line.get_xydata()) for some in both)


def test_draw_shows_the_joints_of_a_detector(run, drawn, uv):
    out, printed = run(openpose(uv, left=[8, 3], right=[]), command="draw")
    assert "openpose, 2 hands" in printed
    assert "wrote 2 pictures" in printed
    assert list(drawn) == [out / "hand_0000.png", out / "hand_0001.png"]
    for figure, lost in zip(drawn.values(), ([3, 8], []), strict=True):
        (ax,) = figure.axes
        rows = [tuple(row) for i, row in enumerate(uv.tolist()) if i not in lost]
        assert shown(ax)[0] == [pytest.approx(row) for row in sorted(rows)]
        text = ax.get_xlabel().partition("missing: ")[2]
        assert [name for name in text.split(", ") if name] == [HAND.joints[i] for i in lost]
    assert [figure.get_suptitle() for figure in drawn.values()] == [
        "hand, left hand",
        "hand, right hand",
    ]


@pytest.mark.parametrize(("side", "title"), [((), "hand"), (("--side", "left"), "hand, left hand")])
def test_draw_does_not_need_the_side(run, drawn, uv, side, title):
    run(mmpose(uv), *side, command="draw")
    assert [figure.get_suptitle() for figure in drawn.values()] == [title]


def test_draw_shows_what_lift_wrote(run, drawn, uv):
    out, _ = run(openpose(uv, left=[8], right=range(2, 21)), "--pictures", "0")
    pose = np.load(out / "hands.npz")["pose"][0]
    for name in ("hands.json", "hands.npz"):
        drawn.clear()
        main(["draw", str(out / name), "--out", str(out / "pictures")])
        found, too_few = drawn.values()
        assert [len(figure.axes) for figure in (found, too_few)] == [4, 1]
        full, hollow = shown(found.axes[1])
        assert hollow == [pytest.approx(tuple(pose[8, :2]))]
        seen = sorted(map(tuple, np.delete(pose[:, :2], 8, axis=0)))
        assert full == [pytest.approx(row) for row in seen]
        assert found.axes[0].get_xlabel().endswith("missing: index_tip")
        assert found.get_suptitle() == "hand, left hand"


def lifted(uv, /, **entries):
    """Return the output of ``lift`` for one hand, with some entries replaced."""
    hand = {
        "uv": uv.tolist(),
        "pose": [[0.0, 0.0, 0.0]] * 21,
        "missing": [False] * 21,
        "side": "left",
        "name": "a",
    }
    return {"joints": list(HAND.joints), "hands": [hand, hand | entries]}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (lambda uv: lifted(uv, pose=[[0, 0]]), (), r"hands\[1\]: pose: expected 21 entries"),
        (
            lambda uv: lifted(uv, uv=[[0, "x"]] * 21),
            (),
            r"hands\[1\]: uv\[0\]\[1\]: expected a finite number, got 'x'",
        ),
        (lambda uv: lifted(uv, missing=[0] * 21), (), r"missing\[0\]: expected true or f"),
        (lambda uv: lifted(uv, side=None), (), r"hands\[1\]: side: expected text, got None"),
        (lambda uv: {"joints": list(HAND.joints), "hands": [{}]}, (), r"hands\[0\]: .* field 'uv'"),
        (lambda uv: {"joints": ["toe"], "hands": []}, (), "joints: expected the joints of HAND"),
        (lifted, ("--side", "left"), "--side applies to files of a detector"),
        (lifted, ("--format", "coco"), "--format applies to files of a detector"),
        (mediapipe, (), "expected image_size"),
        (lambda uv: {"hand": []}, (), "got those of none"),
        (lambda uv: openpose(uv, left=[]) | {"people": [3]}, (), r"people\[0\]"),
    ],
)
def test_draw_errors_name_the_invalid_field(run, uv, content, options, message):
    with pytest.raises(SystemExit, match=f"^handgraph draw: .*hand.json: .*{message}"):
        run(content(uv), *options, command="draw")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("pose"), "expected a field 'pose', got joints"),
        (lambda arrays: arrays.update(uv=arrays["uv"][:1]), "arrays of equally many hands"),
        (lambda arrays: arrays.update(pose=arrays["pose"][..., :2]), r"pose\[0\]: expected 3 entr"),
        (lambda arrays: arrays.update(uv=np.zeros(())), "uv: expected a list, got 0.0"),
        (lambda arrays: arrays.pop("joints"), "joints: expected the joints of HAND, got None"),
    ],
)
def test_archives_are_checked_like_json(tmp_path, uv, change, message):
    hands = lifted(uv)["hands"]
    arrays = {name: np.array([hand[name] for hand in hands]) for name in hands[0]}
    arrays = {"joints": np.array(HAND.joints)} | arrays
    change(arrays)
    np.savez(tmp_path / "hands.npz", **arrays)
    with pytest.raises(SystemExit, match=f"^handgraph draw: .*hands.npz: .*{message}"):
        main(["draw", str(tmp_path / "hands.npz")])


def test_no_archive_is_no_picture(tmp_path):
    (tmp_path / "hands.npz").write_text("{}")
    with pytest.raises(SystemExit, match=r"hands.npz: not an .npz file"):
        main(["draw", str(tmp_path / "hands.npz")])


def test_info(capsys, monkeypatch):
    main(["info"])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    found = {line[0]: line[1] for line in lines}
    assert found["handgraph"] == __version__
    assert found["torch"] == torch.__version__
    assert found["engine"].split(";")[0] in ("numba", "reference", "triton")
    monkeypatch.setattr(info, "requires", lambda _: ["timm>=1; extra == 'vision'", "numpy>=2",
                                                     'no-such>=1; extra == "x"'])  # fmt: skip
    extras = info.extras()
    assert extras["x"] == {"no-such": "not installed"}
    assert extras.keys() == {"vision", "x"}
