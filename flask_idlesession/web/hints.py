"""Hints for developers on cookies that do not come: in debug mode, each once, at the moment at which it matters."""

from collections import OrderedDict

from flask import Flask
from flask import Request
from flask import request
from flask import request_finished

from ..model.messages import Notices
from ..sessions.session import Session
from .csrf import is_cross_site

#: The number of sessions in a row for one browser that is a sign.
_IN_A_ROW = 3

#: How many browsers are looked at.
_MOST = 1000

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class CookieHints:
    """Looks at the requests of one application for cookies that are set and never come back, or do not come.

    It listens as long as somebody keeps it.
    """

    def __init__(self, app: Flask, notices: Notices) -> None:
        request_finished.connect(self._look, app)
        self._notices = notices
        # How many sessions in a row began for a browser, by its address and what it says of itself.
        self._begun: OrderedDict[tuple[str | None, str], int] = OrderedDict()

    def _look(self, app: Flask, **_: object) -> None:
        session = getattr(request, "_idlesession", None)
        if not isinstance(session, Session):
            return
        browser = request.remote_addr, request.headers.get("User-Agent", "")
        if session._facts.shown is not None:
            self._begun.pop(browser, None)
            return
        self._look_at_another_site(app, session)
        if session._facts.was_sent:
            self._note_begin(app, browser)

    def _note_begin(self, app: Flask, browser: tuple[str | None, str]) -> None:
        count = self._begun[browser] = self._begun.pop(browser, 0) + 1
        if len(self._begun) > _MOST:
            self._begun.popitem(last=False)
        if count >= _IN_A_ROW:
            self._notices.warn(
                "ISH001",
                "Three new sessions in a row began for one browser, and the cookie %r never came back: %s. [ISH001]",
                app.session_interface.get_cookie_name(app),
                _why_not_kept(app, request),
            )

    def _look_at_another_site(self, app: Flask, session: Session) -> None:
        name = app.session_interface.get_cookie_name(app)
        if request.method in _SAFE or not session.accessed or name in request.cookies or not is_cross_site():
            return
        self._notices.warn(
            "ISH002",
            "A %s to %r from another site came without the cookie %r, so its view found an empty session: "
            "SESSION_COOKIE_SAMESITE is %r, and browsers send the cookie with links from other sites alone. Let the "
            "other site lead back by a GET, or find what belongs to the request by something in it. [ISH002]",
            request.method,
            request.path,
            name,
            app.config.get("SESSION_COOKIE_SAMESITE"),
        )


def _why_not_kept(app: Flask, request: Request) -> str:
    """Return the likely cause for which a browser does not send the cookie back, and what to do."""
    interface, host = app.session_interface, request.host.partition(":")[0].lower()
    domain, path = (interface.get_cookie_domain(app) or "").lstrip(".").lower(), interface.get_cookie_path(app)
    if interface.get_cookie_secure(app) and not request.is_secure:
        return (
            "it is Secure, and the page came over plain HTTP. Serve HTTPS (behind a proxy use ProxyFix), or set "
            "SESSION_COOKIE_SECURE = False while you develop"
        )
    if domain and host != domain and not host.endswith(f".{domain}"):
        return f"SESSION_COOKIE_DOMAIN is {domain!r}, and the page is at {host!r}. Open it there, or unset the domain"
    if not f"{request.script_root}{request.path}/".startswith(path.rstrip("/") + "/"):
        return f"it is for the path {path!r}, and the page is at {request.path!r}. Set SESSION_COOKIE_PATH = '/'"
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return (
            "the page is part of another site, as in a frame. Set SESSION_COOKIE_SAMESITE = 'None', "
            "SESSION_COOKIE_SECURE = True and SESSION_COOKIE_PARTITIONED = True"
        )
    return "the browser blocks cookies, or it is a program that keeps none, such as curl without a cookie jar"
