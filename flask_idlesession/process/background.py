"""The thread that prunes: knows only what to call, and until when it may sleep. One for each process."""

import atexit
import logging
import sys
import threading
import time
from math import inf
from typing import Protocol
from weakref import finalize
from weakref import WeakSet

from .forks import ForkAware
from .forks import register
from .forks import Stage

_logger = logging.getLogger("flask_idlesession")

#: The thread looks at least this often: it counts its sleep on a clock that a suspended machine stops.
_LONGEST_SLEEP = 60.0

#: Between two passes the thread sleeps at least so long: a thread that is always busy makes every
#: request wait for the interpreter lock.
_SHORTEST_SLEEP = 0.001


class Task(Protocol):
    """Something with expired things in it."""

    def run(self) -> float:
        """Do one pass; return in how many seconds the next one is due (infinite: not before a wake)."""


class Cleaner(ForkAware):
    """Calls :meth:`Task.run` when it is due, from a daemon thread that lives as long as there is
    anything to clean. It keeps nothing alive: what is registered and then dropped is forgotten.

    ``_wake`` guards everything here, and nothing is called under it.
    """

    def __init__(self) -> None:
        self._tasks: WeakSet[Task] = WeakSet()
        self._reset()
        atexit.register(self.stop)
        register(self, stage=Stage.THREADS)

    def _reset(self) -> None:
        # Re-entrant, because the collector may drop a task while this thread holds the lock.
        self._wake = threading.Condition(threading.RLock())
        #: The thread, while this process has it.
        self.thread: threading.Thread | None = None
        self._wakes_at = 0.0
        self._stopped = False
        self._is_green = is_green()
        self._starts_again = False
        self._passed_at: float | None = None

    @property
    def last_pass_ago(self) -> float | None:
        """Seconds since the thread finished a pass in this process; None before its first."""
        passed_at = self._passed_at
        return None if passed_at is None else time.monotonic() - passed_at

    @property
    def is_running(self) -> bool:
        """Whether this process has the thread."""
        return self.thread is not None and self._is_green == is_green()

    def register(self, task: Task) -> None:
        """Clean this too, from now on, until it is dropped or unregistered."""
        with self._wake:
            if task not in self._tasks:
                self._tasks.add(task)
                finalize(task, self._note_drop).atexit = False
            self._notify()
        self._start()

    def unregister(self, task: Task) -> None:
        """Clean this no more; the thread ends with the last one."""
        with self._wake:
            self._tasks.discard(task)
            self._notify()

    def wake(self, *, within: float) -> None:
        """Make sure that the next pass begins within this many seconds."""
        if not self.is_running:
            self._start()
        if time.monotonic() + within < self._wakes_at:
            with self._wake:
                if time.monotonic() + within < self._wakes_at:
                    self._notify()

    def stop(self) -> None:
        """End the thread, at exit."""
        with self._wake:
            self._stopped = True
            thread, self.thread = self.thread, None
            self._notify()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout=1.0)

    def _start(self) -> None:
        """Start the thread, where one is needed and there is none.

        Not under the lock: where gevent patched Python after this module made its lock, starting one lets
        another greenlet run, and to the lock they are all one thread.
        """
        if self._is_green != is_green():
            self._notify()
            self._reset()  # A thread from before it patched does not know itself any more, and ends.
        with self._wake:
            if self.is_running or self._stopped or not self._present():
                return
            thread = threading.Thread(target=self._run, name="flask_idlesession cleaner", daemon=True)
            self.thread = thread
        try:
            thread.start()
        except RuntimeError:  # The interpreter is shutting down, or the system has no thread left.
            self.thread = None
            _logger.warning("The cleaner thread could not be started; requests prune the sessions meanwhile. [ISW027]")

    def _notify(self) -> None:
        with self._wake:
            self._wakes_at = 0.0
            self._wake.notify_all()

    def _note_drop(self) -> None:
        """Have the thread end now if nothing is left; should this come at a bad time, it does so by itself
        within a minute: the collector calls this in the midst of anything, where no lock may be waited for.
        """
        if self._wake.acquire(blocking=False):
            try:
                self._notify()
            finally:
                self._wake.release()

    def _run(self) -> None:
        try:
            while self._is_needed():
                delay = min(max(self._pass(), _SHORTEST_SLEEP), _LONGEST_SLEEP)
                with self._wake:
                    if self._wakes_at != 0.0 and self.thread is threading.current_thread():
                        self._wakes_at = time.monotonic() + delay
                        self._wake.wait(delay)
        finally:  # Also where a receiver of a signal called sys.exit(): the next session starts another thread.
            with self._wake:
                if self.thread is threading.current_thread():
                    self.thread = None

    def _is_needed(self) -> bool:
        """Return whether this thread is to go on; if not, another may take its place from now on."""
        with self._wake:
            if self.thread is not threading.current_thread():
                return False
            if not self._present():
                self.thread = None
                return False
            self._wakes_at = inf  # A call during a pass may be too late for it.
            return True

    def _pass(self) -> float:
        """Clean everything once; return the seconds until the first of it is due again."""
        delay = _LONGEST_SLEEP
        for task in self._present():
            try:
                delay = min(delay, task.run())
            except Exception:
                _logger.exception("The cleaner could not finish its pass; it tries again in a second. [ISE091]")
                delay = min(delay, 1.0)
        self._passed_at = time.monotonic()
        return delay

    def _present(self) -> list[Task]:
        with self._wake:  # A set that another thread adds to must not be walked meanwhile.
            return list(self._tasks)

    def after_fork_in_child(self) -> None:
        """The child has no thread but the one that forked, and perhaps a lock that nobody will release."""
        had_thread = self.thread is not None
        self._reset()
        self._starts_again = had_thread
        self._tasks = WeakSet(self._tasks)  # Another thread may have been walking it.

    def start_in_child(self) -> None:
        """Start the thread, if the parent had one.

        Under gevent no greenlet can start before the child has a loop of its own. There the first session that the
        child opens starts the cleaner.
        """
        if self._starts_again and not self._is_green:
            self._start()


def is_green() -> bool:
    """Whether gevent has put greenlets in the place of threads: at import, later, or in a forked worker."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


#: The cleaner of this process.
cleaner = Cleaner()
