"""Ends calls that wait for a server longer than they may, for drivers that would wait for ever."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress

from .locks import ForkSafeLock

#: How often the thread looks, within the time that a call may take, and after how many looks at nothing it rests.
_LOOKS = 8
_REST_AFTER = 40


class Watchdog:
    """Shuts the socket of a call that takes longer than ``timeout`` seconds, so that its driver gives up.

    libpq waits without an end for a server that is reached and says nothing: the server's own limits do not run
    while it is stopped, and TCP's do not while the other host's kernel answers. The thread starts with the first
    call, and sleeps while there are none.

    ``_lock`` guards the sockets that are watched: none is shut once its call is over.
    """

    def __init__(self, *, timeout: float) -> None:
        self.timeout = timeout
        self._starting = ForkSafeLock()
        self._lock = threading.Lock()
        self._watched: dict[object, tuple[float, int]] = {}
        self._wake = threading.Event()
        self._awake = False
        self._pid = 0

    @contextmanager
    def watch(self, fileno: int) -> Iterator[None]:
        """Shut the socket if the block takes too long."""
        if self._pid != os.getpid():
            self._start()
        me = object()
        self._watched[me] = time.monotonic() + self.timeout, fileno
        if not self._awake:
            self._wake.set()
        try:
            yield
        finally:
            with self._lock:
                del self._watched[me]

    def _start(self) -> None:
        """Begin in this process: after a fork there is no thread, and what its parent watched is its parent's."""
        with self._starting:
            if self._pid == os.getpid():
                return
            self._lock, self._watched, self._wake = threading.Lock(), {}, threading.Event()
            self._awake = False
            threading.Thread(target=self._run, name="idlesession-watchdog", daemon=True).start()
            self._pid = os.getpid()

    def _run(self) -> None:
        watched, wake, idle = self._watched, self._wake, 0
        while watched is self._watched:
            self._awake = True
            time.sleep(self.timeout / _LOOKS)
            idle = 0 if watched else idle + 1
            if idle > _REST_AFTER:
                wake.clear()
                self._awake = False
                if not watched:
                    wake.wait()
                idle = 0
            self._shut_overdue()

    def _shut_overdue(self) -> None:
        now = time.monotonic()
        with self._lock:
            for me, (deadline, fileno) in list(self._watched.items()):
                if now >= deadline:
                    self._watched[me] = now + self.timeout, fileno
                    with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as overdue:
                        overdue.shutdown(socket.SHUT_RDWR)
