"""Tries a store with a session of its own: whether it writes, reads, changes, expires and deletes as it must."""

import time
from dataclasses import dataclass
from math import inf

from ..model.ids import Credential
from ..model.record import Change
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..stores.contract import Store

#: Seconds that the trial session lives, in case nothing comes back to delete it.
_LIFE = 60.0

#: Reads that are timed.
_READS = 5

#: The trial session's user.
_USER = "flask idlesession check"

#: An instant at which nothing has expired yet.
_LONG_AGO = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How a trial went."""

    #: The first thing that was not as it must be; None if all was.
    fault: str | None
    #: Seconds of the fastest read, and of all. One slow read tells of a busy moment, not of the way to the store.
    latency: float
    took: float


def probe(store: Store, *, now: float) -> Trial:
    """Carry one session, of a user whom nobody has, through its life in the store. It is deleted in each case.

    Raise :exc:`~flask_idlesession.StoreError` where the store fails.
    """
    began_at, credential = time.perf_counter(), Credential.new()
    store.create(_record(credential, now=now))
    try:
        is_there, latency = _timed_reads(store, credential, now=now)
        fault = None if is_there else "it was not there after it was created"
        fault = fault or _live_on(store, credential, now=now)
    finally:
        was_there = store.delete(credential.sid)
    if fault is None and (not was_there or store.load(credential.sid, now=now) is not None):
        fault = "it could not be deleted"
    fault = fault or _remembers(store, credential, now=now)
    return Trial(fault=fault, latency=latency, took=time.perf_counter() - began_at)


def innermost(store: Store) -> Store:
    """Return the store inside of what guards and encrypts it."""
    while (inner := getattr(store, "store", None)) is not None:
        store = inner
    return store


def _timed_reads(store: Store, credential: Credential, *, now: float) -> tuple[bool, float]:
    """Return whether each of some reads found the session, and the seconds of the fastest."""
    is_there, fastest = True, inf
    for _ in range(_READS):
        asked_at = time.perf_counter()
        is_there = store.load(credential.sid, now=now) is not None and is_there
        fastest = min(fastest, time.perf_counter() - asked_at)
    return is_there, fastest


def _live_on(store: Store, credential: Credential, *, now: float) -> str | None:
    change = Change(holder=credential.holder, delta={"probe": b"\x02"})
    if store.commit(credential.sid, change, now=now) is not Outcome.DONE:
        return "it could not be changed"
    record = store.load(credential.sid, now=now)
    if record is None or record.values.get("probe") != b"\x02":
        return "a change was not there after it was made"
    if all(info.sid != credential.sid for info in store.find(now=now, user_id=_USER)):
        return "it was not among its user's sessions"
    if store.load(credential.sid, now=now + _LIFE + 1) is not None:
        return "it was there after its end"
    return None


def _remembers(store: Store, credential: Credential, *, now: float) -> str | None:
    store.bury([Ending(credential.sid, EndReason.REVOKED, now)], until=now + _LIFE)
    if store.ending(credential.sid, now=now) is None:
        return "how it ended was not remembered"
    store.prune(now=_LONG_AGO, limit=1)
    store.next_expiry()
    return None


def _record(credential: Credential, *, now: float) -> Record:
    info = SessionInfo(
        sid=credential.sid,
        user_id=_USER,
        created_at=now,
        last_seen_at=now,
        idle_timeout=_LIFE,
        lifetime_ends_at=now + _LIFE,
    )
    return Record(info=info, secret_digest=credential.holder, values={"probe": b"\x01"})
