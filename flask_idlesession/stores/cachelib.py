"""Keeps records in a cache in the shape of cachelib's or Flask-Caching's, and says what a cache cannot promise."""

import hashlib
import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from math import ceil
from math import inf
from struct import error as StructError
from struct import Struct
from typing import Any
from typing import cast
from typing import NoReturn
from typing import ParamSpec
from typing import TypeVar

from ..model import msgpack as engine
from ..model.errors import RecordRejected
from ..model.errors import SessionExists
from ..model.errors import StoreError
from ..model.errors import StoreUnavailable
from ..model.ids import is_of_many
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import Ending
from ..model.record import only_live
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..process.locks import ForkSafeLock
from . import columns as row
from .clock_witness import ClockWitness
from .contract import REMEMBERED
from .contract import Touch
from .contract import Traits
from .contract import UnreadableRecord

_logger = logging.getLogger("flask_idlesession")

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: The number of pieces of the list of all sessions. A piece is written again when one of its sessions comes or goes.
_PIECES = 16

#: An entry of a list: a session's id, and when prune() is to look at it, never after it expires.
_ENTRY = Struct("<16sd")

_INSTANT = Struct("<d")

#: The number of pieces in which endings are kept, of endings in a piece, and of its bytes. The endings of a flood must
#: not make the cache forget sessions.
_GRAVES = 64
_IN_A_GRAVE = 256
_GRAVE_BYTES = 256 * 1024

#: The cache's own expiry only collects what nobody prunes: this many seconds after the session's end. A time too far
#: off for a cache's numbers never comes there (0).
_SLACK = 86_400
_FOREVER = 10 * 365 * 86_400

_WARNING = (
    "Sessions are kept in {kind}, a cache. Two processes that write to one session at once can undo each other's "
    "writes (a log-out included). Listing and revoking a user's sessions can miss some, and a cache may forget a "
    "session to make room. Within one process all holds. For several processes take "
    'IDLESESSION_STORE = "sqlite:///sessions.db", or "redis://…". [ISW018]'
)

#: The kinds of caches that this process was warned of.
_warned: set[str] = set()


class CachelibStore:
    """The store of those who have a cache and nothing else.

    A cache has no way to change what it holds in one step, and cannot list it. So this store promises what it does
    **within one process alone**: ``lock`` is held over every change. Over processes

    - the last of two commits that overlap wins whole, so a key, an ``expect`` or a log-out of the other can be lost;
    - the lists of all sessions and of a user's are records like any other, and can miss a session;
    - how a session ended can be forgotten early;
    - a session may be handed over by two prunes, where the cache's ``delete`` does not tell who deleted;
    - a cache that makes room for others forgets sessions, and tells nobody.

    A line of the log says so, once a process. The cache is given bytes, and stores them in its own way: cachelib's
    caches pickle them, and then anybody who can write to the cache can run code in the application.
    """

    traits = Traits(buries=True)

    def __init__(self, cache: Any, *, prefix: str = "idlesession:") -> None:
        _warn_once(type(cache).__qualname__)
        self._cache = cache
        self._prefix = prefix
        self._keeps = False  # Whether the cache was seen to keep anything.
        self._lock = ForkSafeLock()
        self._witness = ClockWitness(self)

    def __repr__(self) -> str:
        return f"<CachelibStore in {type(self._cache).__qualname__} {self._prefix!r}>"

    def create(self, record: Record) -> None:
        """Keep a new record. Raise :exc:`~flask_idlesession.SessionExists` if its id is taken."""
        info = record.info
        self._note(info.last_seen_at)
        key, timeout = self._key(info.sid), _timeout(info, max(info.created_at, info.last_seen_at))
        with self._lock:
            if not self._call(self._cache.add, key, _pack(record), timeout=timeout):
                if self._get(key) is None:
                    raise self._refusal()
                raise SessionExists(f"There is a session {info.sid} already.")
            self._check_that_it_keeps(key)
            self._enlist(self._piece(info.sid), info)
            if info.user_id is not None:
                self._enlist(self._list_of(info.user_id), info)

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return the record if it is live at ``now``, else None; with ``touch``, note activity under the lock.

        Raise :exc:`UnreadableRecord` if the bytes in the cache are no record.
        """
        self._note(now)
        if touch is not None:
            return self._touched(sid, touch, now)
        record = self._record(sid)
        if record is None:
            self._check_that_it_answers()
        return record if record is not None and record.info.is_live(now) else None

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change under the lock, if the session is live and opens to its holder; return the outcome."""
        self._note(now)
        with self._lock:
            try:
                record = self._record(sid)
            except UnreadableRecord:
                return Outcome.GONE
            if record is None:
                self._check_that_it_answers()
                return Outcome.GONE
            outcome = record.judge(change, now=now)
            if outcome is Outcome.EMPTIED:
                self._forget(record.info)
            if outcome is Outcome.DONE:
                self._replace(record, record.apply(change, now=now), now)
            return outcome

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""
        with self._lock:
            try:
                record = self._record(sid)
            except UnreadableRecord as error:
                return self._forget(error.info)
            if record is None:
                self._check_that_it_answers()
            return record is not None and self._forget(record.info)

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos of the sessions that are live at ``now``, in no order; with ``user_id``, only that user's."""
        self._note(now)
        yield from only_live(self._infos() if user_id is None else self._infos_of(user_id), now=now)

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired; return their infos. Two processes may return one."""
        self._note(now)
        gone: list[SessionInfo] = []
        for number in range(_PIECES):
            with self._lock:
                gone += self._prune(f"{self._prefix}all:{number}", now, limit - len(gone))
            if len(gone) >= limit:
                break
        return gone

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do; None if there is nothing to wait for."""
        pieces = [self._entries(f"{self._prefix}all:{number}") for number in range(_PIECES)]
        first = min((due_at for entries in pieces for due_at in entries.values()), default=inf)
        return None if first == inf else first

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        with self._lock:
            self._bury_all(endings, until=until)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        found = self._buried(self._grave(sid)).get(sid.bytes)
        return None if found is None or now >= found[-1] else row.to_ending(sid, found)

    def close(self) -> None:
        """Do nothing: the cache is the application's."""

    # For the witness of the clock.

    @property
    def place(self) -> str:
        """The kind of the cache."""
        return f"the cache {type(self._cache).__qualname__}"

    def latest(self) -> float | None:
        """Return the instant that was noted last; None if none was."""
        try:
            return cast(float, _INSTANT.unpack(self._get(f"{self._prefix}latest") or b"")[0])
        except (StructError, _Spoilt):
            return None

    def note_latest(self, now: float) -> None:
        """Note an instant."""
        self._set(f"{self._prefix}latest", _INSTANT.pack(now), 0)

    def rewind(self, now: float) -> None:
        """Take the sessions that were seen later than now for seen now."""
        for number in range(_PIECES):
            with self._lock:
                for sid in self._entries(f"{self._prefix}all:{number}"):
                    record = self._record_if_readable(sid)
                    if record is not None and record.info.last_seen_at > now:
                        self._replace(record, record.rewound(now=now), now)

    def _note(self, now: float) -> None:
        if now >= self._witness.due:
            self._witness.note(now)

    # The steps of the above; those that write want the lock held.

    def _touched(self, sid: SessionId, touch: Touch, now: float) -> Record | None:
        with self._lock:
            record = self._record(sid)
            if record is None:
                self._check_that_it_answers()
                return None
            refresh_by = touch.refresh_by if record.is_permanent else None
            change = Change(holder=touch.holder, last_seen_at=now, refresh_by=refresh_by)
            if record.judge(change, now=now) is not Outcome.DONE:
                return None
            after = record.apply(change, now=now)
            self._replace(record, after, now)
            return after

    def _key(self, sid: SessionId) -> str:
        return f"{self._prefix}session:{sid}"

    def _piece(self, sid: SessionId) -> str:
        return f"{self._prefix}all:{sid.int % _PIECES}"

    def _list_of(self, user_id: str) -> str:
        """Return the name of a user's list: any text will not do for a key."""
        return f"{self._prefix}user:{hashlib.sha256(user_id.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def _record(self, sid: SessionId) -> Record | None:
        try:
            data = self._get(self._key(sid))
        except _Spoilt as error:
            raise _unreadable(sid) from error
        if data is None:
            return None
        record = _unpack(sid, data)
        if record.info.sid == sid:
            return record
        if self._get(self._key(sid)) == data:  # It is stored so, and no answer has crossed another.
            raise _unreadable(sid)
        raise StoreUnavailable("The cache's answer was about another session than the one asked for.")

    def _record_if_readable(self, sid: bytes) -> Record | None:
        try:
            return self._record(SessionId(bytes=sid))
        except UnreadableRecord:
            return None

    def _replace(self, before: Record, after: Record, now: float) -> None:
        old, new = before.info, after.info
        self._set(self._key(new.sid), _pack(after), _timeout(new, now))
        if new.expires_at < old.expires_at:
            self._enlist(self._piece(new.sid), new)
        if new.user_id != old.user_id:
            if new.user_id is not None:
                self._enlist(self._list_of(new.user_id), new)
            if old.user_id is not None:
                self._strike(self._list_of(old.user_id), new.sid)

    def _forget(self, info: SessionInfo) -> bool:
        """Delete the session; return whether it was this call that did."""
        deleted = bool(self._call(self._cache.delete, self._key(info.sid)))
        if not deleted and self._get(self._key(info.sid)) is not None:
            raise StoreUnavailable("The cache would not delete the session.")
        self._strike(self._piece(info.sid), info.sid)
        if info.user_id is not None:
            self._strike(self._list_of(info.user_id), info.sid)
        return deleted

    def _prune(self, piece: str, now: float, limit: int) -> list[SessionInfo]:
        gone: list[SessionInfo] = []
        entries = self._entries(piece)
        due = [sid for sid, due_at in entries.items() if due_at <= now]
        for sid in due:
            record = self._record_if_readable(sid)
            if record is None:
                del entries[sid]
            elif record.info.is_live(now):
                entries[sid] = record.info.expires_at
            elif len(gone) < limit:
                gone.append(record.info)
        if due:
            self._set_entries(piece, entries)
        # Remembered first, so that a request which comes between is told why its session ended.
        self._bury_all(
            [Ending.of_forgotten(info, now=now) for info in gone],
            until=now + REMEMBERED,
        )
        return [info for info in gone if self._forget(info)]

    # Lists.

    def _infos(self) -> Iterator[SessionInfo]:
        for number in range(_PIECES):
            yield from self._infos_in(f"{self._prefix}all:{number}")

    def _infos_of(self, user_id: str) -> list[SessionInfo]:
        """Return the infos of the user's sessions; the list loses what the cache itself forgot."""
        name = self._list_of(user_id)
        with self._lock:
            infos = [info for info in self._infos_in(name) if info.user_id == user_id]
            entries = self._entries(name)
            kept = {info.sid.bytes: entries[info.sid.bytes] for info in infos if info.sid.bytes in entries}
            if len(kept) < len(entries):
                self._set_entries(name, kept)
        return infos

    def _infos_in(self, name: str) -> Iterable[SessionInfo]:
        for sid in self._entries(name):
            record = self._record_if_readable(sid)
            if record is not None:
                yield record.info

    def _enlist(self, name: str, info: SessionInfo) -> None:
        entries = self._entries(name)
        entries[info.sid.bytes] = min(info.expires_at, entries.get(info.sid.bytes, inf))
        self._set_entries(name, entries)

    def _strike(self, name: str, sid: SessionId) -> None:
        entries = self._entries(name)
        if entries.pop(sid.bytes, None) is not None:
            self._set_entries(name, entries)

    def _entries(self, name: str) -> dict[bytes, float]:
        """Return a list. One that this store did not write is begun again: it only says where to look."""
        try:
            return dict(_ENTRY.iter_unpack(self._get(name) or b""))
        except (StructError, _Spoilt):
            _logger.warning(
                "The cache holds something else as %r, a list of sessions: the list begins again. [ISE083]", name
            )
            return {}

    def _set_entries(self, name: str, entries: dict[bytes, float]) -> None:
        if entries:
            self._set(name, b"".join(_ENTRY.pack(*entry) for entry in entries.items()), 0)
        else:
            self._call(self._cache.delete, name)

    # Endings.

    def _grave(self, sid: SessionId) -> str:
        """Return where it is kept how the session ended. No flood of ends reaches where revocations of many are."""
        kind = "revoked" if is_of_many(sid) else "ended"
        return f"{self._prefix}{kind}:{sid.int % _GRAVES}"

    def _bury_all(self, endings: Sequence[Ending], *, until: float) -> None:
        graves: dict[str, list[dict[str, Any]]] = {}
        for columns in row.to_ending_rows(endings, until=until):
            graves.setdefault(self._grave(columns["sid"]), []).append({**columns, "sid": columns["sid"].bytes})
        now = max((ending.ended_at for ending in endings), default=0.0)
        for name, rows in graves.items():
            self._bury(name, rows, now)

    def _bury(self, name: str, rows: list[dict[str, Any]], now: float) -> None:
        """Put the endings behind those that are there; to make room the first go."""
        buried = {sid: columns for sid, columns in self._buried(name).items() if columns[-1] > now}
        for columns in rows:
            buried.pop(columns["sid"], None)
            buried[columns["sid"]] = [columns[each] for each in row.ENDING]
        kept = list(buried.values())[-_IN_A_GRAVE:]
        while len(data := engine.pack(kept, _refuse)) > _GRAVE_BYTES and len(kept) > 1:
            kept = kept[len(kept) // 4 + 1 :]
        left = max(columns[-1] for columns in kept) - now
        self._set(name, data, ceil(left) if left < _FOREVER else 0)

    def _buried(self, name: str) -> dict[bytes, list[Any]]:
        """Return how sessions ended, by their ids; nothing if this store did not write what is there."""
        try:
            rows = engine.unpack(self._get(name) or b"\x90", _refuse)
            return {columns[0]: columns for columns in rows if len(columns) == len(row.ENDING)}
        except (ValueError, TypeError, LookupError):
            return {}

    # The cache.

    def _get(self, key: str) -> bytes | None:
        data = self._call(self._cache.get, key)
        if data is not None and type(data) is not bytes:
            raise _Spoilt(f"The cache holds a {type(data).__name__} under {key!r}.")
        return data

    def _set(self, key: str, data: bytes, timeout: int) -> None:
        if self._call(self._cache.set, key, data, timeout=timeout) is False:
            raise self._refusal()

    def _refusal(self) -> StoreError:
        """Return the error for what the cache would not keep: one session's, if it keeps something else."""
        if self._call(self._cache.set, f"{self._prefix}answers", b"", timeout=60) is False:
            return StoreUnavailable("The cache keeps nothing that it is given.")
        return RecordRejected("The cache would not keep the session: it may be too large for it.")

    def _check_that_it_keeps(self, key: str) -> None:
        """Find out once whether the cache is one that keeps nothing, as Flask-Caching's default is."""
        if not self._keeps and self._get(key) is None:
            raise StoreUnavailable(
                f"The cache {type(self._cache).__qualname__} keeps nothing; set CACHE_TYPE to one that does."
            )
        self._keeps = True

    def _check_that_it_answers(self) -> None:
        """Raise if it cannot be written to: some caches say "absent" for a server that is out of reach."""
        self._set(f"{self._prefix}answers", b"", 60)

    def _call(self, method: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # Of which kind, only the driver behind the cache knows.
            raise StoreUnavailable(f"The cache failed: {error}") from error


class _Spoilt(ValueError):
    """A key of the cache holds something that this store did not write."""


def _warn_once(kind: str) -> None:
    if kind not in _warned:
        _warned.add(kind)
        _logger.warning(_WARNING.format(kind=kind))


def _timeout(info: SessionInfo, now: float) -> int:
    left = max(info.expires_at - now, 0.0) + _SLACK
    return ceil(left) if left < _FOREVER else 0


def _pack(record: Record) -> bytes:
    columns = {**row.to_row(record), "sid": record.info.sid.bytes}
    return engine.pack([columns[name] for name in row.RECORD], _refuse)


def _unpack(sid: SessionId, data: bytes) -> Record:
    try:
        columns = engine.unpack(data, _refuse)
        stored = SessionId(bytes=columns[0])
        if len(columns) != len(row.RECORD):
            raise _Spoilt(f"{len(columns)} columns")
        record = row.to_record(stored, columns)
        float(record.info.expires_at)
    except (ValueError, TypeError, IndexError) as error:
        raise _unreadable(sid) from error
    return record


def _unreadable(sid: SessionId) -> UnreadableRecord:
    info = SessionInfo(sid=sid, created_at=0.0, last_seen_at=0.0, idle_timeout=inf, lifetime_ends_at=inf)
    return UnreadableRecord(f"The cache holds something that this store did not write, as session {sid}.", info=info)


def _refuse(*what: object) -> NoReturn:
    raise TypeError(f"A record is made of texts, numbers and bytes, not {what!r}.")
