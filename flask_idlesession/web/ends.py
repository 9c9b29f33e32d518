"""Lets an application hear of the ends of its sessions, wherever they end."""

import weakref
from typing import Any
from typing import TYPE_CHECKING

from flask import current_app
from flask import Flask

from ..model.ids import SessionId
from ..model.record import Ending
from .current import current_manager

if TYPE_CHECKING:
    from ..sessions.end_watch import Callback
    from ..sessions.end_watch import EndHandle


def on_session_end(callback: "Callback", *, sid: SessionId | None = None) -> "EndHandle":
    """Call ``callback`` when the session ends, within a second, for whatever reason and on whatever worker. ::

        handle = on_session_end(lambda ending: ws.close(message=ending.reason.value), sid=session.sid)
        ...
        handle.close()

    The callback gets an :class:`~flask_idlesession.Ending`. It is called once for the session, also if that has ended
    already. Without ``sid`` it is called at the end of each session. :meth:`~EndHandle.close` ends the calls. It can be
    called at any time.

    The callback runs in a thread of the package's own, one for all, in the application's context. It should be quick:
    others wait for it. An exception from it is logged.

    Redis, Valkey and PostgreSQL tell all workers of an end. Other stores are asked twice a second about the sessions
    that are given by ``sid``, and so is PostgreSQL behind a pooler. There, a callback without ``sid`` hears of the ends
    that its own process brings about, and of those of sessions that are watched by id.
    """
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    manager = current_manager()
    called: Any = callback
    return manager.on_session_end(_InContext(app, callback) if callable(called) else called, sid=sid)


class _InContext:
    """Calls back in the application's context, and does not keep the application alive."""

    def __init__(self, app: Flask, callback: "Callback") -> None:
        self._app = weakref.ref(app)
        self._callback = callback

    def __call__(self, ending: Ending) -> Any:
        app = self._app()
        if app is None:
            return None
        with app.app_context():
            return self._callback(ending)
