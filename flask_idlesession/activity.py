"""Decides which requests are activity of their user, and which ones only happen: polls, files, timers."""

import logging
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Literal
from typing import TypeVar

from flask import Blueprint
from flask import Request

#: A script sends this header (with any value but 0) to say that no user asked for the request.
PASSIVE_HEADER = "X-IdleSession-Passive"
_PASSIVE = "HTTP_" + PASSIVE_HEADER.upper().replace("-", "_")

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
    Marks.made += 1
    return view


class Marks:
    """Remembers which endpoints of an application are passive by a mark, or serve static files.

    ``views`` and ``blueprints`` are the application's own: a view that is put in another's place is looked at anew.
    """

    #: How many marks were made. One that is made late makes all that is remembered worthless.
    made = 0

    def __init__(self) -> None:
        self.views: Mapping[str, Callable[..., Any]] = {}
        self.blueprints: Mapping[str, object] = {}
        self._known: dict[str, tuple[object, int, bool]] = {}

    def hold(self, request: Request) -> bool:
        """Return whether the request is for such an endpoint."""
        rule = request.url_rule
        if rule is None:
            return False
        endpoint = rule.endpoint
        view = self.views.get(endpoint)
        known = self._known.get(endpoint)
        if known is not None and known[0] is view and known[1] == Marks.made:
            return known[2]
        is_marked = self._is_marked(request, endpoint, view)
        if not hasattr(view, "view_class"):  # There it may depend on the method.
            self._known[endpoint] = (view, Marks.made, is_marked)
        return is_marked

    def _is_marked(self, request: Request, endpoint: str, view: object) -> bool:
        """Whether the endpoint serves static files, or it or a blueprint around it is marked passive."""
        if endpoint.rpartition(".")[2] == "static":
            return True
        view_class = getattr(view, "view_class", None)
        method = "get" if request.method == "HEAD" and not hasattr(view_class, "head") else request.method.lower()
        if any(hasattr(marked, _MARK) for marked in (view, view_class, getattr(view_class, method, None))):
            return True
        return any(hasattr(self.blueprints.get(name), _MARK) for name in request.blueprints)


def is_activity(request: Request, rule: Activity, marks: Marks) -> bool:
    """Return whether the request counts as activity under ``IDLESESSION_ACTIVITY``."""
    if request.environ.get(_PASSIVE, "0") != "0" or marks.hold(request):
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


def _is_navigation(request: Request) -> bool:
    """Whether a user went to a page, by the Fetch Metadata headers (W3C, "Fetch Metadata Request Headers").

    Sec-Fetch-User tells a user's click or typed address from a page that reloads itself. A client that
    sends no such headers is taken at its word.
    """
    mode = request.headers.get("Sec-Fetch-Mode")
    if mode is None:
        return True
    return mode == "navigate" and request.headers.get("Sec-Fetch-User") == "?1"
