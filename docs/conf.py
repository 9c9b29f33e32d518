"""Builds the documentation: ``python -m pip install -e '.[docs]' && sphinx-build docs docs/_build``."""

from importlib.metadata import version as version_of

project = "flask_idlesession"
copyright = "the flask_idlesession authors"
release = version = version_of("flask_idlesession")

extensions = ["pallets_sphinx_themes", "sphinx.ext.autodoc", "sphinx.ext.intersphinx"]
intersphinx_mapping = {
    "python": ("https://docs.python.org/3/", None),
    "flask": ("https://flask.palletsprojects.com/", None),
}
autodoc_member_order = "bysource"
html_theme = "flask"
