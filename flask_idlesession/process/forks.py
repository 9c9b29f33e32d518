"""Calls what must run around a fork, in one order: the only module that registers with Python for forks."""

import logging
import os
import threading
from collections.abc import Callable
from enum import IntEnum
from weakref import WeakSet

_logger = logging.getLogger("flask_idlesession")


class Stage(IntEnum):
    """When something has its turn in a child. No thread starts before all have had theirs."""

    LOCKS = 0
    STORES = 1
    THREADS = 2


class ForkAware:
    """Something that a fork must not find half done. Override what is needed, and :func:`register` each object.

    Before a fork the stores are asked first and the locks last, for a store may hold a lock until it is ready.
    """

    __slots__ = ()

    def before_fork(self) -> None:
        """Come to rest. The fork waits for it."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Begin again: only the thread that forked is here. Start no thread yet."""

    def start_in_child(self) -> None:
        """Start a thread, if one is needed: everything else in the child has begun again."""


_registered: dict[Stage, "WeakSet[ForkAware]"] = {stage: WeakSet() for stage in Stage}
_resting: list[ForkAware] = []

#: Two threads that fork at once take turns.
_turn = threading.Lock()


def register(item: ForkAware, *, stage: Stage) -> None:
    """Ask ``item`` at each fork. It is not kept alive."""
    _registered[stage].add(item)


def _before_fork() -> None:
    _turn.acquire()
    for stage in (Stage.THREADS, Stage.STORES, Stage.LOCKS):
        for item in list(_registered[stage]):
            _resting.append(item)
            _ask(item.before_fork)


def _after_fork_in_parent() -> None:
    while _resting:
        _ask(_resting.pop().after_fork_in_parent)
    _turn.release()


def _after_fork_in_child() -> None:
    _resting.clear()
    _turn.release()
    # All that there is: another thread may have made one since the fork began.
    items = [item for stage in Stage for item in list(_registered[stage])]
    for item in items:
        _ask(item.after_fork_in_child)
    for item in items:
        _ask(item.start_in_child)


def _ask(turn: Callable[[], None]) -> None:
    try:
        turn()
    except Exception:  # One that fails must not leave the locks of all others held.
        _logger.exception("A step that must run around a fork failed. [ISE091]")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
