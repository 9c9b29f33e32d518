"""Stands where an application had Flask-Session: with its class, its settings and the names on its session."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask.sessions import SessionMixin

from ..extension import AppState
from ..extension import IdleSession
from ..model.errors import ConfigError
from ..sessions.session import Session as OurSession
from ..settings.checks import LONGEST_COOKIE
from ..settings.cookie import longest
from ..web.current import NAME
from ..web.interface import IdleSessionInterface
from .old_stores import folder_of
from .old_stores import memcached_client
from .old_stores import redis_client
from .old_stores import sql_engine

_PERMANENT = "_permanent"


class TextSession(OurSession):
    """The session as Flask-Session shows it: its id is a text, and it is permanent unless a setting says otherwise."""

    __slots__ = ()

    @property
    def sid(self) -> str:  # type: ignore[override]
        """The session's id as a text, which may be logged. A new session has it before it is stored."""
        return str(self._next_credential().sid)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if key != _PERMANENT and self._is_new and not self._is_late and _PERMANENT not in self._unfold():
            super().__setitem__(_PERMANENT, True)


class PassingSession(TextSession):
    """The same where SESSION_PERMANENT is off: the browser forgets its cookie when it is closed."""

    __slots__ = ()

    def __setitem__(self, key: str, value: Any) -> None:
        OurSession.__setitem__(self, key, value)


class FlaskSessionInterface(IdleSessionInterface):
    """Our session interface, with the method that Flask-Session's has besides."""

    #: The settings of the application's config that say what Flask-Session's say.
    given: Mapping[str, Any] = {}

    def regenerate(self, session: SessionMixin) -> None:
        """Give the session a new token with this response. Its values stay, and so does its id.

        Flask-Session gives it a new id. Here the id opens nothing, so it is the token that changes.
        """
        if isinstance(session, OurSession) and session:
            session.rotate()


class Session:
    """The place of ``flask_session.Session``, with the sessions of this package. ::

        from flask_idlesession.integrations.flask_session import Session

        Session(app)

    Each of its settings is understood, and a line at the start names the modern key. Live sessions are taken over at
    first sight. An ``IDLESESSION_…`` setting of the application counts more.

    ``adopt_user`` returns the user of an old session, from its values. Without it the user is the one whom Flask-Login
    noted there.

    A second call for one application reads the settings again, as Flask-Session does, until the first request. From
    then on the settings stand, and another call changes nothing.
    """

    def __init__(
        self, app: Flask | None = None, *, adopt_user: Callable[[Mapping[str, Any]], object] | None = None
    ) -> None:
        self._adopt_user = adopt_user
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give the application these sessions."""
        interface = app.session_interface
        if isinstance(interface, FlaskSessionInterface) and NAME in app.extensions:
            self._read_again(app, app.extensions[NAME], interface)
            return
        given = _put_modern_settings(app)
        _Extension(session_class=_class_of(app.config), adopt_user=self._adopt_user).init_app(app)
        app.session_interface.given = given  # type: ignore[attr-defined]

    def _read_again(self, app: Flask, state: AppState, interface: FlaskSessionInterface) -> None:
        if state.is_running:
            return
        for key, value in interface.given.items():
            if app.config.get(key) is value:
                del app.config[key]
        interface.given = _put_modern_settings(app)
        state.session_class = _class_of(app.config)
        state.adopt_user = self._adopt_user
        state.check(app)


class _Extension(IdleSession):
    interface_class = FlaskSessionInterface

    def __init__(
        self, *, session_class: type[OurSession], adopt_user: Callable[[Mapping[str, Any]], object] | None
    ) -> None:
        super().__init__(adopt_user=adopt_user)
        self.session_class = session_class


def _put_modern_settings(app: Flask) -> dict[str, Any]:
    """Set what Flask-Session's settings say by our keys, but for those that the application has set; return these."""
    given = {key: value for key, value in modern_settings(app) if key not in app.config}
    app.config.update(given)
    return given


def modern_settings(app: Flask) -> Iterator[tuple[str, Any]]:
    """Yield the keys of this package that say what the settings of Flask-Session say, and their values.

    Raise :exc:`~flask_idlesession.ConfigError` for a kind of store that there is none for.
    """
    config = app.config
    if is_kind_known(config):
        yield "IDLESESSION_STORE", store_of(app)
        yield "IDLESESSION_ADOPT", ["flask-session"]
    if not {"IDLESESSION_IDLE_TIMEOUT", "IDLESESSION_LIFETIME", "IDLESESSION_PRESET"} & set(config):
        yield "IDLESESSION_IDLE_TIMEOUT", longest(config)[0]
        yield "IDLESESSION_LIFETIME", LONGEST_COOKIE


def is_kind_known(config: Mapping[str, Any]) -> bool:
    """Return whether SESSION_TYPE names a kind of store. Without one Flask-Session kept nothing.

    Raise :exc:`~flask_idlesession.ConfigError` for one that there is no store for.
    """
    kind = kind_of(config)
    if kind in ("mongodb", "dynamodb"):
        raise ConfigError(
            f'SESSION_TYPE is "{kind}", and there is no store for that; set IDLESESSION_STORE to another one, such as '
            '"redis://localhost" or "sqlite:///sessions.db", and remove SESSION_TYPE. Users log in again.'
        )
    return kind not in ("", "null", "none")


def kind_of(config: Mapping[str, Any]) -> str:
    """Return the kind of store that SESSION_TYPE names."""
    return str(config.get("SESSION_TYPE") or "").lower()


def store_of(app: Flask) -> Any:
    """Return what IDLESESSION_STORE is to be: the same server or database. Sessions in files get a file beside them, in
    a folder of its own: cachelib removes the files of its folder that it takes for old sessions.
    """
    config = app.config
    kind = kind_of(config)
    if kind == "redis":
        return redis_client(config)
    if kind == "sqlalchemy":
        return sql_engine(app, config)
    if kind == "memcached":
        from cachelib import MemcachedCache

        return MemcachedCache(memcached_client(config))
    cache = config.get("SESSION_CACHELIB") if kind == "cachelib" else None
    if cache is None or type(cache).__name__ == "FileSystemCache":
        return f"sqlite:///{folder_of(config) / 'idlesession' / 'sessions.db'}"
    return "memory://" if type(cache).__name__ == "SimpleCache" else cache


def _class_of(config: Mapping[str, Any]) -> type[OurSession]:
    return TextSession if config.get("SESSION_PERMANENT", True) else PassingSession
