"""How Sphinx builds these pages: `make docs`."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # importing torch_geometric uses torch.jit
    import handgraph

project = "handgraph"
author = "the handgraph authors"
copyright = author
version = release = handgraph.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "handgraph"
myst_enable_extensions = ["dollarmath"]

autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shapes", "Units"]
python_maximum_signature_line_length = 88
