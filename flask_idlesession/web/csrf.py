"""Tells an application's own forms from those that another site sent: by where they come from, and by a token."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from typing import ParamSpec
from typing import TypeVar
from urllib.parse import urlsplit

from flask import current_app
from flask import request

from ..model.errors import CsrfError
from ..sessions.csrf_tokens import FORMER
from ..sessions.csrf_tokens import is_right
from ..sessions.csrf_tokens import no_former
from ..sessions.csrf_tokens import token_of
from .current import current_runtime
from .current import current_session
from .misplaced import note_guard

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Where a form carries the token, and where a script does.
CSRF_FIELD = "csrf_token"
CSRF_HEADER = "X-CSRF-Token"

#: The methods that change nothing (RFC 9110, 9.2.1), and so need no token.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def csrf_token() -> str:
    """Return the token that a form or script of this session must send, and start a session if there is none. ::

        <input type="hidden" name="csrf_token" value="{{ csrf_token() }}">

    It is right until somebody logs in or the application rotates the session. A token from before a log-in is worth
    nothing after it. In a page of the response that logs in, ask for it after :func:`log_in`.
    """
    ours = current_session()
    credential = ours._next_credential()
    if ours._get_own(FORMER) is None:
        ours._put_own(FORMER, no_former(ours._codec))
    return token_of(credential.secret)


def check_csrf(token: str | None) -> bool:
    """Return whether this is the session's CSRF token. Without a session none is."""
    ours = current_session()
    credential = ours._facts.credential
    if not token or ours.new or credential is None:
        return False
    return is_right(token, credential.secret, ours._get_own(FORMER), ours._codec)


def csrf_protect(view: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let only requests of this application's own pages change something by a view. ::

        @app.post("/transfer")
        @csrf_protect
        def transfer(): ...

    Raise :exc:`~flask_idlesession.CsrfError` (403) if the browser reports a cross-site request, or if the CSRF token is
    missing or wrong. The token is in the form's field ``csrf_token`` or in the header ``X-CSRF-Token``. GET and HEAD
    pass, and so does a request that shows its session's token in ``IDLESESSION_TOKEN_HEADER``: no page can make a
    browser do that. For a whole blueprint: ``blueprint.before_request(csrf_protect(lambda: None))``.
    """

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        current_runtime()
        if request.method not in _SAFE:
            _refuse_what_is_not_ours()
        return current_app.ensure_sync(view)(*args, **kwargs)  # type: ignore[no-any-return]

    note_guard(guarded, view)
    return guarded


def offer_csrf_token() -> dict[str, Any]:
    """Give templates a function ``csrf_token``, unless they have one: a context processor that needs no context."""
    current_app.jinja_env.globals.setdefault("csrf_token", csrf_token)
    return {}


def _refuse_what_is_not_ours() -> None:
    header = current_runtime().header
    if header is not None and header.is_used(request) and not current_session().new:
        return  # The header's token opened the session: no page can make a browser send it.
    if is_cross_site():
        raise CsrfError("The request was sent by another site.")
    token = shown_csrf_token()
    if not token and (current_app.debug or current_app.testing):
        raise CsrfError(
            f"The request has no CSRF token. Put {{{{ csrf_token() }}}} into the field {CSRF_FIELD!r} of the form, or "
            f"send it in the header {CSRF_HEADER}. (This is said in debug mode and in tests.)"
        )
    if not check_csrf(token):
        raise CsrfError("The request has no CSRF token, or that of another session; reload the page and try again.")


def shown_csrf_token() -> str | None:
    """Return the CSRF token that the request shows, right or wrong."""
    return request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD)


def is_cross_site() -> bool:
    """Return whether the browser says that the request comes from another site.

    Sec-Fetch-Site knows best. An Origin counts where that is missing, as over plain HTTP: its host is compared, for
    a proxy may have taken the scheme away. The origin "null" says nothing: a page without a referrer sends it too.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site.strip().lower() == "cross-site"
    origin = request.headers.get("Origin")
    return origin is not None and origin != "null" and not is_own_origin(origin)


def is_same_origin() -> bool:
    """Return whether the request comes from a page of this very origin, not from a sub-domain or from nowhere.

    A request without both headers is taken for one: all browsers of the last years send Origin with a POST.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site.strip().lower() in ("same-origin", "none")
    return origin is None or is_own_origin(origin)


def is_own_origin(origin: str) -> bool:
    """Return whether an Origin header names the host and port that was asked. A proxy may change the scheme."""
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
        ours = urlsplit(f"//{request.host}")
        our_port = ours.port
    except ValueError:
        return False
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return host is not None and host == ours.hostname and (port or default) == (our_port or default)
