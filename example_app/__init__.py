"""A notebook: the example application of flask_idlesession. docs/tutorial.rst builds it step by step."""

import os
from collections.abc import Callable
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from flask import Flask
from flask import redirect
from flask import request
from flask import Response
from flask import url_for
from werkzeug.wrappers import Response as AnyResponse

from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession

from . import accounts
from . import notes
from . import this_session
from .development import development_key
from .durations import in_words

# Pages load their own style and script, and nothing else from anywhere; nobody frames them.
CONTENT_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; " + "; ".join(
    f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")
)


def create_app(config: Mapping[str, Any] | None = None, *, clock: Callable[[], float] | None = None) -> Flask:
    """Return the application; ``flask --app example_app`` calls this. Tests hand in config and clock."""
    app = Flask(__name__)
    app.config.update(
        IDLESESSION_IDLE_TIMEOUT=float(os.environ.get("EXAMPLE_IDLE_TIMEOUT", 30 * 60)),
        IDLESESSION_LIFETIME=float(os.environ.get("EXAMPLE_LIFETIME", 8 * 60 * 60)),
        IDLESESSION_PAGES="/session",
        IDLESESSION_LOGIN_VIEW="accounts.show_form",
        # Notes that are sent too late are kept in encrypted form, where the extra "encryption" is installed.
        IDLESESSION_KEEP_FORMS=16 * 1024 if find_spec("cryptography") else 0,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    if redis := os.environ.get("EXAMPLE_REDIS"):
        app.config["IDLESESSION_STORE"] = redis
    app.config.update(config or {})
    if not app.secret_key:
        app.secret_key = development_key(app.instance_path)
    # Only within five minutes of a log-in can somebody at an open browser sign out the user's other devices.
    IdleSession(app, clock=clock, before_ending=fresh_login_required(max_age=5 * 60)(lambda: None))

    for module in (accounts, notes, this_session):
        app.register_blueprint(module.pages)
    if os.environ.get("EXAMPLE_CHAT"):
        from .chat import add_chat  # It needs Flask-SocketIO.

        add_chat(app)
        app.jinja_env.globals["has_chat"] = True
    app.add_url_rule("/", "start", start)
    app.add_template_filter(in_words)
    app.after_request(add_headers)
    return app


def start() -> AnyResponse:
    """Lead to the notes, or from there to the log-in form."""
    return redirect(url_for("notes.show"))


def add_headers(response: Response) -> Response:
    """Keep pages out of the browser's cache: after the log-out its Back button must not show the notes."""
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.endpoint not in ("static", "idlesession.static"):
        response.headers["Cache-Control"] = "no-store"
    return response
