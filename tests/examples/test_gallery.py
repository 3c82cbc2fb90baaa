"""The gallery script draws every picture of the page, and the page shows its code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"\(pictures/(\w+)\.png\)", PAGE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the pictures of the script, drawn with small settings."""
    folder = tmp_path_factory.mktemp("pictures")
    script, flags = ROOT / "docs" / "gallery.py", ["--samples", "60", "--epochs", "1"]
    command = [sys.executable, "-W", "ignore", str(script), *flags, "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_script_makes_what_the_page_shows(made):
    assert sorted(path.stem for path in made.iterdir()) == sorted(SHOWN)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made.iterdir())


@pytest.mark.slow
def test_too_few_samples_are_refused(tmp_path):
    command = [sys.executable, str(ROOT / "docs" / "gallery.py"), "--samples", "38"]
    found = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True)
    assert found.returncode == 2
    assert "--samples: expected at least 39, got 38" in found.stderr


def test_pictures_of_the_page_are_small():
    pictures = [ROOT / "docs" / "pictures" / f"{name}.png" for name in SHOWN]
    folder = ROOT / "docs" / "pictures"
    others = [folder / "rendered_hands.png", folder / "realism.png"]  # of the contact sheet and
    assert sorted(folder.iterdir()) == sorted([*pictures, *others])  # of benchmarks.realism
    assert max(path.stat().st_size for path in pictures) < 200_000


def test_page_shows_the_code_of_each_picture():
    code = (ROOT / "docs" / "gallery.py").read_text(encoding="utf-8")
    drawn = re.findall(r"^def (\w+)\(.*\) -> Figure:$", code, re.M)
    assert re.findall(r":pyobject: (\w+)", PAGE) == SHOWN == drawn
