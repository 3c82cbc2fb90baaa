import os
from pathlib import Path

import pytest
import torch

from handgraph.datasets.cache import read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True, False])}


def write(folder, name="x.bin"):
    path = Path(folder, name)
    write_tensors(path, TENSORS, "key")
    return path


def test_cache_returns_the_written_tensors(tmp_path):
    tensors = read_tensors(write(tmp_path / "new" / "folder"), "key")
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype
        torch.testing.assert_close(tensors[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("length", [0, 5, 32, 40, -1])
def test_a_truncated_file_is_damaged(tmp_path, length):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    assert read_tensors(path, "key") is None


@pytest.mark.parametrize("position", [0, 31, 32, 500, -1])
def test_a_flipped_bit_is_damage(tmp_path, position):
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))
    assert read_tensors(path, "key") is None


def test_another_key_does_not_fit(tmp_path):
    assert read_tensors(write(tmp_path), "other") is None


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none.bin", "key")


@pytest.mark.parametrize(("where", "at"), [(os, "replace"), (Path, "write_bytes")])
def test_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch, where, at):
    path = write(tmp_path)
    before = path.read_bytes()

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, at, interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_tensors(path, {"c": torch.zeros(1)}, "key")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_reading_rejects_pickled_code(tmp_path):
    path = tmp_path / "x.bin"
    write_tensors(path, {"a": object()}, "key")
    with pytest.raises(Exception, match="weights_only"):
        read_tensors(path, "key")


def test_cache_file_is_readable_by_others(tmp_path):
    before = os.umask(0o022)
    try:
        write_tensors(tmp_path / "a.bin", {"x": torch.ones(2)}, "ones")
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o644
