"""Serves the files of the dashboard to those who may see it, and puts the links to them into its pages."""

from pathlib import Path

from flask import send_from_directory
from flask import url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from werkzeug.exceptions import NotFound

from .widget import page_nonce
from .widget import version_of

#: The files of the dashboard. They are not among the pages' own, which everybody may fetch.
FILES = Path(__file__).parent / "dashboard_static"

#: The files that the page loads, in their order.
_STYLES = ("uplot/uPlot.min.css", "dashboard.css")
_SCRIPTS = ("uplot/uPlot.iife.min.js", "dashboard.js")

#: Seconds for which a browser keeps a file. Its address changes with its content.
_KEPT = 30 * 86400


def dashboard_assets() -> Markup:
    """Return the links to the style sheets and the scripts of the dashboard, for the head of its pages."""
    nonce = page_nonce()
    said = Markup(' nonce="{}"').format(nonce) if nonce else ""
    link, script = Markup('<link rel="stylesheet" href="{}"{}>'), Markup('<script defer src="{}"{}></script>')
    links = [link.format(_url_of(name), said) for name in _STYLES]
    return Markup("").join([*links, *(script.format(_url_of(name), said) for name in _SCRIPTS)])


def send_file(filename: str) -> ResponseReturnValue:
    """Answer with a file of the dashboard."""
    if filename.startswith("."):
        raise NotFound
    response = send_from_directory(FILES, filename)
    response.headers["Cache-Control"] = f"private, max-age={_KEPT}"
    return response


def _url_of(filename: str) -> str:
    return url_for("idlesession.dashboard_static", filename=filename, v=version_of(FILES / filename))
