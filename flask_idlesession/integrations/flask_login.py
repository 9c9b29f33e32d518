"""Does with the session what Flask-Login, and Flask-Security by it, does with the user."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import current_app
from flask import Flask
from flask import g
from flask import has_request_context
from flask import session
from flask_login.config import SESSION_KEYS  # type: ignore[import-untyped]
from flask_login.signals import session_protected  # type: ignore[import-untyped]
from flask_login.signals import user_loaded_from_cookie
from flask_login.signals import user_logged_in
from flask_login.signals import user_logged_out
from flask_login.signals import user_login_confirmed

from ..accounts.log_in import current_user_id
from ..accounts.log_in import log_in
from ..accounts.log_in import reauthenticate
from ..accounts.log_in import resume
from ..accounts.revoking import revoke_user
from ..model.errors import TooManySessions
from ..web.current import current_session

#: What a log-out leaves in the session for functions that run after the request: to take the remember cookie from the
#: browser, and Flask-Security's CSRF cookie where there is one.
_REMEMBER, _CSRF = "_remember", "fs_cc"

#: Where a request keeps what its session held, while Flask-Security gives its user another id.
_LEFT = "_idlesession_left"

_FOLLOWED = "_idlesession_follows"


class FlaskLogin:
    """Listens to Flask-Login for one application, which it does not keep alive, as long as somebody keeps it."""

    def __init__(self, app: Flask) -> None:
        for signal, receiver in (
            (user_logged_in, self._log_in),
            (user_loaded_from_cookie, self._resume),
            (user_login_confirmed, self._confirm),
            (user_logged_out, self._log_out),
            (session_protected, self._protect),
        ):
            signal.connect(receiver, app)

    def _log_in(self, app: Flask, user: Any, **_: Any) -> None:
        """Bind who has just logged in, as an id that the user's loader knows; with ``fresh=False``, without the
        freshness.
        """
        follow_ids(app)
        _bind(app, log_in if session.get("_fresh", True) else resume)

    def _resume(self, app: Flask, user: Any, **_: Any) -> None:
        """Bind whom the remember cookie names: logged in, and not fresh."""
        if current_user_id() != str(session["_user_id"]):
            _bind(app, resume)

    def _confirm(self, app: Flask, **_: Any) -> None:
        if current_user_id() is None:
            _bind(app, log_in)
        else:
            reauthenticate()

    def _log_out(self, app: Flask, user: Any, **_: Any) -> None:
        """End the session; who was nobody keeps what they have, such as a cart."""
        if current_user_id() is not None or getattr(user, "is_authenticated", False):
            _end()

    def _protect(self, app: Flask) -> None:
        """End the session whose user Flask-Login has just turned away, because they came from elsewhere
        (``SESSION_PROTECTION = "strong"``).
        """
        if "_user_id" not in session and current_user_id() is not None:
            _end()


def _bind(app: Flask, bind: Callable[[str], None]) -> None:
    """Bind the user whom Flask-Login has noted in the session. If there may be no more sessions of theirs, take back
    what it noted.
    """
    user_id = str(session["_user_id"])
    noted = {key: session[key] for key in SESSION_KEYS if key in session}
    new_id, left = g.pop(_LEFT, (None, {}))
    try:
        bind(user_id)
    except TooManySessions:
        if current_user_id() != user_id:
            for key in SESSION_KEYS - {"next"}:
                session.pop(key, None)
            app.login_manager._update_request_context_with_user()  # type: ignore[attr-defined]
        raise
    for key, value in ({**left, **noted} if new_id == user_id else noted).items():
        if key not in session:  # It went with the session of another user.
            session[key] = value


def _end() -> None:
    left = [_REMEMBER, *([_CSRF] if current_app.config.get("SECURITY_CSRF_COOKIE_NAME") else ())]
    errands = {key: "clear" for key in left if session.get(key) == "clear"}
    session.clear()
    session.update(errands)


def follow_ids(app: Flask) -> None:
    """Learn of users who are given another id, of which Flask-Security sends no signal.

    It names a user by ``fs_uniquifier``, which it replaces when the password is changed or reset, so that nothing
    that bears the old one is valid any longer (OWASP ASVS 5.0, 7.4.3). The sessions that do are ended with it.
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
    """End the sessions of an id that names nobody any more. What the present one holds is kept for the same user,
    should they be logged in anew by the same request.
    """
    is_theirs = has_request_context() and current_user_id() == user_id
    sid = current_session().sid if is_theirs else None
    revoke_user(user_id, keep=sid)
    if is_theirs:
        left = {key: value for key, value in session.items() if key not in SESSION_KEYS}
        setattr(g, _LEFT, (new_id, left))
        session.clear()
