"""The path of the present request, as a place within this application to come back to."""

from urllib.parse import quote
from urllib.parse import unquote

from flask import request


def local_path() -> str | None:
    """Return the path and query of the present request, percent-encoded; None if browsers may take it for another site.

    Browsers read a backslash as a slash, and leave tabs and line breaks out (WHATWG URL Standard, 4.4), so that
    ``/<tab>/evil.example`` would lead away. A page of this application has no such path.
    """
    plain = request.root_path + request.path
    if not is_local(plain):
        return None
    query = request.query_string.decode("latin-1")
    path = quote(plain, safe="/:@!$&'()*+,;=~")
    return f"{path}?{query}" if query else path


def is_local(path: str) -> bool:
    """Return whether browsers take a path, decoded or not, for one of this application."""
    plain = unquote(path)
    if not plain.startswith("/") or plain.startswith("//") or "\\" in plain:
        return False
    return not any(letter < " " or letter == "\x7f" for letter in plain)
