"""Locks that are never held across a fork, so a child process finds them free and their data consistent."""

import threading
from typing import Protocol
from weakref import WeakSet

from .forks import ForkAware
from .forks import register
from .forks import Stage


class Lock(Protocol):
    """The used part of a :class:`threading.Lock`, so that a test can pass one of its own."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; return whether it was taken within ``timeout`` seconds (-1: no limit)."""

    def release(self) -> None:
        """Let go of the lock."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *exc: object) -> None: ...


class ForkSafeLock:
    """A lock that :func:`os.fork` waits for, so that the child's copy of what it guards is not half done.

    A fork waits as long as the lock is held, so hold it briefly, and neither fork nor take another one
    while you do.
    """

    __slots__ = ("plain", "acquire", "release", "__weakref__")

    def __init__(self) -> None:
        #: The lock itself, for what every request does: a ``with`` of this one calls nothing in Python.
        self.plain = threading.Lock()
        self.acquire = self.plain.acquire
        self.release = self.plain.release
        with _registry:
            _all.add(self)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


_registry = threading.Lock()
_all: "WeakSet[ForkSafeLock]" = WeakSet()
_held: list[ForkSafeLock] = []


class _Locks(ForkAware):
    """All locks together: a fork takes every one of them."""

    __slots__ = ("__weakref__",)

    def before_fork(self) -> None:
        """Take every lock. A thread that holds one may be making another, so the registry is not held meanwhile."""
        while True:
            _registry.acquire()
            missing = set(_all).difference(_held)
            if not missing:
                return
            _registry.release()
            for lock in missing:
                lock.acquire()
                _held.append(lock)

    def after_fork_in_parent(self) -> None:
        while _held:
            _held.pop().release()
        _registry.release()

    after_fork_in_child = after_fork_in_parent


_locks = _Locks()
register(_locks, stage=Stage.LOCKS)
