"""Read-modify-write and mutual exclusion on one session, for any store, by compare-and-set alone."""

import secrets
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Protocol

from ..model.codec import Codec
from ..model.errors import ConflictError
from ..model.errors import DecodeError
from ..model.errors import LeaseTimeout
from ..model.errors import SessionNotFound
from ..model.ids import Credential
from ..model.record import Change
from ..model.record import Delta
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import Values

#: The module's own state is the application's: tests seed it, and no thread of ours is to change it.
_chance = SystemRandom()

#: Keys that begin so are the package's own, in the store beside the view's; no view sees them.
RESERVED = "__idlesession_"

_LEASE = RESERVED + "lease"

#: How often modify() tries. One of any number of contenders succeeds each time, so this is far off.
_TRIES = 200

#: Seconds between two looks at a lease that somebody else holds: of one who just came, and of one who
#: has waited for long. The longer one waits the more often one looks, so nobody waits for ever.
_SELDOM, _OFTEN = 0.02, 0.002


class Commits(Protocol):
    """The object that loads and commits for a credential."""

    codec: Codec

    def now(self) -> float:
        """Return the present instant."""

    def reload(self, credential: Credential) -> Record | None:
        """Return the live record that the credential opens now, or None."""

    def commit(self, credential: Credential, change: Change) -> Outcome:
        """Apply the change in one step."""


def modify(
    persistence: Commits,
    credential: Credential,
    key: str,
    change_value: Callable[[bytes | None], bytes],
    *,
    stored: bytes | None,
) -> bytes:
    """Replace a key's bytes by what ``change_value`` makes of them, in one step; return the new bytes.

    ``stored`` is what the key is believed to hold; where that has changed meanwhile, ``change_value`` is
    called again with what it holds now. Raise :exc:`~flask_idlesession.SessionNotFound` if the session
    ended, and :exc:`~flask_idlesession.ConflictError` if others were faster every time.
    """
    for tries in range(_TRIES):
        data = change_value(stored)
        change = Change(holder=credential.holder, delta={key: data}, expect={key: stored})
        outcome = persistence.commit(credential, change)
        if outcome is Outcome.DONE:
            return data
        if outcome is Outcome.CONFLICT:
            time.sleep(_chance.uniform(0, min(0.0001 * 2**tries, _SELDOM)))
        stored = _load(persistence, credential).values.get(key)
    raise ConflictError(
        f"session.modify({key!r}) was overtaken {_TRIES} times; is something writing this key without a pause?"
    )


class Lease:
    """The right to be alone with one session, until it is given back or ``seconds`` have passed.

    It is a reserved key of the session itself, taken by ``expect``: a request that finds the key absent, or past its
    end, writes its own name there. The lease of a process that dies ends at its time.
    """

    def __init__(self, persistence: Commits, credential: Credential, *, seconds: float) -> None:
        self._persistence = persistence
        self._credential = credential
        self._seconds = seconds
        self._name = secrets.token_bytes(8)
        self._mine = b""

    def take(self, delta: Delta, *, timeout: float) -> Record:
        """Wait for the lease, and commit ``delta`` with it; return what the session holds then.

        Raise :exc:`~flask_idlesession.LeaseTimeout` after ``timeout`` seconds, and
        :exc:`~flask_idlesession.SessionNotFound` if the session ended.
        """
        came_at = time.monotonic()
        while (record := self.attempt(delta)) is None:
            time.sleep(self.pause(came_at, timeout=timeout))
        return record

    def attempt(self, delta: Delta) -> Record | None:
        """As :meth:`take`, without waiting; None while somebody else has the lease."""
        while True:
            record = _load(self._persistence, self._credential)
            held = record.values.get(_LEASE)
            if not self._is_free(held):
                return None
            self._mine = self._persistence.codec.encode((self._name, self._persistence.now() + self._seconds))
            if self._commit({**delta, _LEASE: self._mine}, expect=held) is Outcome.DONE:
                return _load(self._persistence, self._credential)

    def pause(self, came_at: float, *, timeout: float) -> float:
        """Return after how many seconds to try again, by one who came at an instant of the monotonic clock."""
        waited = time.monotonic() - came_at
        if waited >= timeout:
            raise LeaseTimeout(
                f"Another request was alone with session {self._credential.sid} for all of {timeout:g} seconds; "
                "shorten what is done in session.exclusive(), or give it a longer timeout."
            )
        pause = max(_OFTEN, _SELDOM * (1 - waited / timeout))
        return min(_chance.uniform(pause / 2, pause), timeout - waited)

    def give_back(self, delta: Delta) -> None:
        """Commit ``delta``, and with it the end of the lease.

        Raise :exc:`~flask_idlesession.ConflictError` if the lease ended before, so that somebody else may
        have been there; nothing is written then.
        """
        outcome = self._commit({**delta, _LEASE: None}, expect=self._mine)
        if outcome is Outcome.CONFLICT:
            raise ConflictError(
                f"The block was alone with session {self._credential.sid} for {self._seconds:g} seconds only, and took "
                "longer; what it wrote was dropped. Give session.exclusive() a longer lease."
            )
        if outcome is Outcome.GONE:
            raise _ended(self._credential)

    def _commit(self, delta: Delta, *, expect: bytes | None) -> Outcome:
        change = Change(holder=self._credential.holder, delta=delta, expect={_LEASE: expect})
        return self._persistence.commit(self._credential, change)

    def _is_free(self, held: bytes | None) -> bool:
        if held is None:
            return True
        try:
            ends_at: float = self._persistence.codec.decode(held)[1]
        except DecodeError:  # It was encrypted, and the keys were taken away: its holder is gone with them.
            return True
        return ends_at <= self._persistence.now()


def visible(values: Values) -> Values:
    """Return the values that are the view's, without the package's own."""
    return {key: data for key, data in values.items() if not key.startswith(RESERVED)}


def _load(persistence: Commits, credential: Credential) -> Record:
    record = persistence.reload(credential)
    if record is None:
        raise _ended(credential)
    return record


def _ended(credential: Credential) -> SessionNotFound:
    return SessionNotFound(
        f"Session {credential.sid} ended, or was given a new token, while the request was under way."
    )
