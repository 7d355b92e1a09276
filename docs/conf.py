"""Settings of the documentation site: `make docs` builds it with warnings as errors."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import generated  # noqa: E402  (found by the line above)

import mlip  # noqa: E402

project = "facet-mlip"
author = "The facet-mlip developers"
copyright = author  # noqa: A001  (the name that Sphinx reads)
release = version = mlip.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Method"]
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"facet-mlip {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"  # outputs are not for copying


def setup(app: object) -> None:
    """Let pages hold what is derived from the code."""
    app.connect("source-read", generated.fill)  # type: ignore[attr-defined]
