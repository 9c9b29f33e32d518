"""Finds the tokens among a request's cookies, and the places where a browser may have others of their name."""

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import islice

from flask import Request

from .tokens import Tokens

#: How many cookies an answer deletes beside the one that it sets: browsers and proxies bound a response's headers.
_MOST_DELETED = 7


def find_tokens(request: Request, name: str, tokens: Tokens) -> list[str]:
    """Return the values of the cookies of this name: of several, if some were set for another path or domain."""
    header: str = request.environ.get("HTTP_COOKIE", "")
    if name not in header:
        return []
    plain = _plain_cookie(header, name)
    if plain is not None and tokens.is_well_formed(plain):
        return [plain]
    return request.cookies.getlist(name)


def other_places(request: Request, name: str, *, domain: str | None, path: str) -> Iterator[tuple[str | None, str]]:
    """Yield the domains and paths at which the browser may have another cookie of this name, the nearest first.

    The cookie itself is at ``domain`` and ``path``. Those before are the host's own, and those of each parent domain
    that has a dot, at ``path`` and at ``/``.
    """
    if name.lower().startswith("__host-"):  # It has one place only (RFC 6265bis, 4.1.3.2).
        return
    host = _host_of(request)
    domains = [None, *_parents_of(host)]
    own = (domain or host).lstrip(".").lower()
    places = ((each, at) for each in domains for at in dict.fromkeys((path, "/")))
    yield from islice((place for place in places if ((place[0] or host), place[1]) != (own, path)), _MOST_DELETED)


def _host_of(request: Request) -> str:
    host: str = request.host.lower()
    return host if host.startswith("[") else host.partition(":")[0]


def _parents_of(host: str) -> Iterator[str]:
    """Yield the domains above a host that have a dot: for a.b.example its parent b.example."""
    try:
        ip_address(host.strip("[]"))
        return
    except ValueError:
        pass
    _, _, parent = host.partition(".")
    while "." in parent:
        yield parent
        _, _, parent = parent.partition(".")


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
