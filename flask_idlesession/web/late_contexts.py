"""Finishes sessions that were used after their response had begun, when the context of that use ends."""

import weakref

from flask import current_app
from flask import Flask
from flask import has_request_context
from flask import request
from flask import request_tearing_down

from ..sessions.session import Session


class LateContexts:
    """Watches the contexts of one application in which a session is looked at late.

    It listens to the ends of contexts only as long as there is such a session: most applications have none, and
    listening takes each request 3 µs.
    """

    def __init__(self) -> None:
        # By their ids, for a mapping cannot be hashed.
        self._watched: dict[int, weakref.ref[Session]] = {}

    def watch(self, session: Session) -> None:
        """Have the session finished when the present context ends, if there is one."""
        if not has_request_context():
            return
        key = id(session)
        self._watched[key] = weakref.ref(session, lambda _: self._watched.pop(key, None))
        request_tearing_down.connect(self._finish, current_app._get_current_object())  # type: ignore[attr-defined]

    def _finish(self, app: Flask, **_: object) -> None:
        session = getattr(request, "_idlesession", None)
        if id(session) in self._watched and isinstance(session, Session):
            session._finish_late()
        if not self._watched:  # Wherever it listens: told of the sender alone, Blinker would go on asking for 2 µs.
            request_tearing_down.disconnect(self._finish)
