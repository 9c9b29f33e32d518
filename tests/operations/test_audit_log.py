"""The audit log: one line of JSON for each event, with who and why, and without anything that opens a session."""

import gc
import json
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from datetime import UTC
from typing import Any

import pytest
from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import reauthenticate
from flask_idlesession import revoke
from flask_idlesession import session_created
from flask_idlesession import TooManySessions
from flask_idlesession.process.background import cleaner
from flask_idlesession.testing import FakeClock

NOW = 1_700_000_000.0
LOGGER = "flask_idlesession.audit"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


def make_app(clock: FakeClock, store: Any = None, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the audit tests", **config)
    IdleSession(app, clock=clock, store=store)

    @app.get("/set")
    def put() -> str:
        session["a"] = 1
        return "set"

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        try:
            log_in(user, level="password")
        except TooManySessions:
            return "refused"
        return "in"

    @app.get("/again")
    def again() -> str:
        reauthenticate(level="passkey")
        return "again"

    @app.get("/rotate")
    def rotate() -> str:
        session.rotate()  # type: ignore[attr-defined]
        return "rotated"

    @app.get("/out")
    def leave() -> str:
        log_out()
        return "out"

    @app.get("/revoke")
    def revoke_one() -> str:
        revoke(next(info.sid for info in manager_of(app).find() if info.user_id == "ada"))
        return "revoked"

    @app.get("/")
    def index() -> str:
        return str(len(session))

    return app


def manager_of(app: Flask) -> Any:
    return app.extensions["idlesession"].manager


class Log(list[dict[str, Any]]):
    """The entries that were written meanwhile."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def events(self) -> list[str]:
        return [entry["event"] for entry in self]


@pytest.fixture(autouse=True)
def alone() -> None:
    """The log is one for all: the sessions that other tests left behind are not to end meanwhile."""
    for other in cleaner._present():
        cleaner.unregister(other)


@contextmanager
def audit_log(level: int = logging.INFO) -> Iterator[Log]:
    log = Log()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert record.name == LOGGER and record.levelno == logging.INFO
            log.lines.append(record.getMessage())
            log.append(json.loads(record.getMessage()))
            assert log[-1] == record.audit  # type: ignore[attr-defined]

    logger, handler = logging.getLogger(LOGGER), Handler()
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield log
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


# The events.


def test_a_visit_from_its_first_write_to_the_log_out_is_told(clock: FakeClock) -> None:
    client = make_app(clock).test_client()
    with audit_log() as log:
        for path in ("/", "/set", "/set", "/in/ada", "/again", "/rotate", "/out", "/"):
            clock.advance(1)
            client.get(path, environ_overrides={"REMOTE_ADDR": "192.0.2.7"}, headers={"User-Agent": "curl/8.5"})
    assert log.events == ["created", "rotated", "logged in", "rotated", "re-authenticated", "rotated", "logged out"]
    created, _, logged_in, _, again, _, out = log
    sid = created["session"]
    assert {entry["session"] for entry in log} == {sid}
    assert created == {"at": "2023-11-14T22:13:22.000000+00:00", "event": "created", "session": sid}
    assert logged_in == {
        "at": "2023-11-14T22:13:24.000000+00:00",
        "event": "logged in",
        "session": sid,
        "user": "ada",
        "level": "password",
        "address": "192.0.2.0/24",
        "agent": "curl 8",
    }
    assert again["level"] == "passkey"
    assert out["reason"] == "logged out" and out["ended_at"] == out["at"] and "by" not in out


def test_a_log_in_in_a_new_session_is_told_as_that(clock: FakeClock) -> None:
    client = make_app(clock).test_client()
    with audit_log() as log:
        client.get("/in/ada")
        client.get("/in/ada")
        client.get("/in/grace")
    assert log.events == ["created", "logged in", "rotated", "re-authenticated", "logged out", "created", "logged in"]
    assert [entry["user"] for entry in log] == ["ada"] * 5 + ["grace"] * 2


def test_time_and_the_administrator_are_told_as_what_ended_a_session(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_IDLE_TIMEOUT=60, IDLESESSION_LIFETIME=100)
    admin, idle, lifelong, revoked = (app.test_client() for _ in range(4))
    for client in (idle, lifelong):
        client.get("/in/guest")
    clock.advance(50)
    lifelong.get("/")
    clock.advance(50)
    with audit_log() as log:
        manager_of(app).prune()
        revoked.get("/in/ada")
        admin.get("/in/root")
        clock.advance(1)
        admin.get("/revoke")
    ends = [{k: e[k] for k in ("event", "reason", "user", "by", "ended_at") if k in e} for e in log if "reason" in e]
    assert sorted(ends, key=lambda end: end["ended_at"]) == [
        {"event": "expired", "reason": "idle", "user": "guest", "ended_at": "2023-11-14T22:14:20.000000+00:00"},
        {"event": "expired", "reason": "lifetime", "user": "guest", "ended_at": "2023-11-14T22:15:00.000000+00:00"},
        {
            "event": "revoked",
            "reason": "revoked",
            "user": "ada",
            "by": "root",
            "ended_at": "2023-11-14T22:15:01.000000+00:00",
        },
    ]


def test_making_room_is_told(clock: FakeClock) -> None:
    app = make_app(clock, MemoryStore(max_sessions=1))
    with audit_log() as log:
        app.test_client().get("/set")
        app.test_client().get("/set")
    assert log.events == ["created", "evicted", "created"] or log.events == ["created", "created", "evicted"]


@pytest.mark.parametrize(("at_limit", "event"), [("refuse", "log-in refused"), ("evict oldest", "evicted")])
def test_a_limit_is_told(clock: FakeClock, at_limit: str, event: str) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1, IDLESESSION_AT_MAX_SESSIONS_PER_USER=at_limit)
    app.test_client().get("/in/ada")
    with audit_log() as log:
        app.test_client().get("/in/ada")
    assert event in log.events
    if at_limit == "refuse":
        assert log == [
            {"at": "2023-11-14T22:13:20.000000+00:00", "event": event, "user": "ada", "reason": "too many sessions"}
        ]


@pytest.mark.parametrize("reaction", ["log", "reauthenticate", "end"])
def test_a_mismatch_is_told_with_what_was_and_what_came(clock: FakeClock, reaction: str) -> None:
    app = make_app(clock, IDLESESSION_BIND_ADDRESS=reaction)
    client = app.test_client()
    client.get("/in/ada")
    with audit_log() as log:
        client.get("/", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    mismatch = log[0]
    assert mismatch["event"] == "mismatch" and mismatch["reaction"] == reaction and mismatch["user"] == "ada"
    assert (mismatch["what"], mismatch["address"], mismatch["seen"]) == ("address", "127.0.0.0/24", "192.0.2.0/24")
    assert [(entry["event"], entry["by"]) for entry in log[1:]] == (
        [("revoked", "binding")] if reaction == "end" else []
    )


def test_a_flood_of_bad_tokens_is_a_line_a_minute(clock: FakeClock) -> None:
    app = make_app(clock)
    with audit_log() as log:
        for _ in range(3):
            for number in range(50):
                client = app.test_client()
                client.set_cookie("session", f"bad {number}")
                client.get("/")
            clock.advance(60)
    assert log.events == ["bad tokens"] * 3 and [entry["count"] for entry in log] == [1, 50, 50]


# What is in a line, and what is not.


def test_no_text_of_a_client_begins_a_line_of_its_own(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_CLIENT_INFO="full")

    @app.get("/enter")
    def crooked() -> str:
        log_in('ada\n{"event": "logged in", "user": "root"}\u2028\x1b[31m', level='a"b\r\n')
        return "in"

    with audit_log() as log:
        app.test_client().get("/enter", environ_overrides={"HTTP_USER_AGENT": 'x"\n2026 FAKE\r\x85\xe9'})
    assert all(line.isascii() and line.isprintable() for line in log.lines)
    assert log[-1]["user"].startswith("ada\n{") and log[-1]["agent"] == 'x"\ufffd2026 FAKE\ufffd\ufffd\xe9'


def test_no_line_holds_what_opens_a_session(clock: FakeClock) -> None:
    app = make_app(clock)
    client = app.test_client()
    seen: set[str] = set()
    with audit_log() as log:
        for path in ("/set", "/in/ada", "/again", "/rotate", "/out"):
            client.get(path)
            cookie = client.get_cookie("session")
            if cookie is not None:
                payload, _, signature = cookie.value.partition(".")
                seen |= {cookie.value, payload, signature, payload[22:]}
            for info in manager_of(app).find():
                record = manager_of(app).store.load(info.sid, now=clock())
                seen |= {record.secret_digest.hex(), repr(record.secret_digest)}
    text = "\n".join(log.lines)
    assert len(seen) >= 16 and not [secret for secret in seen if secret in text]


def test_instants_are_utc_wherever_the_server_is(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        with audit_log() as log:
            make_app(clock).test_client().get("/set")
    finally:
        monkeypatch.undo()
        time.tzset()
    told = datetime.fromisoformat(log[0]["at"])
    assert told.tzinfo == UTC and told.timestamp() == NOW


# Whose it is, and when.


def test_it_can_be_turned_off(clock: FakeClock) -> None:
    with audit_log() as log:
        make_app(clock, IDLESESSION_AUDIT=False).test_client().get("/in/ada")
    assert log == []


def test_nothing_is_computed_where_nobody_reads_it(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(clock)
    app.test_client().get("/set")
    computed: list[Any] = []
    monkeypatch.setattr("flask_idlesession.operations.audit_log.json.dumps", lambda *_: computed.append(1) or "{}")
    monkeypatch.setattr("flask_idlesession.operations.audit_log._utc", lambda *_: computed.append(1) or "")
    monkeypatch.setattr("flask_idlesession.operations.audit_log._who", lambda *_: computed.append(1) or {})
    with audit_log(logging.WARNING):
        client = app.test_client()
        for path in ("/set", "/in/ada", "/again", "/out"):
            client.get(path)
        clock.advance(5000)
        manager_of(app).prune()
    assert computed == []


def test_of_two_applications_each_has_its_own_lines(clock: FakeClock) -> None:
    silent, loud = make_app(clock, IDLESESSION_AUDIT=False), make_app(clock)
    with audit_log() as log:
        silent.test_client().get("/set")
        assert log == []
        loud.test_client().get("/set")
    assert log.events == ["created"]


def test_the_audit_keeps_no_application_alive(clock: FakeClock) -> None:
    app = make_app(clock)
    app.test_client().get("/set")
    kept = weakref.ref(app)
    del app
    gc.collect()
    assert kept() is None
    assert not [receiver for receiver in session_created.receivers.values() if receiver() is None]
