"""A notebook: the example application of flask_idlesession. docs/tutorial.rst builds it step by step."""

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask import redirect
from flask import request
from flask import Response
from flask import url_for
from werkzeug.wrappers import Response as AnyResponse

from flask_idlesession import IdleSession
from flask_idlesession.model.clock import Clock
from flask_idlesession.model.clock import system_clock

from . import accounts
from . import notes
from . import this_session
from .development import development_key
from .durations import in_words
from .durations import on_clock

# Pages load their own style and script, and nothing else from anywhere; nobody frames them.
CONTENT_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; " + "; ".join(
    f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")
)


def create_app(config: Mapping[str, Any] | None = None, *, clock: Clock = system_clock) -> Flask:
    """Return the application; ``flask --app example_app`` calls this. Tests hand in config and clock."""
    app = Flask(__name__)
    app.config.update(
        IDLESESSION_IDLE_TIMEOUT=float(os.environ.get("EXAMPLE_IDLE_TIMEOUT", 30 * 60)),
        IDLESESSION_LIFETIME=float(os.environ.get("EXAMPLE_LIFETIME", 8 * 60 * 60)),
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.config.update(config or {})
    if not app.secret_key:
        app.secret_key = development_key(app.instance_path)
    IdleSession(app, clock=clock)

    for module in (accounts, notes, this_session):
        app.register_blueprint(module.pages)
    app.add_url_rule("/", "start", start)
    app.add_template_filter(in_words)
    app.add_template_filter(on_clock)
    app.after_request(add_headers)
    return app


def start() -> AnyResponse:
    """Lead to the notes, or from there to the log-in form."""
    return redirect(url_for("notes.show"))


def add_headers(response: Response) -> Response:
    """Keep pages out of the browser's cache: after the log-out its Back button must not show the notes."""
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response
