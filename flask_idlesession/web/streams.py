"""Streams that end with the session of the request that opened them."""

import json
from collections.abc import Generator
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty
from queue import Full
from queue import Queue
from typing import Any
from typing import TypeVar

from flask import current_app
from flask import Response

from ..sessions.session import Session
from .current import current_runtime
from .current import current_session
from .events import Follower
from .events import NEW_TOKEN

_Chunk = TypeVar("_Chunk")

#: How many events wait for a client that is slow. A slower one is closed, and connects again.
_MOST_WAITING = 1000

#: A line that browsers pass over. To send it tells whether the client is still there.
_HEARTBEAT = ":\n\n"


def until_session_ends(chunks: Iterable[_Chunk]) -> Generator[_Chunk, None, None]:
    """Return the chunks until the present session ends, or its browser gets a new token. ::

        return Response(until_session_ends(rows()), mimetype="text/csv")

    It looks between two chunks. A generator that waits for long inside should yield something now and then; for
    server-sent events there is :class:`~flask_idlesession.EventStream`, which ends at once.
    """
    return _until_end(chunks, current_session())


def _until_end(chunks: Iterable[_Chunk], session: Session) -> Generator[_Chunk, None, None]:
    reasons: list[str] = []
    follower = Follower(session, reasons.append)

    def each() -> Generator[_Chunk, None, None]:
        source = iter(chunks)
        try:
            for chunk in source:
                if reasons:
                    return
                yield chunk
        finally:
            follower.close()
            if isinstance(source, Generator):
                source.close()

    return each()


class EventStream:
    """Server-sent events for the browser that opened the stream, until its session ends. ::

        streams = set()

        @app.get("/events")
        @login_required
        def events():
            stream = EventStream(on_close=streams.discard)
            streams.add(stream)
            return stream.response()

        def tell_everybody(news):
            for stream in list(streams):
                stream.send(news, event="news")

    The last event of a session that ends is ``session_ended`` with ``{"reason": …}``, the value of an
    :class:`~flask_idlesession.EndReason`. If the browser gets a new token the stream ends without a word, and an
    ``EventSource`` opens it again. The stream costs neither a thread nor a connection of the store.

    It does not keep the session alive. :meth:`note_activity` does. ``heartbeat`` is after how many seconds of silence a
    comment is sent. ``on_close`` is called once with the stream when it is over.
    """

    def __init__(self, *, heartbeat: float = 15.0, on_close: Any = None) -> None:
        session = current_session()
        self._requests = current_runtime().requests
        self._credential = session._facts.credential
        self._json: Any = current_app.json
        self._heartbeat = heartbeat
        self._on_close = on_close
        self._waiting: Queue[str | None] = Queue(_MOST_WAITING)
        self._last: str | None = None
        #: Whether the stream goes on.
        self.is_open = True
        self._follower = Follower(session, self._end)

    def send(self, data: object, *, event: str | None = None) -> bool:
        """Send text, or what JSON can hold; return whether the stream is still open. Any thread may call this."""
        if not self.is_open:
            return False
        text = data if isinstance(data, str) else str(self._json.dumps(data))
        try:
            self._waiting.put_nowait(_event(text, event))
        except Full:
            self.close()
        return self.is_open

    def note_activity(self) -> None:
        """Count something that the user did: it prolongs the session. Raise StoreError if it cannot be stored."""
        self._requests.touch(self._requests.open(self._credential), ago=0.0)

    def close(self) -> None:
        """End the stream. Events that wait are not sent. Calling it again does nothing."""
        on_close, self._on_close = self._on_close, None
        self._stop()
        self._follower.close()
        if on_close is not None:
            on_close(self)

    def response(self) -> Response:
        """Return the stream as an answer that is neither cached nor buffered."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = Response(iter(self), mimetype="text/event-stream", headers=headers)
        response.call_on_close(self.close)
        return response

    def __iter__(self) -> Generator[str, None, None]:
        try:
            yield _HEARTBEAT  # The browser knows now that the stream is open.
            while self.is_open:
                try:
                    text = self._waiting.get(timeout=self._heartbeat)
                except Empty:
                    text = _HEARTBEAT
                if text is not None and self.is_open:
                    yield text
            if self._last is not None:
                yield self._last
        finally:
            self.close()

    def _end(self, reason: str) -> None:
        """Send no event any more but the last one. The thread that sends them closes the stream then."""
        if reason != NEW_TOKEN:
            self._last = _event(json.dumps({"reason": reason}), "session_ended")
        self._stop()

    def _stop(self) -> None:
        self.is_open = False
        with suppress(Full):  # If it is full there is something to wake up for.
            self._waiting.put_nowait(None)


def _event(text: str, event: str | None) -> str:
    """Return an event as it is sent (HTML Living Standard, 9.2.5)."""
    lines = [] if event is None else [f"event: {' '.join(event.splitlines())}"]
    lines += [f"data: {line}" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return "\n".join(lines) + "\n\n"
