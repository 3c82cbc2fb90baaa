"""One process at a time in a folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; a process that is killed holds it no longer.

    Args:
        folder: The folder, which is made if there is none.

    Raises:
        RuntimeError: If another process holds it; the message says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held, owner = FileLock(folder / ".lock"), folder / ".owner"
    try:
        held.acquire(timeout=0)
    except Timeout:
        who = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
        raise RuntimeError(f"{folder} is in use by {who}: wait, or take another --out") from None
    try:
        owner.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        held.release()
