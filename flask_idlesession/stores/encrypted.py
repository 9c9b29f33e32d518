"""Keeps records encrypted in another store, which compares, lists and expires what it cannot read."""

from base64 import urlsafe_b64decode
from base64 import urlsafe_b64encode
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

from ..model.encryption import Cipher
from ..model.errors import DecodeError
from ..model.ids import SessionId
from ..model.record import Change
from ..model.record import Delta
from ..model.record import Ending
from ..model.record import LabelDelta
from ..model.record import Outcome
from ..model.record import Record
from ..model.record import SessionInfo
from ..model.record import Values
from .contract import Advising
from .contract import Chunked
from .contract import Count
from .contract import Counts
from .contract import EndNews
from .contract import Evicting
from .contract import HasClock
from .contract import HasFacts
from .contract import InProcess
from .contract import KeepsTallies
from .contract import Recalling
from .contract import Store
from .contract import TellsEnds
from .contract import Touch
from .contract import Traits
from .contract import UnreadableRecord

#: How often a commit is tried again that found its key's value sealed with another key than before.
_TRIES = 100

#: Equals nothing that the codec writes.
_UNREADABLE = b"\xc1"


class EncryptedStore:
    """A store that keeps values and labels encrypted in another store. ::

        EncryptedStore(SQLiteStore("sessions.db"), [key])

    The first key encrypts, all decrypt; each is 32 random bytes or more. Facts that the other store needs stay plain:
    ids, users' ids, instants, the names of keys and labels, and labels that are numbers. A record that cannot be
    decrypted is an :exc:`~flask_idlesession.store.UnreadableRecord`, never plain text: its key was removed, it was
    changed, moved from another session or another key, or written before there were keys.
    """

    def __init__(self, store: Store, keys: Sequence[bytes]) -> None:
        self.store = store
        self._values = Cipher(keys, purpose="values")
        self._labels = Cipher(keys, purpose="labels")

    @property
    def traits(self) -> Traits:
        """The traits of the other store."""
        return self.store.traits

    def __len__(self) -> int:
        """Return how many records there are, if the other store can tell."""
        return len(self.store)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return True

    def create(self, record: Record) -> None:
        """Encrypt the record's values and labels, and have the other store keep it."""
        sid = record.info.sid
        labels = {name: self._seal_label(sid, name, label) for name, label in record.info.labels.items()}
        values = {key: self._seal(sid, key, data) for key, data in record.values.items()}
        self.store.create(_with(record, replace(record.info, labels=labels), values))

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return the decrypted record, as the other store loads it.

        Raise :exc:`UnreadableRecord` if no key decrypts it.
        """
        return self._open_record(self.store.load(sid, now=now, touch=touch))

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Encrypt the change, and commit it in the other store."""
        if not (change.delta or change.expect or change.labels):
            return self.store.commit(sid, change, now=now)
        sealed = replace(
            change,
            delta=self._seal_all(sid, change.delta),
            expect=self._seal_all(sid, change.expect),
            labels=self._seal_labels(sid, change.labels),
        )
        outcome = self.store.commit(sid, sealed, now=now)
        if outcome is not Outcome.CONFLICT or len(self._values) == 1:
            return outcome
        return self._commit_as_stored(sid, change, sealed, now=now)

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""
        return self.store.delete(sid)

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        """Forget these sessions in one step; return the decrypted infos of those that were there."""
        gone = cast(Chunked, self.store).delete_many(sids)
        return [self._open_labels(info, self._open_label_or_none) for info in gone]

    def endings(self, sids: Sequence[SessionId], *, now: float) -> Sequence[Ending]:
        """Return how these sessions ended, as far as that is remembered at ``now``."""
        return cast(Recalling, self.store).endings(sids, now=now)

    def tell_ends(self, endings: Sequence[Ending]) -> None:
        """Tell all processes that subscribed how these sessions ended."""
        cast(TellsEnds, self.store).tell_ends(endings)

    def hear_ends(self) -> EndNews | None:
        """Return a new subscription; None where none can be had."""
        return cast(TellsEnds, self.store).hear_ends()

    def add_tally(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Have the other store add these amounts. They tell nothing of a session, and stay plain."""
        cast(KeepsTallies, self.store).add_tally(minute, amounts, now=now)

    def tallies(self, *, since: int) -> Mapping[int, Mapping[str, int]]:
        """Return the amounts of each minute from ``since`` on."""
        return cast(KeepsTallies, self.store).tallies(since=since)

    def tally_totals(self) -> Mapping[str, int]:
        """Return the sums of all amounts."""
        return cast(KeepsTallies, self.store).tally_totals()

    def find_unlisted(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions as :meth:`find` does, also those that no list names any more."""
        for info in cast(Evicting, self.store).find_unlisted(now=now, user_id=user_id):
            yield self._open_labels(info, self._open_label_or_none)

    def advice(self) -> Sequence[str]:
        """Return how the server should be set up and is not: one text for each fault."""
        return cast(Advising, self.store).advice()

    def count(self) -> Count:
        """Return how many records there are."""
        return cast(Counts, self.store).count()

    def stored_bytes(self) -> int | None:
        """Return how many bytes the records take, or the file or server that holds them."""
        return cast(Counts, self.store).stored_bytes()

    def facts(self) -> Mapping[str, object]:
        """Return what the other store tells of its server or file, by name."""
        return cast(HasFacts, self.store).facts()

    def fades_at(self, sid: SessionId) -> float:
        """Return the instant when less than half of the idle timeout is left; ``inf`` if there is no session."""
        return cast(InProcess, self.store).fades_at(sid)

    def touch(self, sid: SessionId, holder: bytes, now: float) -> bool:
        """Note activity at ``now``, if nothing else has to be noted; return whether that was done."""
        return cast(InProcess, self.store).touch(sid, holder, now)

    def clock_skew(self, now: float) -> float:
        """Return by how many seconds ``now`` is ahead of the server's clock."""
        return cast(HasClock, self.store).clock_skew(now)

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos that the other store finds. A label that no key decrypts is left out."""
        for info in self.store.find(now=now, user_id=user_id):
            yield self._open_labels(info, self._open_label_or_none)

    def prune(self, *, now: float, limit: int) -> Sequence[SessionInfo]:
        """Prune the other store; return the decrypted infos of the sessions that it forgot."""
        pruned = self.store.prune(now=now, limit=limit)
        return [self._open_labels(info, self._open_label_or_none) for info in pruned]

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do; None if there is nothing to wait for."""
        return self.store.next_expiry()

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        self.store.bury(endings, until=until)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        return self.store.ending(sid, now=now)

    def close(self) -> None:
        """Close the other store."""
        self.store.close()

    def _commit_as_stored(self, sid: SessionId, change: Change, sealed: Change, *, now: float) -> Outcome:
        """Commit where a value that the change expects may have been sealed with an older key.

        The stored values are read and compared here, and then expected byte by byte, so the step is as atomic as any.
        It is tried again only if another request wrote in between.
        """
        for _ in range(_TRIES):
            stored = self.store.load(sid, now=now)
            if stored is None:
                return Outcome.GONE
            values = {**stored.values, **self._open_expected(sid, stored.values, change.expect)}
            outcome = _with(stored, stored.info, values).judge(change, now=now)
            if outcome is not Outcome.DONE and outcome is not Outcome.EMPTIED:
                return outcome
            expect = {key: stored.values.get(key) for key in change.expect}
            outcome = self.store.commit(sid, replace(sealed, expect=expect), now=now)
            if outcome is not Outcome.CONFLICT:
                return outcome
        return Outcome.CONFLICT

    def _open_record(self, record: Record | None) -> Record | None:
        if record is None or not (record.values or record.info.labels):
            return record
        sid = record.info.sid
        try:
            info = self._open_labels(record.info, self._open_label)
            values = {key: self._open(sid, key, data) for key, data in record.values.items()}
        except DecodeError as error:
            info = self._open_labels(record.info, self._open_label_or_none)
            raise UnreadableRecord(str(error), info=info) from error
        return _with(record, info, values)

    def _open_expected(self, sid: SessionId, values: Mapping[str, bytes], expect: Delta) -> dict[str, bytes]:
        opened = {}
        for key in expect:
            if key in values:
                opened[key] = _UNREADABLE
                with suppress(DecodeError):
                    opened[key] = self._open(sid, key, values[key])
        return opened

    def _seal_all(self, sid: SessionId, delta: Delta) -> Delta:
        return {key: None if data is None else self._seal(sid, key, data) for key, data in delta.items()}

    def _seal(self, sid: SessionId, key: str, data: bytes) -> bytes:
        return self._values.seal(data, sid.bytes, key.encode())

    def _open(self, sid: SessionId, key: str, data: bytes) -> bytes:
        try:
            return self._values.open(data, sid.bytes, key.encode())
        except DecodeError as error:
            raise DecodeError(f"the value of {key!r} does not open: {error}.") from error

    # Each label is sealed by itself, so that a store can merge them by name as ever.

    def _seal_labels(self, sid: SessionId, labels: LabelDelta) -> LabelDelta:
        return {name: None if label is None else self._seal_label(sid, name, label) for name, label in labels.items()}

    def _seal_label(self, sid: SessionId, name: str, label: str | float) -> str | float:
        if not isinstance(label, str):
            return label
        return urlsafe_b64encode(self._labels.seal(label.encode(), sid.bytes, name.encode())).decode()

    def _open_labels(self, info: SessionInfo, open_label: Callable[[SessionId, str, str], str | None]) -> SessionInfo:
        if not info.labels:
            return info
        labels: dict[str, str | float] = {}
        for name, label in info.labels.items():
            opened = open_label(info.sid, name, label) if isinstance(label, str) else label
            if opened is not None:
                labels[name] = opened
        return replace(info, labels=labels)

    def _open_label(self, sid: SessionId, name: str, label: str) -> str:
        try:
            return self._labels.open(_decode_base64(label), sid.bytes, name.encode()).decode()
        except DecodeError as error:
            raise DecodeError(f"the label {name!r} does not open: {error}.") from error

    def _open_label_or_none(self, sid: SessionId, name: str, label: str) -> str | None:
        try:
            return self._open_label(sid, name, label)
        except DecodeError:
            return None


def _with(record: Record, info: SessionInfo, values: Values) -> Record:
    return Record(
        info=info,
        secret_digest=record.secret_digest,
        values=values,
        former_digest=record.former_digest,
        former_ends_at=record.former_ends_at,
    )


def _decode_base64(label: str) -> bytes:
    try:
        return urlsafe_b64decode(label)
    except ValueError:
        return b""
