"""Puts together what takes sessions from before over, as the application's settings say."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import cast

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from ..model.clock import Clock
from ..model.messages import Notices
from ..sessions.manager import SessionManager
from ..settings.keys import Settings
from ..stores.contract import Store
from .adoption import Adoption
from .adoption import name_of
from .adoption import Source
from .adoption import user_in
from .adoption_marks import Marks
from .flask_cookie import FlaskCookies


class Adopting:
    """The parts that take sessions from before over, for one application that they do not keep alive.

    ``app`` returns the application; ``former`` is the interface that made its cookies, where it was one of its own.
    ``user_of`` returns the user in the data of an old session.
    """

    def __init__(
        self,
        app: Callable[[], Flask | None],
        settings: Settings,
        store: Store,
        *,
        former: SecureCookieSessionInterface | None,
        clock: Clock,
        notices: Notices,
        user_of: Callable[[Mapping[str, Any]], Any] | None,
    ) -> None:
        self._app = cast(Callable[[], Flask], app)
        self._settings = settings
        self._user_of = user_in if user_of is None else user_of
        own_name = str(self._app().config["SESSION_COOKIE_NAME"])
        self._replaces = name_of(self._app(), settings.adopt_cookie) == own_name
        self._sources = list(self._open_sources(former, notices))
        follows = not self._replaces and "flask-session" in settings.adopt
        self.marks = Marks(store, clock=clock, keeps_for=settings.adopt_for, discard=self._discard if follows else None)
        if store.traits.in_process and store.traits.forgetful:
            notices.warn(
                "marks in memory",
                "IDLESESSION_ADOPT is set, and sessions are in the memory of this process: when it ends, it forgets "
                "which users have logged out, and copies of their old cookies are accepted again. Choose another "
                "IDLESESSION_STORE, or set IDLESESSION_JOURNAL. [ISW020]",
            )

    def adoption(self, manager: SessionManager) -> Adoption:
        """Return what takes the sessions over into the manager's store."""
        app, chosen = self._app, self._settings.adopt_cookie
        return Adoption(
            self._sources,
            manager,
            self.marks,
            cookie=lambda: name_of(app(), chosen),
            replaces=self._replaces,
            key=lambda: cast(str | bytes, app().secret_key),
            user_of=self._user_of,
        )

    def _open_sources(self, former: SecureCookieSessionInterface | None, notices: Notices) -> "list[Source]":
        sources: list[Source] = []
        if "flask" in self._settings.adopt:
            interface = SecureCookieSessionInterface() if former is None else former
            lives_for = self._settings.adopt_for
            sources.append(FlaskCookies(self._app, former=interface, lives_for=lives_for, notices=notices))
        if "flask-session" in self._settings.adopt:
            from .old_sessions import FlaskSessions

            sources.append(FlaskSessions(self._app, self._settings, notices=notices))
        return sources

    def _discard(self, proof: bytes) -> None:
        for source in self._sources:
            source.discard(proof)
