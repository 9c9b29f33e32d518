"""Decides which requests are activity of their user, and which ones only happen: polls, files, timers."""

import logging
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from flask import Blueprint
from flask import Flask
from flask import Request
from werkzeug.exceptions import HTTPException

from ..settings.checks import Activity

#: A script sends this header (with any value but 0) to say that no user asked for the request.
PASSIVE_HEADER = "X-IdleSession-Passive"
_PASSIVE = "HTTP_" + PASSIVE_HEADER.upper().replace("-", "_")

_MARK = "_idlesession_passive"
_UNKNOWN = (object(), -1, True)
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
    ActivityRule.marks += 1
    return view


class ActivityRule:
    """Tells which requests of an application are activity, under ``IDLESESSION_ACTIVITY``.

    ``views`` and ``blueprints`` are the application's own dicts: a view that replaces another is looked at again.
    """

    #: How many marks were made. One that is made late makes all that is remembered worthless.
    marks = 0

    def __init__(
        self, rule: Activity, *, views: Mapping[str, Callable[..., Any]], blueprints: Mapping[str, object]
    ) -> None:
        self._rule = rule
        self._views = views
        self._blueprints = blueprints
        # Of endpoints: the view, how many marks there were, and whether it is passive by one, or serves static files.
        self._known: dict[str, tuple[object, int, bool]] = {}

    def counts(self, request: Request | None) -> bool | None:
        """Return whether the request is activity; None where its route is not known yet, or none is sought (a
        WebSocket's event is no request).
        """
        if request is None:
            return None
        route = request.url_rule
        if route is None:
            if request.routing_exception is None:
                return None
        else:
            view, marks, is_passive = self._known.get(route.endpoint, _UNKNOWN)
            if view is not self._views.get(route.endpoint) or marks != ActivityRule.marks:
                is_passive = self._look_at(request, route.endpoint)
            if is_passive:
                return False
        environ = request.environ
        if _PASSIVE in environ and environ[_PASSIVE] != "0":
            return False
        rule = self._rule
        if rule == "all":
            return True
        if rule == "navigation":
            return _is_navigation(request)
        try:
            return bool(rule(request))
        except Exception:
            # A session that ends too early is noticed on the first day; one that never ends, by an auditor.
            _logger.exception(
                "IDLESESSION_ACTIVITY raised for %r; the request does not prolong its session.", request.path
            )
            return False

    def counts_early(self, app: Flask, request: Request) -> bool:
        """Return whether the request is activity, before Flask has looked for its route: the route is looked for now.

        False where that fails: Flask is about to meet the same, or a converter of the application needs the session.
        """
        try:
            try:
                adapter = app.create_url_adapter(request)
                if adapter is not None:
                    request.url_rule, request.view_args = adapter.match(return_rule=True)  # type: ignore[assignment]
            except HTTPException as error:
                request.routing_exception = error
            return self.counts(request) is not False
        except Exception:  # It is the application's own code that raised.
            return False
        finally:
            request.url_rule = request.view_args = request.routing_exception = None

    def _look_at(self, request: Request, endpoint: str) -> bool:
        """Return whether a request for the endpoint is passive, and remember that."""
        view, marks = self._views.get(endpoint), ActivityRule.marks
        is_passive = self._is_passive(request, endpoint, view)
        if not hasattr(view, "view_class"):  # There it may depend on the method.
            self._known[endpoint] = view, marks, is_passive
        return is_passive

    def _is_passive(self, request: Request, endpoint: str, view: object) -> bool:
        """Whether the endpoint serves static files, or it or a blueprint around it is marked passive."""
        if endpoint.rpartition(".")[2] == "static":
            return True
        view_class = getattr(view, "view_class", None)
        method = "get" if request.method == "HEAD" and not hasattr(view_class, "head") else request.method.lower()
        if any(hasattr(marked, _MARK) for marked in (view, view_class, getattr(view_class, method, None))):
            return True
        return any(hasattr(self._blueprints.get(name), _MARK) for name in request.blueprints)


def _is_navigation(request: Request) -> bool:
    """Whether a user went to a page, by the Fetch Metadata headers (W3C, "Fetch Metadata Request Headers").

    Sec-Fetch-User tells a user's click or typed address from a page that reloads itself. A client that
    sends no such headers is taken at its word.
    """
    mode = request.headers.get("Sec-Fetch-Mode")
    if mode is None:
        return True
    return mode == "navigate" and request.headers.get("Sec-Fetch-User") == "?1"
