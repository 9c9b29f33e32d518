"""Carries the token in a cookie: the one module that knows HTTP cookies."""

import logging
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from os import getpid
from typing import Any
from typing import cast
from typing import TYPE_CHECKING

from flask import Flask
from flask import has_request_context
from flask import Request
from flask import request
from flask import Response
from flask.config import ConfigAttribute
from flask.sessions import NullSession
from flask.sessions import SessionInterface
from flask.sessions import SessionMixin
from werkzeug.exceptions import HTTPException

from ..model.codec import Codec
from ..model.errors import StoreError
from ..model.ids import Credential
from ..model.signals import bad_tokens_seen
from ..model.signals import tell
from ..sessions.manager import SessionManager
from ..sessions.requests import Saved
from ..sessions.session import Session
from ..settings.checks import check_secret_key
from .activity import ActivityRule
from .tokens import Tokens

if TYPE_CHECKING:
    from ..operations.lost_sessions import LostSessions
    from ..operations.other_processes import OtherProcesses
    from ..settings.keys import Settings
    from .jwt_cookie import ClaimsCookie
    from .token_header import TokenHeader

_logger = logging.getLogger("flask_idlesession")

#: How many Cookie headers, and of which length, are known again at once. The others are parsed.
_MAX_KNOWN, _LONGEST_KNOWN = 4096, 512

#: Python 3.11 calls a function each time a member is named, and nearly every request ends with this one.
_KEPT = Saved.KEPT

#: Seconds between two log lines about cookies that are no tokens: a flood of them must not fill the log.
_QUIET = 60.0


class Runtime:
    """What an application's sessions run on, once its config was read."""

    __slots__ = ("settings", "manager", "peers", "strays", "header", "claims")

    def __init__(
        self,
        settings: "Settings",
        manager: SessionManager,
        *,
        peers: "OtherProcesses | None",
        strays: "LostSessions | None",
        header: "TokenHeader | None",
        claims: "ClaimsCookie | None",
    ) -> None:
        self.settings = settings
        self.manager = manager
        #: The other processes with the same application, where they matter: each has a memory of its own.
        self.peers = peers
        #: Hears of the tokens of sessions that are not here, where that is a sign of something.
        self.strays = strays
        #: The other place where a token may be, if there is one.
        self.header = header
        #: What is told to other services beside the token, if anything is.
        self.claims = claims


class KeylessSession(NullSession):
    """Says in Flask's own words, for what only our sessions have too, that no secret key was set."""

    sid = user_id = None
    log_in = rotate = modify = exclusive = NullSession.clear


class IdleSessionInterface(SessionInterface):
    """What Flask asks for sessions, for one application.

    ``runtime`` returns what the sessions run on, reading the config when it is first called.
    """

    session_class = Session
    null_session_class = KeylessSession

    def __init__(self, runtime: Callable[[], Runtime], codec: Codec) -> None:
        self._runtime = runtime
        self._running: Runtime | None = None
        # What of the application's config was seen when requests were last prepared for, and by which process.
        self._seen: tuple[object, ...] = ()
        self._process = 0
        # Whether the application's class finds its secret key in a way of its own. Flask's is the config, by a detour.
        self._asks_for_key = True
        self._tokens = Tokens([])
        self._bad_tokens = 0
        self._quiet_until = 0.0
        self._activity = ActivityRule("all", views={}, blueprints={})  # Until the config was read.
        #: Takes JSONTag classes by ``register``, as the serializer of Flask's own interface does.
        self.serializer = codec

    def open_session(self, app: Flask, request: Request) -> Session | None:
        """Return the session that the request's cookie opens, or a new empty one; None without a key.

        A store that a server keeps is asked nothing yet; one in this process's memory, whether little life is left.
        """
        if self._running is None and app.secret_key:
            self._runtime()  # What is wrong with the config is raised while no frame holds a key.
        config, runtime = app.config, self._running
        secret_key = app.secret_key if self._asks_for_key else config["SECRET_KEY"]
        seen = (secret_key, config.get("SECRET_KEY_FALLBACKS"), config["SESSION_COOKIE_NAME"])
        if runtime is None or seen != self._seen:
            if not secret_key:
                return None
            runtime = self._prepare(app)
            self._running, self._seen = runtime, (secret_key, copy(seen[1]), seen[2])
        credential = self._tokens.by_header.get(request.environ.get("HTTP_COOKIE", ""))
        if credential is None:
            credential = self._find_claim(app, request, runtime)
        manager = runtime.manager
        session = manager.open(credential, request)
        # For the hooks. Not in its environ: an application may be called with a copy of another one's.
        request._idlesession = session  # type: ignore[attr-defined]
        if credential is not None and credential.fades_at <= session.came_at:
            credential.fades_at = manager.fades_at(credential.sid)
            if credential.fades_at <= session.came_at:
                self._note_early(app, request, session)
        return session

    def _prepare(self, app: Flask) -> Runtime:
        """Do what is to be done before the first request of a process, and when the keys or the cookie's name have
        changed since the last one.
        """
        runtime, self._process = self._runtime(), getpid()
        self._asks_for_key = not isinstance(getattr(type(app), "secret_key", None), ConfigAttribute)
        if runtime.peers is not None and app.secret_key:
            runtime.peers.join(app.secret_key)
        self._tokens_of(app).by_header.clear()
        self._activity = ActivityRule(runtime.settings.activity, views=app.view_functions, blueprints=app.blueprints)
        runtime.manager.judge_by(
            self._activity.counts, note_lost=None if runtime.strays is None else runtime.strays.note
        )
        if runtime.manager.is_near:  # There a look at the session when it is opened does instead.
            hooks = app.url_value_preprocessors
            hooks[None] = [hook for hook in hooks.get(None, ()) if hook != self.note_arrival]
        return runtime

    def _find_claim(self, app: Flask, request: Request, runtime: Runtime) -> Credential | None:
        """Return what the token claims that the request shows; None without one that is this application's."""
        if self._process != getpid():  # No request of this process came here before.
            self._prepare(app)
        tokens = self._tokens
        token = self._find_token(app, request) if runtime.header is None else self._shown_token(app, request)
        if token is None:
            return None
        credential, header = tokens.read(token), request.environ.get("HTTP_COOKIE", "")
        if credential is None:
            self._note_bad_token(app, runtime.manager.now())
        elif runtime.header is None and len(header) <= _LONGEST_KNOWN:
            if len(tokens.by_header) >= _MAX_KNOWN:
                tokens.by_header.clear()
            tokens.by_header[header] = credential
        return credential

    def note_arrival(self, endpoint: str | None, values: dict[str, Any] | None) -> None:
        """Note activity before the view runs: by now the route is known, and so whether it is passive."""
        session: Session | None = getattr(request, "_idlesession", None)
        if session is not None and session.credential is not None:
            session.is_active = self._activity.counts(session.request)
            if session.is_active:
                self._runtime().manager.note_arrival(session)

    def _note_early(self, app: Flask, request: Request, session: Session) -> None:
        """Note activity when a session is opened that may end before its view does: the route is looked for now."""
        try:
            try:
                adapter = app.create_url_adapter(request)
                if adapter is not None:
                    request.url_rule, request.view_args = adapter.match(return_rule=True)  # type: ignore[assignment]
            except HTTPException as error:
                request.routing_exception = error
            session.is_active = self._activity.counts(request) is not False
        except Exception:  # A converter of the application's: Flask is about to meet the same, or it needs the session.
            return
        finally:
            request.url_rule = request.view_args = request.routing_exception = None
        if session.is_active:
            self._runtime().manager.note_arrival(session)

    def note_failure(self, app: Flask, **_: object) -> None:
        """Forget what the view did to the session, if it is to be so: the view raised."""
        session = getattr(request, "_idlesession", None) if has_request_context() else None
        if session is not None and not self._runtime().manager.policy.save_on_error:
            session.forget_changes()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Store what the request did, and tell the browser what it must know, and nothing else."""
        if not isinstance(session, Session):
            return  # None, because it could not be opened: Flask is about to tell why.
        runtime, active = self._running or self._runtime(), session.is_active
        if active is None:
            active = self._activity.counts(session.request) is not False
        claims = runtime.claims
        try:
            saved = runtime.manager.save(session, active=active)
        except StoreError as error:
            _answer_failure(app, response, error)
            # A log-out is one for this browser, whatever became of the store.
            saved = Saved.ENDED if session.intents.end else Saved.KEPT
            claims = claims if saved is Saved.ENDED else None
        session.request = None  # It has the session: together they would wait for the garbage collector.
        if session.accessed:
            _vary_by_cookie(response)
        if runtime.header is not None:
            self._tell_by_header(app, session, response, saved)
            if runtime.header.is_used_now():
                return
        if claims is not None:
            claims.tell(session, response, saved, active=active, attributes=self._attributes(app))
        if saved is _KEPT and not session.was_sent and len(self._tokens.keys) == 1:
            return
        if saved is Saved.ENDED:
            response.delete_cookie(self.get_cookie_name(app), **self._attributes(app))
            _vary_by_cookie(response)
        elif saved is Saved.ISSUED or self._must_repeat(app, session, saved):
            self._set_cookie(app, session, response)

    def _tell_by_header(self, app: Flask, session: Session, response: Response, saved: Saved) -> None:
        """Do for a request that used the token header what else is done with cookies, but for keeping it longer."""
        header = cast("TokenHeader", self._runtime().header)
        if session.accessed:
            response.vary.add(header.name)
        if not header.is_used_now():
            return
        if saved is Saved.ENDED:
            header.tell(response, "")
        elif saved is Saved.ISSUED or saved is Saved.KEPT and self._must_repeat(app, session, saved):
            session.was_sent = True
            header.tell(response, self._tokens_of(app).issue(cast(Credential, session.credential)))

    def is_null_session(self, obj: object) -> bool:
        # What is none is found at once. Each response asks, and a mapping's isinstance() is slow to say no.
        return obj.__class__ is not Session and isinstance(obj, self.null_session_class)

    def _set_cookie(self, app: Flask, session: Session, response: Response) -> None:
        assert session.credential is not None
        session.was_sent = True
        response.set_cookie(
            self.get_cookie_name(app),
            self._tokens_of(app).issue(session.credential),
            expires=self.get_expiration_time(app, session),
            **self._attributes(app),
        )
        _vary_by_cookie(response)

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

    def _tokens_of(self, app: Flask, secret_key: str | bytes | None = None) -> Tokens:
        """The signer for the application's present keys, which may be set after the extension."""
        keys = (secret_key or app.secret_key,)
        fallbacks = app.config.get("SECRET_KEY_FALLBACKS")
        if fallbacks:
            keys = (*fallbacks, *keys)
        if keys != self._tokens.keys:
            if not (app.debug or app.testing):
                check_secret_key(cast(str | bytes, app.secret_key))
            self._tokens = Tokens(cast(tuple[str | bytes, ...], keys))
        return self._tokens

    def _find_token(self, app: Flask, request: Request) -> str | None:
        """Return the value of the session cookie; an empty one where there are two of the name.

        Of two cookies one was planted, from a sub-domain or another path, and nobody can tell which.
        """
        name = self.get_cookie_name(app)
        header: str = request.environ.get("HTTP_COOKIE", "")
        if name not in header:
            return None
        plain = _plain_cookie(header, name)
        if plain is not None and self._tokens.is_well_formed(plain):
            return plain
        values = request.cookies.getlist(name)
        if len(values) == 1:
            return values[0]
        return "" if values else None

    def _shown_token(self, app: Flask, request: Request) -> str | None:
        """Return the token in the header, where the request uses that, else the one in the cookie."""
        header = self._runtime().header
        if header is not None and header.is_used(request):
            return header.find(request)
        return self._find_token(app, request)

    def _must_repeat(self, app: Flask, session: Session, saved: Saved) -> bool:
        """Whether to send the token that the session already had: to be kept longer, signed anew, or because
        it went into a response of this request that was thrown away.
        """
        if session.record is None or session.credential is None or saved not in (Saved.KEPT, Saved.REFRESHED):
            return False
        if session.was_sent:
            return True
        if saved is Saved.KEPT and not self._is_stale(app):
            return False
        # Another request may have rotated meanwhile: a late response must not put the old token back.
        with suppress(StoreError):
            manager = self._runtime().manager
            record = manager.reload(session.credential)
            return record is not None and not record.is_former(session.credential.holder, now=manager.now())
        return False

    def _is_stale(self, app: Flask) -> bool:
        """Whether the browser's token is signed with a fallback key, and must be signed anew."""
        if len(self._tokens.keys) == 1 or not has_request_context():
            return False
        token = self._shown_token(app, request)
        return bool(token) and not self._tokens_of(app).is_current(cast(str, token))

    def _note_bad_token(self, app: Flask, now: float) -> None:
        self._bad_tokens += 1
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            count, self._bad_tokens = self._bad_tokens, 0
            _logger.warning(
                "Requests came with a cookie %r or a token header that is no token of this application (%d since the "
                "last such line): garbage, signed with another key, or two of one name. They were served without a "
                "session. If another application shares this host, give each its own SESSION_COOKIE_NAME.",
                self.get_cookie_name(app),
                count,
            )
            tell(bad_tokens_seen, app, count=count)


def _plain_cookie(header: str, name: str) -> str | None:
    """Return what Werkzeug finds, if the header has the name but once and as browsers write it, and a token is the
    value; else anything."""
    start = header.find(name)
    end = start + len(name)
    if start > 0 and header[start - 2 : start] != "; " or header[end : end + 1] != "=" or header.find(name, end) > 0:
        return None
    stop = header.find(";", end)
    return header[end + 1 :] if stop < 0 else header[end + 1 : stop]


def _vary_by_cookie(response: Response) -> None:
    """Say that the response depends on the cookie. Werkzeug's ``vary`` costs as much as all else here, so it is
    left to those responses that say something about it already."""
    for name, _ in response.headers:
        if name.lower() == "vary":
            response.vary.add("Cookie")
            return
    response.headers.add("Vary", "Cookie")


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
