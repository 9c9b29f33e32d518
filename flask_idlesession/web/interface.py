"""Flask's session interface: finds the token of a request, and puts a new one into its response."""

from collections.abc import Callable
from contextlib import suppress
from copy import copy
from datetime import datetime
from datetime import timedelta
from os import getpid
from types import SimpleNamespace
from typing import Any
from typing import cast
from typing import NoReturn

from flask import Flask
from flask import has_request_context
from flask import Request
from flask import request
from flask import Response
from flask.config import ConfigAttribute
from flask.sessions import NullSession
from flask.sessions import SessionInterface
from flask.sessions import SessionMixin

from ..model.codec import Codec
from ..model.errors import StoreError
from ..model.ids import Credential
from ..sessions.facts import Saved
from ..sessions.session import is_of_event
from ..sessions.session import Session
from ..settings.checks import Unshown
from ..settings.cookie import check_cookie
from ..settings.cookie import COOKIE_KEYS
from ..settings.cookie import longest
from .bad_cookies import BadCookies
from .bad_cookies import note_foreign
from .bad_cookies import note_several
from .cookies import find_tokens
from .cookies import other_places
from .failures import answer_failure
from .misplaced import place_guards
from .runtime import Runtime
from .signers import Signers
from .token_header import TokenHeader

#: Python 3.11 calls a function each time a member is named, and nearly every request ends with this one.
_KEPT = Saved.KEPT


#: The status of an answer of Flask's own: a failure of the store was raised while another error was handled.
_UNANSWERED = 500

#: A response that is of one of these is whole. Another one may be a stream.
_WHOLE = (list, tuple)


class KeylessSession(NullSession):
    """Is empty, and says in Flask's own words, for what only our sessions have too, that no secret key was set."""

    sid = _user_id = _ending = None

    def _get_own(self, key: str) -> None:
        """Return what an empty session has."""

    def __getattr__(self, name: str) -> NoReturn:
        if hasattr(Session, name):
            self.clear()  # It raises.
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class IdleSessionInterface(SessionInterface):
    """The session interface of one application: Flask calls it to open and to save a session.

    ``runtime`` returns what the sessions run on, reading the config when it is first called. ``hears_routes``: Flask
    calls :meth:`note_arrival` before each view, which takes 1 µs; else the route is looked for when it is needed.
    """

    session_class = Session
    null_session_class = KeylessSession

    def __init__(self, runtime: Callable[[], Runtime], codec: Codec, *, hears_routes: bool) -> None:
        self._runtime = runtime
        #: Whether Flask calls :meth:`note_arrival` once the route of a request is known.
        self._hears_routes = hears_routes
        self._running: Runtime | None = None
        # The values of the config that requests were last prepared for, and the process that saw them.
        self._seen: tuple[object, ...] = ()
        self._process = 0
        # The application's PERMANENT_SESSION_LIFETIME and its cookie's settings when a session was last saved.
        self._lifetime: object = None
        self._refreshes: object = None
        self._cookie_settings: tuple[object, ...] = ()
        # Whether the application's class finds its secret key in a way of its own. Flask's is the config, by a detour.
        self._asks_for_key = True
        # Whether a browser is told nothing as long as its token stays: it has one cookie, which one key signs.
        self._is_quiet = False
        self._signers = Signers(lambda: runtime().notices, namespace=lambda: runtime().settings.namespace)
        self._bad_cookies = BadCookies()
        #: Takes JSONTag classes by ``register``, as the serializer of Flask's own interface does.
        self.serializer = codec

    # A request comes.

    def open_session(self, app: Flask, request: Request) -> Session | None:
        """Return the session that the request's cookie opens, or a new empty one; None without a key.

        A store that takes a round trip is asked nothing yet; one in this process, whether little life is left.
        """
        if self._running is None and app.secret_key:
            self._runtime()  # A fault in the config is raised while no frame holds a key.
        config, runtime = app.config, self._running
        secret_key = app.secret_key if self._asks_for_key else config["SECRET_KEY"]
        views = len(app.view_functions)
        seen = (secret_key, config.get("SECRET_KEY_FALLBACKS"), config["SESSION_COOKIE_NAME"], views)
        if runtime is None or seen != self._seen:
            if not secret_key:
                return None
            runtime = self._prepare(app)
            self._running, self._seen = runtime, (secret_key, copy(seen[1]), seen[2], views)
        credential = self._signers.tokens.by_header.get(request.environ.get("HTTP_COOKIE", ""))
        if credential is None:
            credential = self._find_credential(app, request, runtime)
        requests, adoption = runtime.requests, runtime.adoption
        if adoption is None or runtime.header is not None and runtime.header.is_used(request):
            session = requests.open(credential, request)
        else:
            session = requests.open(credential, request, adoption.shown(request, credential))
        # For the hooks below: Flask has the session in its context, but under another name in each of 3.0 to 3.2.
        # Not in the environ: an application may be called with a copy of another one's.
        request._idlesession = session  # type: ignore[attr-defined]
        if credential is not None and requests.may_fade(credential, session):
            self._note_early(app, request, session, runtime)
        return session

    def _note_early(self, app: Flask, request: Request, session: Session, runtime: Runtime) -> None:
        """Note activity now, unless Flask calls :meth:`note_arrival`: it does for what only a round trip could tell."""
        hears = self._hears_routes and runtime.requests.near is None
        if not hears and runtime.activity.counts_early(app, request):
            runtime.requests.note_arrival(session)

    def _prepare(self, app: Flask) -> Runtime:
        """Prepare for the first request of a process.

        Do it again after the keys, the cookie's name or the number of views have changed.
        """
        runtime, self._process = self._runtime(), getpid()
        self._require_cookie(app)
        self._asks_for_key = not isinstance(getattr(type(app), "secret_key", None), ConfigAttribute)
        if runtime.others is not None and app.secret_key:
            runtime.others.join(app.secret_key)
        tokens = self._signers.tokens_of(app)
        tokens.by_header.clear()
        self._is_quiet = len(tokens.keys) == 1 and runtime.header is None and runtime.claims is None
        place_guards(app, runtime.notices)
        return runtime

    def credential_of(self, app: Flask, request: Request) -> Credential | None:
        """Return the credential that a request shows, for tests that look at a session. This is no activity."""
        self._signers.tokens_of(app)
        return self._find_credential(app, request, self._runtime())

    def _find_credential(self, app: Flask, request: Request, runtime: Runtime) -> Credential | None:
        """Return the credential in the token that the request shows; None without one of this application's."""
        if self._process != getpid():  # No request of this process came here before.
            self._prepare(app)
        if runtime.others is not None and "HTTP_X_FORWARDED_FOR" in request.environ:
            runtime.others.note_forwarded(request.environ)
        credentials, count = self._read_shown(app, request, runtime)
        if not credentials:
            if count and not self._are_older(app, request, runtime):
                if runtime.tallies is not None:
                    runtime.tallies.counter.count("bad_tokens")
                self._bad_cookies.note(app, self.get_cookie_name(app), now=runtime.manager.now())
            return None
        if count > 1:
            return self._choose(app, credentials, runtime)
        if runtime.header is None:
            self._signers.tokens.remember_header(request.environ.get("HTTP_COOKIE", ""), credentials[0])
        return credentials[0]

    def _read_shown(self, app: Flask, request: Request, runtime: Runtime) -> tuple[list[Credential], int]:
        """Return the credentials in the tokens that the request shows, and how many texts there are in a token's place.

        A cookie that our keys did not sign is another application's, which is said if it is beside one of ours.
        """
        shown = dict.fromkeys(self._shown_tokens(app, request, runtime.header))
        read = self._signers.tokens.read
        credentials = [credential for token in shown if (credential := read(token)) is not None]
        if credentials and not all(self._signers.has_signed(app, token) for token in shown):
            note_foreign(runtime.notices, self.get_cookie_name(app))
        return credentials, len(shown)

    def _are_older(self, app: Flask, request: Request, runtime: Runtime) -> bool:
        """Whether what is in a token's place is of sessions from before, which are taken over."""
        adoption = runtime.adoption
        shown = self._shown_tokens(app, request, runtime.header)
        return adoption is not None and any(map(adoption.may_be_older, shown))

    def _shown_tokens(self, app: Flask, request: Request, header: TokenHeader | None) -> list[str]:
        """Return the token in the header, where the request uses that, else those in the cookies of our name."""
        if header is not None and header.is_used(request):
            token = header.find(request)
            return [] if token is None else [token]
        return find_tokens(request, self.get_cookie_name(app), self._signers.tokens)

    def _choose(self, app: Flask, credentials: list[Credential], runtime: Runtime) -> Credential | None:
        """Return the one that counts of the credentials that a browser has: the one that opens a live session.

        If they open several sessions, none counts: somebody may have planted one, and nobody can tell which.
        """
        live = credentials if len(credentials) == 1 else runtime.requests.those_alive(credentials)
        if len(live) > 1:
            note_several(runtime.notices, self.get_cookie_name(app))
        return live[0] if len(live) == 1 else None

    def note_arrival(self, endpoint: str | None, values: dict[str, Any] | None) -> None:
        """Note activity before the view runs: by now the route is known, and so whether it is passive.

        A store in this process was asked when the session was opened.
        """
        runtime = self._running or self._runtime()
        if runtime.requests.near is not None:
            return
        session: Session | None = getattr(request, "_idlesession", None)
        if session is None or session._facts.credential is None:
            return
        facts = session._facts
        facts.is_active = runtime.activity.counts(facts.carrier)
        if facts.is_active:
            runtime.requests.note_arrival(session, kind=(endpoint, request.method))

    def note_failure(self, app: Flask, **_: object) -> None:
        """Forget what the view did to the session, if it is to be so: the view raised."""
        session = getattr(request, "_idlesession", None) if has_request_context() else None
        if session is not None and not self._runtime().requests.policy.save_on_error:
            session._forget_changes()

    # The request is over.

    def is_null_session(self, obj: object) -> bool:
        """Return whether there is no session to save.

        Flask asks this right before it saves the session for the response that it sends. Others who call
        :meth:`save_session`, with a response of their own, do not ask.
        """
        if isinstance(obj, Session):
            obj._facts.is_answered = True
            return False
        return super().is_null_session(obj)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Store what the request did, and tell the browser what it must know, and nothing else."""
        if not isinstance(session, Session):
            return  # None, because it could not be opened: Flask is about to tell why.
        runtime, facts = self._running or self._runtime(), session._facts
        may_be_new = session._modified and (session._kept is None or session._intents_made is not None)
        if facts.only_looks or may_be_new and _begins_nothing(session):
            facts.carrier = None
            _vary_by_cookie(response)
            return
        active = facts.is_active
        if active is None:
            active = runtime.activity.counts(facts.carrier) is not False
        is_failure = False
        if session._modified or not self._is_quiet or not runtime.requests.touch_alone(session, active=active):
            is_failure = self._save(app, session, response, runtime, active=active)
        facts.carrier = None  # It has the session: together they would wait for the garbage collector.
        if session.accessed:
            _vary_by_cookie(response)
        if facts.is_answered and not is_failure:
            session._rest()
            if not isinstance(response.response, _WHOLE):  # A stream, which may go on with the view's objects.
                response.call_on_close(session._finish_late)

    def _save(self, app: Flask, session: Session, response: Response, runtime: Runtime, *, active: bool) -> bool:
        """Store what the request did, and tell the browser; return whether the store failed, which is answered then."""
        lifetime, refreshes = app.config["PERMANENT_SESSION_LIFETIME"], app.config["SESSION_REFRESH_EACH_REQUEST"]
        if lifetime is not self._lifetime or refreshes is not self._refreshes:
            self._follow_lifetime(lifetime, refreshes, runtime)
        facts, is_failure = session._facts, False
        if session._modified and (facts.credential is None or session._intents_made is not None):
            self._require_cookie(app)  # A new one will be set.
        try:
            if runtime.logins is not None:
                runtime.logins.settle(app, session)
            saved = runtime.requests.save(session, active=active)
        except StoreError as error:
            is_failure = True
            # A log-out is one for this browser, whatever became of the store.
            saved = Saved.ENDED if session._intents.end else Saved.KEPT
            session._refuse(error)
            answer_failure(app, response, error)
        if session._failure is not None and not is_failure and response.status_code == _UNANSWERED:
            is_failure = True
            answer_failure(app, response, session._failure)
        if saved is not _KEPT or not self._is_quiet or facts.was_sent:
            self._tell(app, session, response, saved, active=active, is_failure=is_failure)
        return is_failure

    def _require_cookie(self, app: Flask) -> None:
        """Raise ConfigError if the cookie's settings were changed since the start, and browsers would not take it now:
        nothing is stored for a cookie that cannot be set.
        """
        settings = tuple(map(app.config.get, COOKIE_KEYS))
        if settings != self._cookie_settings:
            check_cookie(Unshown(app.config))
            self._cookie_settings = settings

    def _follow_lifetime(self, lifetime: object, refreshes: object, runtime: Runtime) -> None:
        """Note that applications set how long permanent sessions last at any time, often with each request."""
        if lifetime != self._lifetime or refreshes != self._refreshes:
            duration, _ = longest({"PERMANENT_SESSION_LIFETIME": lifetime})
            runtime.requests.set_permanent_lifetime(duration, is_refreshed=bool(refreshes))
        self._lifetime, self._refreshes = lifetime, refreshes

    def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime | None:
        """Return when the browser forgets the cookie; None if it does when it is closed. No date is past 400 days."""
        if not session.permanent:
            return None
        kept_for = timedelta(seconds=self._runtime().requests.policy.permanent_lifetime)
        if app.permanent_session_lifetime > kept_for:
            app = cast(Flask, SimpleNamespace(permanent_session_lifetime=kept_for))  # All that Flask's asks of it.
        return super().get_expiration_time(app, session)

    def _tell(
        self, app: Flask, session: Session, response: Response, saved: Saved, *, active: bool, is_failure: bool
    ) -> None:
        """Tell the client what became of its token: in the header, or by cookies."""
        runtime = self._running or self._runtime()
        if runtime.header is not None:
            self._tell_by_header(app, session, response, saved, runtime.header)
            if runtime.header.is_used_now():
                return
        if runtime.claims is not None and not (is_failure and saved is _KEPT):
            runtime.claims.tell(session, response, saved, active=active, attributes=self._attributes(app))
        if saved is Saved.ENDED:
            self._delete_others(app, response)
            response.delete_cookie(self.get_cookie_name(app), **self._attributes(app))
            _vary_by_cookie(response)
        elif saved is Saved.ISSUED or self._must_repeat(app, session, saved, runtime) and not _is_public(response):
            self._set_cookie(app, session, response)
        if runtime.adoption is not None and saved in (Saved.ENDED, Saved.ISSUED):
            runtime.adoption.tell(session, response, self._attributes(app))

    def _tell_by_header(
        self, app: Flask, session: Session, response: Response, saved: Saved, header: TokenHeader
    ) -> None:
        """Do for a request that used the token header what else is done with cookies, but for keeping it longer."""
        if session.accessed:
            response.vary.add(header.name)
        if not header.is_used_now():
            return
        if saved is Saved.ENDED:
            header.tell(response, "")
        elif saved is Saved.ISSUED or saved is Saved.KEPT and self._must_repeat(app, session, saved, self._runtime()):
            session._facts.was_sent = True
            header.tell(response, self._signers.tokens_of(app).issue(cast(Credential, session._facts.credential)))

    def _set_cookie(self, app: Flask, session: Session, response: Response) -> None:
        facts = session._facts
        assert facts.credential is not None
        facts.was_sent = True
        _keep_from_caches(response)
        self._delete_others(app, response)
        response.set_cookie(
            self.get_cookie_name(app),
            self._signers.tokens_of(app).issue(facts.credential),
            expires=self.get_expiration_time(app, session),
            **self._attributes(app),
        )
        _vary_by_cookie(response)

    def _delete_others(self, app: Flask, response: Response) -> None:
        """Delete the browser's other cookies of our name, from when the cookie's domain or path was another one."""
        if not has_request_context() or not self._has_others(app):
            return
        name, attributes = self.get_cookie_name(app), self._attributes(app)
        for domain, path in other_places(request, name, domain=attributes["domain"], path=attributes["path"]):
            response.delete_cookie(name, **{**attributes, "domain": domain, "path": path})

    def _has_others(self, app: Flask) -> bool:
        """Whether the browser has several cookies of our name, all of them ours. If one is another application's,
        nothing of it is touched.
        """
        shown = find_tokens(request, self.get_cookie_name(app), self._signers.tokens)
        return len(shown) > 1 and all(self._signers.has_signed(app, token) for token in shown)

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
        if hasattr(self, "get_cookie_partitioned"):  # Since Flask 3.1.
            attributes["partitioned"] = self.get_cookie_partitioned(app)
        return attributes

    def _must_repeat(self, app: Flask, session: Session, saved: Saved, runtime: Runtime) -> bool:
        """Whether to send the token that the session already had: to be kept longer, signed with the current key, or
        because it went into a response of this request that was thrown away.
        """
        credential = session._facts.credential
        if session._record is None or credential is None or saved not in (Saved.KEPT, Saved.REFRESHED):
            return False
        if session._facts.was_sent:
            return True
        if saved is Saved.KEPT and not self._is_stale(app, credential, runtime):
            return False
        # Another request may have rotated meanwhile: a late response must not put the old token back.
        with suppress(StoreError):
            record = runtime.requests.reload(credential)
            return record is not None and not record.is_former(credential.holder, now=runtime.requests.now())
        return False

    def _is_stale(self, app: Flask, credential: Credential, runtime: Runtime) -> bool:
        """Whether the browser's token is signed with a fallback key."""
        tokens = self._signers.tokens_of(app)
        if len(tokens.keys) == 1 or not has_request_context():
            return False
        for token in self._shown_tokens(app, request, runtime.header):
            read = tokens.read(token)
            if read is not None and (read.sid, read.holder) == (credential.sid, credential.holder):
                return not tokens.is_current(token)
        return False


def _begins_nothing(session: Session) -> bool:
    """Return whether a session is new in an event, which can set no cookie for it. Then say which keys are lost."""
    if not session.new or not is_of_event(session._facts.carrier):
        return False
    session._rest()
    session._finish_late()
    return True


def _is_public(response: Response) -> bool:
    """Whether the application lets caches give the response to others: then no token needs to be sent once more."""
    return bool(response.cache_control.public or response.cache_control.s_maxage)


def _vary_by_cookie(response: Response) -> None:
    """Say that the response depends on the cookie.

    Werkzeug's ``vary`` takes 14 to 28 µs, so it is left to responses that say something about it already.
    """
    for name, value in response.headers:
        if name.lower() == "vary":
            if value != "Cookie":
                response.vary.add("Cookie")
            return
    response.headers.add("Vary", "Cookie")


def _keep_from_caches(response: Response) -> None:
    """Have no shared cache keep the response, unless it says something of caches: others would get its token.

    Werkzeug's ``in``, and its assignment, take 5 µs more.
    """
    for name, _ in response.headers:
        if name.lower() == "cache-control":
            return
    response.headers.add("Cache-Control", "private")
