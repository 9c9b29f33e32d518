"""The manager alone: plain data by session id, without Flask and without a request."""

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID
from uuid import uuid4

import pytest
from support.requests import requests_of

from flask_idlesession import EncodeError
from flask_idlesession import EndReason
from flask_idlesession import MemoryStore
from flask_idlesession import Policy
from flask_idlesession import SessionExists
from flask_idlesession import SessionInfo
from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound
from flask_idlesession.model.codec import Codec
from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.ids import Credential
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Record
from flask_idlesession.model.signals import session_created
from flask_idlesession.model.signals import session_ended
from flask_idlesession.model.signals import session_loaded
from flask_idlesession.model.signals import session_rotated
from flask_idlesession.sessions.facts import Saved
from flask_idlesession.sessions.locking import RESERVED
from flask_idlesession.stores.contract import Store
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing.store_contract import at_once

IDLE, LIFETIME = 60.0, 600.0


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def manager(clock: FakeClock, store: MemoryStore) -> Iterator[SessionManager]:
    with SessionManager(store, idle_timeout=IDLE, lifetime=LIFETIME, clock=clock) as manager:
        manager.lifecycle.pruner.close()  # A test that prunes does it itself.
        yield manager


Told = list[tuple[str, UUID, EndReason | None]]


@contextmanager
def listening(sender: object) -> Iterator[Told]:
    """Note every signal of the sender: its name, the session's id, and the reason of an end."""
    told: Told = []

    def hear(name: str) -> Callable[..., None]:
        def receive(sender: object, *, info: SessionInfo, reason: EndReason | None = None) -> None:
            told.append((name, info.sid, reason))

        return receive

    signals = {
        "created": session_created,
        "loaded": session_loaded,
        "rotated": session_rotated,
        "ended": session_ended,
    }
    receivers = {name: hear(name) for name in signals}
    for name, signal in signals.items():
        signal.connect(receivers[name], sender)
    try:
        yield told
    finally:
        for name, signal in signals.items():
            signal.disconnect(receivers[name], sender)


def a_session(manager: SessionManager, **data: Any) -> Credential:
    """Store a session as a request does, and return the credential that its browser has."""
    session = requests_of(manager).open(None)
    session.update(data or {"a": 1})
    assert requests_of(manager).save(session, active=True) is Saved.ISSUED
    assert session._facts.credential is not None
    return session._facts.credential


# Create, read, replace, remove.


def test_what_was_created_is_read(manager: SessionManager) -> None:
    data = {"name": "Ada", "when": timedelta(1), "tags": {"a"}, "nested": [({"x": (1,)},)]}
    sid = manager.create(data)
    assert type(sid) is UUID and manager.read(sid) == data


def test_each_session_has_an_id_of_its_own(manager: SessionManager) -> None:
    assert len({manager.create({"n": number}) for number in range(100)}) == 100
    assert manager.read(manager.create()) == {} == manager.read(manager.create({}))


def test_what_is_read_is_a_copy(manager: SessionManager) -> None:
    data = {"list": [1]}
    sid = manager.create(data)
    data["list"].append(2)
    manager.read(sid)["list"].append(3)
    assert manager.read(sid) == {"list": [1]}


def test_replace_puts_the_new_data_in_place_of_all(manager: SessionManager) -> None:
    sid = manager.create({"a": 1, "b": 2})
    manager.replace(sid, {"b": 3, "c": 4})
    assert manager.read(sid) == {"b": 3, "c": 4}
    manager.replace(sid, {})
    assert manager.read(sid) == {}


def test_a_removed_session_is_gone(manager: SessionManager) -> None:
    sid = manager.create({"a": 1})
    manager.remove(sid)
    for call in (manager.read, manager.remove, lambda sid: manager.replace(sid, {"a": 2})):
        with pytest.raises(SessionNotFound, match=str(sid)):
            call(sid)


def test_a_session_that_never_was_is_not_found(manager: SessionManager) -> None:
    sid = uuid4()
    for call in (manager.read, manager.remove, lambda sid: manager.replace(sid, {})):
        with pytest.raises(SessionNotFound, match=str(sid)):
            call(sid)
    with pytest.raises(LookupError):
        manager.read(sid)
    assert list(manager.find()) == []


@pytest.mark.parametrize("sid", ["12345678-1234-5678-9234-567812345678", b"x" * 16, 5, None])
def test_a_session_id_is_a_uuid(manager: SessionManager, sid: Any) -> None:
    for call in (manager.read, manager.remove, lambda sid: manager.replace(sid, {})):
        with pytest.raises(TypeError, match="A session id is a uuid.UUID"):
            call(sid)


def test_what_cannot_be_kept_is_named_and_nothing_is_written(manager: SessionManager) -> None:
    with pytest.raises(EncodeError, match=r"^data\['a'\]\['b'\]\[1\] is a object"):
        manager.create({"a": {"b": [1, object()]}})
    assert list(manager.find()) == []
    sid = manager.create({"a": 1})
    with pytest.raises(EncodeError, match=r"^data\['b'\] is a complex"):
        manager.replace(sid, {"a": 2, "b": 1j})
    assert manager.read(sid) == {"a": 1}


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), "half \ud800", RESERVED, RESERVED + "lease"])
def test_what_cannot_be_a_key_is_refused_before_anything_is_written(manager: SessionManager, key: Any) -> None:
    sid, session = manager.create({"a": 1}), requests_of(manager).open(None)
    for call in (
        lambda: manager.create({key: 1}),
        lambda: manager.replace(sid, {key: 1}),
        lambda: session.__setitem__(key, 1),
        lambda: session.modify(key, lambda value: 1),
    ):
        with pytest.raises((TypeError, ValueError), match="keys are|Keys that begin"):
            call()
    assert manager.read(sid) == {"a": 1} and requests_of(manager).save(session, active=True) is Saved.KEPT
    assert len(list(manager.find())) == 1


@pytest.mark.parametrize("user_id", ["", 5, b"ada", "half \ud800", "x" * 100_000], ids=lambda it: repr(it)[:20])
def test_what_cannot_be_a_users_id_is_refused_before_anything_is_written(manager: SessionManager, user_id: Any) -> None:
    session = requests_of(manager).open(None)
    for call in (lambda: manager.create({"a": 1}, user_id=user_id), lambda: session._log_in(user_id)):
        with pytest.raises((TypeError, ValueError), match=r"^A user's id .*\[ISE050\]$"):
            call()
    assert requests_of(manager).save(session, active=True) is Saved.KEPT
    assert list(manager.find()) == []


def test_a_type_of_ones_own_is_kept_by_a_codec_that_knows_it(clock: FakeClock) -> None:
    codec = Codec()
    codec.register(complex, name="complex", dump=lambda it: [it.real, it.imag], load=lambda it: complex(*it))
    with SessionManager(codec=codec, clock=clock) as manager:
        assert manager.read(manager.create({"z": 1j})) == {"z": 1j}


def test_a_session_is_given_timeouts_of_its_own(manager: SessionManager, clock: FakeClock) -> None:
    sid, other = manager.create({"a": 1}, user_id="ada"), manager.create({"a": 1})
    clock.advance(50)
    info = manager.set_timeouts(sid, idle_timeout=timedelta(seconds=120), lifetime=5000)
    assert (info.idle_timeout, info.lifetime_ends_at - info.created_at) == (120.0, 5000.0)
    assert clock() - info.last_seen_at == 50, "It is no activity."
    clock.advance(69)
    assert manager.read(sid) == {"a": 1} and info in manager.sessions_of("ada")
    with pytest.raises(SessionNotFound):
        manager.read(other)
    clock.advance(1)
    with pytest.raises(SessionNotFound):
        manager.set_timeouts(sid, lifetime=100)


def test_one_timeout_leaves_the_other_and_the_lifetime_bounds_the_idle_timeout(
    manager: SessionManager, clock: FakeClock
) -> None:
    sid = manager.create({"a": 1})
    assert manager.set_timeouts(sid, idle_timeout=400).lifetime_ends_at == clock() + LIFETIME
    assert manager.set_timeouts(sid, lifetime=100).idle_timeout == 400
    clock.advance(99.9)
    assert manager.read(sid) == {"a": 1}
    clock.advance(0.1)
    with pytest.raises(SessionNotFound):
        manager.read(sid)


def test_a_timeout_that_has_passed_ends_the_session_which_is_forgotten_in_time(
    clock: FakeClock, store: MemoryStore
) -> None:
    with SessionManager(store, idle_timeout=IDLE, lifetime=LIFETIME, clock=clock) as manager:
        sid = manager.create({"a": 1})
        clock.advance(30)
        manager.set_timeouts(sid, lifetime=20)
        with pytest.raises(SessionNotFound):
            manager.read(sid)
        assert manager.prune() <= 1 and len(store) == 0


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "60", True])
def test_timeouts_of_one_session_are_refused_as_everywhere(manager: SessionManager, wrong: Any) -> None:
    sid = manager.create({"a": 1})
    for name in ("idle_timeout", "lifetime"):
        with pytest.raises(ConfigError, match=f"^{name} is .*must be seconds above 0"):
            manager.set_timeouts(sid, **{name: wrong})
    with pytest.raises(TypeError, match="needs idle_timeout=, lifetime= or both"):
        manager.set_timeouts(sid)
    assert manager.read(sid) == {"a": 1}


@pytest.mark.parametrize("user_id", ["", 5, None, b"ada"])
def test_no_users_sessions_are_ended_or_listed_by_something_that_is_no_id(
    manager: SessionManager, user_id: Any
) -> None:
    manager.create(user_id="5")
    for call in (manager.revoke_user, manager.sessions_of):
        with pytest.raises((TypeError, ValueError), match=r"\[ISE050\]$"):
            call(user_id)
    assert len(manager.sessions_of("5")) == 1


def test_sessions_are_found_with_and_without_a_user(manager: SessionManager) -> None:
    anonymous, hers, his = manager.create(), manager.create({"a": 1}, user_id="ada"), manager.create(user_id="bob")
    assert {info.sid for info in manager.find()} == {anonymous, hers, his}
    assert [(info.sid, info.user_id) for info in manager.find(user_id="ada")] == [(hers, "ada")]
    assert list(manager.find(user_id="eve")) == []


def test_replacing_leaves_what_belongs_to_the_package(manager: SessionManager, store: MemoryStore) -> None:
    """A lease that somebody holds, and when the session last got a new token."""
    credential = a_session(manager, a=1)
    reserved = RESERVED + "lease"
    assert (
        requests_of(manager).commit(credential, Change(holder=credential.holder, delta={reserved: b"\xc0"}))
        is Outcome.DONE
    )
    manager.replace(credential.sid, {"b": 2})
    record = store.load(credential.sid, now=manager.now())
    assert record is not None and set(record.values) == {"b", reserved}
    assert manager.read(credential.sid) == {"b": 2}


# Time.


def test_reading_is_not_activity_and_replacing_is(manager: SessionManager, clock: FakeClock) -> None:
    read, replaced = manager.create({"a": 1}), manager.create({"a": 1})
    clock.advance(IDLE - 1)
    manager.read(read)
    manager.replace(replaced, {"a": 2})
    clock.advance(1)
    with pytest.raises(SessionNotFound):
        manager.read(read)
    clock.advance(IDLE - 1.001)
    assert manager.read(replaced) == {"a": 2}
    clock.advance(0.001)
    with pytest.raises(SessionNotFound):
        manager.replace(replaced, {"a": 3})


def test_no_activity_outlives_the_lifetime(manager: SessionManager, clock: FakeClock) -> None:
    sid = manager.create({"n": 0})
    for number in range(1, 20):
        clock.advance(LIFETIME / 20)
        manager.replace(sid, {"n": number})
    clock.advance(LIFETIME / 20)
    with pytest.raises(SessionNotFound):
        manager.read(sid)


def test_a_clock_that_steps_back_an_hour_ends_nothing(manager: SessionManager, clock: FakeClock) -> None:
    sid = manager.create({"a": 1})
    clock.advance(-3600)
    manager.replace(sid, {"a": 2})
    assert manager.prune() == 0 and manager.read(sid) == {"a": 2}
    clock.advance(3600 + IDLE)
    with pytest.raises(SessionNotFound):
        manager.read(sid)


@pytest.mark.parametrize("name", ["idle_timeout", "lifetime"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "60"])
def test_an_impossible_timeout_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is "):
        SessionManager(**{name: value})


def test_timeouts_are_seconds_or_timedeltas(clock: FakeClock) -> None:
    with SessionManager(idle_timeout=timedelta(minutes=1), lifetime=timedelta(hours=1), clock=clock) as manager:
        assert (manager.policy.idle_timeout, manager.policy.lifetime) == (60.0, 3600.0)
    with SessionManager(policy=Policy(idle_timeout=5), lifetime=9, clock=clock) as manager:
        assert (manager.policy.idle_timeout, manager.policy.lifetime) == (5, 9)


# Prune, and the signals.


def test_prune_forgets_all_that_expired_and_tells_each_once(
    manager: SessionManager, store: MemoryStore, clock: FakeClock
) -> None:
    with listening(manager) as told:
        dead = {manager.create({"n": number}) for number in range(500)}
        clock.advance(IDLE / 2)
        live = {manager.create({"n": number}) for number in range(100)}
        told.clear()
        clock.advance(IDLE / 2)
        assert manager.prune() == 500
        assert len(store) == 100 and {info.sid for info in manager.find()} == live
        assert {(name, reason) for name, _, reason in told} == {("ended", EndReason.IDLE)}
        assert len(told) == 500 and {sid for _, sid, _ in told} == dead
        assert manager.prune() == 0 and len(told) == 500


def test_prune_finds_those_that_expired_among_many_that_were_active(manager: SessionManager, clock: FakeClock) -> None:
    active = [manager.create({"n": number}) for number in range(2000)]
    left = {manager.create() for _ in range(5)}
    clock.advance(IDLE / 2)
    for sid in active:
        manager.replace(sid, {"n": 0})
    clock.advance(IDLE / 2)
    with listening(manager) as told:
        assert manager.prune() == 5
        assert {sid for _, sid, _ in told} == left
    assert len(list(manager.find())) == 2000


def test_an_end_is_told_with_its_reason(manager: SessionManager, clock: FakeClock) -> None:
    with listening(manager) as told:
        idle, old, removed = manager.create(), manager.create(), manager.create()
        manager.remove(removed)
        for _ in range(int(LIFETIME / (IDLE / 2)) - 1):
            clock.advance(IDLE / 2)
            manager.replace(old, {})
        clock.advance(IDLE / 2)
        manager.prune()
    ends = {sid: reason for name, sid, reason in told if name == "ended"}
    assert ends == {removed: EndReason.REVOKED, idle: EndReason.IDLE, old: EndReason.LIFETIME}


def test_an_evicted_session_is_told_as_such(clock: FakeClock) -> None:
    with SessionManager(MemoryStore(max_sessions=10), clock=clock) as manager:
        manager.lifecycle.pruner.close()
        with listening(manager) as told:
            made = [manager.create({"n": number}) for number in range(25) if clock.advance(1)]
        manager.prune()
        ends = [(sid, reason) for name, sid, reason in told if name == "ended"]
        assert ends == [(sid, EndReason.EVICTED) for sid in made[:15]]
        assert [sid for name, sid, _ in told if name == "created"] == made


def test_a_session_that_its_view_emptied_is_told_as_ended(manager: SessionManager) -> None:
    with listening(manager) as told:
        credential = a_session(manager, a=1, b=2)
        session = requests_of(manager).open(credential)
        del session["a"], session["b"]
        assert requests_of(manager).save(session, active=True) is Saved.ENDED
    names = [(name, sid, reason) for name, sid, reason in told if name != "loaded"]
    assert names == [("created", credential.sid, None), ("ended", credential.sid, EndReason.LOGGED_OUT)]
    assert session._facts.credential is None and list(manager.find()) == []


def test_each_creation_and_end_is_told_once_however_many_threads(manager: SessionManager, clock: FakeClock) -> None:
    with listening(manager) as told:
        made = [sid for some in at_once(*[lambda: [manager.create() for _ in range(50)]] * 8) for sid in some]
        removed = made[::4]

        def remove_all() -> int:
            count = 0
            for sid in removed:
                try:
                    manager.remove(sid)
                    count += 1
                except SessionNotFound:
                    pass
            return count

        assert sum(at_once(*[remove_all] * 4)) == len(removed)
        clock.advance(IDLE)
        assert sum(at_once(*[manager.prune] * 8)) == 400 - len(removed)
    assert sorted(sid for name, sid, _ in told if name == "created") == sorted(made)
    assert sorted(sid for name, sid, _ in told if name == "ended") == sorted(made)


def test_a_receiver_that_raises_stops_nothing(
    manager: SessionManager, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: object, **what: Any) -> None:
        raise RuntimeError("a receiver's mistake")

    for signal in (session_created, session_ended):
        signal.connect(fail, manager)
    try:
        with listening(manager) as told:
            first, second = manager.create({"a": 1}), manager.create()
            assert manager.read(first) == {"a": 1}
            manager.remove(first)
            clock.advance(IDLE)
            assert manager.prune() == 1
    finally:
        for signal in (session_created, session_ended):
            signal.disconnect(fail, manager)
    assert [(name, sid) for name, sid, _ in told] == [
        ("created", first),
        ("created", second),
        ("ended", first),
        ("ended", second),
    ]
    assert caplog.text.count("RuntimeError: a receiver's mistake") == 4


def test_the_sender_is_the_manager_or_what_it_was_told(clock: FakeClock) -> None:
    class Sender:
        pass

    sender = Sender()
    with SessionManager(clock=clock, sender=sender) as manager, listening(sender) as told:
        assert manager.lifecycle.sender is sender
        manager.create()
    assert [name for name, _, _ in told] == ["created"]
    with SessionManager(clock=clock) as manager:
        assert manager.lifecycle.sender is manager


# Writes that come too late.


def test_what_a_request_wrote_to_an_ended_session_is_dropped_and_logged(
    manager: SessionManager, caplog: pytest.LogCaptureFixture
) -> None:
    credential = a_session(manager)
    session = requests_of(manager).open(credential)
    session["cart"] = ["secret things"]
    manager.remove(credential.sid)
    with caplog.at_level(logging.WARNING, "flask_idlesession"):
        assert requests_of(manager).save(session, active=True) is Saved.GONE
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(credential.sid) in line and "'cart'" in line and "dropped" in line
    assert "secret things" not in caplog.text and credential.secret.hex() not in caplog.text
    assert list(manager.find()) == [] and session._facts.credential is None and dict(session) == {}


def test_a_read_or_touch_of_an_ended_session_is_not_worth_a_line(
    manager: SessionManager, caplog: pytest.LogCaptureFixture
) -> None:
    credential = a_session(manager)
    session = requests_of(manager).open(credential)
    assert session["a"] == 1
    manager.remove(credential.sid)
    assert requests_of(manager).save(session, active=True) is Saved.GONE
    assert caplog.records == []


def test_a_session_that_ends_while_its_view_runs_is_not_revived(manager: SessionManager, clock: FakeClock) -> None:
    credential = a_session(manager)
    session = requests_of(manager).open(credential)
    session["b"] = 2
    clock.advance(IDLE)
    assert requests_of(manager).save(session, active=True) is Saved.GONE
    with pytest.raises(SessionNotFound):
        manager.read(credential.sid)


def test_a_request_with_the_token_from_before_a_log_in_writes_nothing(manager: SessionManager) -> None:
    credential = a_session(manager)
    slow, log_in = requests_of(manager).open(credential), requests_of(manager).open(credential)
    slow["planted"] = True
    log_in._log_in("ada")
    assert requests_of(manager).save(log_in, active=True) is Saved.ISSUED
    assert requests_of(manager).save(slow, active=True) is Saved.GONE
    assert manager.read(credential.sid) == {"a": 1}
    assert requests_of(manager).open(credential).new and not requests_of(manager).open(log_in._facts.credential).new


def test_a_value_that_cannot_be_decoded_is_left_out_and_the_session_lives(manager: SessionManager) -> None:
    credential = a_session(manager, good=1, bad=2)
    assert (
        requests_of(manager).commit(credential, Change(holder=credential.holder, delta={"bad": b"\xc1"}))
        is Outcome.DONE
    )
    with listening(manager) as told:
        assert manager.read(credential.sid) == {"good": 1}
    assert not told


def test_an_id_that_is_taken_is_not_overwritten(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crowded(MemoryStore):
        refusals = 1

        def create(self, record: Record) -> None:
            if self.refusals:
                self.refusals -= 1
                raise SessionExists("taken")
            super().create(record)

    with SessionManager(store := Crowded(), clock=clock) as manager:
        assert manager.read(manager.create({"a": 1})) == {"a": 1}
        store.refusals = 1000
        with pytest.raises(SessionExists):
            manager.create({"a": 1})
        store.refusals = 1
        credential = a_session(manager, b=2)
        assert dict(requests_of(manager).open(credential)) == {"b": 2}


# Beginning and end.


def test_a_manager_is_a_context_that_closes_its_store() -> None:
    closed = []

    class Watched(MemoryStore):
        def close(self) -> None:
            closed.append(self)

    with SessionManager(Watched()) as manager:
        manager.create({"a": 1})
        assert closed == []
    assert len(closed) == 1
    manager.close()
    assert set(map(id, closed)) == {id(manager.store)}


def test_the_cleaner_runs_while_a_manager_is_open() -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    with SessionManager():
        assert names().count("flask_idlesession cleaner") == 1
        with SessionManager():
            assert names().count("flask_idlesession cleaner") == 1


def test_a_manager_that_was_dropped_is_collected() -> None:
    manager = SessionManager()
    manager.create({"a": 1})
    gone = weakref.ref(manager)
    kept_store = weakref.ref(manager.lifecycle.pruner)
    del manager
    for _ in range(50):
        gc.collect()
        if gone() is None and kept_store() is None:
            break
        threading.Event().wait(0.02)  # The cleaner may be in its pass, and hold what it cleans.
    assert gone() is None and kept_store() is None


def test_a_manager_takes_any_store(clock: FakeClock) -> None:
    store: Store = MemoryStore(max_sessions=None, max_bytes=None)
    with SessionManager(store, clock=clock) as one, SessionManager(store, clock=clock) as other:
        assert other.read(one.create({"a": 1})) == {"a": 1}


def test_the_cleaner_forgets_within_a_second_by_the_real_clock() -> None:
    with SessionManager(store := MemoryStore(), idle_timeout=0.05) as manager:
        ended = threading.Event()

        def hear(sender: object, **what: Any) -> None:
            ended.set()

        session_ended.connect(hear, manager)
        manager.create({"a": 1})
        assert ended.wait(1.05) and len(store) == 0
