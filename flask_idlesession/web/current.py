"""The session, the runtime and the settings of the present request: where every public function looks them up."""

from typing import cast
from typing import TYPE_CHECKING

from flask import current_app
from flask import has_request_context
from flask import session
from flask.sessions import NullSession

from ..model.errors import ConfigError
from ..sessions.manager import SessionManager
from ..sessions.session import Session
from .runtime import Runtime

if TYPE_CHECKING:
    from ..settings.keys import Settings

#: The name of the extension among ``app.extensions``.
NAME = "idlesession"


def current_session() -> Session:
    """Return the present request's session, which thereby is accessed.

    Raise :exc:`~flask_idlesession.ConfigError` where the application has sessions of another kind, and RuntimeError
    where there is no request.
    """
    if not has_request_context():
        raise RuntimeError(
            "There is no request here, and so no session. In a command, a task or a script take "
            'app.extensions["idlesession"].manager; in a test, client.session_transaction() or '
            "flask_idlesession.testing.logged_in(client, user_id). [ISE045]"
        )
    ours = session._get_current_object()  # type: ignore[attr-defined]
    if isinstance(ours, Session):
        return ours
    current_runtime()
    if isinstance(ours, NullSession):
        return cast(Session, session)  # There is no secret key, which the proxied session says at each use.
    raise _other_session(type(ours))


def current_runtime() -> Runtime:
    """Return what the present application's sessions run on.

    Raise :exc:`~flask_idlesession.ConfigError` where the application has none.
    """
    state = current_app.extensions.get(NAME)
    if state is None:
        raise ConfigError(
            f"The application {current_app.name!r} has no idle sessions; call IdleSession(app) when it is made. "
            "[ISE040]"
        )
    return cast(Runtime, state.runtime())


def _other_session(kind: type) -> ConfigError:
    """Return the error for a session that another package has put in the place of this package's."""
    if kind.__module__.partition(".")[0] == "flask_socketio":
        return ConfigError(
            "Flask-SocketIO gives its event handlers a session of its own; write SocketIO(app, manage_session=False), "
            "and they get this package's. [ISE041]"
        )
    return ConfigError(
        f"The session of this request is a {kind.__module__}.{kind.__qualname__}, not one of this package: another "
        "extension has set app.session_interface after IdleSession(app); remove that extension. [ISE041]"
    )


def current_manager() -> SessionManager:
    """Return the present application's session manager."""
    return current_runtime().manager


def current_settings() -> "Settings":
    """Return the present application's settings."""
    return current_runtime().settings
