"""Decides which requests are activity of their user, and which ones only happen: polls, files, timers."""

import logging
from collections.abc import Callable
from typing import Any
from typing import Literal
from typing import TypeVar

from flask import Blueprint
from flask import current_app
from flask import Request

#: A script sends this header (with any value but 0) to say that no user asked for the request.
PASSIVE_HEADER = "X-IdleSession-Passive"

Activity = Literal["all", "navigation"] | Callable[[Request], bool]

_MARK = "_idlesession_passive"
_logger = logging.getLogger("flask_idlesession")

_View = TypeVar("_View", bound=Callable[..., Any] | Blueprint)


def passive(view: _View) -> _View:
    """Mark a view, a view class, one of its methods or a whole blueprint as passive: requests for it read
    and write the session like any other, and do not prolong it.

    Mark what a page asks for by itself, such as a poll for new messages: otherwise a page left open keeps
    its user logged in for ever. ::

        @app.get("/unread")
        @passive
        def unread(): ...
    """
    setattr(view, _MARK, True)
    return view


def is_activity(request: Request, rule: Activity) -> bool:
    """Return whether the request counts as activity under ``IDLESESSION_ACTIVITY``."""
    if request.headers.get(PASSIVE_HEADER, "0") != "0" or _is_marked(request):
        return False
    if rule == "all":
        return True
    if rule == "navigation":
        return _is_navigation(request)
    try:
        return bool(rule(request))
    except Exception:
        # A session that ends too early is noticed on the first day; one that never ends, by an auditor.
        _logger.exception("IDLESESSION_ACTIVITY raised for %r; the request does not prolong its session.", request.path)
        return False


def _is_marked(request: Request) -> bool:
    """Whether the endpoint serves static files, or it or a blueprint around it is marked passive."""
    endpoint = request.endpoint
    if endpoint is None:
        return False
    if endpoint.rpartition(".")[2] == "static":
        return True
    view = current_app.view_functions.get(endpoint)
    view_class = getattr(view, "view_class", None)
    method = "get" if request.method == "HEAD" and not hasattr(view_class, "head") else request.method.lower()
    if any(hasattr(marked, _MARK) for marked in (view, view_class, getattr(view_class, method, None))):
        return True
    return any(hasattr(current_app.blueprints.get(name), _MARK) for name in request.blueprints)


def _is_navigation(request: Request) -> bool:
    """Whether a user went to a page, by the Fetch Metadata headers (W3C, "Fetch Metadata Request Headers").

    Sec-Fetch-User tells a user's click or typed address from a page that reloads itself. A client that
    sends no such headers is taken at its word.
    """
    mode = request.headers.get("Sec-Fetch-Mode")
    if mode is None:
        return True
    return mode == "navigate" and request.headers.get("Sec-Fetch-User") == "?1"
