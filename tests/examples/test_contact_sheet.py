"""The contact sheet shows images of the dataset, and below each row the joints."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from handgraph.datasets import SyntheticHands

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "contact_sheet.py"


@pytest.mark.slow
def test_script_writes_the_sheet(tmp_path):
    out = tmp_path / "new" / "sheet.png"
    flags = ["--rows", "2", "--columns", "3", "--size", "64", "--out", str(out)]
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *flags]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    assert run.stdout == f"6 hands in {out}\n"
    sheet = torch.from_numpy(imread(out))[..., :3]
    assert sheet.shape == (4 * 64, 3 * 64, 3)
    image = SyntheticHands(6, seed=4, image_size=64).render(5)["image"][0]
    shown = (255 * sheet[2 * 64 : 3 * 64, 2 * 64 :]).round().to(torch.uint8)
    assert torch.equal(shown, (image // 4 * 4).permute(1, 2, 0))
    below = (255 * sheet[3 * 64 :, 2 * 64 :]).round().to(torch.uint8)
    assert 0.02 < (below != shown).any(-1).float().mean() < 0.5


def test_joints_are_drawn_where_they_are():
    names = runpy.run_path(str(SCRIPT))
    dataset = SyntheticHands(4, seed=0, image_size=64)
    (ax,) = names["contact_sheet"](dataset, columns=2).axes
    shown, hidden = (
        np.concatenate([c.get_offsets() for c in ax.collections[k::2]]) for k in (0, 1)
    )
    corners = torch.tensor([[0, 64], [64, 64], [0, 192], [64, 192]])
    uv, visible = dataset.tensors["uv_true"] + corners[:, None], dataset.tensors["visible"]
    np.testing.assert_allclose(shown, uv[visible], atol=1e-4)
    np.testing.assert_allclose(hidden, uv[~visible], atol=1e-4)


def test_the_picture_of_the_page_is_small():
    picture = ROOT / "docs" / "pictures" / "rendered_hands.png"
    assert picture.stat().st_size < 600_000
    assert "rendered_hands.png" in (ROOT / "docs/guide/rendered_hands.md").read_text("utf-8")
