"""Compiled code is cached if possible; without a cache, or without numba, results are the same."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pytest
from torch.testing import assert_close

from handgraph.nn import engines, fold
from handgraph.nn.engines.cpu import refusal
from tests.nn.nets import EXACT, engines_of, pose, readable, unet, values_and_gradients

numba = pytest.importorskip("numba")

from numba.core import caching  # noqa: E402

from handgraph.nn.engines.cpu import compile as compiling  # noqa: E402

# The cache of a small function


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """Create dispatchers of a function in a file with an empty cache."""
    (tmp_path / "doubling.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    compiling._announce.cache_clear()

    def make():
        monkeypatch.delitem(sys.modules, "doubling", raising=False)
        from doubling import double

        return compiling.entry(double)

    yield make
    monkeypatch.delitem(sys.modules, "doubling", raising=False)
    compiling._announce.cache_clear()


def files(tmp_path):
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_compiled_code_is_cached_with_one_message(entry, tmp_path, capfd):
    assert entry()(21) == 42
    said = capfd.readouterr().err
    assert said.startswith("handgraph: compiling graph networks for this CPU; cached in ")
    assert said.count("\n") == 1
    assert str(tmp_path / "cache") in said
    assert {path.suffix for path in files(tmp_path)} == {".nbi", ".nbc"}
    again = entry()
    assert again(21) == 42
    assert sum(again.stats.cache_hits.values()) == 1
    assert again(21.0) == 42  # another type
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore:compiled code cannot be cached:UserWarning")
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [b"", b"\x80", b"nonsense", b"\x80\x05N."])
def test_a_damaged_cache(entry, tmp_path, suffix, damage):
    assert entry()(21) == 42
    for path in files(tmp_path):
        if path.suffix == suffix:
            path.write_bytes(damage)
    assert entry()(21) == 42
    mended = entry()
    assert mended(21) == 42
    assert sum(mended.stats.cache_hits.values()) == 1


@pytest.mark.filterwarnings("ignore:compiled code cannot be cached:UserWarning")
@pytest.mark.parametrize("half", [True, False])
def test_a_cache_that_ends_early(entry, tmp_path, half):
    assert entry()(21) == 42
    for path in files(tmp_path):
        kept = path.read_bytes()
        path.write_bytes(kept[: len(kept) // 2] if half else kept[:-1])
    assert entry()(21) == 42


def test_a_full_disk(entry, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", fail)
    with pytest.warns(UserWarning, match="compiled code cannot be cached: .*No space left"):
        assert entry()(21) == 42


def test_a_folder_that_is_gone(entry, tmp_path):
    function = entry()
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    (tmp_path / "cache").write_text("a file")
    with pytest.warns(UserWarning, match="compiled code cannot be cached"):
        assert function(21) == 42


def test_no_place_for_a_cache(capfd):
    """Code that is not in a file cannot be cached."""
    compiling._announce.cache_clear()
    scope = {}
    exec("def double(x):\n    return 2 * x", scope)
    assert compiling.entry(scope["double"])(21) == 42
    assert "not cached, as no cache folder is writable" in capfd.readouterr().err
    compiling._announce.cache_clear()


def test_a_change_of_any_source_compiles_anew(entry, monkeypatch):
    assert entry()(21) == 42
    monkeypatch.setattr(compiling, "_digest", lambda: "another")
    changed = entry()
    assert changed(21) == 42
    assert sum(changed.stats.cache_hits.values()) == 0


# Without numba


@pytest.fixture
def forget():
    """Forget whether numba can be used."""
    refusal.missing.cache_clear()
    yield
    refusal.missing.cache_clear()


def assert_reference(reason):
    net, x = unet(), pose(unet(), 3)
    with engines.use("numba"):
        (choice,) = engines.explain(net, x)
        assert choice.engine == "reference"
        assert choice.refused["numba"] == reason
        assert_close(values_and_gradients(net, x), readable(values_and_gradients, net, x), **EXACT)
        folded = fold(net)
        assert engines_of(folded, x) == ["reference"]
        assert_close(folded(x), readable(net, x), **EXACT)


@pytest.mark.parametrize(
    "error", [ImportError, ValueError, SystemError, AttributeError, OSError, KeyError, RuntimeError]
)
def test_an_import_that_raises_anything(forget, monkeypatch, error):
    def fail(name):
        raise error("broken")

    monkeypatch.setattr(refusal, "import_module", fail)
    with pytest.warns(UserWarning, match="handgraph continues without numba: .*broken") as warned:
        assert_reference(f"numba cannot be imported: {error('broken')}")
    assert len(warned) == 1


def test_numba_is_not_installed(forget, monkeypatch):
    monkeypatch.setattr(refusal, "find_spec", lambda name: None)
    assert_reference("numba is not installed")


def test_numba_is_switched_off(forget, monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert_reference("NUMBA_DISABLE_JIT is set")


def test_a_form_that_was_kept_before_is_not_used(forget, monkeypatch):
    folded, x = fold(unet()), pose(unet(), 3)
    refusal.missing.cache_clear()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert engines_of(folded, x) == ["reference"]


# New processes

PROGRAM = """
import torch
from handgraph import HAND
from handgraph.nn import AdaptiveGraphUNet, engines, fold
torch.manual_seed(0)
net, x = AdaptiveGraphUNet(2, 3, HAND), torch.rand(5, 21, 2)
print(engines.explain(net, x)[0].engine)
out = net(x)
out.sum().backward()
with engines.use("readable"):
    expected = net(x)
torch.testing.assert_close(out, expected)
torch.testing.assert_close(fold(net)(x), expected)
torch.testing.assert_close(fold(net)(x.repeat(200, 1, 1)), expected.repeat(200, 1, 1))
"""


def run(tmp_path, **environment):
    """Return the engine used in a new process, and its lines about handgraph on stderr."""
    given = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), **environment}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "handgraph" in line]
    return done.stdout.strip(), said


@pytest.mark.slow
def test_first_process_prints_that_it_compiles(tmp_path):
    engine, said = run(tmp_path)
    assert engine == "numba"
    assert len(said) == 1
    assert str(tmp_path) in said[0]
    assert run(tmp_path) == ("numba", [])


@pytest.mark.slow
def test_a_process_without_a_place_to_write(tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert run(tmp_path, HOME=str(tmp_path / "cache"))[0] == "numba"


@pytest.mark.slow
def test_a_process_with_numba_switched_off(tmp_path):
    assert run(tmp_path, NUMBA_DISABLE_JIT="1") == ("reference", [])


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ImportError", "SystemError"])
def test_a_process_with_a_broken_numba(tmp_path, error):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text(f"raise {error}('broken')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert run(tmp_path, PYTHONPATH=path) == ("reference", [])
