"""Reading of frames from a video file or a webcam, and writing of videos, with PyAV."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
"""Format and name of a webcam in FFmpeg, by system."""

CLOCK = Fraction(1, 90_000)
"""Unit of time of written videos, as in MPEG."""


def read_frames(source: Path | int) -> Iterator[tuple[float, Tensor]]:
    """Yield the time and the image of each frame of a video file or a webcam.

    Frames are rotated as the file requires, since phones store upright videos sideways. Times
    always increase: a time that is missing or does not increase is computed from the frame rate.

    Args:
        source: A file, or the number of a webcam.

    Shapes:
        images ``[3, H, W]``, RGB, uint8.

    Units:
        Times in seconds.

    Raises:
        ImportError: If PyAV is missing (extra ``handgraph[video]``).
        OSError: If the file or the webcam cannot be opened.
        ValueError: If the file is not a video, or webcams of this system are not supported.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> from handgraph.video import VideoWriter, read_frames
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "grey.mp4")
        ...     with VideoWriter(path) as video:
        ...         for i in range(3):
        ...             video.write(i / 10, torch.full((3, 32, 48), 128, dtype=torch.uint8))
        ...     [(round(seconds, 2), *image.shape) for seconds, image in read_frames(path)]
        [(0.0, 3, 32, 48), (0.1, 3, 32, 48), (0.2, 3, 32, 48)]
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
    """Write frames to a video file (H.264), as a context manager.

    The size is that of the first frame. If a side is odd, a black column or row is added.

    Args:
        path: The file, ``.mp4``.

    Raises:
        ImportError: If PyAV is missing (extra ``handgraph[video]``).

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> from handgraph.video import VideoWriter
        >>> with TemporaryDirectory() as folder:
        ...     with VideoWriter(Path(folder, "one.mp4")) as video:
        ...         video.write(0.0, torch.zeros(3, 32, 48, dtype=torch.uint8))
        ...     Path(folder, "one.mp4").stat().st_size > 500
        True
    """

    def __init__(self, path: Path):
        self._av = _pyav()
        self._container = self._av.open(str(path), "w")
        self._stream: Any = None
        self._shape: torch.Size | None = None

    def __enter__(self) -> VideoWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the remaining encoded frames, and close the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, seconds: float, image: Tensor) -> None:
        """Add a frame ``[3, H, W]`` (RGB, uint8), shown at a time in seconds.

        Raises:
            TypeError: If the image is not uint8.
            ValueError: If the image is not ``[3, H, W]``, or has another size than the first.
        """
        if image.dtype != torch.uint8:
            raise TypeError(f"write: expected a uint8 image, got {image.dtype}")
        if image.dim() != 3 or len(image) != 3 or image.shape != (self._shape or image.shape):
            size = "[3, H, W]" if self._shape is None else f"{list(self._shape)} as the first"
            raise ValueError(f"write: expected an image {size}, got {list(image.shape)}")
        self._shape = image.shape
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
        raise ValueError(f"webcams: expected Linux or macOS, got {sys.platform}: read a file")
    kind, name = CAMERAS[sys.platform]
    return av.open(name.format(source), format=kind)


def _pyav() -> Any:  # noqa: ANN401
    try:
        import av
    except ImportError as error:
        raise ImportError("videos need PyAV: pip install 'handgraph[video]'") from error
    return av
