"""Locked folders, and files that are written completely or not at all."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock a folder, which is created if needed; the lock also ends with the process.

    Raises:
        RuntimeError: If another process holds the lock; the message names the process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / ".owner"
    try:
        held = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        who = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
        raise RuntimeError(f"{folder} is in use by {who}: wait, or take another --out") from None
    with held:
        owner.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it is renamed when the file is complete on the disk."""
    part = path.with_name(f"{path.name}.part")
    yield part
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with written(path) as part:
        part.write_text(text, encoding="utf-8")
