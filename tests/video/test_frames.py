"""Reading and writing the frames of video files."""

import math
import struct
import sys

import pytest
import torch

from handgraph.video import VideoWriter, read_frames


def colored(i, height=21, width=33):
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[i % 3] = 200
    return image


def test_frames_come_back_with_their_times(tmp_path):
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
    """Encode the matrix of an MP4 track header: 16.16 fixed point, the last entry 2.30."""
    return struct.pack(">9i", *(round(x * 2**16) for x in entries[:8]), 2**30)


@pytest.mark.parametrize("quarters", [1, 2, 3])  # clockwise: x goes down, to the left, up
def test_frames_are_turned_as_their_file_says(quarters, tmp_path):
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


def test_what_is_no_video_is_refused(tmp_path):
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


def test_frames_that_do_not_fit_are_refused(tmp_path):
    pytest.importorskip("av")
    with VideoWriter(tmp_path / "a.mp4") as video:
        with pytest.raises(TypeError, match="expected a uint8 image, got torch.float32"):
            video.write(0.0, colored(0).float())
        with pytest.raises(ValueError, match=r"expected an image \[3, H, W\], got \[21, 33\]"):
            video.write(0.0, colored(0)[0])
        video.write(0.0, colored(0))
        with pytest.raises(ValueError, match=r"\[3, 21, 33\] as the first, got \[3, 20, 33\]"):
            video.write(0.1, colored(0, 20))


def test_a_webcam_of_an_unknown_system_is_refused(monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ValueError, match="expected Linux or macOS, got win32: read a file"):
        list(read_frames(0))
