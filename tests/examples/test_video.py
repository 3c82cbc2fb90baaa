"""Hands in videos: the filter, the crop that follows, frames in and out, and the command."""

import math
import struct
import sys

import numpy as np
import predict
import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from handgraph import HAND
from handgraph.geometry import crop_matrix, transform_points
from images.folders import folders
from images.follow import Pose, follow
from images.one_euro import OneEuro
from images.skeleton import draw_hand
from images.video import VideoWriter, read_frames
from pipeline.settings import Settings
from psjnet import PoseNet

SIZE = 64
RING = torch.stack([torch.linspace(0, 2 * math.pi, 22)[:21].cos(),
                    torch.linspace(0, 2 * math.pi, 22)[:21].sin()], dim=-1)  # fmt: skip


# The One-Euro filter


def by_the_paper(values, times, min_cutoff, beta):
    """Algorithm 1 of the paper, one number at a time."""
    out, before, speed, last = [], None, 0.0, None

    def alpha(cutoff, step):
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / step)

    for x, time in zip(values, times, strict=True):
        if before is None:
            before, last = x, time
        else:
            step, last = time - last, time
            a = alpha(1.0, step)
            speed = a * (x - before) / step + (1 - a) * speed
            a = alpha(min_cutoff + beta * abs(speed), step)
            before = a * x + (1 - a) * before
        out.append(before)
    return out


def test_filter_is_the_paper_s():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(30, 2, 3, generator=rng, dtype=torch.float64).cumsum(dim=0)
    times = (0.01 + torch.rand(30, generator=rng)).cumsum(dim=0).tolist()
    smooth = OneEuro(0.7, 0.3)
    found = torch.stack([smooth(value, time) for value, time in zip(x, times, strict=True)])
    for i, j in np.ndindex(2, 3):
        expected = by_the_paper(x[:, i, j].tolist(), times, 0.7, 0.3)
        assert_close(found[:, i, j], torch.tensor(expected, dtype=torch.float64))


def test_constant_stays():
    smooth, x = OneEuro(), torch.tensor([3.0, -7.0])
    for i in range(5):
        assert torch.equal(smooth(x, i / 30), x)


def test_without_beta_a_step_is_answered_as_by_a_low_pass():
    smooth, step, cutoff = OneEuro(min_cutoff := 2.0, 0.0), 0.05, min_cutoff
    smooth(torch.tensor(0.0, dtype=torch.float64), 0.0)
    rest = 1 / (1 + 2 * math.pi * cutoff * step)  # what is left of the step after each value
    for i in range(1, 20):
        found = smooth(torch.tensor(1.0, dtype=torch.float64), i * step)
        assert found.item() == pytest.approx(1 - rest**i)


def test_larger_beta_reduces_the_lag_of_fast_motion():
    slow, quick = OneEuro(1.0, 0.0), OneEuro(1.0, 1.0)
    for i in range(20):
        x = torch.tensor(10.0 * i)
        lag = [(x - smooth(x, i / 30)).item() for smooth in (slow, quick)]
    assert 0 < lag[1] < lag[0] / 5


def test_missing_values_stay_missing_and_start_anew():
    smooth = OneEuro()
    values = [[1.0, 1.0], [1.0, torch.nan], [1.0, 5.0], [1.0, 5.0]]
    found = [smooth(torch.tensor(x), i / 30).tolist() for i, x in enumerate(values)]
    assert math.isnan(found[1][1])
    assert found[2:] == values[2:]


def test_filter_raises_for_invalid_arguments():
    smooth = OneEuro()
    smooth(torch.zeros(1), 1.0)
    with pytest.raises(ValueError, match="expected a time after 1 s, got 1 s"):
        smooth(torch.zeros(1), 1.0)
    with pytest.raises(ValueError, match="min_cutoff > 0 and beta >= 0, got 0 and 1"):
        OneEuro(0.0, 1.0)
    with pytest.raises(ValueError, match="got 1 and -1"):
        OneEuro(1.0, -1.0)


# The crop that follows


class Hand:
    """A hand that moves; ``crops`` are the maps that it was looked at under."""

    def __init__(self, centers, radius=20.0):
        self.there = [radius * RING + torch.tensor(center) for center in centers]
        self.crops, self.boxes = [], 0

    def first_box(self, image):
        self.boxes += 1
        return torch.tensor([[0.0, 0.0], [99.0, 99.0]])

    def estimate(self, image, to_crop):
        self.crops.append(to_crop)
        uv = transform_points(to_crop, self.there[len(self.crops) - 1])
        return Pose(uv, torch.zeros(21), torch.ones(21))

    def follow(self, beta=1e6):
        image = torch.zeros(3, 100, 200, dtype=torch.uint8)
        frames = [(i / 30, image) for i in range(len(self.there))]
        return list(follow(frames, self.first_box, self.estimate, SIZE, 1.0, beta))


def test_crop_is_around_the_last_joints():
    hand = Hand([(50.0, 50.0), (55.0, 50.0), (60.0, 52.0)])
    found = hand.follow()
    first = crop_matrix(torch.tensor([[0.0, 0.0], [99.0, 99.0]]), SIZE)
    expected = [first, *(crop_matrix(uv, SIZE) for uv in hand.there[:2])]
    assert_close(torch.stack(hand.crops), torch.stack(expected), atol=1e-3, rtol=0)
    assert hand.boxes == 1
    for frame, uv in zip(found, hand.there, strict=True):  # with a large beta nothing is smoothed
        assert_close(frame.pose.uv, uv, atol=0.01, rtol=0)
    assert [frame.seconds for frame in found] == [0, 1 / 30, 2 / 30]


def test_followed_joints_are_smoothed_by_the_filter():
    hand = Hand([(50.0, 50.0), (60.0, 50.0), (50.0, 50.0)])
    smooth = OneEuro(1.0, 0.02)
    for i, frame in enumerate(hand.follow(0.02)):
        assert_close(frame.pose.uv, smooth(hand.there[i], i / 30), atol=1e-3, rtol=0)


@pytest.mark.parametrize("lost", [(250.0, 50.0), (torch.nan, 50.0)])
def test_lost_hand_resets_to_the_first_crop(lost):
    hand = Hand([(50.0, 50.0), lost, (50.0, 50.0)])
    hand.follow()
    assert hand.boxes == 2
    assert torch.equal(hand.crops[0], hand.crops[2])


def test_a_tiny_hand_is_lost():
    hand = Hand([(50.0, 50.0)] * 2, radius=5.0)
    hand.follow()
    assert hand.boxes == 2


def test_hand_is_drawn_where_it_is():
    image = torch.full((3, 100, 120), 255, dtype=torch.uint8)
    uv = 30 * RING + torch.tensor([60.0, 50.0])
    drawn = draw_hand(image, uv)
    assert drawn.shape == image.shape
    assert image.eq(255).all()  # a copy
    changed = (drawn != 255).any(dim=0)
    for u, v in uv.round().long().tolist():
        assert changed[v, u]
    assert not changed[:10].any()


# Frames in and out


def colored(i, height=21, width=33):
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[i % 3] = 200
    return image


def test_frames_are_restored_with_their_times(tmp_path):
    pytest.importorskip("av")
    times = [0.0, 0.04, 0.1, 0.2]
    with VideoWriter(tmp_path / "a.mp4") as video:
        for i, seconds in enumerate(times):
            video.write(seconds, colored(i))
    found = list(read_frames(tmp_path / "a.mp4"))
    assert [seconds for seconds, _ in found] == pytest.approx(times, abs=1e-3)
    for i, (_, image) in enumerate(found):
        assert image.dtype == torch.uint8
        assert image.shape == (3, 22, 34)  # odd sides get a row and a column
        inside = image[:, :20, :30].float()
        assert (inside - colored(i, 20, 30)).abs().mean() < 8


def matrix(*entries):
    """The matrix of a track's header in an MP4: 16.16 numbers, the last column 2.30."""
    return struct.pack(">9i", *(round(x * 2**16) for x in entries[:8]), 2**30)


@pytest.mark.parametrize("quarters", [1, 2, 3])  # clockwise: x goes down, to the left, up
def test_frames_are_rotated_by_the_metadata_of_the_file(quarters, tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    image = torch.zeros(3, 32, 64, dtype=torch.uint8)
    image[:, :16, :32] = 200  # at the top left
    with VideoWriter(path) as video:
        video.write(0.0, image)
    cos, sin = (round(f(quarters * math.pi / 2)) for f in (math.cos, math.sin))
    upright, turned = matrix(1, 0, 0, 0, 1, 0, 0, 0), matrix(cos, sin, 0, -sin, cos, 0, 0, 0)
    whole = path.read_bytes()
    start = whole.index(b"tkhd")
    at = whole.index(upright, start)
    path.write_bytes(whole[:at] + turned + whole[at + len(turned) :])
    ((_, found),) = read_frames(path)
    expected = image.rot90(-quarters, (1, 2))  # torch counts the other way round
    assert found.shape == expected.shape
    assert (found.float() - expected).abs().mean() < 8


def test_files_that_are_not_videos_raise(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(ValueError, match=r"a.mp4: expected a video"):
        list(read_frames(tmp_path / "a.mp4"))
    with pytest.raises(FileNotFoundError):
        list(read_frames(tmp_path / "b.mp4"))


def test_without_pyav_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'handgraph\[video\]'"):
        list(read_frames(tmp_path / "a.mp4"))
    with pytest.raises(ImportError, match=r"pip install 'handgraph\[video\]'"):
        VideoWriter(tmp_path / "a.mp4")


# The command


class Still(nn.Module):
    """A generator that looks at nothing, and a lifter whose hand fills the crop as in training."""

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
        return [path.as_posix() for path in folders([tmp_path / path for path in paths])]

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
