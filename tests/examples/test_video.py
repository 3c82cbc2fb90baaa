"""The video and image commands of predict.py."""

import math
import sys

import numpy as np
import predict
import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from handgraph import HAND
from handgraph.video import VideoWriter, read_frames
from pipeline.settings import Settings
from psjnet import PoseNet

SIZE = 64
RING = torch.stack([torch.linspace(0, 2 * math.pi, 22)[:21].cos(),
                    torch.linspace(0, 2 * math.pi, 22)[:21].sin()], dim=-1)  # fmt: skip


def colored(i, height=21, width=33):
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[i % 3] = 200
    return image


class Still(nn.Module):
    """A generator that ignores the image, and a lifter whose hand fills the crop as in training."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))  # predict.py folds it

    def forward(self, x):
        if isinstance(x, tuple):
            pose = torch.cat([0.8 * RING, torch.linspace(0, 1, 21)[:, None]], dim=-1)
            return pose[None], None
        return torch.full((len(x), 21, 16, 16), 0.5), torch.zeros(len(x), 1, 16, 16)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run predict.py with a net that finds one hand in the middle of any first crop."""
    still = Settings(image_size=SIZE), PoseNet(Still(), Still())
    monkeypatch.setattr(predict, "load_run", lambda path: still)

    def run(*arguments):
        out = tmp_path / "out"
        command = ["predict.py", "--run", "x", "--out", str(out), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        predict.main()
        return out, capsys.readouterr().out

    return run


@pytest.mark.parametrize("left", [False, True])
def test_video_gives_a_video_and_all_joints(run, tmp_path, left):
    pytest.importorskip("av")
    with VideoWriter(tmp_path / "hand.mp4") as video:
        for i in range(4):
            video.write(i / 30, colored(0, 100, 140))
    given = ["--video", tmp_path / "hand.mp4", "--box", 20, 10, 60, 50, "--frames", 3]
    out, printed = run(*given, *(["--left"] if left else []))
    assert printed.startswith("3 frames, ")
    assert "a second ->" in printed
    with np.load(out / "hands.npz") as found:
        uv, d = torch.from_numpy(found["uv"]), torch.from_numpy(found["d"])
        assert found["joints"].tolist() == list(HAND.joints)
        assert found["seconds"].tolist() == pytest.approx([0, 1 / 30, 2 / 30], abs=1e-3)
        assert np.all(found["peak"] == 0.5)
    ring = RING * torch.tensor([-1.0 if left else 1.0, 1])
    expected = torch.tensor([40.0, 30.0]) + 20 * ring  # 0.8 of half of 1.25 times 40 pixels
    # the ring has no joint at its leftmost: its box is not quite a square around the middle
    assert (uv - expected).abs().max() < 1
    assert_close(d, torch.linspace(0, 1, 21).expand(3, -1), atol=1e-5, rtol=0)
    frames = [image for _, image in read_frames(out / "hands.mp4")]
    assert len(frames) == 3
    changed = (frames[0].int() - colored(0, 100, 140)).abs().amax(dim=0) > 60
    rows, columns = changed.nonzero().unbind(dim=-1)
    ends = [columns.min(), columns.max(), rows.min(), rows.max()]
    assert [int(x) for x in ends] == pytest.approx([20, 60, 10, 50], abs=5)


def test_images_of_one_name_do_not_overwrite_each_other(run, tmp_path):
    paths = [tmp_path / "a" / "hand.png", tmp_path / "b" / "hand.png"]
    for path in paths:
        path.parent.mkdir()
        Image.new("RGB", (70, 70)).save(path)
    out, _ = run(*paths)
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("joints.json"))
    assert found == ["a/hand/joints.json", "b/hand/joints.json"]


def test_folders_are_as_short_as_can_be(tmp_path):
    def names(*paths):
        return [path.as_posix() for path in predict.folders([tmp_path / path for path in paths])]

    assert names("x/one.png", "y/two.png") == ["one", "two"]
    assert names("x/one.png", "y/one.png", "y/two.png") == ["x/one", "y/one", "y/two"]
    assert names("x/one.png", "x/one.jpg") == ["one.png", "one.jpg"]
    assert names("x/one.png", "x/y/../one.png") == ["one", "one"]  # the same file
    assert names("one.png", "x/one.png") == ["one", "x/one"]


@pytest.mark.parametrize("given", ["", "a.png --video a.mp4", "--video a.mp4 --webcam 0"])
def test_command_takes_images_or_one_video(run, given, capsys):
    with pytest.raises(SystemExit):
        run(*given.split())
    assert "expected images, --video or --webcam, one of them" in capsys.readouterr().err
