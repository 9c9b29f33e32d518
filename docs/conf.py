"""Builds the documentation: ``python -m sphinx -W --keep-going -n docs docs/_build``, without a network."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "flask_idlesession"
copyright = "the flask_idlesession authors"
release = version = version_of("flask_idlesession")

extensions = ["pallets_sphinx_themes", "sphinx.ext.autodoc", "references", "settings", "dark", "timeline"]
exclude_patterns = ["_build", "performance", "compared"]
nitpicky = True
# The first is given to SessionManager by the package itself; the second is what a with statement takes.
nitpick_ignore = [
    ("py:class", "flask_idlesession.sessions.endings.EndMarks"),
    ("py:class", "flask_idlesession.sessions.exclusive_block.ExclusiveBlock"),
]
highlight_language = "text"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "flask"
pygments_style = "default"
html_title = f"flask_idlesession {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_domain_indices = False
html_show_sourcelink = False
html_show_copyright = False
