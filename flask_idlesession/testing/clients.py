"""For the tests of applications: logs test clients in, and looks at their sessions from outside."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from typing import cast
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from flask import Flask
from flask.sessions import SessionMixin
from flask.testing import FlaskClient

from ..accounts.log_in import id_of
from ..accounts.log_in import UserId
from ..model.errors import ConfigError
from ..model.ids import Credential
from ..model.labels import LEVEL
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import SessionInfo
from ..sessions.session import Session
from ..web.current import NAME
from ..web.interface import IdleSessionInterface

if TYPE_CHECKING:
    from ..web.runtime import Runtime

#: How often, and after how many seconds again, the end of a session is asked for.
_TRIES = 20
_PAUSE = 0.01

#: The session of each client that is in a ``session_transaction()`` just now, while these are noted.
_OPEN: WeakKeyDictionary[FlaskClient, SessionMixin] = WeakKeyDictionary()


def logged_in(client: FlaskClient, user_id: UserId, *, level: str | None = None) -> FlaskClient:
    """Log the user in for a test client, as :func:`~flask_idlesession.log_in` does for a browser; return the client.

    It may be called within ``client.session_transaction()``, too, if the plugin is loaded: what the block puts into the
    session is the user's then. With Flask-Login its ``current_user`` is this user; give ``user.get_id()``.

    Raise LookupError if Flask-Login's ``user_loader`` knows no such user.
    """
    stored = _OPEN.get(client)
    if stored is not None:
        _log_in(client, stored, id_of(user_id), level=level)
        return client
    with client.session_transaction() as stored:
        _log_in(client, stored, id_of(user_id), level=level)
    return client


def session_info_of(client: FlaskClient) -> SessionInfo | None:
    """Return what may be shown of the client's live session, or None. To look is no activity."""
    runtime, credential = _shown_by(client)
    record = None if credential is None else runtime.requests.reload(credential)
    if record is None:
        return None
    late = runtime.settings.policy.touch_interval  # The store has this much more: a touch may be written that late.
    return replace(record.info, idle_timeout=record.info.idle_timeout - late)


def session_ending_of(client: FlaskClient) -> Ending | None:
    """Return how the session ended whose cookie the client still has; None if it did not, or nobody knows."""
    runtime, credential = _shown_by(client)
    if credential is None:
        return None
    for _ in range(_TRIES):
        ending = runtime.requests.ending(credential.sid)
        if ending is not None or runtime.requests.reload(credential) is not None:
            return ending
        time.sleep(_PAUSE)  # The cleaner may have forgotten the session just now, and notes next how it ended.
    return None


def assert_logged_in(client: FlaskClient, user_id: UserId | None = None) -> SessionInfo:
    """Assert that the client's session is live and has a user, this one if one is named; return its info."""
    info = session_info_of(client)
    if info is None:
        raise AssertionError(f"The client is not logged in: {_told(client)}.")
    if info.user_id is None:
        raise AssertionError("The client has a session, but nobody is logged in.")
    if user_id is not None and info.user_id != id_of(user_id):
        raise AssertionError(f"The client is logged in as {info.user_id!r}, not as {id_of(user_id)!r}.")
    return info


def assert_logged_out(client: FlaskClient, *, reason: EndReason | str | None = None) -> None:
    """Assert that nobody is logged in; with ``reason`` ("idle", "lifetime", …), that the client's session ended so.

    A log-out takes the cookie from the client, which then has nothing that a reason could be known by.
    """
    info = session_info_of(client)
    if info is not None and info.user_id is not None:
        raise AssertionError(f"The client is still logged in as {info.user_id!r}.")
    ending = session_ending_of(client) if info is None else None
    if reason is not None and (ending is None or ending.reason is not EndReason(reason)):
        raise AssertionError(f"The session did not end for the reason {EndReason(reason).value!r}: {_told(client)}.")


@contextmanager
def noted_transactions() -> Iterator[None]:
    """Note in the block which session each client has in a ``session_transaction()``."""
    original = FlaskClient.session_transaction

    @contextmanager
    def session_transaction(self: FlaskClient, *args: Any, **kwargs: Any) -> Iterator[SessionMixin]:
        with original(self, *args, **kwargs) as stored:
            before = _OPEN.get(self)
            _OPEN[self] = stored
            try:
                yield stored
            finally:
                if before is None:
                    _OPEN.pop(self, None)
                else:
                    _OPEN[self] = before

    FlaskClient.session_transaction = session_transaction  # type: ignore[method-assign]
    try:
        yield
    finally:
        FlaskClient.session_transaction = original  # type: ignore[method-assign]


def _log_in(client: FlaskClient, stored: SessionMixin, user_id: str, *, level: str | None) -> None:
    app = client.application
    _require_extension(app)
    login_manager = getattr(app, "login_manager", None)
    if login_manager is not None:
        _require_known(app, login_manager, user_id)
    cast(Session, stored)._log_in(user_id, labels={} if level is None else {LEVEL: level})
    if login_manager is None:
        return
    with app.test_request_context(environ_base=client.environ_base):  # It notes the client's browser and address.
        stored.update(_user_id=user_id, _fresh=True, _id=login_manager._session_identifier_generator())


def _require_known(app: Flask, login_manager: Any, user_id: str) -> None:
    load = login_manager._user_callback
    with app.test_request_context():
        if load is not None and load(user_id) is None:
            raise LookupError(
                f"Flask-Login's user_loader knows no user {user_id!r}; create the user before logged_in(), and give "
                "user.get_id()."
            )


def _require_extension(app: Flask) -> None:
    if NAME not in app.extensions:
        raise ConfigError(f"The application {app.name!r} has no idle sessions; call IdleSession(app) when it is made.")


def _shown_by(client: FlaskClient) -> "tuple[Runtime, Credential | None]":
    """Return what the application's sessions run on, and the credential that the client's cookies show."""
    app = client.application
    _require_extension(app)
    context = app.test_request_context()  # It is not entered: that would open the session, which is activity.
    client._add_cookies_to_wsgi(context.request.environ)
    interface = cast(IdleSessionInterface, app.session_interface)
    return app.extensions[NAME].runtime(), interface.credential_of(app, context.request)


def _told(client: FlaskClient) -> str:
    """Return what is known of the session that the client does not have."""
    runtime, credential = _shown_by(client)
    if credential is None:
        return "it has no cookie of this application"
    info = session_info_of(client)
    if info is not None and info.user_id is None:
        return "it has a live session without a user, which a page may have begun since; assert before it asks for one"
    if info is not None:
        return "it is still live"
    ending = session_ending_of(client)
    if ending is None:
        return "its session is unknown"
    seconds = runtime.manager.now() - ending.ended_at
    return f"its session ended {seconds:.1f} s ago ({ending.reason.value})"
