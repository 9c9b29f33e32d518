"""Colours code for readers who prefer the dark: the theme has one set of colours only."""

from pathlib import Path
from typing import Any

from pygments.formatters import HtmlFormatter
from sphinx.application import Sphinx

NAME = "code-dark.css"


def write(app: Sphinx, exception: Exception | None) -> None:
    """Write the style sheet beside the others."""
    if exception is None and app.builder.format == "html":
        rules = HtmlFormatter(style="github-dark").get_style_defs("div.highlight")
        path = Path(app.outdir) / "_static" / NAME
        path.write_text(f"@media (prefers-color-scheme: dark) {{\n{rules}\n}}\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the style sheet."""
    app.add_css_file(NAME, priority=700)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
