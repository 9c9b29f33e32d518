"""Knows whether a store can be read and written: a probe tells an outage from the failure of one call."""

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum

from ..model.errors import RecordRejected
from ..model.errors import StoreError
from ..model.errors import StoreUnavailable
from ..model.ids import new_session_id
from ..model.ids import SessionId
from ..process.locks import ForkSafeLock
from .contract import Store
from .contract import UnreadableRecord
from .failures import Failures

_logger = logging.getLogger("flask_idlesession")

#: Seconds from the start of a probe in which calls wait for its answer. A store that is well answers in less.
_PATIENCE = 0.3

#: Seconds between two probes while an outage lasts: its end is noticed that much later at most.
_REST = 1.0

#: Seconds for which a good probe stands: a failure within them is one session's trouble, too.
_TRUSTED = 0.1

#: How many sessions a probe asks for, until one is answered. In a cluster one of the servers may be away.
_TRIES = 3

#: A question that took so long, in seconds, is not asked a second time: the server is silent.
_LONG_WAIT = 0.5

#: A probe that takes longer, in seconds, was lost: by a fork, for example.
_LOST = 30.0


class _Level(Enum):
    """How much a store can do."""

    UP = "up"
    READ_ONLY = "read only"
    DOWN = "down"


class Circuit:
    """Knows whether one store works. Until a call fails, it asks nothing and refuses nothing.

    After a failure a probe reads a session that does not exist, and deletes one. While it asks, other calls wait for
    its answer for a moment; then they are refused. A store that answers the probe is up, although a call failed. A
    store that can be read and not written is still read.

    ``_lock`` guards the choice of the probe. Nothing is called under it.
    """

    def __init__(self, store: Store, failures: Failures, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._failures = failures
        self._clock = clock
        self._lock = ForkSafeLock()
        #: Whether the store takes reads and writes; None while the first probe is finding out.
        self._reads: bool | None = True
        self._writes: bool | None = True
        self._told = _Level.UP
        self._probe = _Probe(0.0)
        self._probe.finish()
        self._probe_at = 0.0
        self._trusted_until = 0.0
        self._failed_at = 0.0
        self._error = StoreError()

    @property
    def is_up(self) -> bool:
        """Whether the store can be read and written, as far as is known."""
        return self._reads is True and self._writes is True

    @property
    def is_down(self) -> bool:
        """Whether a probe found that the store cannot even be read."""
        return self._reads is False

    @property
    def refuses_writes(self) -> bool:
        """Whether a probe found that the store cannot be written."""
        return self._writes is False

    @property
    def down_for(self) -> float:
        """Seconds since the failure that began an outage, or may have; 0 if there is none."""
        return 0.0 if self.is_up else self._clock() - self._failed_at

    def suspect(self, error: StoreError) -> None:
        """Find out whether a call's failure is an outage. Return when that is known, or after a moment."""
        now, begins = self._clock(), False
        with self._lock:
            if not self._probe.is_under_way(now) and now >= self._trusted_until:
                begins = True
                if self.is_up:
                    self._failed_at = now
                self._reads = self._writes = None
                self._error = error
                self._choose_probe(now)
            probe = self._probe
        if begins:
            probe.start(self._run)
        probe.wait(probe.is_done)
        if not self.refuses_writes:
            self._failures.note(error)
        else:
            self._failures.add(error)

    def admit(self, *, writes: bool) -> None:
        """Raise :exc:`~flask_idlesession.StoreUnavailable` if the store does not take such a call now."""
        if self._takes(writes):
            return
        now, begins = self._clock(), False
        with self._lock:
            is_open = self._takes(writes) is None
            if not self._probe.is_under_way(now) and (is_open or now >= self._probe_at):
                begins = is_open = True
                self._choose_probe(now)
            probe = self._probe
        if begins:
            probe.start(self._run)
        if is_open:
            probe.wait(probe.is_done if writes or begins else probe.has_read)
        if not self._takes(writes):
            what = "cannot be written" if self._reads else "is down"
            error = StoreUnavailable(f"The session store {what}, for {now - self._failed_at:.0f} s now: {self._error}")
            self._failures.add(error)
            raise error

    def _takes(self, writes: bool) -> bool | None:
        return self._writes if writes else self._reads

    def _choose_probe(self, now: float) -> None:
        self._probe = _Probe(now)
        self._probe_at = now + _REST

    # The methods below run in the probe's thread.

    def _run(self, probe: "_Probe") -> None:
        reads = writes = False
        try:
            reads = self._is_answered(lambda sid: self._store.load(sid, now=0.0))
            if reads:
                if self.is_down:
                    self._writes = None
                self._reads = True
                probe.has_read.set()
                writes = self._is_answered(self._store.delete)
        finally:
            now = self._clock()
            self._probe_at, self._trusted_until = now + _REST, now + _TRUSTED if writes else 0.0
            self._reads, self._writes = reads, writes
            self._tell(_Level.UP if writes else _Level.READ_ONLY if reads else _Level.DOWN)
            probe.finish()

    def _is_answered(self, ask: Callable[[SessionId], object]) -> bool:
        for _ in range(_TRIES):
            asked_at = time.monotonic()
            try:
                ask(new_session_id())
                return True
            except (RecordRejected, UnreadableRecord):
                return True  # It answers.
            except StoreError as error:
                self._error = error
                if time.monotonic() - asked_at >= _LONG_WAIT:
                    return False
        return False

    def _tell(self, level: _Level) -> None:
        before, self._told = self._told, level
        if level is before:
            return
        error = self._error
        if level is _Level.DOWN:
            _logger.error(
                "The session store is down: %s (%r). Requests that need their session are answered 503 until it is "
                "back; no cookie is taken away."
                " [ISE084]",
                error,
                error.__cause__,
            )
        elif level is _Level.READ_ONLY:
            _logger.error(
                "The session store cannot be written: %s (%r). Requests that write to their session are answered 503 "
                "until it can; those that only read it are served, and their activity is not noted."
                " [ISE085]",
                error,
                error.__cause__,
            )
        else:
            _logger.warning("The session store is back after %.1f s. [ISW015]", self._clock() - self._failed_at)


class _Probe:
    """A thread that asks the store, so that no request waits for an answer a second time."""

    def __init__(self, now: float) -> None:
        #: The events that callers wait for. They are made with the probe: gevent may have patched Python since the
        #: start.
        self.has_read = threading.Event()
        self.is_done = threading.Event()
        self._began_at = now
        self._give_up_at = time.monotonic() + _PATIENCE
        self._thread: threading.Thread | None = None

    def start(self, run: Callable[["_Probe"], None]) -> None:
        """Ask in a thread of its own; or here, if the system has no thread left."""
        thread = threading.Thread(target=run, args=(self,), name="flask_idlesession probe", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            run(self)
        self._thread = thread

    def wait(self, answer: threading.Event) -> None:
        """Wait for the answer, for what is left of the patience with this probe: no request waits for it twice."""
        left = self._give_up_at - time.monotonic()
        if left > 0:
            answer.wait(left)

    def finish(self) -> None:
        """Let all go on that wait."""
        self.has_read.set()
        self.is_done.set()

    def is_under_way(self, now: float) -> bool:
        """Whether its answer is still to come. It never comes where a fork has lost the thread."""
        if self.is_done.is_set() or now - self._began_at >= _LOST:
            return False
        return self._thread is None or self._thread.is_alive()
