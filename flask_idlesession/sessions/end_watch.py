"""Calls who asked to be told of sessions' ends, on whatever worker they end: by a subscription, or by looking."""

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from heapq import heappop
from heapq import heappush
from types import TracebackType
from typing import Protocol

from ..model.clock import Clock
from ..model.errors import StoreError
from ..model.ids import SessionId
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import SessionInfo
from ..process.background import cleaner
from ..process.background import is_green
from ..process.forks import ForkAware
from ..process.forks import register
from ..process.forks import Stage
from ..process.locks import ForkSafeLock
from ..stores.contract import endings_of
from ..stores.contract import EndNews
from ..stores.contract import Store
from ..stores.contract import tells_ends

_logger = logging.getLogger("flask_idlesession")

#: Is called with how a session ended.
Callback = Callable[[Ending], object]

#: Seconds between two looks at what is due, and between two questions to a store that tells nothing by itself.
_TICK = 0.25
_POLL = 0.5

#: A store that takes long to answer is asked less often: it is busy with that for a fifth of the time at most.
_SHARE = 4

#: Seconds after which a session is looked at although nothing was told of it: the server may have forgotten it.
_LOOK_AGAIN = 30.0

#: Seconds until an end of which nobody knows the reason is looked at once more.
_SHORTLY = 0.2

#: Seconds until a lost subscription is tried again.
_RETRY = 1.0

#: How many sessions are asked about in one step, and how many ends are known to have been told.
_CHUNK = 500
_MOST_TOLD = 10_000


class Looks(Protocol):
    """The part of the package that looks sessions up by their ids."""

    store: Store
    now: Clock

    def look_up_info(self, sid: SessionId, *, now: float) -> SessionInfo | None:
        """Return the info of the live record, or None."""

    def ending(self, sid: SessionId) -> Ending | None:
        """Return how the session ended, while that is remembered."""


class EndHandle:
    """One call of :func:`~flask_idlesession.on_session_end`, until :meth:`close`. A ``with`` block closes it."""

    __slots__ = ("_watch", "callback", "sid", "__weakref__")

    def __init__(self, watch: "EndWatch", callback: Callback, sid: SessionId | None) -> None:
        self._watch = watch
        self.callback = callback
        #: The session that is meant; None for all.
        self.sid = sid

    def close(self) -> None:
        """Call no more. A call that has begun goes on. Calling it again does nothing."""
        self._watch.remove(self)

    def __enter__(self) -> "EndHandle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EndWatch(ForkAware):
    """Watches for the ends of one store's sessions, from one thread, as long as anybody wants to know.

    An end of this process is heard at once, one by another process through the store's subscription. Where there is
    none the store is asked how the sessions ended that are watched by id. Each of these is also looked at when its time
    is over, so an expiry is told in time whether or not anything was pruned.

    ``_lock`` guards the handles, and nothing is called under it. All else is the thread's.
    """

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._store = looks.store
        self._lock = ForkSafeLock()
        self._handles: dict[SessionId | None, list[EndHandle]] = {}
        self._told: dict[SessionId, None] = {}
        self._begin()
        register(self, stage=Stage.THREADS)

    def _begin(self) -> None:
        #: Ends that this process brought about.
        self._noted: deque[Ending] = deque()
        #: When which session is to be looked at, and the same as a heap, which has entries that hold no more.
        self._due_at: dict[SessionId, float] = {}
        self._due: list[tuple[float, SessionId]] = []
        self._asked: deque[SessionId] = deque()
        self._known: dict[SessionId, SessionInfo] = {}
        self._missing: set[SessionId] = set()
        self._news: EndNews | None = None
        self._hears = tells_ends(self._store) is not None
        self._subscribe_at = self._poll_at = 0.0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._is_green = is_green()

    def __len__(self) -> int:
        """Return how many handles are open."""
        with self._lock:
            return sum(map(len, self._handles.values()))

    def add(self, callback: Callback, *, sid: SessionId | None) -> EndHandle:
        """Call ``callback`` when this session ends, or with None whenever one does, until the handle is closed."""
        handle = EndHandle(self, callback, sid)
        with self._lock:
            is_first = sid not in self._handles
            self._handles.setdefault(sid, []).append(handle)
        if sid is not None and is_first:
            self._asked.append(sid)
        cleaner.register(self)
        self.run()
        return handle

    def remove(self, handle: EndHandle) -> None:
        """Call this one no more."""
        with self._lock:
            handles = self._handles.get(handle.sid, [])
            if handle in handles:
                handles.remove(handle)
            if not handles:
                self._handles.pop(handle.sid, None)

    def note(self, endings: Sequence[Ending]) -> None:
        """Hear of ends that this process brought about."""
        if self._handles:
            self._noted.extend(endings)
            self._wake.set()

    def close(self) -> None:
        """Forget all handles. The thread ends within a moment."""
        with self._lock:
            self._handles.clear()
        self._wake.set()

    def run(self) -> float:
        """See to it that there is a thread, where one is needed. The cleaner calls this, also after a fork."""
        if self._handles:
            if self._is_green != is_green():  # gevent patched after it began: a thread from before ends.
                self._begin_again()
            thread = self._thread
            if thread is None or not thread.is_alive():
                self._start()
        else:
            cleaner.unregister(self)
        return _LOOK_AGAIN

    def after_fork_in_child(self) -> None:
        """Leave the subscription to the parent."""
        self._begin_again()

    def start_in_child(self) -> None:
        """Start the thread. Under gevent the cleaner does so, with the first session."""
        if self._handles and not self._is_green:
            self.run()

    def _begin_again(self) -> None:
        if self._news is not None:
            _of_parents.append(self._news)
        self._begin()
        self._asked.extend(self._watched())

    def _start(self) -> None:
        thread = threading.Thread(target=_watch, args=(weakref.ref(self),), name="flask_idlesession ends", daemon=True)
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # The interpreter is shutting down, or the system has no thread left.
            self._thread = None
            _logger.warning("The thread that watches for ends of sessions could not be started. [ISW027]")

    # The thread's part.

    def is_needed(self) -> bool:
        """Return whether the present thread is to go on. If not, another may take its place from now on."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return False
            if self._handles:
                return True
            self._thread, news, self._news = None, self._news, None
        if news is not None:
            news.close()
        return False

    def listen(self) -> EndNews | threading.Event:
        """Return what to wait for: the subscription, which is made if there is none, or an end of this process."""
        if self._news is None and self._hears and time.monotonic() >= self._subscribe_at:
            self._subscribe_at = time.monotonic() + _RETRY
            store = tells_ends(self._store)
            try:
                self._news = None if store is None else store.hear_ends()
                self._hears = self._news is not None
                self._asked.extend(self._watched())  # Some may have ended while nothing was heard.
            except StoreError as error:
                _logger.debug("No subscription to ends of sessions: %s", error)
        return self._news or self._wake

    def hear(self, told: Sequence[Ending]) -> None:
        """Tell these ends, those of this process, and what a look at the store finds."""
        self._wake.clear()
        for ending in told:
            self._tell(ending)
        while self._noted:
            self._tell(self._noted.popleft())
        try:
            self._look_at_new()
            self._look_at_due()
            if self._news is None and time.monotonic() >= self._poll_at:
                self._poll()
        except StoreError as error:
            _logger.debug("Ends of sessions could not be looked for: %s", error)
            self._poll_at = time.monotonic() + _RETRY

    def lose(self, error: StoreError) -> None:
        """Note that the subscription is lost. Until there is another the store is asked."""
        _logger.debug("The subscription to ends of sessions is lost: %s", error)
        self._drop_news()

    def _drop_news(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.close()

    def _watched(self) -> list[SessionId]:
        with self._lock:
            return [sid for sid in self._handles if sid is not None]

    def _look_at_new(self) -> None:
        for _ in range(min(len(self._asked), _CHUNK)):
            self._look_at(self._asked[0])
            self._asked.popleft()

    def _look_at_due(self) -> None:
        now = self._looks.now()
        for _ in range(_CHUNK):
            if not self._due or self._due[0][0] > now:
                return
            due_at, sid = self._due[0]
            if self._due_at.get(sid) == due_at:
                self._look_at(sid)
            heappop(self._due)

    def _look_at(self, sid: SessionId) -> None:
        """Tell the session's end if it is over; else note when to look again."""
        if sid not in self._handles:
            self._forget(sid)
            return
        now = self._looks.now()
        info = self._looks.look_up_info(sid, now=now)
        if info is not None:
            self._missing.discard(sid)
            self._known[sid] = info
            self._look_later(sid, min(info.expires_at, now + _LOOK_AGAIN))
        elif (ending := self._how(sid, now)) is not None:
            self._tell(ending)
        else:  # Its end is just about to be noted.
            self._missing.add(sid)
            self._look_later(sid, now + _SHORTLY)

    def _look_later(self, sid: SessionId, due_at: float) -> None:
        if self._due_at.get(sid) != due_at:
            self._due_at[sid] = due_at
            heappush(self._due, (due_at, sid))

    def _forget(self, sid: SessionId) -> None:
        self._known.pop(sid, None)
        self._due_at.pop(sid, None)
        self._missing.discard(sid)

    def _how(self, sid: SessionId, now: float) -> Ending | None:
        """Return how a session ended that is no more; None if that may become known in a moment."""
        ending, info = self._looks.ending(sid), self._known.get(sid)
        if ending is not None:
            return ending
        user_id = None if info is None else info.user_id
        if info is not None and not info.is_live(now):
            return Ending(sid, info.expiry_reason, info.expires_at, user_id)
        return Ending(sid, EndReason.EVICTED, now, user_id) if sid in self._missing else None

    def _poll(self) -> None:
        """Ask the store how the watched sessions ended."""
        began_at, watched = time.monotonic(), self._watched()
        for at in range(0, len(watched), _CHUNK):
            for ending in endings_of(self._store, watched[at : at + _CHUNK], now=self._looks.now()):
                self._look_at(ending.sid)  # An end is noted a moment before it is brought about.
        now = time.monotonic()
        self._poll_at = now + max(_POLL, _SHARE * (now - began_at))

    def _tell(self, ending: Ending) -> None:
        """Call all who want to know of this end. The handles of this session alone are done with it."""
        self._forget(ending.sid)
        for handle in self._called(ending):
            try:
                handle.callback(ending)
            except Exception:  # It is the application's code.
                _logger.exception("A callback of on_session_end() raised. [ISE090]")

    def _called(self, ending: Ending) -> Iterator[EndHandle]:
        is_new = ending.sid not in self._told
        self._told[ending.sid] = None
        if len(self._told) > _MOST_TOLD:
            self._told.pop(next(iter(self._told)))
        with self._lock:
            called = self._handles.pop(ending.sid, [])
            if is_new:
                called = [*called, *self._handles.get(None, [])]
        yield from called


def _watch(ref: "weakref.ref[EndWatch]") -> None:
    """Watch, and keep nothing alive while waiting."""
    while True:
        watch = ref()
        if watch is None or not watch.is_needed():
            return
        source, told = watch.listen(), None
        del watch
        try:
            told = source.wait(_TICK)
        except StoreError as error:
            watch = ref()
            if watch is not None:
                watch.lose(error)
        watch = ref()
        if watch is None:
            if not isinstance(source, threading.Event):
                source.close()
            return
        watch.hear(told if isinstance(told, list) else ())
        del watch


#: Subscriptions of parents, which a child neither uses nor closes, nor lets the collector close.
_of_parents: list[EndNews] = []
