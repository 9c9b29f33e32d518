"""Mounts the dashboard beside the pages, for operators alone: the guard is asked before anything else."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask
from flask import g
from flask import request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import MethodNotAllowed

from ..web.activity import passive
from ..web.current import NAME
from ..web.operators import Guard
from ..web.operators import refusal_by
from .dashboard_files import send_file
from .dashboard_views import end_sessions
from .dashboard_views import session_page
from .dashboard_views import sessions_page
from .dashboard_views import start_page
from .overviews import keep_reader

_READ, _WRITE = ("GET", "HEAD"), ("POST",)

_View = Callable[..., ResponseReturnValue]


def mount_dashboard(app: Flask, prefix: str, guard: Guard) -> None:
    """Serve the dashboard below the pages' ``prefix`` to those whom the guard lets in."""
    keep_reader(app)
    for rule, name, methods, view in (
        ("", "dashboard", _READ, start_page),
        ("/sessions", "dashboard_sessions", _READ, sessions_page),
        ("/sessions/<uuid:sid>", "dashboard_session", _READ, session_page),
        ("/end", "dashboard_end", _WRITE, end_sessions),
        ("/static/<path:filename>", "dashboard_static", _READ, send_file),
    ):
        endpoint = f"{NAME}.{name}"
        app.view_functions[endpoint] = passive(_for_operators(view, guard, methods))
        # Not by add_url_rule(), whose rules have methods and repair slashes: 405 or a redirect would tell strangers.
        app.url_map.add(
            app.url_rule_class(f"{prefix}/dashboard{rule}", endpoint=endpoint, methods=None, merge_slashes=False)
        )


def _for_operators(view: _View, guard: Guard, methods: tuple[str, ...]) -> _View:
    @wraps(view)
    def guarded(**values: Any) -> ResponseReturnValue:
        g._idlesession_stranger = True  # The blueprint adds no headers to what the guard answers.
        refusal = refusal_by(guard)
        if refusal is not None:
            return refusal
        g._idlesession_stranger = False
        if request.method not in methods:
            raise MethodNotAllowed(methods)
        return view(**values)

    return guarded
