"""The SQLite store's file: how it is opened, queued for, waited for, replaced under a running process, and spoilt."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask import session
from support.store_races import a_record
from support.store_races import HOLDER
from support.store_races import NOW
from support.waiting import wait_until

from flask_idlesession import IdleSession
from flask_idlesession import SessionManager
from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.errors import RecordRejected
from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import EndReason
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.contract import UnreadableRecord
from flask_idlesession.stores.sqlite import file as sqlite_file
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.stores.sqlite.connection import Connection
from flask_idlesession.stores.sqlite.statements import Statements
from flask_idlesession.testing import FakeClock

#: What is seen of a database from outside.
FACTS = ("application_id", "user_version", "journal_mode", "auto_vacuum", "page_count")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own" / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(path)) as store:
        yield store


def run_sql(path: Path, statement: str, told: Any = ()) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, told).fetchall()


def make_database(path: Path, script: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    path.chmod(0o600)


class Locked:
    """Another process that has the database for itself."""

    def __init__(self, path: Path, how: str = "IMMEDIATE") -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute(f"BEGIN {how}")

    def __enter__(self) -> "Locked":
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


# It is opened.


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE customer (name TEXT)",
        "CREATE TABLE session (id TEXT PRIMARY KEY, data TEXT)",
        "PRAGMA user_version = 7",
        "PRAGMA application_id = 99",
        "PRAGMA application_id = 1231777893; CREATE TABLE customer (name TEXT)",
        "CREATE VIEW everything AS SELECT 1",
    ],
)
@pytest.mark.parametrize("journal_mode", ["DELETE", "WAL"])
def test_a_database_of_something_else_is_refused_and_left_as_it_was(path: Path, script: str, journal_mode: str) -> None:
    make_database(path, f"PRAGMA journal_mode = {journal_mode}; {script}")
    facts = [run_sql(path, f"PRAGMA {name}") for name in FACTS]
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="something else"):
        SQLiteStore(path)
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name]
    assert [run_sql(path, f"PRAGMA {name}") for name in FACTS] == facts


@pytest.mark.parametrize("content", [b"SECRET_KEY = 'x'\n" * 100, b"x"])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="cannot be read as an SQLite database"):
        SQLiteStore(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_taken(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.touch(0o600)
    with closing(SQLiteStore(path)) as store:
        store.create(a_record())


def test_a_file_whose_last_writer_crashed_is_taken_with_what_its_log_holds(path: Path, tmp_path: Path) -> None:
    store, record = SQLiteStore(path), a_record()
    store.create(record)
    crashed = tmp_path / "crashed"
    crashed.mkdir(mode=0o700)
    for suffix in ("", "-wal"):  # As they are without the last close.
        copy = crashed / f"{path.name}{suffix}"
        copy.write_bytes(path.with_name(f"{path.name}{suffix}").read_bytes())
        copy.chmod(0o600)
    store.close()
    with closing(SQLiteStore(crashed / path.name)) as again:
        assert again.load(record.info.sid, now=NOW) == record


def make_app(folder: Path, url: str, clock: Any = None) -> Flask:
    app = Flask("app", root_path=str(folder), instance_path=str(folder / "instance"))
    app.config.update(TESTING=True, SECRET_KEY="of the tests of the file", IDLESESSION_STORE=url)
    IdleSession(app, **({} if clock is None else {"clock": clock}))
    app.add_url_rule("/set", view_func=lambda: session.update(x=1) or "set", endpoint="set")
    app.add_url_rule("/get", view_func=lambda: str(session.get("x")), endpoint="get")
    app.add_url_rule("/plain", view_func=lambda: "plain", endpoint="plain")
    return app


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:///sessions.db", "instance/sessions.db"),
        ("sqlite:///a/b/sessions.db", "instance/a/b/sessions.db"),
        ("sqlite:///../beside/sessions.db", "beside/sessions.db"),
    ],
)
def test_a_relative_path_is_of_the_instance_folder_which_is_made(tmp_path: Path, url: str, place: str) -> None:
    app = make_app(tmp_path, url)
    assert app.test_client().get("/set").text == "set"
    assert [str(found.relative_to(tmp_path)) for found in tmp_path.rglob("sessions.db")] == [place]
    app.extensions["idlesession"].manager.close()


def test_a_store_that_is_locked_at_its_first_use_answers_503_and_serves_requests_without_a_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "instance"
    folder.mkdir(mode=0o700)
    (folder / "s.db").touch(0o600)
    app = make_app(tmp_path, "sqlite:///s.db")
    with Locked(folder / "s.db", "EXCLUSIVE"):
        began = time.monotonic()
        assert app.test_client().get("/plain").text == "plain"
        assert time.monotonic() - began < 1, "A request without a session waits for nothing."
        answers = [app.test_client().get("/set")]
        waited = time.monotonic() - began
        answers += [app.test_client().get("/set") for _ in range(10)]
        assert [answer.status_code for answer in answers] == [503] * 11
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        assert waited < 4 and time.monotonic() - began - waited < 4, "One long wait is enough for all."
        assert app.test_client().get("/plain").text == "plain"
    assert "database is locked" in caplog.text
    client, give_up_at = app.test_client(), time.monotonic() + 10
    while client.get("/set").status_code == 503:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    assert client.get("/get").text == "1"
    app.extensions["idlesession"].manager.close()


def test_a_store_whose_folder_went_away_is_an_outage(store: SQLiteStore, path: Path) -> None:
    store.close()
    path.parent.rename(path.parent.with_name("away"))
    path.parent.write_text("in the way")
    with pytest.raises(StoreUnavailable):
        store.load(uuid4(), now=NOW)


def test_an_app_on_a_read_only_file_reads_and_does_not_write(store: SQLiteStore, path: Path) -> None:
    record = a_record()
    store.create(record)
    assert store.load(record.info.sid, now=NOW) is not None
    with store._file.writing() as connection:
        connection.rows("PRAGMA query_only = ON")  # As for a file system that was mounted again, read-only.
    with pytest.raises(StoreUnavailable, match="readonly"):
        store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW)


# It is queued for.


def test_a_writer_waits_no_longer_than_it_may_for_other_threads(path: Path) -> None:
    with closing(SQLiteStore(path, busy_timeout=0.05)) as store:
        assert store._file.queue.acquire(timeout=0.0)
        with pytest.raises(StoreUnavailable, match="Others have written"):
            store.create(a_record())
        store._file.queue.release()
        store.create(a_record())


def test_threads_that_write_have_their_turns_in_order(store: SQLiteStore, path: Path) -> None:
    """SQLite alone lets a writer that was unlucky wait for ever longer."""
    record = a_record()
    store.create(record)
    outcomes: dict[int, Outcome] = {}
    queue = store._file.queue

    def write(number: int) -> None:
        before = {} if number == 0 else {"n": b"%d" % (number - 1)}
        outcomes[number] = store.commit(
            record.info.sid, Change(holder=HOLDER, expect=before, delta={"n": b"%d" % number}), now=NOW
        )

    threads = []
    with Locked(path):
        for number in range(20):
            threads.append(threading.Thread(target=write, args=(number,)))
            threads[-1].start()
            wait_until(lambda number=number: queue._lock.locked() and len(queue._waiting) == number, f"{number} wait")
    for thread in threads:
        thread.join()
    assert set(outcomes.values()) == {Outcome.DONE}, "Each found the value of the one that came before it."
    assert len(outcomes) == 20


def test_a_writer_of_another_process_is_waited_for_in_short_steps(store: SQLiteStore, path: Path) -> None:
    record = a_record()
    store.create(record)
    waits = []
    for _ in range(5):
        other = Locked(path)
        freed: list[float] = []

        def free(other: Locked = other, freed: list[float] = freed) -> None:
            other.__exit__()
            freed.append(time.monotonic())

        timer = threading.Timer(0.2, free)
        timer.start()
        assert store.delete(record.info.sid) is not None
        timer.join()
        waits.append(time.monotonic() - freed[0])
    assert median(waits) < 0.05, "SQLite itself looks each tenth of a second by then."


def test_a_change_holds_the_file_for_one_statement(store: SQLiteStore, path: Path) -> None:
    """While Python's threads take turns, no process waits."""
    record = a_record(user_id="ada")
    store.create(record)
    rotation = Rotation(secret_digest=HOLDER, user_id="ada")
    for change in (
        Change(holder=HOLDER, last_seen_at=NOW, delta={"a": b"1"}),
        Change(holder=HOLDER, last_seen_at=NOW, rotation=rotation),
        Change(holder=HOLDER, labels={"place": "here"}),
        Change(holder=HOLDER, idle_timeout=9.0, refresh_by=NOW + 30, expect={"a": b"1"}),
    ):
        assert store.load(record.info.sid, now=NOW, touch=Touch(HOLDER)) is not None
        begun: list[str] = []
        for connection in store._file._idle:
            connection.plain.set_trace_callback(lambda statement, to=begun: to.append(statement.split()[0]))
        assert store.commit(record.info.sid, change, now=NOW) is Outcome.DONE
        assert begun in (["UPDATE"], [])
        for connection in store._file._idle:
            connection.plain.set_trace_callback(None)
    left = store.load(record.info.sid, now=NOW)
    assert left is not None
    assert (left.info.idle_timeout, left.info.labels, left.values["a"]) == (9.0, {"place": "here"}, b"1")


# A fork comes.


def test_a_fork_amid_a_checkpoint_does_not_wait_for_it(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint has its two connections in one step, or it waits without one."""
    for _ in range(50):
        store.create(a_record())
    store.close()
    open_one, reached = store._file._open, threading.Event()

    def open_slowly(**how: Any) -> Connection:
        reached.set()
        time.sleep(0.2)
        return open_one(**how)

    monkeypatch.setattr(store._file, "_open", open_slowly)
    thread = threading.Thread(target=store._file.checkpoint, daemon=True)
    thread.start()
    assert reached.wait(10)
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert time.monotonic() - began < 5
    thread.join(10)
    assert not thread.is_alive()
    monkeypatch.undo()
    store.create(a_record())


# Another file comes in its place.


def let_a_second_pass(store: SQLiteStore) -> None:
    store._file._look_at = 0.0


@pytest.mark.parametrize("how", ["deleted", "replaced", "its log was deleted", "its memory was deleted", "restored"])
def test_a_file_that_was_swapped_under_a_running_process_is_told_and_the_new_one_is_used(
    store: SQLiteStore, path: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept, lost = a_record(), a_record()
    store.create(kept)
    if how == "restored":
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(tmp_path / "backup")) as target:
            source.backup(target)
        (tmp_path / "backup").chmod(0o600)
    store.create(lost)
    if how == "deleted":
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
    elif how == "replaced":
        with closing(SQLiteStore(tmp_path / "other")) as other:
            other.create(kept)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
        (tmp_path / "other").rename(path)
    elif how == "restored":
        (tmp_path / "backup").rename(path)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
    else:
        path.with_name(path.name + ("-wal" if "log" in how else "-shm")).unlink()
    let_a_second_pass(store)
    new = a_record()
    store.create(new)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"{str(path)!r}" in caplog.text and "while it was in use" in caplog.text
    if how in ("replaced", "restored"):
        assert store.load(kept.info.sid, now=NOW) == kept
    if how in ("deleted", "replaced", "restored"):
        assert store.load(lost.info.sid, now=NOW) is None
    assert run_sql(path, "SELECT count(*) FROM session WHERE sid = ?", (new.info.sid.bytes,)) == [(1,)]
    with closing(SQLiteStore(path)) as another:
        assert another.load(new.info.sid, now=NOW) == new, "All processes have one set of sessions."
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]
    let_a_second_pass(store)
    store.create(a_record())
    assert len(caplog.records) == 1, "It is told once."


def test_a_database_of_something_else_in_its_place_is_an_outage_and_left_alone(store: SQLiteStore, path: Path) -> None:
    store.create(a_record())
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    make_database(path, "CREATE TABLE customer (name TEXT)")
    before = path.read_bytes()
    let_a_second_pass(store)
    with pytest.raises(StoreUnavailable, match="something else"):
        store.create(a_record())
    assert path.read_bytes() == before


def test_a_file_that_stays_is_looked_at_once_a_second_and_never_opened_again(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record, looks = a_record(), []
    store.create(record)
    find_places = store._file._find_places
    monkeypatch.setattr(store._file, "_find_places", lambda: looks.append(1) or find_places())
    for _ in range(200):
        store.load(record.info.sid, now=NOW, touch=Touch(HOLDER))
    assert len(looks) <= 3
    for _ in range(3):
        store.close()
        let_a_second_pass(store)
        assert store.load(record.info.sid, now=NOW) is not None
    assert not caplog.records


# Its clock was ahead.


@pytest.mark.parametrize("ahead", [300.0, 3600.0, 1e6])
def test_sessions_that_were_seen_while_the_clock_was_ahead_end_in_time_after_it_was_set_right(
    path: Path, ahead: float, caplog: pytest.LogCaptureFixture
) -> None:
    created = a_record(created_at=NOW + ahead, last_seen_at=NOW + ahead, lifetime_ends_at=NOW + 1e9)
    touched, other = a_record(lifetime_ends_at=NOW + 1e9), a_record(idle_timeout=900.0)
    with closing(SQLiteStore(path)) as before:
        for record in (touched, other):
            before.create(record)
        assert before.load(touched.info.sid, now=NOW + 1, touch=Touch(HOLDER)) is not None
        before.create(created)
        run_sql(path, "UPDATE session SET last_seen_at = ? WHERE sid = ?", (NOW + ahead, touched.info.sid.bytes))
        list(before.find(now=NOW + ahead))
    with closing(SQLiteStore(path)) as store:
        for record in (created, touched):
            loaded = store.load(record.info.sid, now=NOW + 10)
            assert loaded is not None and loaded.info.last_seen_at == NOW + 10
            assert store.load(record.info.sid, now=NOW + 10 + 59) is not None
            assert store.load(record.info.sid, now=NOW + 10 + 60) is None
        unchanged = store.load(other.info.sid, now=NOW + 10)
        assert unchanged is not None and unchanged.info.last_seen_at == NOW
        due = store.next_expiry()
        assert due is not None and due <= NOW + 10 + 60
        assert {info.sid for info in store.prune(now=NOW + 100, limit=10)} == {created.info.sid, touched.info.sid}
    assert [f"ahead by {ahead - 10:.0f} s" in record.getMessage() for record in caplog.records] == [True]


def test_a_session_that_was_seen_long_ago_and_is_carried_into_the_file_says_nothing_of_the_clock(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [a_record(last_seen_at=NOW - ago, idle_timeout=9000.0, lifetime_ends_at=NOW + 1e9) for ago in (0, 900)]
    with closing(SQLiteStore(path)) as before:
        before.create(records[0])
        list(before.find(now=NOW))
    with closing(SQLiteStore(path)) as store:
        store.create(records[1])
        assert [store.load(record.info.sid, now=NOW + 1) for record in records] == records
    assert not caplog.records


def test_processes_whose_clocks_differ_by_a_moment_set_nothing_right(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = a_record()
    with closing(SQLiteStore(path)) as first, closing(SQLiteStore(path)) as second:
        first.create(record)
        for seconds in range(0, 500, 10):
            at = NOW + seconds / 10
            assert first.load(record.info.sid, now=at, touch=Touch(HOLDER)) is not None
            assert second.load(record.info.sid, now=at - 4) is not None
        with closing(SQLiteStore(path)) as third:
            loaded = third.load(record.info.sid, now=NOW + 40)
            assert loaded is not None and loaded.info.last_seen_at == NOW + 49
    assert not caplog.records


def test_a_restart_after_the_clock_was_set_right_ends_sessions_in_time(tmp_path: Path) -> None:
    clock = FakeClock(NOW + 3600)
    client = make_app(tmp_path, "sqlite:///s.db", clock).test_client()
    assert client.get("/set").text == "set"
    while not run_sql(tmp_path / "instance" / "s.db", "SELECT latest FROM clock"):
        clock.advance(61)  # The time is noted each minute, where nobody has to be waited for.
        assert client.get("/get").text == "1"
    client.application.extensions["idlesession"].manager.close()
    clock.advance(NOW - clock())
    app = make_app(tmp_path, "sqlite:///s.db", clock)
    again = app.test_client()
    again.set_cookie("session", client.get_cookie("session").value)  # type: ignore[union-attr]
    other = app.test_client()
    assert other.get("/set").text == "set"
    assert other.get("/get").text == "1"
    clock.advance(1800)
    assert again.get("/get").text == "None", "It is idle for half an hour since the restart."
    app.extensions["idlesession"].manager.close()


# One session's trouble.


@pytest.mark.parametrize(
    "record",
    [
        a_record(last_seen_at=float("nan")),
        a_record(user_id="half \ud800"),
        a_record(created_at=None),
        a_record(created_at=2**70),
    ],
    ids=["nan", "surrogate", "none", "huge"],
)
def test_a_record_that_the_file_cannot_hold_is_rejected_and_nobody_else_s_trouble(
    store: SQLiteStore, record: Any, path: Path
) -> None:
    other = a_record()
    store.create(other)
    with pytest.raises(RecordRejected):
        store.create(record)
    assert run_sql(path, "SELECT count(*) FROM session") == [(1,)]
    assert store.load(other.info.sid, now=NOW) == other


def test_a_record_that_is_too_large_is_rejected(store: SQLiteStore) -> None:
    record = a_record()
    store.create(record)
    for connection in store._file._idle:
        connection.plain.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000)
    with pytest.raises(RecordRejected, match="too big"):
        store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"x" * 60_000}), now=NOW)
    assert store.load(record.info.sid, now=NOW) == record


@pytest.mark.parametrize("value", [None, 7, 7.5, "text", b"bytes", b"", -1e308, 9e999])
@pytest.mark.parametrize(
    "column",
    ["sid", "user_id", "created_at", "last_seen_at", "idle_timeout", "lifetime_ends_at", "refresh_by", "labels"]
    + ["secret_digest", "former_digest", "former_ends_at", "due_at", "data"],
)
def test_a_spoilt_row_is_its_own_trouble_and_is_forgotten_in_the_end(
    store: SQLiteStore, path: Path, column: str, value: Any
) -> None:
    spoilt, other = a_record(user_id="ada"), a_record(user_id="ada", idle_timeout=inf)
    for record in (spoilt, other):
        store.create(record)
    script = f"PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, '{column} BLOB NOT NULL', "
    script += f"'{column} BLOB') WHERE name = 'session'; UPDATE sqlite_master SET sql = replace(sql, "
    script += f"'{column} REAL NOT NULL', '{column} REAL') WHERE name = 'session'"
    store.close()
    if value is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)
    run_sql(path, f"UPDATE session SET {column} = ? WHERE sid = ?", (value, spoilt.info.sid.bytes))
    acts: list[Callable[[], object]] = [
        lambda: store.load(spoilt.info.sid, now=NOW),
        lambda: store.load(spoilt.info.sid, now=NOW, touch=Touch(HOLDER)),
        lambda: store.commit(spoilt.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW),
        lambda: store.commit(spoilt.info.sid, Change(holder=HOLDER, last_seen_at=NOW), now=NOW),
    ]
    told = []
    for act in acts:
        try:
            act()
        except UnreadableRecord as error:
            told.append(error.info.sid)
    assert set(told) <= {spoilt.info.sid}
    assert other.info.sid in {info.sid for info in store.find(now=NOW)}
    assert other.info.sid in {info.sid for info in store.find(now=NOW, user_id="ada")}
    with SessionManager(store, clock=FakeClock(NOW)) as manager:
        manager.revoke_user("ada")
        assert manager.sessions_of("ada") == []


def test_an_expired_row_that_was_spoilt_holds_up_no_other(store: SQLiteStore, path: Path) -> None:
    records = [a_record() for _ in range(300)]
    for record in records:
        store.create(record)
    run_sql(path, "UPDATE session SET sid = CAST(rowid AS TEXT) WHERE rowid <= 150")
    run_sql(path, "UPDATE session SET idle_timeout = 'long' WHERE rowid BETWEEN 151 AND 250")
    for _ in range(20):
        store.prune(now=NOW + 100, limit=64)
    assert run_sql(path, "SELECT count(*) FROM session") == [(0,)]


# Answers are checked.


def test_an_answer_about_another_session_is_refused(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    record, other = a_record(), a_record()
    for each in (record, other):
        store.create(each)
    rows, sid = Connection.rows, record.info.sid

    def crossed(self: Connection, statement: str, told: Any = ()) -> Any:
        answer = rows(self, statement, told)
        if statement != store._sql.load and not statement.startswith(("UPDATE", "DELETE", 'INSERT INTO "session"')):
            return answer
        return [tuple(other.info.sid.bytes if column == sid.bytes else column for column in row) for row in answer]

    change = Change(holder=HOLDER, delta={"a": b"1"})
    acts: dict[str, Callable[[], object]] = {
        "load": lambda: store.load(sid, now=NOW),
        "touch": lambda: store.load(sid, now=NOW, touch=Touch(HOLDER)),
        "commit": lambda: store.commit(sid, change, now=NOW),
        "touch alone": lambda: store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW), now=NOW),
        "delete": lambda: store.delete(sid),
        "delete_many": lambda: store.delete_many([sid]),
        "create": lambda: store.create(record),
        "prune": lambda: store.prune(now=NOW + 61, limit=10),
    }
    for name, act in acts.items():
        monkeypatch.undo()
        store.delete(sid)
        if name != "create":
            store.create(record)
        monkeypatch.setattr(Connection, "rows", crossed)
        with pytest.raises(StoreUnavailable, match="answered about"):
            act()


def test_no_statement_has_numbered_placeholders() -> None:
    statements = Statements("")
    texts = [value for value in vars(statements).values() if isinstance(value, str)]
    texts += [*statements.forget_oldest.values(), *statements.count_endings.values()]
    texts += [make(3) for make in (statements.delete_some, statements.delete_expired, statements.bury)]
    assert len(texts) > 20
    assert not [text for text in texts if any(f"?{digit}" in text for digit in "0123456789")]


def test_it_works_without_rows_that_a_change_returns(path: Path) -> None:
    """On SQLite before 3.35, as on enterprise systems of 2022."""
    program = (
        "import sqlite3, sys; sqlite3.sqlite_version_info = (3, 34, 1); import pytest; "
        "sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', '-p', 'no:randomly', sys.argv[1], '-k', "
        "'TestContract or TestEndings']))"
    )
    tests = Path(__file__).with_name("test_sqlite.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    command = [sys.executable, "-c", program, tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_process_that_is_killed_while_it_prunes_leaves_no_session_of_which_nobody_knows_how_it_ended(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, rows = a_record(), Connection.rows
    store.create(record)

    def killed(self: Connection, statement: str, told: Any = ()) -> Any:
        if statement.startswith("DELETE"):
            raise sqlite3.OperationalError("killed")
        return rows(self, statement, told)

    with monkeypatch.context() as killing:
        killing.setattr(Connection, "rows", killed)
        with pytest.raises(StoreUnavailable):
            store.prune(now=NOW + 60, limit=10)
    ending = Ending(record.info.sid, EndReason.IDLE, NOW + 60)
    assert store.ending(record.info.sid, now=NOW + 60) == ending
    assert [info.sid for info in store.prune(now=NOW + 60, limit=10)] == [record.info.sid]
    assert store.ending(record.info.sid, now=NOW + 60) == ending


def test_a_backlog_that_is_pruned_leaves_no_log_that_grew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of hundreds of megabytes would keep all writers waiting while it is moved into the database."""
    monkeypatch.setattr(sqlite_file, "has_wal_reset_fault", lambda version: True)
    with closing(SQLiteStore(path)) as store:
        for _ in range(3000):
            store.create(a_record())
        store._file.checkpoint()
        store._file._writes = 0
        moved = []
        monkeypatch.setattr(store._file, "checkpoint", lambda: moved.append(1))
        while store.prune(now=NOW + 1000, limit=64):
            pass
    assert len(moved) >= 5
