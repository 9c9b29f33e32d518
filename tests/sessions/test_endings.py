"""Many sessions end in few steps, each of them is told once, and no survivor of a broken revocation is missed."""

import json
import logging
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession import session_ended
from flask_idlesession import SessionManager
from flask_idlesession import Store
from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.model.ids import SessionId
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.sessions import endings
from flask_idlesession.stores.contract import Traits
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock

OPENERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda folder: MemoryStore(),
    "journal": lambda folder: JournalStore(folder / "own" / "sessions.journal", now=time.time()),
    "sqlite": lambda folder: SQLiteStore(folder / "own" / "sessions.db"),
}


class Counting(MemoryStore):
    """A memory store that counts the steps in which sessions end."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def delete(self, sid: SessionId) -> bool:
        self.steps += 1
        return super().delete(sid)

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        self.steps += 1
        return super().delete_many(sids)

    def bury(self, *arguments: Any, **options: Any) -> None:
        self.steps += 1
        super().bury(*arguments, **options)


class Plain(Counting):
    """The same, which can end but one session in one step."""

    traits = Traits(in_process=True)  # type: ignore[assignment]


def begin(manager: SessionManager, number: int, user_id: str = "ada") -> list[SessionId]:
    return [manager.create({}, user_id=user_id) for _ in range(number)]


@contextmanager
def ended_ids(manager: SessionManager) -> Iterator[list[SessionId]]:
    told: list[SessionId] = []

    def note(sender: object, info: SessionInfo, reason: EndReason) -> None:
        told.append(info.sid)

    with session_ended.connected_to(note, manager):
        yield told


@pytest.mark.parametrize(("store", "most"), [(Counting(), 20), (Plain(), 1020)])
def test_a_thousand_sessions_end_in_few_steps_and_are_told_once(store: Counting, most: int) -> None:
    with SessionManager(store) as manager, ended_ids(manager) as told:
        sids, other = begin(manager, 1000), begin(manager, 1, "bob")
        store.steps = 0
        assert manager.revoke_user("ada", by="the admin") == 1000
        assert store.steps <= most
        assert sorted(told) == sorted(sids)
        assert [info.sid for info in manager.find()] == other
        ending = store.ending(sids[500], now=manager.now())
        assert ending is not None and (ending.reason, ending.by) == (EndReason.REVOKED, "the admin")


def test_what_another_ended_meanwhile_is_neither_counted_nor_told() -> None:
    with SessionManager(Counting()) as manager, ended_ids(manager) as told:
        first, second = begin(manager, 2)
        infos = manager.sessions_of("ada")
        manager.remove(first)
        assert manager.lifecycle.end_all(infos, EndReason.REVOKED) == 1
        assert told == [first, second]


class Failing(Counting):
    """A store whose fourth chunk fails, and with ``is_away`` all that comes after it."""

    chunks = 0
    is_away = False
    is_full = False

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        self.chunks += 1
        if self.chunks == 4 or self.is_away and self.chunks > 4:
            raise StoreUnavailable("The statement took too long.")
        return super().delete_many(sids)

    def delete(self, sid: SessionId) -> bool:
        if self.is_away:
            raise StoreUnavailable("Nobody answers.")
        return super().delete(sid)

    def bury(self, *arguments: Any, **options: Any) -> None:
        if self.is_full:
            raise StoreUnavailable("The disk is full.")
        super().bury(*arguments, **options)


def test_a_revocation_that_broke_off_and_is_made_again_misses_no_survivor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "_CHUNK", 10)
    store = Failing()
    with SessionManager(store) as manager, ended_ids(manager) as told:
        sids = begin(manager, 595)
        store.is_away = True
        with pytest.raises(StoreUnavailable, match="too long"):
            manager.revoke_user("ada")
        assert len(told) == 30 and len(manager.sessions_of("ada")) == 565
        store.is_away = False
        assert manager.revoke_user("ada") == 565
        assert sorted(told) == sorted(sids) and manager.sessions_of("ada") == []


def test_sessions_that_do_not_end_together_end_one_by_one_and_the_failure_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endings, "_CHUNK", 10)
    with SessionManager(Failing()) as manager, ended_ids(manager) as told:
        sids = begin(manager, 95)
        with pytest.raises(StoreUnavailable, match="too long"):
            manager.revoke_user("ada")
        assert sorted(told) == sorted(sids) and manager.sessions_of("ada") == []


def test_where_the_revocation_cannot_be_noted_the_sessions_end_and_that_is_raised() -> None:
    store = Failing()
    with SessionManager(store) as manager, ended_ids(manager) as told:
        sids = begin(manager, 5)
        store.is_full = True
        for revoke in (lambda: manager.revoke_user("ada"), manager.revoke_all):
            with pytest.raises(StoreUnavailable, match="full"):
                revoke()
            assert sorted(told) == sorted(sids)
        store.is_full = False


def test_a_request_between_the_end_of_a_session_and_what_follows_is_told_why_it_ended() -> None:
    class Watched(Counting):
        ending_at_delete: Any = None

        def delete(self, sid: SessionId) -> bool:
            self.ending_at_delete = self.ending(sid, now=manager.now())
            return super().delete(sid)

    with SessionManager(store := Watched()) as manager:
        (sid,) = begin(manager, 1)
        assert manager.revoke(sid, by="the admin")
        assert (store.ending_at_delete.reason, store.ending_at_delete.by) == (EndReason.REVOKED, "the admin")


@pytest.mark.parametrize("verb", ["load", "ending"])
def test_a_request_during_which_its_expired_session_is_pruned_is_told_why_it_ended(verb: str) -> None:
    class Pruned(MemoryStore):
        """A memory store that another process prunes just behind this verb."""

        def load(self, sid: SessionId, **options: Any) -> Any:
            return self._behind("load", super().load(sid, **options))

        def ending(self, sid: SessionId, **options: Any) -> Any:
            return self._behind("ending", super().ending(sid, **options))

        def _behind(self, name: str, answer: Any) -> Any:
            if name == verb:
                self.prune(now=clock(), limit=10)
            return answer

    clock = FakeClock(1_000_000)
    with SessionManager(Pruned(), clock=clock, idle_timeout=60) as manager:
        (sid,) = begin(manager, 1)
        clock.advance(60)
        ending = manager.lifecycle.ending(sid)
        assert ending is not None and ending.reason is EndReason.IDLE


@pytest.mark.alone
@pytest.mark.parametrize("kind", OPENERS)
def test_ten_thousand_sessions_of_a_user_end_in_two_seconds_with_the_audit_log_on(kind: str, tmp_path: Path) -> None:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the tests of endings", IDLESESSION_AUDIT=True)
    IdleSession(app, store=OPENERS[kind](tmp_path))
    manager: SessionManager = app.extensions["idlesession"].manager
    begin(manager, 10_000)
    lines: list[str] = []
    logger, handler = logging.getLogger("flask_idlesession.audit"), logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        began, worked = time.perf_counter(), time.process_time()
        assert manager.revoke_user("ada") == 10_000
        took, worked = time.perf_counter() - began, time.process_time() - worked
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        manager.close()
    assert min(took, worked) < 2, f"{took} s, of which {worked} s of the processor"
    assert len({json.loads(line)["session"] for line in lines}) == 10_000
