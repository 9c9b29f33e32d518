"""Does with the session what Flask-Login, and Flask-Security by it, does with the user."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import after_this_request
from flask import current_app
from flask import Flask
from flask import g
from flask import has_request_context
from flask import request
from flask import Response
from flask import session
from flask_login.config import COOKIE_HTTPONLY
from flask_login.config import COOKIE_NAME
from flask_login.config import COOKIE_SAMESITE
from flask_login.config import COOKIE_SECURE
from flask_login.config import SESSION_KEYS
from flask_login.signals import session_protected
from flask_login.signals import user_loaded_from_cookie
from flask_login.signals import user_logged_in
from flask_login.signals import user_logged_out
from flask_login.signals import user_login_confirmed

from ..accounts.log_in import current_user_id
from ..accounts.log_in import is_suspect
from ..accounts.log_in import log_in
from ..accounts.log_in import reauthenticate
from ..accounts.log_in import resume
from ..accounts.revoking import revoke_user
from ..model.errors import TooManySessions
from ..model.labels import AUTHENTICATED_AT
from ..sessions.session import Session
from ..web.current import current_runtime
from ..web.current import current_session

_logger = logging.getLogger("flask_idlesession")

#: The key of the session in which Flask-Login notes the user's id.
USER_KEY = "_user_id"

#: The key that a log-out leaves in the session for Flask-Security, which reads it after the request.
_CSRF = "fs_cc"

#: Where a request keeps what its session held, while Flask-Security gives its user another id.
_LEFT = "_idlesession_left"

_FOLLOWED = "_idlesession_follows"


class FlaskLogin:
    """Listens to Flask-Login for one application, which it does not keep alive, as long as somebody keeps it.

    A signal that comes without a request, or without a user in the session, changes nothing.
    """

    def __init__(self, app: Flask) -> None:
        for signal, receiver in (
            (user_logged_in, self._log_in),
            (user_loaded_from_cookie, self._resume),
            (user_login_confirmed, self._confirm),
            (user_logged_out, self._log_out),
            (session_protected, self._protect),
        ):
            signal.connect(receiver, app)

    def forget(self) -> None:
        """Take the remember cookie from the browser with this response, and make ``current_user`` anonymous.

        The session does not carry this, as it does in Flask-Login: it may be cleared before the response is made, or
        its store may be down.
        """
        login_manager = getattr(current_app, "login_manager", None)
        if login_manager is None or not has_request_context():
            return
        if current_app.config.get("REMEMBER_COOKIE_NAME", COOKIE_NAME) in request.cookies:
            after_this_request(_delete_remember_cookie)
        login_manager._update_request_context_with_user()

    def settle(self, app: Flask, session: Session) -> None:
        """Log the user in whom a test, or a view of the application, put into the session by hand; or out whom it
        took out.

        ``FlaskLoginClient`` does so. A user whom the loader does not know is nobody, as to Flask-Login.
        """
        login_manager = getattr(app, "login_manager", None)
        if login_manager is None or session._is_refused or not session._wrote(USER_KEY):
            return
        noted = session._peek(USER_KEY)
        if noted is None:
            if session._user_id is not None and session._intents.user_id is None:
                _log_out_by_hand(session)
        elif session._user_id != str(noted) and _is_known(login_manager, noted):
            _log_in_by_hand(session, str(noted))

    def _log_in(self, app: Flask, user: Any, **_: Any) -> None:
        """Bind who has just logged in, as an id that the user's loader knows; with ``fresh=False``, without the
        freshness.
        """
        if _has_user():
            follow_ids(app)
            _bind(app, log_in if session.get("_fresh", True) else resume)

    def _resume(self, app: Flask, user: Any, **_: Any) -> None:
        """Bind the user whom the remember cookie names: logged in, and not fresh."""
        if not _has_user() or current_session()._is_refused:
            return
        if _may_not_resume():
            _forget_user(app)
        elif current_user_id() != str(session[USER_KEY]):
            _bind(app, resume)

    def _confirm(self, app: Flask, **_: Any) -> None:
        if not _has_user():
            return
        if current_user_id() is None:
            _bind(app, log_in)
        else:
            reauthenticate()

    def _log_out(self, app: Flask, user: Any = None, **_: Any) -> None:
        """End the session; who was nobody keeps what they have, such as a cart."""
        if not _is_ours():
            return
        self.forget()
        if current_user_id() is not None or getattr(user, "is_authenticated", False):
            _end()

    def _protect(self, app: Flask, **_: Any) -> None:
        """End the session whose user Flask-Login has just turned away, because they came from elsewhere
        (``SESSION_PROTECTION = "strong"``).
        """
        if _is_ours() and USER_KEY not in session and current_user_id() is not None:
            self.forget()
            _end()


def _is_ours() -> bool:
    """Whether there is a request with a session of this package."""
    return has_request_context() and isinstance(session._get_current_object(), Session)  # type: ignore[attr-defined]


def _has_user() -> bool:
    """Whether Flask-Login has noted a user in the session."""
    return _is_ours() and session.get(USER_KEY) is not None


def _delete_remember_cookie(response: Response) -> Response:
    """Delete the cookie with the attributes with which Flask-Login set it: browsers keep a ``__Host-`` cookie else."""
    config = current_app.config
    response.delete_cookie(
        config.get("REMEMBER_COOKIE_NAME", COOKIE_NAME),
        domain=config.get("REMEMBER_COOKIE_DOMAIN"),
        path=config.get("REMEMBER_COOKIE_PATH", "/"),
        secure=config.get("REMEMBER_COOKIE_SECURE", COOKIE_SECURE),
        httponly=config.get("REMEMBER_COOKIE_HTTPONLY", COOKIE_HTTPONLY),
        samesite=config.get("REMEMBER_COOKIE_SAMESITE", COOKIE_SAMESITE),
    )
    return response


def _is_known(login_manager: Any, user_id: Any) -> bool:
    """Whether the application's loader knows the user."""
    load = login_manager._user_callback
    try:
        return load is not None and load(user_id) is not None
    except Exception:  # It is the application's own code that raised.
        _logger.exception("The user_loader raised for a user id that was put into the session by hand. [ISE006]")
        return False


def _log_in_by_hand(session: Session, user_id: str) -> None:
    noted = {key: session._peek(key) for key in SESSION_KEYS if key in session._unfold()}
    labels = {} if noted.get("_fresh", True) else {AUTHENTICATED_AT: None}
    try:
        session._log_in(user_id, labels=labels)
    except TooManySessions as error:
        for key in noted:
            session.pop(key, None)
        _logger.warning("A user id was put into the session by hand, and taken out again: %s [ISW006]", error)
        return
    session.update({key: value for key, value in noted.items() if key not in session})


def _log_out_by_hand(session: Session) -> None:
    left = dict(session)
    session.clear()
    session.update(left)


def _bind(app: Flask, bind: Callable[[str], None]) -> None:
    """Bind the user whom Flask-Login has noted in the session. If there may be no more sessions of theirs, take back
    what it noted.
    """
    user_id = str(session[USER_KEY])
    noted = {key: session[key] for key in SESSION_KEYS if key in session}
    new_id, left = g.pop(_LEFT, (None, {}))
    try:
        bind(user_id)
    except TooManySessions:
        if current_user_id() != user_id:
            _forget_user(app)
        raise
    for key, value in ({**left, **noted} if new_id == user_id else noted).items():
        if key not in session:  # It went with the session of another user.
            session[key] = value


def _forget_user(app: Flask) -> None:
    """Take back that Flask-Login has noted a user for this request."""
    for key in SESSION_KEYS - {"next"}:
        session.pop(key, None)
    app.login_manager._update_request_context_with_user()  # type: ignore[attr-defined]


def _end() -> None:
    """End the session, except for the note to Flask-Security that it is to take its CSRF cookie from the browser."""
    has_csrf = current_app.config.get("SECURITY_CSRF_COOKIE_NAME") and session.get(_CSRF) == "clear"
    session.clear()
    if has_csrf:
        session[_CSRF] = "clear"


def follow_remember_cookie(app: Flask) -> None:
    """Have Flask-Login pass over its remember cookie where that may log nobody in. No signal comes before it does."""
    manager = getattr(app, "login_manager", None)
    load = getattr(manager, "_load_user_from_remember_cookie", None)
    if manager is None or load is None or hasattr(manager, _FOLLOWED):
        return

    @wraps(load)
    def followed(cookie: str) -> Any:
        return None if _may_not_resume() else load(cookie)

    manager._load_user_from_remember_cookie = followed
    setattr(manager, _FOLLOWED, True)


def _may_not_resume() -> bool:
    """Return whether the remember cookie counts for nothing in this request.

    A request that uses the token header has no use for cookies, which a page of another site can have sent. And a
    session that was seen from somewhere else waits for a proof, which this cookie is not.
    """
    header = current_runtime().header
    return (header is not None and header.is_used_now()) or is_suspect()


def follow_ids(app: Flask) -> None:
    """Learn of users who are given another id, of which Flask-Security sends no signal.

    It names a user by ``fs_uniquifier``, which it replaces when the password is changed or reset. Nothing that bears
    the old one is valid any longer (OWASP ASVS 5.0, 7.4.3): the sessions that do are ended.
    """
    datastore = getattr(app.extensions.get("security"), "datastore", None)
    if datastore is None or hasattr(datastore, _FOLLOWED):
        return
    set_uniquifier = datastore.set_uniquifier

    @wraps(set_uniquifier)
    def followed(user: Any, *args: Any, **kwargs: Any) -> None:
        before = user.fs_uniquifier
        set_uniquifier(user, *args, **kwargs)
        if before and before != user.fs_uniquifier and "idlesession" in current_app.extensions:
            _retire(str(before), str(user.fs_uniquifier))

    datastore.set_uniquifier = followed
    setattr(datastore, _FOLLOWED, True)


def _retire(user_id: str, new_id: str) -> None:
    """End the sessions of an id that names nobody any more. The values of the present one are kept if the same request
    logs the same user in again.
    """
    is_theirs = has_request_context() and current_user_id() == user_id
    sid = current_session()._sid if is_theirs else None
    revoke_user(user_id, keep=sid)
    if is_theirs:
        left = {key: value for key, value in session.items() if key not in SESSION_KEYS}
        setattr(g, _LEFT, (new_id, left))
        session.clear()
