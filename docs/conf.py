"""How Sphinx builds these pages: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from pkgutil import resolve_name

import sphinx.ext.autosummary as summaries
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import handgraph
from handgraph.hub import SavedModule

sys.path.insert(0, str(Path(__file__).parent))
from joints import write_joints

project = "handgraph"
author = "the handgraph authors"
copyright = author
version = release = handgraph.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_design",
]
exclude_patterns = ["_build", "results/images/table2.md", "api/generated/joints.md"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = "handgraph"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_output_stderr = "remove"  # progress bars, and warnings with paths

summaries.WELL_KNOWN_ABBREVIATIONS += ("Eq.", "Fig.")  # no sentence ends there
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False  # every public name has a page, and nothing else has
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # skeleton=HAND, not all of its joints
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shapes", "Units"]
python_maximum_signature_line_length = 88
SavedModule.__new__ = object.__new__  # show arguments of __init__, not (*args, **kwargs)


def require_all_names(app: Sphinx, exception: Exception | None) -> None:
    """Fail if a public class or function has no page."""
    if exception is not None or app.builder.name != "html":
        return
    names = Path(app.confdir, "../tests/public_names.txt").read_text().split()
    documented = app.env.domaindata["py"]["objects"]
    missing = [name for name in names if callable(resolve_name(name)) and name not in documented]
    if missing:
        raise ExtensionError(f"public names without a page: {', '.join(missing)}")


def keep_one_return_type(app: Sphinx, domain: str, kind: str, content: nodes.Element) -> None:
    """Remove the return types that autodoc adds to each list of fields after the first."""
    lists = [child for child in content if isinstance(child, nodes.field_list)]
    types = [field for fields in lists for field in fields if field[0].astext() == "rtype"]
    for field in types[1:]:
        field.parent.remove(field)


def move_return_type_up(app: Sphinx, domain: str, kind: str, content: nodes.Element) -> None:
    """Move a return type that autodoc puts after the example to the other fields."""
    rubrics = [child for child in content if isinstance(child, nodes.rubric)]
    if not rubrics or not isinstance(content[-1], nodes.field_list):
        return
    if [field[0].astext() for field in content[-1]] == ["rtype"]:
        content.insert(content.index(rubrics[0]), content.pop())


def skip_tuple_fields(
    app: Sphinx, kind: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out the fields of named tuples, which have no docstring of their own."""
    return True if (member.__doc__ or "").startswith("Alias for field number") else None


def show_public_bases(
    app: Sphinx, name: str, shown: type, options: object, bases: list[type]
) -> None:
    """Show the base of a private base in its place."""
    bases[:] = [base.__base__ if base.__name__.startswith("_") else base for base in bases]


def setup(app: Sphinx) -> None:
    """Write the tables of joints, and connect the functions above."""
    write_joints(Path(app.srcdir, "api/generated"))
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("object-description-transform", keep_one_return_type, priority=900)
    app.connect("object-description-transform", move_return_type_up, priority=901)
    app.connect("build-finished", require_all_names)
