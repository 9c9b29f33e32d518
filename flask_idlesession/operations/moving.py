"""Carries sessions from one store to another as they are stored: encrypted values stay so, and nobody is logged out."""

import logging
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from itertools import islice
from math import inf

from ..model.errors import RecordRejected
from ..model.errors import SessionExists
from ..model.ids import new_session_id
from ..model.ids import SessionId
from ..model.labels import LASTING
from ..model.labels import TURN
from ..model.record import Ending
from ..model.record import EndReason
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..stores.contract import endings_of
from ..stores.contract import evicting
from ..stores.contract import REMEMBERED
from ..stores.contract import Store
from ..stores.contract import UnreadableRecord
from ..stores.revocation_marks import EVERYBODY
from ..stores.revocation_marks import mark_of
from ..stores.revocation_marks import MEMORY
from .moving_changes import change_between
from .moving_changes import state_of
from .moving_notes import Notes
from .moving_notes import UNKNOWN

_logger = logging.getLogger("flask_idlesession")

#: Sessions between two notes of what was carried, and how many are on their way at once, so that round trips overlap.
_BATCH, _AT_ONCE = 500, 4

#: How often a session is put where others put it, too.
_TRIES = 3

#: Ends that somebody wanted. By time a session ends at the target as well, unless it was used there.
_WANTED = (EndReason.LOGGED_OUT, EndReason.REVOKED, EndReason.EVICTED)


class Fate(Enum):
    """The result of carrying a session to the target."""

    CARRIED = "carried"
    #: The target has the same or a newer state, or knows that the session has ended.
    LEFT = "left"
    #: It ended at the source after an earlier pass had carried it.
    ENDED = "ended"
    #: The source cannot read it, or the target does not take it. The log has which one and why.
    FAILED = "failed"


def sids_in(store: Store, *, now: float) -> list[SessionId]:
    """Return the ids of all live sessions of a store."""
    sids = [info.sid for info in store.find(now=now) if _is_to_stay(info)]
    evictable = evicting(store)
    if evictable is not None:  # Its lists may have lost some.
        unlisted = (info.sid for info in evictable.find_unlisted(now=now) if _is_to_stay(info))
        return list(dict.fromkeys([*sids, *unlisted]))
    return sids


def _is_to_stay(info: SessionInfo) -> bool:
    """Return whether it is a session, or one of the records that say which old cookies are refused."""
    return info.labels.get(TURN, LASTING) == LASTING


def move(source: Store, target: Store, sids: Sequence[SessionId], *, now: float, notes: Notes) -> Iterator[Fate]:
    """Carry these live sessions, which are all of the source, and yield what became of each. The source stays as it is.

    A pass that broke off is called again: it goes on. A later pass carries what changed meanwhile, and ends at the
    target what ended at the source. Of two states of one session the target's stays where it was seen later.
    """
    left, load, live, user_ids = iter(sids), partial(_load, source, now=now), set(sids), set[str | None]()
    with ThreadPoolExecutor(1 if source.traits.in_process and target.traits.in_process else _AT_ONCE) as threads:
        while batch := list(islice(left, _BATCH)):
            loaded = list(threads.map(load, batch))
            yield from (Fate.FAILED for record in loaded if isinstance(record, UnreadableRecord))
            records = [record for record in loaded if isinstance(record, Record)]
            user_ids.update(record.info.user_id for record in records)
            yield from _put_all(records, target, threads, now=now, notes=notes)
    others = [info for info in target.find(now=now) if info.sid not in live]
    user_ids.update(info.user_id for info in others)
    _carry_revocations(source, target, filter(None, user_ids), now=now)
    yield from _end_all(source, target, others, now=now, notes=notes)


def _load(source: Store, sid: SessionId, *, now: float) -> Record | UnreadableRecord | None:
    try:
        return source.load(sid, now=now)
    except UnreadableRecord as error:
        _logger.warning("The session %s was not carried, as it cannot be read: %s [ISW026]", sid, error)
        return error


def _put_all(
    records: Sequence[Record], target: Store, threads: ThreadPoolExecutor, *, now: float, notes: Notes
) -> Iterator[Fate]:
    """Put records into the target. It is noted before that some may be there, and afterwards which states are."""
    ended = _ended_in(target, [record.info.sid for record in records], now=now)
    meant = [record for record in records if record.info.sid not in ended]
    states = list(map(state_of, meant))
    known = [notes.state(record.info.sid) for record in meant]
    notes.add((record.info, UNKNOWN) for record in meant)
    fates = list(threads.map(partial(_put, target, now=now), meant, states, known))
    if target.traits.in_process:
        target.delete(new_session_id())  # An end is on the disk when it returns, and all that came before it too.
    notes.add((record.info, state) for record, state, fate in zip(meant, states, fates, strict=True) if _is_there(fate))
    yield from fates
    yield from (Fate.LEFT for record in records if record.info.sid in ended)


def _is_there(fate: Fate) -> bool:
    return fate is not Fate.FAILED


def _put(target: Store, record: Record, state: bytes, known: bytes, *, now: float) -> Fate:
    sid = record.info.sid
    try:
        for attempt in range(_TRIES):
            if attempt and _ended_in(target, [sid], now=now):
                return Fate.LEFT
            try:
                target.create(record)
                return Fate.CARRIED
            except SessionExists:
                there = target.load(sid, now=now)
                if state == known or there is not None and _is_up_to_date(there, record, state):
                    return Fate.LEFT
                if _is_brought_on(there, record, target, now=now):
                    return Fate.CARRIED
    except (RecordRejected, UnreadableRecord) as error:
        _logger.warning("The session %s was not carried: %s [ISW026]", sid, error)
        return Fate.FAILED
    return Fate.LEFT


def _ended_in(target: Store, sids: Sequence[SessionId], *, now: float) -> set[SessionId]:
    """Return which sessions somebody ended at the target. One that expired there was used at the source since."""
    return {ending.sid for ending in endings_of(target, sids, now=now) if ending.reason in _WANTED}


def _is_brought_on(there: Record | None, record: Record, target: Store, *, now: float) -> bool:
    """Turn the target's state into the record, in one step; return whether that was done.

    Where no single change can do it, or the target's has expired, it is forgotten: the record is to be created.
    """
    change = None if there is None else change_between(there, record)
    if change is None:
        target.delete(record.info.sid)
        return False
    return target.commit(record.info.sid, change, now=max(now, record.info.last_seen_at)) is Outcome.DONE


def _is_up_to_date(there: Record, record: Record, state: bytes) -> bool:
    return there.info.last_seen_at > record.info.last_seen_at or state_of(there) == state


def _carry_revocations(source: Store, target: Store, user_ids: Iterable[str], *, now: float) -> None:
    """Remember at the target whose sessions were revoked at the source, so that log-ins under way end there, too."""
    marks = iter([EVERYBODY, *map(mark_of, user_ids)])
    while batch := list(islice(marks, _BATCH)):
        known = {ending.sid: ending.ended_at for ending in endings_of(target, batch, now=now)}
        for ending in endings_of(source, batch, now=now):
            if ending.ended_at > known.get(ending.sid, -inf):
                target.bury([ending], until=ending.ended_at + MEMORY)


def _end_all(
    source: Store, target: Store, others: Sequence[SessionInfo], *, now: float, notes: Notes
) -> Iterator[Fate]:
    """End at the target what is no longer at the source, and was ended there rather than begun here."""
    pending = iter(others)
    while batch := list(islice(pending, _BATCH)):
        endings = {ending.sid: ending for ending in endings_of(source, [info.sid for info in batch], now=now)}
        for info in batch:
            ending = endings.get(info.sid)
            if _has_ended(info, ending, notes) and _load(source, info.sid, now=now) is None:
                if ending is not None:
                    target.bury([ending], until=now + REMEMBERED)
                if target.delete(info.sid):
                    yield Fate.ENDED


def _has_ended(info: SessionInfo, ending: Ending | None, notes: Notes) -> bool:
    """Whether a session that only the target has was ended at the source: somebody ended it there after it was last
    seen here, or it was carried from there and not used since.
    """
    if ending is not None and ending.reason in _WANTED and ending.ended_at >= info.last_seen_at:
        return True
    carried_at = notes.last_seen_at(info.sid)
    return carried_at is not None and info.last_seen_at <= carried_at
