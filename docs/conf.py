"""How the documentation is built."""

import sys
from pathlib import Path

import tesk

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "TESK"
author = "the TESK contributors"
copyright = "the TESK contributors"  # noqa: A001 - Sphinx asks for this name
version = release = tesk.__version__
extensions = ["myst_parser", "generated"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["reference/*.gen.md", "_static"]
html_theme = "furo"
html_title = f"TESK {version}"
html_static_path = ["_static"]
html_show_sphinx = False
nitpicky = True
