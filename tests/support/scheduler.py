"""Runs threads one at a time, in an order that a seed decides: they switch only where this is called.

Those points are the taking and giving back of its locks, its clock, its sleep, and every call of a store that it
watches. The same seed gives the same run, so a failure that happens once in ten thousand can be looked at.
"""

import random
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from flask_idlesession.stores.contract import Store

_METHODS = ("create", "load", "commit", "delete", "delete_many", "prune", "next_expiry")

#: So many switches are no run any more, but one that goes round in circles.
_TOO_MANY = 20_000


class Stuck(AssertionError):
    """No thread can go on, or they go on for ever."""


class _Stop(BaseException):
    """Ends the other threads of a run that has failed."""


class Scheduler:
    """One run: ``spawn`` threads, then ``run``. What is passed here must be used by no other thread."""

    def __init__(self, seed: object, *, now: float = 1_700_000_000.0) -> None:
        self.seed = seed
        self.random = random.Random(str(seed))
        self.now = now
        #: What happened, in order: for a failing run to be read.
        self.trace: list[str] = []
        self._threads: dict[str, threading.Thread] = {}
        self._turns: dict[str, threading.Semaphore] = {}
        self._waits_for: dict[str, Callable[[], bool]] = {}
        self._here = threading.local()
        self._done = threading.Semaphore(0)
        self._error: BaseException | None = None

    def spawn(self, name: str, fn: Callable[[], object]) -> None:
        """Add a thread, which starts with the run."""
        self._turns[name] = threading.Semaphore(0)
        self._threads[name] = threading.Thread(target=self._live, args=(name, fn), name=name, daemon=True)

    def run(self) -> None:
        """Run all threads to their ends. Raise what one of them raised, with a note of the seed."""
        threads = list(self._threads.values())
        for thread in threads:
            thread.start()
        self._pass_on()
        self._done.acquire()
        for turn in self._turns.values():
            turn.release()
        for thread in threads:
            thread.join(10)
        if self._error is not None:
            self._error.add_note(self.tell())
            raise self._error

    def tell(self) -> str:
        """Return what is needed to run this once more, and what happened."""
        return f"The scheduler's seed is {self.seed!r}. What happened:\n  " + "\n  ".join(self.trace)

    def switch(self, what: str) -> None:
        """Let any thread go on, perhaps the one that calls."""
        name = getattr(self._here, "name", None)
        if name is None:
            return  # The test itself, before the run or after it.
        self.trace.append(f"{name}: {what}")
        if len(self.trace) > _TOO_MANY:
            raise Stuck("The threads go on for ever.")
        self._pass_on()
        self._wait(name)

    def wait_until(self, is_true: Callable[[], bool], what: str) -> None:
        """Let others go on until it is so."""
        name = getattr(self._here, "name", None)
        if name is None:
            assert is_true(), f"{what} would wait for ever"
            return
        self._waits_for[name] = is_true
        self.switch(what)

    # What is handed in.

    def clock(self) -> float:
        """Return the run's time, as a manager's clock."""
        self.switch("clock")
        return self.now

    def sleep(self, duration: float) -> None:
        """Return when the time has come; time moves on while nobody else has anything to do."""
        wake_at = self.now + duration
        if getattr(self._here, "name", None) is None:
            self.now = wake_at
            return
        self.wait_until(lambda: self.now >= wake_at, f"sleep {duration:g}")

    def advance(self, by: float) -> None:
        """Let time pass."""
        self.now += by
        self.switch(f"time passes: {by:g}")

    def lock(self) -> "ScheduledLock":
        """Return a lock for what the threads share."""
        return ScheduledLock(self)

    @contextmanager
    def patched(self, *modules: Any) -> Iterator[None]:
        """Give modules that import ``time`` the run's own."""
        fake = SimpleNamespace(sleep=self.sleep, monotonic=lambda: self.now, time=lambda: self.now)
        with pytest.MonkeyPatch.context() as patch:
            for module in modules:
                patch.setattr(module, "time", fake)
                if hasattr(module, "_chance"):
                    patch.setattr(module, "_chance", self.random)
            yield

    # The baton.

    def _live(self, name: str, fn: Callable[[], object]) -> None:
        self._here.name = name
        try:
            self._wait(name)
            fn()
        except _Stop:
            return
        except BaseException as error:
            self._fail(error)
            return
        del self._turns[name]
        try:
            self._pass_on()
        except Stuck as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._done.release()

    def _wait(self, name: str) -> None:
        self._turns[name].acquire()
        if self._error is not None:
            raise _Stop

    def _pass_on(self) -> None:
        if not self._turns:
            self._done.release()
            return
        for _ in range(1000):
            ready = [name for name in self._turns if self._waits_for.get(name, _yes)()]
            if ready:
                name = self.random.choice(ready)
                self._waits_for.pop(name, None)
                self._turns[name].release()
                return
            self.now += 0.01  # All who are left are asleep, or stuck.
        raise Stuck(f"None of {sorted(self._turns)} can go on.")


def _yes() -> bool:
    return True


class ScheduledLock:
    """A lock at which the scheduler switches. It is not re-entrant."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._scheduler.wait_until(lambda: not self._is_held, "lock")
        self._is_held = True
        return True

    def release(self) -> None:
        assert self._is_held
        self._is_held = False
        self._scheduler.switch("unlock")

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


class WatchedStore:
    """Another store, with a switch before and after each call."""

    def __init__(self, store: Store, scheduler: Scheduler) -> None:
        self.store = store
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        if name not in _METHODS:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._scheduler.switch(name)
            answer = method(*args, **kwargs)
            self._scheduler.switch(f"{name} -> {_briefly(answer)}")
            return answer

        return call


def _briefly(answer: object) -> str:
    if isinstance(answer, Sequence):
        return f"{len(answer)} of them"
    return answer.name if hasattr(answer, "name") else type(answer).__name__ if answer is not None else "None"
