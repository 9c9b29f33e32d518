"""The path of the present request, as a place within this application to come back to."""

from urllib.parse import quote
from urllib.parse import unquote

from flask import request

_DOTS = {".", ".."}

_MOST_DECODINGS = 8


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
    """Return whether a path is one of this application, however often it is decoded on its way to a browser.

    A page's own path has no ``.`` or ``..``: browsers resolve them, and ``/..//evil.example`` begins with two slashes
    then.
    """
    plain = _decoded(path)
    if plain is None or not plain.startswith("/") or plain.startswith("//") or "\\" in plain:
        return False
    return not _DOTS & {*plain.split("/")} and not any(letter < " " or letter == "\x7f" for letter in plain)


def _decoded(path: str) -> str | None:
    """Return a path after every decoding; None if it takes more than any path of a page does."""
    for _ in range(_MOST_DECODINGS):
        path, before = unquote(path), path
        if path == before:
            return path
    return None
