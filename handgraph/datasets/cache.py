"""Tensors in a cache file that is replaced atomically."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from pathlib import Path

import torch
from torch import Tensor

_DIGEST_SIZE = hashlib.sha256().digest_size


def write_tensors(path: Path, tensors: dict[str, Tensor], key: str) -> None:
    """Write tensors atomically: readers see the old file or the new one.

    A SHA-256 digest of ``key`` and content precedes the content (``torch.save``) in the file.

    Args:
        path: The file. Its folder is created if needed.
        tensors: Tensors to write, by name.
        key: Description of the content; :func:`read_tensors` needs the same key.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(Path(folder, "a.bin"), {"x": torch.ones(2)}, "ones")
        ...     read_tensors(Path(folder, "a.bin"), "ones")
        {'x': tensor([1., 1.])}
    """
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    content = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        temporary.write_bytes(_digest(content, key) + content)  # file mode as umask sets it
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_tensors(path: Path, key: str) -> dict[str, Tensor] | None:
    """Read tensors from :func:`write_tensors`; ``None`` if the file is damaged or the key differs.

    Args:
        path: The file.
        key: Key that the file was written with.

    Raises:
        OSError: If the file does not exist or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.bin").write_bytes(b"half a file")
        ...     print(read_tensors(Path(folder, "a.bin"), "ones"))
        None
    """
    data = path.read_bytes()
    digest, content = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    if digest != _digest(content, key):
        return None
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return tensors


def _digest(content: bytes, key: str) -> bytes:
    return hashlib.sha256(hashlib.sha256(key.encode()).digest() + content).digest()
