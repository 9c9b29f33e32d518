"""Makes locks that no fork finds held: a child gets each of them free, and what they guard whole."""

import os
import threading
from typing import Protocol
from weakref import WeakSet


class Lock(Protocol):
    """What is used of a :class:`threading.Lock`, so that a test can hand in one of its own."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
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


def _before_fork() -> None:
    """Take every lock. Whoever holds one may be making another, so the registry is not held meanwhile."""
    while True:
        _registry.acquire()
        missing = set(_all).difference(_held)
        if not missing:
            return
        _registry.release()
        for lock in missing:
            lock.acquire()
            _held.append(lock)


def _after_fork() -> None:
    while _held:
        _held.pop().release()
    _registry.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
