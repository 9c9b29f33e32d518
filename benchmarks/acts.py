"""Knows what users do with their sessions, and makes the requests for it: each is prepared before it is measured."""

from collections.abc import Callable
from itertools import count
from itertools import cycle
from itertools import islice

from flask import Flask

from flask_idlesession import Store

from .apps import answer
from .apps import browser
from .apps import Environ
from .apps import environ_of
from .apps import make_app_on
from .ways import close

IGNORE, READ, WRITE = "ignore", "read", "write"
UNTOUCHED = "read, its touch held back"
USER_READ, GUARDED = "read by a user", "guarded view"
LOG_IN, NEW_LOG_IN, LIMITED_LOG_IN = "log-in", "log-in without a session before", "log-in at the limit of 3 sessions"
LISTED = "sessions_of, of 10"
REVOKED = {f"revoke_user, of {number}": number for number in (1, 10, 100)}

ACTS = (READ, UNTOUCHED, WRITE, USER_READ, GUARDED, LOG_IN, NEW_LOG_IN, LIMITED_LOG_IN, LISTED, *REVOKED)

_LISTED = 10
_LIMIT = 3
_HELD_BACK = 900


class Actors:
    """Browsers of guests and users, whose sessions are in one store."""

    def __init__(self, store: Store, *, browsers: int, size: int = 1_000) -> None:
        self._store, self._size = store, size
        self._numbers = count()
        self._app = make_app_on(store)
        self._others = {
            UNTOUCHED: make_app_on(store, IDLESESSION_TOUCH_INTERVAL=_HELD_BACK),
            LIMITED_LOG_IN: make_app_on(store, IDLESESSION_MAX_SESSIONS_PER_USER=_LIMIT),
        }
        self._guests = [browser(self._app, size=size, number=number) for number in range(browsers)]
        self._users = [self._user(f"user{number}") for number in range(browsers)]
        self._listed = [self._user("listed") for _ in range(_LISTED)]
        self._check()

    def app_for(self, act: str) -> Flask:
        """Return the application that is asked for this act."""
        return self._others.get(act, self._app)

    def requests(self, act: str, *, calls: int) -> list[Environ]:
        """Return the requests of a number of acts; those that can be made once are new ones each time."""
        if act in REVOKED:
            return [self._to_revoke(sessions=REVOKED[act]) for _ in range(max(calls // REVOKED[act], 1))]
        if act in (LOG_IN, LIMITED_LOG_IN):
            return [self._to_log_in(act) for _ in range(calls)]
        if act == NEW_LOG_IN:
            return [environ_of(f"/log-in/{self._new_user()}") for _ in range(calls)]
        if act == LISTED:
            return [environ_of("/sessions-of/listed")] * calls
        whose = self._users if act in (USER_READ, GUARDED) else self._guests
        view = {IGNORE: "/ignore", WRITE: "/write", GUARDED: "/guarded"}.get(act, "/read")
        return list(islice(cycle(environ_of(view, cookies) for cookies in whose), calls))

    def close(self) -> None:
        """Let go of the store."""
        for app in (self._app, *self._others.values()):
            close(app)
        self._store.close()

    def _user(self, user_id: str) -> dict[str, str]:
        """Return the cookies of a browser in which this user is logged in."""
        cookies: dict[str, str] = {}
        answer(self._app, f"/start/{self._size}/{next(self._numbers)}", cookies)
        answer(self._app, f"/log-in/{user_id}", cookies)
        return cookies

    def _new_user(self) -> str:
        return f"new{next(self._numbers)}"

    def _to_log_in(self, act: str) -> Environ:
        """Return the log-in of a guest who has a session: of a new user, or of one who is at the limit."""
        cookies: dict[str, str] = {}
        answer(self._app, f"/start/{self._size}/{next(self._numbers)}", cookies)
        return environ_of(f"/log-in/{'limited' if act == LIMITED_LOG_IN else self._new_user()}", cookies)

    def _to_revoke(self, *, sessions: int) -> Environ:
        """Return the request of an administrator, who has no session here, to end a number of a user's sessions."""
        user_id = self._new_user()
        for _ in range(sessions):
            answer(self._app, f"/log-in/{user_id}", {})
        return environ_of(f"/revoke/{user_id}")

    def _check(self) -> None:
        """Look whether each act does what it says."""
        ask: Callable[[str, dict[str, str]], str] = lambda path, cookies: answer(self._app, path, cookies)  # noqa: E731
        for _ in range(_LIMIT + 1):
            answer(self._others[LIMITED_LOG_IN], "/log-in/limited", {})
        ended = self._user("ended")
        found = {
            "/guarded": ask("/guarded", dict(self._users[0])),
            "/sessions-of/listed": ask("/sessions-of/listed", {}),
            "/sessions-of/limited": ask("/sessions-of/limited", {}),
            "/revoke/ended": ask("/revoke/ended", {}),
            "what is left then": ask("/sessions-of/ended", ended),
        }
        if list(found.values()) != ["0", str(_LISTED), str(_LIMIT), "1", "0"]:
            raise RuntimeError(f"{self._store!r} answers wrongly: {found}.")
