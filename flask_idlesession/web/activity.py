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
PASSIVE_IN_ENVIRON = "HTTP_" + PASSIVE_HEADER.upper().replace("-", "_")

#: A marked view has this attribute: False says that it is passive, True that it is the user's own doing.
_MARK = "_idlesession_activity"
_UNKNOWN = (object(), -1, None)

#: How many marks were made. One that is made late makes all that is remembered of views worthless.
_marks_made = 0

#: A browser's EventSource asks for this, by itself, again and again.
_EVENT_STREAM = "text/event-stream"
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
    return _marked(view, False)


def active(view: _View) -> _View:
    """Mark what a user does by hand, and what would not count else: a view that a WebSocket or an event stream is
    opened by, or a handler of a socket's events. Each of them then prolongs the session. ::

        @socketio.on("message")
        @active
        def message(text): ...

    A view or a blueprint may be marked in a :func:`passive` blueprint. A request that says that it is passive by the
    header ``X-IdleSession-Passive`` is so also here.
    """
    return _marked(view, True)


def active_places(app: Flask) -> dict[str, str]:
    """Return the paths of the endpoints whose requests are activity by their marks, as far as no request is needed."""
    places: dict[str, str] = {}
    for rule in app.url_map.iter_rules():
        view, names = app.view_functions.get(rule.endpoint), rule.endpoint.split(".")[:-1]
        around = [app.blueprints.get(".".join(names[:length])) for length in range(len(names), 0, -1)]
        marks = [getattr(place, _MARK, None) for place in (view, getattr(view, "view_class", None), *around)]
        if next((mark for mark in marks if mark is not None), True) and not rule.endpoint.endswith("static"):
            places.setdefault(rule.endpoint, rule.rule)
    return places


def is_marked_active(view: object) -> bool:
    """Return whether a function was marked by :func:`active`."""
    return getattr(view, _MARK, None) is True


def _marked(view: _View, mark: bool) -> _View:
    global _marks_made
    setattr(view, _MARK, mark)
    _marks_made += 1
    return view


class ActivityRule:
    """Tells which requests of an application are activity, under ``IDLESESSION_ACTIVITY``.

    ``views`` and ``blueprints`` are the application's own dicts: a view that replaces another is looked at again.
    """

    def __init__(
        self, rule: Activity, *, views: Mapping[str, Callable[..., Any]], blueprints: Mapping[str, object]
    ) -> None:
        self._rule = rule
        self._views = views
        self._blueprints = blueprints
        # Of endpoints: the view, how many marks there were, and what the marks say. Static files are passive.
        self._known: dict[str, tuple[object, int, bool | None]] = {}

    def counts(self, request: Request | None) -> bool | None:
        """Return whether the request is activity; None where its route is not known yet, or none is sought (a
        WebSocket's event is no request).
        """
        if request is None:
            return None
        route, mark = request.url_rule, None
        if route is None:
            if request.routing_exception is None:
                return None
        else:
            endpoint = route.endpoint
            view, marks, mark = self._known.get(endpoint, _UNKNOWN)
            if view is not self._views.get(endpoint) or marks != _marks_made:
                mark = self._look_at(request, endpoint)
            if mark is False:
                return False
        environ = request.environ
        if PASSIVE_IN_ENVIRON in environ and environ[PASSIVE_IN_ENVIRON] != "0":
            return False
        if mark:
            return True
        if "HTTP_UPGRADE" in environ or environ.get("HTTP_ACCEPT") == _EVENT_STREAM:
            return not _is_opened_by_a_script(request) and self._counts_by_rule(request)
        return self._rule == "all" or self._counts_by_rule(request)

    def _counts_by_rule(self, request: Request) -> bool:
        """Return whether the request is activity under ``IDLESESSION_ACTIVITY``."""
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
                "IDLESESSION_ACTIVITY raised for %r; the request does not prolong its session. [ISE090]", request.path
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

    def _look_at(self, request: Request, endpoint: str) -> bool | None:
        """Return what the marks say of a request for the endpoint, and remember that."""
        view, marks = self._views.get(endpoint), _marks_made
        mark = self._mark_of(request, endpoint, view)
        if not hasattr(view, "view_class"):  # There it may depend on the method.
            self._known[endpoint] = view, marks, mark
        return mark

    def _mark_of(self, request: Request, endpoint: str, view: object) -> bool | None:
        """Return False for what serves static files or is marked passive, True for what is marked active, else None.

        The view's own mark counts before those of the blueprints around it.
        """
        if endpoint.rpartition(".")[2] == "static":
            return False
        view_class = getattr(view, "view_class", None)
        method = "get" if request.method == "HEAD" and not hasattr(view_class, "head") else request.method.lower()
        places = [getattr(view_class, method, None), view, view_class, *map(self._blueprints.get, request.blueprints)]
        return next((mark for place in places if (mark := getattr(place, _MARK, None)) is not None), None)


def _is_opened_by_a_script(request: Request) -> bool:
    """Whether it opens an event stream or a WebSocket: a page does so by itself, again and again."""
    environ = request.environ
    if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
        return True
    return request.method == "GET" and environ.get("HTTP_ACCEPT") == _EVENT_STREAM


def _is_navigation(request: Request) -> bool:
    """Whether a user went to a page, by the Fetch Metadata headers (W3C, "Fetch Metadata Request Headers").

    Sec-Fetch-User tells a user's click or typed address from a page that reloads itself. A client that
    sends no such headers is taken at its word.
    """
    mode = request.headers.get("Sec-Fetch-Mode")
    if mode is None:
        return True
    return mode == "navigate" and request.headers.get("Sec-Fetch-User") == "?1"
