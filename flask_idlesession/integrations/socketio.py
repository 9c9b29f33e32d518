"""Flask-SocketIO's sockets as long as their session: events use it, and they are closed when it ends."""

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any

import flask_socketio
from flask import Flask

from ..model.ids import SessionId
from ..model.record import Ending
from ..model.record import SessionInfo
from ..model.signals import session_rotated
from ..sessions.end_watch import EndHandle
from ..sessions.session import Session
from ..web.activity import is_marked_active
from ..web.activity import PASSIVE_IN_ENVIRON
from ..web.current import current_manager
from ..web.current import current_session
from ..web.ends import on_session_end
from ..web.events import in_event

#: The event that tells a client why its socket is closed: ``{"reason": "idle"}``, for example.
ENDED = "session_ended"

#: Seconds after which a socket is closed whose token was replaced: until then the response with the new one is there.
_PAUSE = 1.0

#: A socket's namespace, and its id there.
Socket = tuple[str, str]


class SocketIO(flask_socketio.SocketIO):  # type: ignore[misc]
    """Flask-SocketIO's ``SocketIO``, whose events use the session of the browser that opened the socket. ::

        socketio = SocketIO(app)

        @socketio.on("message")
        @active
        def message(text):
            session.modify("sent", lambda sent: sent + 1, default=0)

    An event reads the session as it is then. Assignments are stored at once, changes in place when the handler
    returns. Events are passive but for handlers that are marked :func:`~flask_idlesession.active`. A socket that stays
    open keeps no session alive.

    When the session ends, on whatever worker, its sockets are closed within a second. Each gets an event before,
    ``session_ended`` with ``{"reason": …}``: the value of an :class:`~flask_idlesession.EndReason`. A handler is not
    called for a socket whose session is over.

    A socket is as good as the token that opened it. Where the browser gets a new token, by a log-in for example, the
    connection is closed after a second. Clients connect again by themselves, with the new token. An event cannot set a
    cookie, so ``log_in()`` and ``session.rotate()`` raise RuntimeError there; ``log_out()`` works.

    ``manage_session`` is False always. Everything else is Flask-SocketIO's.
    """

    def __init__(self, app: Flask | None = None, **kwargs: Any) -> None:
        # Guards both dicts; nothing is called under it.
        self._lock = Lock()
        self._followed: dict[SessionId, tuple[EndHandle, set[Socket]]] = {}
        self._session_of: dict[Socket, SessionId] = {}
        super().__init__(app, **kwargs)

    def init_app(self, app: Flask | None, **kwargs: Any) -> None:
        """As Flask-SocketIO's."""
        super().init_app(app, **{**kwargs, "manage_session": False})
        if app is not None:
            session_rotated.connect(self._note_rotation, app)

    def on(self, message: str, namespace: str | None = None) -> Callable[[Any], Any]:
        """As Flask-SocketIO's."""
        if message not in ("connect", "disconnect"):
            self._hear_of_sockets(namespace or "/")
        decorate: Callable[[Any], Any] = super().on(message, namespace)
        return decorate

    def on_namespace(self, namespace_handler: Any) -> None:
        """As Flask-SocketIO's."""
        for event in ("on_connect", "on_disconnect"):
            if not hasattr(namespace_handler, event):
                setattr(namespace_handler, event, _do_nothing)
        super().on_namespace(namespace_handler)

    def _hear_of_sockets(self, namespace: str) -> None:
        """Hear of each socket of a namespace, also where the application has no handler for that."""
        handlers = [(event, place) for event, _, place in self.handlers]
        known = {} if self.server is None else self.server.handlers.get(namespace, {})
        for event in ("connect", "disconnect"):
            if event not in known and (event, namespace) not in handlers:
                super().on(event, namespace)(_do_nothing)

    # An event.

    def _handle_event(self, handler: Any, message: str, namespace: str, sid: str, *args: Any) -> Any:
        socket = namespace, sid
        environ = self.server.get_environ(sid, namespace=namespace)
        if environ:  # It is the request that opened the socket, and each event is made to look like that.
            environ[PASSIVE_IN_ENVIRON] = "1"

        @wraps(handler)
        def in_session(*told: Any) -> Any:
            session = current_session()
            with in_event(session, active=is_marked_active(handler)) as is_live:
                if message == "connect":
                    self._follow(socket, session)
                elif message == "disconnect":
                    self._forget(socket)
                elif not is_live and self._is_over(socket):
                    return None
                return handler(*told)

        return super()._handle_event(in_session, message, namespace, sid, *args)

    def _is_over(self, socket: Socket) -> bool:
        """Return whether the socket was opened in a session that is over, or by a token that was replaced. Then it is
        closed.
        """
        session_id = self._session_of.get(socket)
        if session_id is None:
            return False
        lifecycle = current_manager().lifecycle
        if lifecycle.look_up_info(session_id, now=lifecycle.now()) is not None:
            self.start_background_task(self._drop, [socket])
            return True
        ending = lifecycle.ending(session_id)
        self.start_background_task(self._close, [socket], None if ending is None else ending.reason.value)
        return True

    # The sockets of a session.

    def _follow(self, socket: Socket, session: Session) -> None:
        """Close the socket when the session ends."""
        session_id = session.sid
        if session_id is None or socket in self._session_of:
            return
        with self._lock:
            self._session_of[socket] = session_id
            followed = self._followed.get(session_id)
            if followed is not None:
                followed[1].add(socket)
                return
        handle = on_session_end(self._end, sid=session_id)
        with self._lock:
            other = self._followed.setdefault(session_id, (handle, set()))
            other[1].add(socket)
        if other[0] is not handle:
            handle.close()

    def _forget(self, socket: Socket) -> None:
        handle = None
        with self._lock:
            session_id = self._session_of.pop(socket, None)
            followed = self._followed.get(session_id) if session_id is not None else None
            if followed is not None and session_id is not None:
                followed[1].discard(socket)
                if not followed[1]:
                    handle = self._followed.pop(session_id)[0]
        if handle is not None:
            handle.close()

    def _end(self, ending: Ending) -> None:
        with self._lock:
            followed = self._followed.pop(ending.sid, None)
        if followed is not None:
            self.start_background_task(self._close, list(followed[1]), ending.reason.value)

    def _close(self, sockets: list[Socket], reason: str | None) -> None:
        """Tell these sockets why, and close them."""
        for namespace, sid in sockets:
            self.emit(ENDED, {"reason": reason}, to=sid, namespace=namespace)
            self.server.disconnect(sid, namespace=namespace)

    def _note_rotation(self, app: Flask, info: SessionInfo, **_: object) -> None:
        with self._lock:
            followed = self._followed.get(info.sid)
            sockets = [] if followed is None else list(followed[1])
        if sockets:
            self.start_background_task(self._drop_soon, sockets)

    def _drop_soon(self, sockets: list[Socket]) -> None:
        self.sleep(_PAUSE)
        self._drop(sockets)

    def _drop(self, sockets: list[Socket]) -> None:
        """Close the connections below these sockets, as if the network had failed: the clients connect again."""
        for namespace, sid in sockets:
            connection = self.server.manager.eio_sid_from_sid(sid, namespace)
            if connection is not None:
                self._cut(connection)

    def _cut(self, connection: str) -> None:
        """Close a connection without a word: to one that is told of it some clients do not connect again."""
        transport = self.server.eio.sockets.get(connection)
        if transport is not None:
            transport.close(wait=False, abort=True)


def _do_nothing(*_: object) -> None:
    """Stand where the application has no handler."""
