"""The block in which code is alone with its session: entered by ``with`` or ``async with``."""

import time
from types import TracebackType
from typing import Generic
from typing import Protocol
from typing import TypeVar

from ..model.errors import LeaseTimeout
from ..model.record import Delta
from ..model.record import Record
from .locking import Lease

#: Seconds between two looks at whether another task of the same request has left its block.
_PAUSE = 0.002


class CanBeAlone(Protocol):
    """The part of a session that a block needs."""

    #: The task that is alone with the session in this request, or True for code without tasks; None while nobody is.
    _alone: object | None

    def _ask_alone(self, *, seconds: float) -> tuple[Lease, Delta] | None:
        """Return the right to ask for, and what is to be saved with it; None where nobody else can be there."""

    def _delta(self) -> Delta:
        """Return what is to be saved."""

    def _begin_alone(self, record: Record, *, owner: object) -> None:
        """Begin the block with what the session holds now."""

    def _end_alone(self, right: Lease, *, is_failed: bool) -> None:
        """Save what the block did, and give the right back."""


_S = TypeVar("_S", bound=CanBeAlone)


class ExclusiveBlock(Generic[_S]):
    """The block of :meth:`Session.exclusive`. ``async with`` lets other tasks run while it waits for others."""

    def __init__(self, session: _S, *, timeout: float, lease: float) -> None:
        self._session = session
        self._timeout = timeout
        self._seconds = lease
        self._right: Lease | None = None

    def __enter__(self) -> _S:
        asked = self._session._ask_alone(seconds=self._seconds)
        if asked is not None:
            right, delta = asked
            self._session._begin_alone(right.take(delta, timeout=self._timeout), owner=True)
            self._right = right
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        right, self._right = self._right, None
        if right is not None:
            self._session._end_alone(right, is_failed=error is not None)

    async def __aenter__(self) -> _S:
        import asyncio  # It takes longer than the package, and few applications have it not yet.

        came_at, task = time.monotonic(), asyncio.current_task()
        while self._session._alone not in (None, True, task):
            if time.monotonic() - came_at >= self._timeout:
                raise LeaseTimeout(
                    f"Another task of this request was alone with its session for all of {self._timeout:g} seconds; "
                    "shorten its block, or give session.exclusive() a longer timeout."
                )
            await asyncio.sleep(_PAUSE)
        asked = self._session._ask_alone(seconds=self._seconds)
        if asked is None:
            return self._session
        right, _ = asked
        self._session._alone = task  # No other task of this request asks meanwhile.
        try:
            # Assignments that other tasks of this request make meanwhile are saved, too.
            while (record := right.attempt(self._session._delta())) is None:
                await asyncio.sleep(right.pause(came_at, timeout=self._timeout))
        except BaseException:
            self._session._alone = None
            raise
        self._session._begin_alone(record, owner=task)
        self._right = right
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
