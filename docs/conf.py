"""How ``make docs`` builds these pages: Sphinx, Markdown by MyST, the reference from docstrings and from ``--help``."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "mcmc-text"
release = version = installed("mcmc-text")
html_title = f"mcmc-text {release}"
html_theme = "furo"
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "command_line"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
default_role = "code"

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "imported-members": True}
