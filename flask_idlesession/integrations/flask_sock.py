"""WebSockets of flask-sock, as long as their session: each message uses it, and they are closed when it ends."""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from threading import Thread
from types import TracebackType
from typing import Any

import flask_sock
from simple_websocket import ConnectionClosed

from ..web.activity import is_marked_active
from ..web.current import current_session
from ..web.events import begin_event
from ..web.events import end_event
from ..web.events import Follower

#: The code that a socket is closed with when its session is over; the message is the reason.
CLOSED = 4000


class Sock(flask_sock.Sock):  # type: ignore[misc]
    """flask-sock's ``Sock``, whose views use the session of the browser that opened the WebSocket. ::

        sock = Sock(app)

        @sock.route("/echo")
        @active
        def echo(ws):
            while True:
                session["last"] = ws.receive()
                ws.send(session["last"])

    The session is read again with each message that ``ws.receive()`` returns. Assignments are stored at once, and
    changes in place before the next message. Messages are passive, but in views that are marked
    :func:`~flask_idlesession.active`.

    When the session ends, on whatever worker, the WebSocket is closed within a second: code 4000, with the value of an
    :class:`~flask_idlesession.EndReason` as the message. If the browser gets a new token, the message is ``new token``,
    and the page should connect again. Everything else is flask-sock's.
    """

    def route(self, path: str, bp: Any = None, **kwargs: Any) -> Callable[[Any], Any]:
        """As flask-sock's."""
        decorate = super().route(path, bp, **kwargs)

        def decorator(view: Any) -> Any:
            @wraps(view)
            def in_session(ws: Any, *args: Any, **kwargs: Any) -> Any:
                with SessionSocket(ws, active=is_marked_active(view)) as socket:
                    return view(socket, *args, **kwargs)

            decorate(in_session)
            return view

        return decorator


class SessionSocket:
    """A WebSocket and the session of the request that opened it. Everything else is the WebSocket's own."""

    def __init__(self, ws: Any, *, active: bool) -> None:
        self._ws = ws
        self._active = active
        self._session = current_session()
        begin_event(self._session, active=active)
        self._follower = Follower(self._session, self._end_soon)

    def receive(self, timeout: float | None = None) -> Any:
        """As the WebSocket's. Then the session is read again."""
        end_event(self._session)
        message = self._ws.receive(timeout)
        is_active = self._active and message is not None
        if not begin_event(self._session, active=is_active) and self._follower.has_session:
            self._end(self._follower.reason())
            raise ConnectionClosed(CLOSED, None)
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ws, name)

    def __enter__(self) -> "SessionSocket":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._follower.close()
        end_event(self._session)

    def _end_soon(self, reason: str) -> None:
        """End it from another thread: to close a WebSocket is to wait for the client's network."""
        Thread(target=self._end, args=(reason,), name="flask_idlesession end of a socket", daemon=True).start()

    def _end(self, reason: str) -> None:
        with suppress(ConnectionClosed, OSError):
            self._ws.close(CLOSED, reason)
        self._ws.event.set()  # The view waits for a message, and the client may never answer.
