"""The numbers on the pages equal those of the committed results."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = json.loads((ROOT / "docs" / "results" / "results.json").read_text())
DETECTORS = json.loads((ROOT / "docs" / "results" / "detectors.json").read_text())
LAYERS = json.loads((ROOT / "docs" / "results" / "layers.json").read_text())
ALL_INPUTS = "2D + cue + score"
PYG = ("PyG GCNConv, static", "PyG GCNConv, batched", "PyG DenseGINConv")
OVER = "severe_over_reference"


def cells(row, names):
    return [f"{row['mean'][name]:.1f} ± {row['spread'][name]:.1f}" for name in names]


README = (ROOT / "README.md").read_text(encoding="utf-8")
UNSEEN = {
    "four full graphs: the reference": "ensemble",
    "PSJNet: the paper's removal sets": "psjnet",
    "simulated occlusions, no joints removed": "simulate",
    "simulated occlusions, likely hidden joints removed": "learned",
}


def printed(heading):
    """Return the cells of the table under a heading of the readme."""
    lines = README.partition(f"## {heading}\n")[2].partition("\n|")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.split("\n")[2:]]


def test_readme_prints_the_committed_numbers():
    rows = {
        (row["detector"], row["method"]): cells(row, ("severe", "hidden"))
        for row in DETECTORS["rows"]
        if row["regime"] == "unseen"
    }
    table = printed("What helps under occlusion")
    assert [title for title, *_ in table] == list(UNSEEN)
    for title, *shown in table:
        method = UNSEEN[title]
        assert shown == rows["heatmap", method] + rows["regression", method], title


def test_readme_prints_the_errors_of_the_lifter():
    card = (ROOT / "handgraph/hub/keypoint_lifter/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| real, true 2D, (\d) missing \| (\S+) ±", card)
    errors = dict(reversed(rows))  # the first table: the lifter, not its control
    assert f"error\n  is {errors['0']} mm, or {errors['3']} mm with three missing joints" in README


def test_page_bounds_the_effect_of_the_second_training_set():
    page = (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8").replace("\n", " ")
    both = {(row["method"], row["inputs"], row["regime"]): row["mean"] for row in RESULTS["rows"]}
    differences = {"seen": [], "unseen": []}
    for row in DETECTORS["rows"]:
        if row["detector"] == "heatmap":
            other = both[row["method"], row["inputs"], row["regime"]]
            differences[row["regime"]] += [
                abs(round(row["mean"][name], 1) - round(other[name], 1))
                for name in ("all", "small", "severe")
            ]
    for regime, found in differences.items():
        assert f"at most {max(found):.1f} with {regime} occlusion" in page


PAGES = [f"docs/results/{name}.md" for name in ("index", "table2", "detectors", "layers")]


@pytest.mark.parametrize("page", PAGES)
def test_every_number_with_a_spread_is_of_a_row(page):
    """Every difference also has its interval."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = [*RESULTS["rows"], *DETECTORS["rows"], *LAYERS["rows"]]
    over = {"{:+.1f} [{:+.1f}, {:+.1f}]".format(*d) for r in rows if (d := r[OVER])}
    found = re.findall(r"-?\d+\.\d ± \d+\.\d", text)
    assert len(found) > 70
    assert set(found) <= {cell for row in rows for cell in cells(row, row["mean"])}
    assert set(re.findall(r"[+-]\d\S* \[[+-]\S+, [+-]\S+\]", text)) <= over


def test_both_detectors_have_the_same_rows_and_settings():
    settings = DETECTORS["settings"]
    assert (DETECTORS["preset"], settings["hands"]) == ("detectors", "default")
    assert len(settings["seeds"]) == 3
    by_detector = [
        {(row["method"], row["regime"]) for row in DETECTORS["rows"] if row["detector"] == name}
        for name in ("heatmap", "regression")
    ]
    assert by_detector[0] == by_detector[1]
    assert {row["num_nets"] for row in DETECTORS["rows"]} == {3}


def test_learned_removal_helps_with_a_heatmap_detector_only():
    """The readme and the guide recommend it for heatmap detectors only."""
    over = {
        (row["detector"], row["method"]): row[OVER]
        for row in DETECTORS["rows"]
        if row["regime"] == "unseen" and row[OVER]
    }
    assert over["heatmap", "learned"][1] > over["heatmap", "simulate"][2]
    assert over["regression", "learned"][2] < over["regression", "simulate"][1]


def test_committed_results_are_of_the_full_preset():
    settings = RESULTS["settings"]
    assert RESULTS["preset"] == "full"
    assert len(settings["seeds"]) >= 3
    assert len(settings["draws"]) >= 2
    assert {row["num_nets"] for row in RESULTS["rows"] if row["inputs"] == "2D + cue"} == {
        len(settings["seeds"]) * len(settings["draws"])
    }


def test_rows_with_all_inputs_have_the_number_of_nets_that_the_settings_give():
    settings = RESULTS["settings"]
    once = {row[0] for row in settings["rows"] if row[1] == ALL_INPUTS and not row[3]}
    for row in RESULTS["rows"]:
        draws = 1 if row["method"] in once else len(settings["draws"])
        if row["inputs"] == ALL_INPUTS:
            assert row["num_nets"] == draws * len(settings["seeds"]), row["title"]


def medians(sizes, phase, batch):
    """Return the seconds of each contestant on one thread."""
    found = json.loads((ROOT / "benchmarks" / "results" / "core_cpu.json").read_text())
    key = (sizes, phase, batch, 1)
    (table,) = [
        table
        for table in found["tables"]
        if (table["sizes"], table["phase"], table["batch"], table["threads"]) == key
    ]
    return {row["name"]: row["hot"]["median"] for row in table["rows"] if "hot" in row}


def phase_and_name(what):
    """Return the phase of a table row and its contestant."""
    phase = "train" if "backward" in what else "forward"
    parts = ["handgraph", *(part for part in ("folded", "numba") if part in what)]
    return phase, ", ".join(parts)


def test_readme_prints_the_committed_speeds():
    rivals = {
        "HOPE-Net algorithm": ["HOPE-Net algorithm"],
        "the same network from PyG layers": PYG,
    }
    table = printed("Speed")
    assert len(table) == 4
    for what, rival, *ratios in table:
        phase, us = phase_and_name(what)
        for batch, ratio in zip((1, 32, 256, 2048), ratios, strict=True):
            times = medians("default", phase, batch)
            best = min(times[name] for name in rivals[rival])
            assert ratio == f"{best / times[us]:.1f}", (what, rival, batch)


def test_guide_prints_the_committed_rates_of_images():
    found = json.loads((ROOT / "benchmarks" / "results" / "data_cpu.json").read_text())
    small, large = (f"{row['per_second']:.0f}" for row in found["rendering"])
    cpu = found["machine"]["cpu"]
    guide = (ROOT / "docs/guide/rendered_hands.md").read_text(encoding="utf-8")
    rates = f"{small} images of 128 pixels per second, and {large} of 256 pixels"
    assert f"{rates}, on one thread of an {cpu}" in " ".join(guide.split())


def test_readme_is_short():
    assert len(README) <= 8000


GUIDE = (ROOT / "docs" / "guide" / "missing_joints.md").read_text(encoding="utf-8")
SPREAD = re.compile(r"\d+\.\d ± \d+\.\d")
READINGS = ("MPJPE mm", "by rays mm")


def test_guide_prints_the_card_of_the_lifter():
    config = json.loads((ROOT / "handgraph/hub/keypoint_lifter/config.json").read_text())
    errors = config["about"]["Errors"]
    nothing = [errors["real, true 2D, 0 missing"][name] for name in READINGS]
    assert SPREAD.findall(GUIDE.partition("Without missing joints")[2])[:2] == nothing
    for missing in (1, 3, 6, 9):
        row, wrist = (
            errors[f"real, true 2D, {missing} missing{kept}"] for kept in ("", ", not the wrist")
        )
        rows = (errors[f"all, {missing} missing"], row)
        expected = [row[name] for row in rows for name in ("MPJPE mm", "missing joints mm")]
        line, costs = re.findall(rf"^\| {missing} \|(.*)\|$", GUIDE, re.MULTILINE)
        assert SPREAD.findall(line) == [*expected, wrist["MPJPE mm"]]
        increases = [
            f"{float(some[name].split()[0]) - float(without.split()[0]):.1f}"
            for name, without in zip(READINGS, nothing, strict=True)
            for some in (row, wrist)
        ]
        assert [cell.strip() for cell in costs.split("|")] == increases


def test_development_prints_the_committed_trials():
    page = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    trials = json.loads((ROOT / "docs" / "results" / "lifter_trials.json").read_text())
    networks, hypotheses = trials["networks"]["rows"], trials["hypotheses"]["rows"]
    rows = [[row["network"], str(row["rate"])] for row in networks]
    rows += [[row["loss"]] for row in hypotheses]
    for row, trial in zip(rows, [*networks, *hypotheses], strict=True):
        cells = [*row, *(f"{error:.2f}" for error in trial["errors"])]
        assert f"| {' | '.join(cells)} |" in page


def test_development_prints_the_costs_of_the_guide():
    page = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [1369] \| (\S+) \| \S+ \| (\S+) \| \S+ \|$", GUIDE, re.MULTILINE)
    columns = zip(*rows, strict=True)
    direct, rays = (f"{a}, {b}, {c} and {d} mm." for a, b, c, d in columns)
    assert f"direct poses cost {direct} Poses by rays cost {rays}" in page.replace("\n", " ")


TRAINING = json.loads((ROOT / "docs" / "results" / "images" / "steps.json").read_text())


def test_development_prints_the_committed_training_times():
    page = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| .* \| ([\d,]+) \|(.*\(\d+\).*)\|$", page, re.MULTILINE)
    for run, (parameters, steps) in zip(TRAINING.values(), table, strict=True):
        reports = run["steps"].values()
        times = [f"{r['seconds'] / 60:.1f} ({r['images_per_second']:.0f})" for r in reports]
        assert [step for cell in steps.split("|") if (step := cell.strip())] == times
        assert {f"{r['lifter_parameters']:,}" for r in reports} == {parameters}


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        ("| heatmaps: occluded joints jump",
         [("heatmap", "learned", "severe"), ("heatmap", "ensemble", "severe")]),
        ("| heatmaps | occluded joints too |",
         [("heatmap", "learned_channel", "hidden"), ("heatmap", "learned", "hidden")]),
        ("| heatmaps with scores, failures",
         [("heatmap", "mask_dropout", "severe"), ("heatmap", "ensemble", "severe")]),
        ("| regresses all joints: visible and",
         [("regression", "simulate", "severe"), ("regression", "learned", "severe")]),
        ("| regresses all joints | occluded",
         [("regression", "learned_channel", "hidden"), ("regression", "simulate", "hidden")]),
        ("  Severe rises",
         [("heatmap", "simulate", "severe"), ("heatmap", "learned", "severe")]),
        ("  visibility: Severe 47.9", [("regression", "mask_truth", "severe")]),
        ("  the paper's sets",
         [("heatmap", "psjnet", "severe"), ("heatmap", "ensemble", "severe")]),
    ],
)  # fmt: skip
def test_guide_prints_the_committed_detectors(start, shown):
    unseen = {
        (row["detector"], row["method"]): row
        for row in DETECTORS["rows"]
        if row["regime"] == "unseen"
    }
    (line,) = [line for line in GUIDE.splitlines() if line.startswith(start)]
    expected = [cells(unseen[detector, method], [name])[0] for detector, method, name in shown]
    assert SPREAD.findall(line) == expected


def test_each_recommended_method_scores_better_than_its_alternative():
    for line in re.findall(r"^\|.*\| (?:Severe|hidden) .* \|$", GUIDE, re.MULTILINE):
        better, worse = (float(cell.split()[0]) for cell in SPREAD.findall(line))
        assert better < worse if "| hidden" in line else better > worse
