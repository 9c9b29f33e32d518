"""Knows which page a user may be led back to: one of this site, whatever a link says."""

import re
from urllib.parse import urlencode

from flask import request
from flask import url_for

from ..web.paths import is_local

# A browser takes "//host" and "/\host" as another site, and drops tabs and line breaks before it looks.
_ON_SITE = re.compile(r"/(?![/\\])[!-~\u00a0-\U0010ffff]*")

#: Endpoints of our own that show nothing of the application.
_NO_PAGES = ("ended", "status", "touch", "log_out", "end", "end_others")

#: Longer ones are no page's address.
_LONGEST = 4096


def next_page(wanted: str | None) -> str | None:
    """Return the page to lead back to, as a path of this site with its query; None if it is none."""
    if not wanted or len(wanted) > _LONGEST or "\\" in wanted or not _ON_SITE.fullmatch(wanted):
        return None
    path = wanted.partition("?")[0].partition("#")[0]
    if not is_local(path) or path in {url_for(f"idlesession.{name}") for name in _NO_PAGES}:
        return None
    return wanted


def first_page() -> str:
    """Return the application's own first page."""
    return (request.script_root or "") + "/"


def log_in_page(view: str | None, wanted: str | None) -> str | None:
    """Return the log-in page with the page that follows it; None where ``IDLESESSION_LOGIN_VIEW`` names none."""
    if view is None:
        return None
    if "/" not in view:
        return url_for(view, next=wanted)
    if wanted is None or not _ON_SITE.fullmatch(view):
        return view  # Another site has its own name for the way back.
    return f"{view}{'&' if '?' in view else '?'}{urlencode({'next': wanted})}"
