"""Finds the token among a request's cookies."""

from flask import Request

from .tokens import Tokens


def find_token(request: Request, name: str, tokens: Tokens) -> str | None:
    """Return the value of the cookie ``name``; an empty text where there are two of that name, None without one.

    Of two cookies one was planted, from a sub-domain or another path, and nobody can tell which.
    """
    header: str = request.environ.get("HTTP_COOKIE", "")
    if name not in header:
        return None
    plain = _plain_cookie(header, name)
    if plain is not None and tokens.is_well_formed(plain):
        return plain
    values = request.cookies.getlist(name)
    if len(values) == 1:
        return values[0]
    return "" if values else None


def _plain_cookie(header: str, name: str) -> str | None:
    """Return what Werkzeug finds, if the header has the name but once and as browsers write it, and a token is the
    value; else anything.
    """
    start = header.find(name)
    end = start + len(name)
    if start > 0 and header[start - 2 : start] != "; " or header[end : end + 1] != "=" or header.find(name, end) > 0:
        return None
    stop = header.find(";", end)
    return header[end + 1 :] if stop < 0 else header[end + 1 : stop]
