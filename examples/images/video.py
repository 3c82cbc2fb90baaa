"""Frames of a video file or a webcam, and a video of frames, by PyAV (the extra ``video``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
"""FFmpeg's format and name of a webcam on each system."""

CLOCK = Fraction(1, 90_000)
"""Unit of time in a video that is written, MPEG's."""


def read_frames(source: Path | int) -> Iterator[tuple[float, Tensor]]:
    """Give time in seconds and pixels ``[3, H, W]`` (RGB, uint8) of each frame.

    Frames are turned by quarters as their file says: phones store upright videos lying. Times grow
    from frame to frame: where a file has none or goes back, its frame rate counts on.

    Args:
        source: A file, or the number of a webcam.

    Raises:
        ImportError: Without PyAV.
        ValueError: If the file is no video, or webcams of this system are unknown.
        OSError: If the file or the webcam cannot be opened.
    """
    with _open(source) as container:
        if not container.streams.video:
            raise ValueError(f"{source}: expected a video, got a file without pictures")
        stream = container.streams.video[0]
        last, step = -float("inf"), 1 / float(stream.average_rate or 30)
        for i, frame in enumerate(container.decode(stream)):
            time = i * step if frame.time is None else frame.time
            last = time if time > last else last + step
            pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
            yield last, pixels.rot90(frame.rotation // 90, (1, 2))


class VideoWriter:
    """Write frames as H.264; the size is that of the first, made even by a black column or row.

    Args:
        path: The file, ``.mp4``.

    Raises:
        ImportError: Without PyAV.
    """

    def __init__(self, path: Path):
        self._av = _pyav()
        self._container = self._av.open(str(path), "w")
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        """Start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is still in the encoder, and close the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, seconds: float, image: Tensor) -> None:
        """Add a frame ``[3, H, W]`` (RGB, uint8) to be shown at a time, which grows."""
        height, width = image.shape[1:]
        even = pad(image, (0, width % 2, 0, height % 2))
        frame = self._av.VideoFrame.from_ndarray(even.permute(1, 2, 0).contiguous().numpy())
        if self._stream is None:
            self._stream = self._add_stream(frame)
        frame.pts, frame.time_base = round(seconds / CLOCK), CLOCK
        self._container.mux(self._stream.encode(frame))

    def _add_stream(self, frame: Any) -> Any:  # noqa: ANN401
        stream = self._container.add_stream("libx264", rate=30, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.codec_context.time_base = CLOCK
        return stream


def _open(source: Path | int) -> Any:  # noqa: ANN401
    av = _pyav()
    if not isinstance(source, int):
        try:
            return av.open(str(source))
        except av.InvalidDataError as error:
            raise ValueError(f"{source}: expected a video ({error})") from error
    if sys.platform not in CAMERAS:
        raise ValueError(f"--webcam: expected Linux or macOS, got {sys.platform}: give --video")
    kind, name = CAMERAS[sys.platform]
    return av.open(name.format(source), format=kind)


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ImportError("videos need PyAV: pip install 'handgraph[video]'") from error
    return av
