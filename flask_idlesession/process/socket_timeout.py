"""Ends calls that wait for a server longer than they may, for drivers that would wait for ever."""

import socket
import threading
import time
from contextlib import suppress
from os import dup
from weakref import WeakSet

from .forks import ForkAware
from .forks import register
from .forks import Stage
from .locks import ForkSafeLock

#: How often the thread looks, within the time that a call may take, and after how many looks at nothing it rests.
_LOOKS = 8
_REST_AFTER = 40


class Guard:
    """Guards the socket of one connection. It is shut if a call takes until ``deadline``; 0.0 stands for no call."""

    __slots__ = ("fileno", "deadline", "is_shut", "__weakref__")

    def __init__(self, fileno: int) -> None:
        self.fileno = fileno
        self.deadline = 0.0
        #: Whether the socket was shut. The connection is not to be used again.
        self.is_shut = False


class Watchdog(ForkAware):
    """Shuts the socket of a call that takes longer than ``timeout`` seconds, so that its driver gives up.

    libpq waits without an end for a server that is reached and says nothing: the server's own limits do not run
    while it is stopped, and TCP's do not while the other host's kernel answers. The thread starts with the first
    call, and sleeps while there are none.

    ``_lock`` guards the set of guards, and is held while a socket is shut. A call takes no lock: it writes its deadline
    before it looks at ``is_shut``, and the thread writes that before it looks at the deadline once more. So one of both
    sees the other, and no socket is shut whose call is over.
    """

    def __init__(self, *, timeout: float) -> None:
        self.timeout = timeout
        self._lock = ForkSafeLock()
        self._guards: WeakSet[Guard] = WeakSet()
        self._wake = threading.Event()
        self._awake = False
        self._thread: threading.Thread | None = None
        register(self, stage=Stage.THREADS)

    def guard(self, fileno: int) -> Guard:
        """Return a guard for the socket of a new connection."""
        guard = Guard(fileno)
        with self._lock:
            self._guards.add(guard)
        return guard

    def watch(self, guard: Guard) -> None:
        """Shut the guard's socket in ``timeout`` seconds, unless it is released before."""
        guard.deadline = time.monotonic() + self.timeout
        if not self._awake:
            self._rouse()

    def release(self, guard: Guard) -> bool:
        """Note that the call is over; return whether the connection can go on being used."""
        guard.deadline = 0.0
        if not guard.is_shut:
            return True
        with self._lock:
            return False

    def after_fork_in_child(self) -> None:
        """The thread is not here; another one starts with the first call."""
        self._wake, self._awake, self._thread = threading.Event(), False, None

    def _rouse(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="idlesession-watchdog", daemon=True)
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        wake, idle = self._wake, 0
        while wake is self._wake:
            self._awake = True
            time.sleep(self.timeout / _LOOKS)
            idle = 0 if self._shut_overdue() else idle + 1
            if idle > _REST_AFTER:
                idle = 0
                wake.clear()
                self._awake = False
                if not self._shut_overdue():
                    wake.wait()

    def _shut_overdue(self) -> bool:
        """Shut the sockets of calls that take too long; return whether there is any call."""
        with self._lock:
            watched = [guard for guard in self._guards if guard.deadline and not guard.is_shut]
            now = time.monotonic()
            for guard in watched:
                deadline = guard.deadline
                if not 0.0 < deadline <= now:
                    continue
                guard.is_shut = True
                if guard.deadline != deadline:  # It ended just now.
                    guard.is_shut = False
                    continue
                with suppress(OSError), socket.socket(fileno=dup(guard.fileno)) as overdue:
                    overdue.shutdown(socket.SHUT_RDWR)
        return bool(watched)
