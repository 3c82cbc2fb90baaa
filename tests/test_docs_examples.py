"""The code in the documentation runs: docstrings, and Python blocks of the pages."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
import warnings
from pathlib import Path

import pytest

import handgraph

ROOT = Path(__file__).parents[1]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def docstring_examples():
    """Yield every docstring of the package that contains examples."""
    names = [info.name for info in pkgutil.walk_packages(handgraph.__path__, "handgraph.")]
    for name in ["handgraph", *names]:
        module = importlib.import_module(name)
        for test in doctest.DocTestFinder().find(module, name):
            if test.examples:
                yield test


def pages():
    """Return the pages that may contain code: the readme and the sources of the documentation."""
    written = (page for page in ROOT.glob("docs/**/*.md") if "_build" not in page.parts)
    return [ROOT / "README.md", *sorted(written)]


def run_doctest(test):
    report = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    failed, _ = runner.run(test, out=report.append, clear_globs=False)
    assert not failed, "".join(report)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("test", list(docstring_examples()), ids=lambda test: test.name)
def test_docstring(test):
    if test.name.endswith("load_openvino"):  # no other extra has OpenVINO
        pytest.importorskip("openvino")
    if ".video.frames." in test.name:  # nor PyAV
        pytest.importorskip("av")
    run_doctest(test)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page):
    """The blocks of a page run in order and share one namespace."""
    if page.name == "lightning.md":
        pytest.importorskip("lightning.pytorch")
        warnings.simplefilter("ignore")  # Lightning itself warns with some versions of torch
    text = page.read_text(encoding="utf-8")
    names = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(2))
        if block[1] == "python":
            exec(compile("\n" * line + block[2], str(page), "exec"), names)
        else:
            test = doctest.DocTestParser().get_doctest(block[2], names, page.name, str(page), line)
            run_doctest(test)
            names.update(test.globs)  # a doctest runs on a copy


NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(notebook):
    """The cells run in order; outputs are not stored, because `make docs` creates them."""
    names = {"__name__": "__main__"}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
            assert cell["outputs"] == []


def test_the_extractor_finds_blocks():
    text = "text\n```python\nx = 1\n```\n```bash\nls\n```\n```pycon\n>>> x\n1\n```\n"
    found = BLOCK.findall(text)
    assert found == [("python", "x = 1\n"), ("pycon", ">>> x\n1\n")]


def commands():
    """Yield the commands on a page: a script of the repository and its arguments."""
    for page in [*pages(), *ROOT.glob("CONTRIBUTING.md")]:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for script, arguments in re.findall(r"python ((?:examples|docs)/\w+\.py)([^\n`#]*)", text):
            yield page.name, script, tuple(re.findall(r"--[a-z-]+", arguments))


def test_commands_name_scripts_and_options_that_exist():
    found = set(commands())
    assert len(found) > 5
    for page, script, options in found:
        source = (ROOT / script).read_text(encoding="utf-8")
        assert [o for o in options if f'"{o}"' not in source] == [], f"{page}: {script}"
