"""How ``make docs`` builds these pages: Sphinx, Markdown by MyST, the reference from docstrings."""

from importlib.metadata import version as installed

project = "mcmc-text"
author = "the mcmc-text authors"
release = version = installed("mcmc-text")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"mcmc-text {release}"
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
default_role = "code"
