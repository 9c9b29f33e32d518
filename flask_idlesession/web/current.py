"""The session, the runtime and the settings of the present request: where every public function looks them up."""

from typing import cast
from typing import TYPE_CHECKING

from flask import current_app
from flask import session

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

    Raise :exc:`~flask_idlesession.ConfigError` where the application has sessions of another kind.
    """
    ours = session._get_current_object()  # type: ignore[attr-defined]
    if not isinstance(ours, Session):
        current_runtime()
        return cast(Session, session)  # There is no secret key, which the proxied session says at each use.
    return ours


def current_runtime() -> Runtime:
    """Return what the present application's sessions run on.

    Raise :exc:`~flask_idlesession.ConfigError` where the application has none.
    """
    state = current_app.extensions.get(NAME)
    if state is None:
        raise ConfigError(
            f"The application {current_app.name!r} has no idle sessions; call IdleSession(app) when it is made."
        )
    return cast(Runtime, state.runtime())


def current_manager() -> SessionManager:
    """Return the present application's session manager."""
    return current_runtime().manager


def current_settings() -> "Settings":
    """Return the present application's settings."""
    return current_runtime().settings
