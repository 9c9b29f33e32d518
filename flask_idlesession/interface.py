"""Carries the token in a cookie: the one module that knows HTTP cookies."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import cast

from flask import Flask
from flask import has_request_context
from flask import Request
from flask import request
from flask import Response
from flask.sessions import SessionInterface
from flask.sessions import SessionMixin

from .activity import is_activity
from .codec import Codec
from .errors import StoreError
from .manager import Saved
from .manager import SessionManager
from .peers import Peers
from .session import Session
from .settings import Settings
from .tokens import Tokens

_logger = logging.getLogger("flask_idlesession")

# Where a request keeps its session, and whether it is activity, for the hook that runs before the view.
_SESSION = "flask_idlesession.session"
_ACTIVE = "flask_idlesession.active"

#: Seconds between two log lines about cookies that are no tokens: a flood of them must not fill the log.
_QUIET = 60.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """What an application's sessions run on, once its config was read."""

    settings: Settings
    manager: SessionManager
    #: The other processes with the same application, where they matter: each has a memory of its own.
    peers: Peers | None = None


class IdleSessionInterface(SessionInterface):
    """What Flask asks for sessions, for one application.

    ``runtime`` returns what the sessions run on, reading the config when it is first called.
    """

    session_class = Session

    def __init__(self, runtime: Callable[[], Runtime], codec: Codec) -> None:
        self._runtime = runtime
        self._tokens = Tokens([])
        self._bad_tokens = 0
        self._quiet_until = 0.0
        #: Takes JSONTag classes by ``register``, as the serializer of Flask's own interface does.
        self.serializer = codec

    def open_session(self, app: Flask, request: Request) -> Session | None:
        """Return the session that the request's cookie opens, or a new empty one; None without a key.

        Nothing is asked of the store yet.
        """
        if not app.secret_key:
            return None
        runtime = self._runtime()
        manager = runtime.manager
        if runtime.peers is not None:
            runtime.peers.join(app.secret_key)
        token = self._find_token(app, request)
        claim = None if token is None else self._tokens_of(app).read(token)
        if token is not None and claim is None:
            self._note_bad_token(app, manager.now())
        session = manager.open(claim)
        request.environ[_SESSION] = session
        return session

    def note_arrival(self) -> None:
        """Note activity before the view runs: by now the route is known, and so whether it is passive."""
        environ = request.environ
        session = environ.get(_SESSION)
        if session is None or session.claim is None:
            return
        runtime = self._runtime()
        environ[_ACTIVE] = active = is_activity(request, runtime.settings.activity)
        if active:
            runtime.manager.note_arrival(session)

    def note_failure(self, app: Flask, **_: object) -> None:
        """Forget what the view did to the session, if it is to be so: the view raised."""
        if has_request_context() and not self._runtime().manager.policy.save_on_error:
            session = request.environ.get(_SESSION)
            if session is not None:
                session.forget_changes()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Store what the request did, and tell the browser what it must know, and nothing else."""
        assert isinstance(session, Session)
        runtime = self._runtime()
        try:
            saved = runtime.manager.save(session, active=_was_active(runtime))
        except StoreError as error:
            _answer_failure(app, response, error)
            # A log-out is one for this browser, whatever became of the store.
            saved = Saved.ENDED if session.intents.end else Saved.KEPT
        if session.accessed:
            response.vary.add("Cookie")
        if saved is Saved.ENDED:
            response.delete_cookie(self.get_cookie_name(app), **self._attributes(app))
            response.vary.add("Cookie")
        elif saved in (Saved.ISSUED, Saved.REFRESHED) or saved is Saved.KEPT and self._is_stale(app, session):
            self._set_cookie(app, session, response)

    def _set_cookie(self, app: Flask, session: Session, response: Response) -> None:
        assert session.claim is not None
        response.set_cookie(
            self.get_cookie_name(app),
            self._tokens_of(app).issue(session.claim),
            expires=self.get_expiration_time(app, session),
            **self._attributes(app),
        )
        response.vary.add("Cookie")

    def _attributes(self, app: Flask) -> dict[str, Any]:
        """The cookie's attributes, the same when it is set and when it is deleted: a browser does not
        delete a ``__Host-`` cookie by a Set-Cookie that it would not accept.
        """
        attributes: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app) or has_request_context() and request.is_secure,
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
        }
        if hasattr(SessionInterface, "get_cookie_partitioned"):  # Since Flask 3.1.
            attributes["partitioned"] = self.get_cookie_partitioned(app)
        return attributes

    def _tokens_of(self, app: Flask) -> Tokens:
        """The signer for the application's present keys, which may be set after the extension."""
        keys = (*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key)
        if keys != self._tokens.keys:
            self._tokens = Tokens(cast(tuple[str | bytes, ...], keys))
        return self._tokens

    def _find_token(self, app: Flask, request: Request) -> str | None:
        """Return the value of the session cookie; an empty one where there are two of the name.

        Of two cookies one was planted, from a sub-domain or another path, and nobody can tell which.
        """
        name = self.get_cookie_name(app)
        header = request.environ.get("HTTP_COOKIE", "")
        if name not in header:
            return None
        values = request.cookies.getlist(name)
        if len(values) == 1:
            return values[0]
        return "" if values else None

    def _is_stale(self, app: Flask, session: Session) -> bool:
        """Whether the browser's token is signed with a fallback key, and must be signed anew."""
        if session.record is None or len(self._tokens_of(app).keys) == 1 or not has_request_context():
            return False
        token = self._find_token(app, request)
        return bool(token) and not self._tokens_of(app).is_current(cast(str, token))

    def _note_bad_token(self, app: Flask, now: float) -> None:
        self._bad_tokens += 1
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            count, self._bad_tokens = self._bad_tokens, 0
            _logger.warning(
                "Requests came with a cookie %r that is no token of this application (%d since the last such line): "
                "garbage, signed with another key, or two cookies of one name. They were served without a session. "
                "If another application shares this host, give each its own SESSION_COOKIE_NAME.",
                self.get_cookie_name(app),
                count,
            )


def _answer_failure(app: Flask, response: Response, error: StoreError) -> None:
    """Turn the response into what the application answers to a store that failed, 503 by default: never
    a page that says "saved" when nothing was.
    """
    blueprints = request.blueprints if has_request_context() else []
    handler = app._find_error_handler(error, blueprints)
    answer = app.make_response(error if handler is None else app.ensure_sync(handler)(error))
    response.close()
    response.status_code = answer.status_code
    response.headers.clear()
    response.headers.extend(answer.headers)
    response.response = answer.response


def _was_active(runtime: Runtime) -> bool:
    """Whether the present request is activity; one saved without having arrived (a test's session
    transaction, a WebSocket's event) is asked now.
    """
    if not has_request_context():
        return True
    active: bool | None = request.environ.get(_ACTIVE)
    return is_activity(request, runtime.settings.activity) if active is None else active
