"""The numbers that the readme prints are those of the committed run."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = json.loads((ROOT / "docs" / "results" / "results.json").read_text())
SHOWN = ("all", "small", "severe", "rel", "gap")


def cells(row):
    return [f"{row['mean'][name]:.1f} ± {row['spread'][name]:.1f}" for name in SHOWN]


@pytest.mark.parametrize("regime", ["seen", "unseen"])
def test_readme_prints_the_committed_numbers(regime):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition(f"**{regime.capitalize()}**")[2].partition("\n\n")[2]
    lines = section.partition("\n\n")[0].splitlines()[2:]
    rows = {
        row["title"]: row
        for row in RESULTS["rows"]
        if (row["regime"], row["inputs"]) == (regime, "2D + cue")
    }
    assert len(lines) == len(rows)
    for line in lines:
        title, *shown = [cell.strip() for cell in line.strip("|").split("|")]
        assert shown == cells(rows[title]), title


def test_committed_run_is_the_full_one():
    settings = RESULTS["settings"]
    assert RESULTS["preset"] == "full"
    assert len(settings["seeds"]) >= 3
    assert len(settings["draws"]) >= 2
    assert {row["num_nets"] for row in RESULTS["rows"] if row["inputs"] == "2D + cue"} == {
        len(settings["seeds"]) * len(settings["draws"])
    }
