"""The SQLite store: the contract, races over processes, and the file that it keeps."""

import gc
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from functools import partial
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID
from uuid import uuid4
from uuid import uuid5

import pytest
from support.linearizability import check_store
from support.own_time import give_own_time
from support.store_races import a_record
from support.store_races import add_up
from support.store_races import HOLDER
from support.store_races import in_processes
from support.store_races import in_threads
from support.store_races import NOW
from support.store_races import StoreRaces
from support.store_races import write_keys

from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound
from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.errors import StoreError
from flask_idlesession.model.ids import digest
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import EndReason
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores import columns as row
from flask_idlesession.stores.circuit_breaker import CircuitBreaker
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.sqlite import connection as sqlite_connection
from flask_idlesession.stores.sqlite import file as sqlite_file
from flask_idlesession.stores.sqlite import schema
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.stores.sqlite.file import has_wal_reset_fault
from flask_idlesession.stores.sqlite.file_systems import file_system_of
from flask_idlesession.stores.sqlite.statements import Statements
from flask_idlesession.testing.store_contract import StoreContract

SQL = Statements("")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "instance" / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()


class TestContract(StoreContract):
    @pytest.fixture
    def make_store(self, path: Path) -> Iterator[Callable[[], Store]]:
        with ExitStack() as stores:
            yield lambda: stores.enter_context(closing(SQLiteStore(path.with_name(f"{uuid4()}.db"))))


@pytest.fixture
def is_open(monkeypatch: pytest.MonkeyPatch) -> dict[int, bool]:
    """Return what becomes of each connection: Python 3.13 warns of one that nobody closed."""
    is_open: dict[int, bool] = {}

    class Watched(sqlite3.Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            is_open[id(self)] = True

        def close(self) -> None:
            super().close()
            is_open[id(self)] = False

    monkeypatch.setattr(sqlite_file.sqlite3, "connect", partial(sqlite3.connect, factory=Watched))
    return is_open


def test_a_store_that_is_dropped_closes_its_connections(path: Path, is_open: dict[int, bool]) -> None:
    store = SQLiteStore(path)
    store.create(a_record())
    assert any(is_open.values())
    del store
    gc.collect()
    assert not any(is_open.values())


def test_a_file_that_is_no_database_is_closed_again(path: Path, is_open: dict[int, bool]) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"This is no database. " * 100)
    path.chmod(0o600)
    with pytest.raises((ConfigError, StoreError)):
        SQLiteStore(path)
    gc.collect()
    assert list(is_open.values()) == [False]


class TestRaces(StoreRaces):
    opener = SQLiteStore
    rounds = 1000

    @pytest.fixture
    def spec(self, path: Path) -> str:
        return str(path)

    def test_processes_may_start_at_the_same_time(self, tmp_path: Path) -> None:
        for attempt in range(10):
            path = str(tmp_path / f"new{attempt}" / "sessions.db")
            assert in_processes(None, path, [(_start, ())] * 8) == [True] * 8
            assert _run_sql(Path(path), "SELECT count(*) FROM session") == [(8,)]


@pytest.mark.soak
class TestManyRaces(TestRaces):
    rounds, writes, additions = 5000, 200, 200


def _start(path: str, number: int) -> bool:
    store, record = SQLiteStore(path), a_record()
    store.create(record)
    kept = store.load(record.info.sid, now=NOW) == record
    store.close()
    return kept


class TestAtomicSteps:
    @pytest.mark.parametrize(("threads", "processes"), [(4, 0), (1, 2)])
    def test_every_call_is_one_atomic_step(self, path: Path, threads: int, processes: int) -> None:
        seed = os.environ.get("LINEARIZABILITY_SEED", os.urandom(4).hex())
        make_store = partial(SQLiteStore, path, busy_timeout=30.0)
        overlaps = check_store(make_store, histories=100, threads=threads, processes=processes, seed=seed)
        assert overlaps > 50, "the calls did not meet; nothing was shown"


class TestFile:
    def test_the_first_connection_waits_for_another_process_that_has_the_file(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.parent.mkdir(mode=0o700)
        path.touch(mode=0o600)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                other.execute("COMMIT")

        give_own_time(monkeypatch, sqlite_connection, sleep=wait)
        store = SQLiteStore(path)
        store.create(a_record())
        assert len(waits) == 3
        store.close()
        other.close()

    def test_the_file_and_a_new_folder_are_their_owner_s_alone_whatever_the_umask(self, path: Path) -> None:
        before = os.umask(0)
        try:
            store = SQLiteStore(path)
            store.create(a_record())
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["sessions.db", "sessions.db-shm", "sessions.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        store.close()

    def test_a_symbolic_link_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "other").touch(mode=0o600)
        (tmp_path / "link.db").symlink_to(tmp_path / "other")
        with pytest.raises(ConfigError, match="symbolic link"):
            SQLiteStore(tmp_path / "link.db")
        assert (tmp_path / "other").read_bytes() == b""

    def test_a_file_of_another_user_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        SQLiteStore(path).close()
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 4321)
        with pytest.raises(
            ConfigError, match=r"belongs to user \d+, and this process is user \d+; give it to that user \(chown"
        ):
            SQLiteStore(path)

    def test_a_file_that_others_may_read_is_refused(self, path: Path) -> None:
        SQLiteStore(path).close()
        path.chmod(0o640)
        with pytest.raises(ConfigError, match="chmod 600"):
            SQLiteStore(path)

    def test_a_folder_that_others_may_write_to_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(ConfigError, match="chmod go-w"):
            SQLiteStore(tmp_path / "open" / "sessions.db")

    @pytest.mark.parametrize("path", ["", ":memory:", "file:x?mode=memory"])
    def test_what_is_no_file_is_refused(self, path: str) -> None:
        with pytest.raises(ConfigError, match="not the path of a file"):
            SQLiteStore(path)

    def test_a_network_file_system_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "file_system_of", lambda folder: "nfs4")
        with pytest.raises(ConfigError, match=r"network file system \(nfs4\)"):
            SQLiteStore(path)

    def test_the_innermost_and_latest_mount_tells_the_file_system(self, tmp_path: Path) -> None:
        mounts = tmp_path / "mounts"
        mounts.write_text(
            "/dev/sda / ext4 rw 0 0\nhost:/x /srv/my\\040share nfs4 rw 0 0\ntmpfs /srv/twice tmpfs rw 0 0\n"
            "host:/y /srv/twice nfs rw 0 0\n/dev/sdb /srv/my\\040share/local xfs rw 0 0\n"
        )
        told = {
            "/home/me": "ext4",
            "/srv": "ext4",
            "/srv/my share/a/b": "nfs4",
            "/srv/my share/local": "xfs",
            "/srv/my sharewood": "ext4",
            "/srv/twice": "nfs",
        }
        assert {folder: file_system_of(Path(folder), mounts=mounts) for folder in told} == told
        assert file_system_of(tmp_path, mounts=tmp_path / "none") is None

    def test_a_database_of_something_else_is_refused_and_left_alone(self, path: Path) -> None:
        path.parent.mkdir()
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE customer (name TEXT)")
        other.close()
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="something else"):
            SQLiteStore(path)
        other = sqlite3.connect(path)
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("customer",)]
        other.close()

    def test_a_file_of_a_newer_version_is_refused(self, path: Path) -> None:
        SQLiteStore(path).close()
        _run_sql(path, "PRAGMA user_version = 99")
        with pytest.raises(ConfigError, match="its version is 99, this one knows"):
            SQLiteStore(path)

    def test_a_file_of_an_older_version_is_migrated_once_and_keeps_its_sessions(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, record = SQLiteStore(path), a_record()
        store.create(record)
        store.close()
        step = ("ALTER TABLE session ADD COLUMN note TEXT", "UPDATE session SET note = 'moved'")
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
        for _ in range(2):
            store = SQLiteStore(path)
            assert store.load(record.info.sid, now=NOW) == record
            store.close()
        assert _run_sql(path, "SELECT note FROM session") == [("moved",)]
        assert _run_sql(path, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]

    def test_sessions_outlive_the_process(self, path: Path) -> None:
        first, record = SQLiteStore(path), a_record(user_id="anna", refresh_by=inf)
        first.create(record)
        first.close()
        second = SQLiteStore(path)
        assert second.load(record.info.sid, now=NOW) == record
        second.close()

    def test_the_file_shrinks_when_most_sessions_are_gone(self, store: SQLiteStore, path: Path) -> None:
        for _ in range(600):
            record = a_record()
            store.create(record)
            store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": os.urandom(3000)}), now=NOW)
        store._file.checkpoint()
        before = path.stat().st_size
        while store.prune(now=NOW + 99, limit=50):
            pass
        store._file.checkpoint()
        assert path.stat().st_size < before / 3

    def test_a_script_waits_for_another_process_that_writes(
        self, store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(a_record())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        give_own_time(monkeypatch, sqlite_connection, sleep=lambda _: other.execute("COMMIT"))
        with store._file.reading() as connection:  # The script begins a write of its own, as a shrinking file does.
            connection.run_script('DELETE FROM "session"')
        assert list(store.find(now=NOW)) == []
        other.close()

    def test_what_was_deleted_is_not_legible_in_the_file(self, store: SQLiteStore, path: Path) -> None:
        record = a_record(user_id="someone@example.org")
        store.create(record)
        store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"a private matter"}), now=NOW)
        store.delete(record.info.sid)
        store.close()
        assert not path.with_name("sessions.db-wal").exists()
        assert b"private matter" not in path.read_bytes()
        assert b"someone" not in path.read_bytes()


class TestWriteAheadLog:
    @pytest.mark.parametrize(
        ("version", "faulty"),
        [
            ((3, 34, 1), True),
            ((3, 44, 5), True),
            ((3, 44, 6), False),
            ((3, 45, 0), True),
            ((3, 50, 6), True),
            ((3, 50, 7), False),
            ((3, 51, 2), True),
            ((3, 51, 3), False),
            ((3, 53, 0), False),
        ],
    )
    def test_the_versions_with_the_wal_reset_fault_are_known(self, version: tuple[int, int, int], faulty: bool) -> None:
        assert has_wal_reset_fault(version) is faulty

    @pytest.mark.parametrize("faulty", [True, False])
    def test_the_log_stays_small_over_many_writes(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, faulty: bool
    ) -> None:
        monkeypatch.setattr(sqlite_file, "has_wal_reset_fault", lambda version: faulty)
        store, record = SQLiteStore(path), a_record()
        store.create(record)
        for index in range(5000):
            store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"%d" % index}), now=NOW)
        assert path.with_name("sessions.db-wal").stat().st_size < 12_000_000
        store.close()

    def test_with_the_fault_sqlite_never_checkpoints_while_another_may_write(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_file, "has_wal_reset_fault", lambda version: True)
        store = SQLiteStore(path)
        with store._file.reading() as connection:
            assert connection.rows("PRAGMA wal_autocheckpoint") == [(0,)]
        store.create(a_record())
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        store._file.checkpoint()  # Finds it busy, and leaves the log as it is.
        writer.execute("ROLLBACK")
        before = path.stat().st_size
        store._file.checkpoint()
        assert path.stat().st_size > before
        writer.close()
        store.close()

    def test_ends_and_rotations_are_on_disk_before_the_call_returns_and_touches_need_not_be(
        self, store: SQLiteStore
    ) -> None:
        record = a_record(user_id="anna")
        sid = record.info.sid
        rotation = Rotation(secret_digest=HOLDER, user_id="anna")
        emptying = Change(holder=HOLDER, delta={"kept": None, "x": None}, end_if_emptied=True)
        store.create(record)
        store.commit(sid, Change(holder=HOLDER, rotation=rotation), now=NOW)  # Opens the connection.
        acts: dict[str, tuple[list[str], Callable[[], object]]] = {
            "touch": (["NORMAL"], lambda: store.load(sid, now=NOW, touch=Touch(HOLDER))),
            "rotation": (["FULL"], lambda: store.commit(sid, Change(holder=HOLDER, rotation=rotation), now=NOW)),
            "write": (["NORMAL"], lambda: store.commit(sid, Change(holder=HOLDER, delta={"x": b"1"}), now=NOW)),
            "emptied": (["FULL"] * 4, lambda: store.commit(sid, emptying, now=NOW)),
            "delete": (["FULL"], lambda: store.delete(sid)),
            "delete_many": (["FULL"], lambda: store.delete_many([sid])),
            "create": (["NORMAL"], lambda: store.create(record)),
            "touch alone": (["NORMAL"], lambda: store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW), now=NOW)),
            "late rotation": (
                ["FULL"] * 4,
                lambda: store.commit(sid, Change(holder=HOLDER, rotation=rotation), now=NOW),
            ),
        }
        for name, (expected, act) in acts.items():
            with traced(store) as told:
                act()
            assert [level for level, _ in told] == expected, (name, told)

    def test_a_request_that_writes_what_it_has_read_is_two_statements(self, store: SQLiteStore) -> None:
        record = a_record(refresh_by=NOW + 500)
        store.create(record)
        assert store.load(record.info.sid, now=NOW) is not None  # The first use of all looks at the clock, too.
        with traced(store) as told:
            assert store.load(record.info.sid, now=NOW + 1, touch=Touch(HOLDER, refresh_by=NOW + 501)) is not None
            change = Change(holder=HOLDER, last_seen_at=NOW + 1, delta={"a": b"1"})
            assert store.commit(record.info.sid, change, now=NOW + 1) is Outcome.DONE
        assert [statement.split()[0] for _, statement in told] == ["UPDATE", "UPDATE"]

    @pytest.mark.parametrize("what", ["values", "secret", "user", "labels", "timeout", "end"])
    def test_what_this_thread_has_read_is_compared_with_what_is_there(
        self, store: SQLiteStore, path: Path, what: str
    ) -> None:
        """Another process was quicker: then the change is made of what it left, or not at all."""
        record = a_record()
        store.create(record)
        sid, other = record.info.sid, SQLiteStore(path)
        rotation = Rotation(secret_digest=digest(b"third"), user_id="bob")
        meanwhile = {
            "values": Change(holder=HOLDER, delta={"b": b"2"}),
            "secret": Change(holder=HOLDER, rotation=Rotation(secret_digest=digest(b"second"), user_id=None)),
            "user": Change(holder=HOLDER, rotation=Rotation(secret_digest=HOLDER, user_id="ada")),
            "labels": Change(holder=HOLDER, labels={"place": "here"}),
            "timeout": Change(holder=HOLDER, idle_timeout=7.0),
        }
        for mine in (Change(holder=HOLDER, delta={"c": b"3"}), Change(holder=HOLDER, rotation=rotation)):
            store.load(sid, now=NOW, touch=Touch(HOLDER))
            before = other.load(sid, now=NOW)
            assert before is not None
            if what == "end":
                other.delete(sid)
            else:
                assert other.commit(sid, meanwhile[what], now=NOW) is Outcome.DONE
                before = before.apply(meanwhile[what], now=NOW)
            outcome = store.commit(sid, mine, now=NOW)
            if what in ("end", "secret"):
                assert outcome is Outcome.GONE
                break
            assert outcome is Outcome.DONE
            assert other.load(sid, now=NOW) == before.apply(mine, now=NOW)
        other.close()

    def test_a_process_that_is_killed_leaves_a_whole_file_and_every_end_it_reported(self, path: Path) -> None:
        for _ in range(3):
            process = subprocess.Popen(
                [sys.executable, "-c", _WRITE_UNTIL_KILLED, str(path)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            assert process.stdout is not None
            ended = [UUID(process.stdout.readline().strip()) for _ in range(300)]
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split("\n")[:-1]
            process.wait()
            process.stdout.close()
            store = SQLiteStore(path)
            assert all(store.load(sid, now=NOW) is None for sid in [*ended, *map(UUID, rest)])
            store.close()
            assert _run_sql(path, "PRAGMA integrity_check") == [("ok",)]


_WRITE_UNTIL_KILLED = """
import sys
from support.store_races import *
from flask_idlesession.stores.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1])
while True:
    record, other = a_record(), a_record()
    store.create(record), store.create(other)
    store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1" * 5000}), now=NOW)
    store.delete(record.info.sid)
    print(record.info.sid, flush=True)
"""


class TestFork:
    def test_a_child_opens_connections_of_its_own(self, store: SQLiteStore) -> None:
        record = a_record()
        store.create(record)
        assert _in_child(lambda: write_keys(store, 1, record.info.sid, 5))
        write_keys(store, 0, record.info.sid, 5)
        left = store.load(record.info.sid, now=NOW)
        assert left is not None and len(left.values) == 11

    def test_no_connection_is_open_while_the_process_forks(self, store: SQLiteStore, path: Path) -> None:
        store.create(a_record())
        assert _in_child(lambda: _assert(str(path) not in {os.readlink(link) for link in _open_files()}))

    def test_a_fork_amid_writing_threads_leaves_no_lock_held(self, store: SQLiteStore) -> None:
        record = a_record()
        store.create(record)
        enough, forked = threading.Event(), []

        def write() -> None:
            index = 0
            while not enough.is_set():
                index += 1
                store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"%d" % index}), now=NOW)

        def fork() -> None:
            try:
                forked.extend(_in_child(lambda: add_up(store, 0, record.info.sid, 1)) for _ in range(15))
            finally:
                enough.set()

        in_threads([write, write, write, fork])
        assert forked == [True] * 15
        left = store.load(record.info.sid, now=NOW)
        assert left is not None and left.values["sum"] == b"15"


class TestEndings:
    def test_those_whose_time_has_come_go_some_at_each_burial(
        self, store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row, "FORGOTTEN_AT_ONCE", 30)
        store.bury([an_ending() for _ in range(50)], until=NOW + 60)
        store.bury([an_ending(ended_at=NOW + 59.9)], until=NOW + 600)
        assert _count_endings(path) == 51
        for left in (22, 3, 4):
            store.bury([an_ending(ended_at=NOW + 60)], until=NOW + 600)
            assert _count_endings(path) == left

    def test_of_a_flood_the_newest_are_remembered(
        self, store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row, "MOST_ENDINGS", 200)
        for number in range(8):
            store.bury([an_ending(ended_at=NOW + number) for _ in range(1000)], until=NOW + number + 600)
        assert _run_sql(path, "SELECT count(*), min(ended_at) FROM ending") == [(200, NOW + 7)]

    def test_a_flood_leaves_what_is_remembered_of_a_revocation(
        self, store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row, "MOST_ENDINGS", 100)
        marker = Ending(sid=uuid5(uuid4(), "ada"), reason=EndReason.REVOKED, ended_at=NOW, user_id="ada")
        store.bury([marker], until=NOW + 600)
        for number in range(3):
            store.bury([an_ending(ended_at=NOW + number) for _ in range(1000)], until=NOW + number + 601)
        assert _count_endings(path) == 101
        assert store.ending(marker.sid, now=NOW) == marker
        markers = [marker._replace(sid=uuid5(uuid4(), "bob")) for _ in range(1000)]
        store.bury(markers, until=NOW + 700)
        assert store.ending(marker.sid, now=NOW) is None, "They have a bound, too."
        assert _count_endings(path) == 200

    def test_a_burial_need_not_be_on_disk_and_is_one_transaction(self, store: SQLiteStore) -> None:
        for number in (2, 300):
            with traced(store) as told:
                store.bury([an_ending() for _ in range(number)], until=NOW + 60)
            assert {level for level, _ in told} == {"NORMAL"}
            writes = [statement.split()[0] for _, statement in told if not statement.startswith("SELECT")]
            assert writes == (["INSERT"] if number == 2 else ["BEGIN", *["INSERT"] * 3, "COMMIT"])

    def test_one_that_no_store_wrote_is_a_store_error(self, store: SQLiteStore, path: Path) -> None:
        ending = an_ending()
        store.bury([ending], until=NOW + 60)
        _run_sql(path, "UPDATE ending SET reason = 'abducted'")
        with pytest.raises(StoreError, match=str(ending.sid)):
            store.ending(ending.sid, now=NOW)


class TestFaults:
    def test_a_database_that_another_holds_is_a_store_error(self, path: Path) -> None:
        store, record = SQLiteStore(path, busy_timeout=0.05), a_record()
        store.create(record)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert store.load(record.info.sid, now=NOW) == record, "Readers do not wait for writers."
        other.execute("ROLLBACK")
        other.close()
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is Outcome.DONE
        store.close()

    def test_a_full_disk_is_a_store_error_and_keeps_what_was_there(self, store: SQLiteStore) -> None:
        record = a_record()
        store.create(record)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
        try:
            with pytest.raises(StoreError) as caught:
                store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1" * 1_000_000}), now=NOW)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert store.load(record.info.sid, now=NOW) == record
        assert store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is Outcome.DONE

    def test_a_damaged_file_is_a_store_error(self, store: SQLiteStore, path: Path) -> None:
        record = a_record()
        store.create(record)
        store.close()
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"\xff" * 40_000)
        with pytest.raises(StoreError) as caught:
            store.load(record.info.sid, now=NOW)
        assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)

    def test_values_that_no_store_wrote_are_a_store_error_and_never_run(self, store: SQLiteStore, path: Path) -> None:
        record, pickled = a_record(), b"cos\nsystem\n(S'true'\ntR."
        for planted in (pickled, b"\x80\x04N.", b"\x01\x81\xa1a\x01", b"\x01\x93\x01\x02", b"\x01", b""):
            store.create(record)
            _run_sql(path, "UPDATE session SET data = ?", planted)
            with pytest.raises(StoreError, match=str(record.info.sid)):
                store.load(record.info.sid, now=NOW)
            assert store.delete(record.info.sid)

    def test_labels_that_no_store_wrote_are_a_store_error(self, store: SQLiteStore, path: Path) -> None:
        record = a_record()
        store.create(record)
        for planted in (b"\x90", b"\x81\xa1a\x90", b"\xc1", b"\x80\x80"):
            _run_sql(path, "UPDATE session SET labels = ?", planted)
            with pytest.raises(StoreError, match=f"labels of session {record.info.sid}"):
                store.load(record.info.sid, now=NOW)

    @pytest.mark.parametrize("column", ["data", "labels"])
    def test_a_session_that_was_spoilt_is_ended_and_the_others_are_not(
        self, store: SQLiteStore, path: Path, column: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with SessionManager(CircuitBreaker(store)) as manager:
            spoilt = manager.create({"a": 1}, user_id="ada")
            _run_sql(path, f"UPDATE session SET {column} = ?", b"cos\nsystem\n(S'true'\ntR.")
            other = manager.create({"b": 2})
            for _ in range(5):
                with pytest.raises(SessionNotFound):
                    manager.read(spoilt)
            assert manager.read(other) == {"b": 2}
            assert [info.sid for info in manager.find()] == [other]
        assert [str(spoilt) in record.getMessage() for record in caplog.records] == [True]

    def test_an_interrupted_call_leaves_no_lock_behind(self, store: SQLiteStore) -> None:
        record = a_record()
        store.create(record)

        class Interrupted(BaseException):
            pass

        def call() -> None:
            with store._file.writing() as connection, connection.transaction():
                connection.rows("DELETE FROM session")
                raise Interrupted

        with pytest.raises(Interrupted):
            call()
        assert store.load(record.info.sid, now=NOW) == record
        assert store.delete(record.info.sid)

    def test_a_closed_store_opens_again_when_it_is_used(self, store: SQLiteStore) -> None:
        record = a_record()
        store.create(record)
        store.close()
        store.close()
        assert store.load(record.info.sid, now=NOW) == record


class TestCost:
    def test_a_hundred_threads_one_after_the_other_share_a_connection(self, store: SQLiteStore, path: Path) -> None:
        record = a_record()
        store.create(record)
        for _ in range(100):
            in_threads([lambda: store.load(record.info.sid, now=NOW)])
        assert [os.readlink(link) for link in _open_files()].count(str(path)) == 1

    def test_the_sessions_of_a_user_and_the_expired_are_found_by_an_index(self, store: SQLiteStore, path: Path) -> None:
        for sql in (
            "SELECT sid FROM session WHERE user_id = 'x'",
            "SELECT sid FROM session WHERE due_at <= 1 ORDER BY due_at LIMIT 9",
            "SELECT min(due_at) FROM session",
        ):
            ((*_, plan),) = _run_sql(path, f"EXPLAIN QUERY PLAN {sql}")
            assert "session_user_id" in plan or "session_due_at" in plan, plan

    def test_the_endings_to_forget_are_found_by_an_index(self, store: SQLiteStore, path: Path) -> None:
        oldest = [(sql, (9,)) for sql in SQL.forget_oldest.values()]
        for sql, told in ((SQL.is_forgettable, (NOW,)), (SQL.forget_due, (NOW, 9)), *oldest):
            plan = [each for *_, each in _run_sql(path, f"EXPLAIN QUERY PLAN {sql}", *told)]
            assert any("ending_forget_at" in str(each) for each in plan), plan
            assert not any("TEMP B-TREE FOR ORDER" in str(each) for each in plan), plan

    def test_an_abandoned_find_holds_nothing(self, store: SQLiteStore) -> None:
        for _ in range(300):
            store.create(a_record())
        found = store.find(now=NOW)
        next(found)
        assert store._file._used == 0
        assert len(list(store.find(now=NOW))) == 300


@contextmanager
def traced(store: SQLiteStore) -> Iterator[list[tuple[str, str]]]:
    """Note each statement of the connections that are open, and how its connection is synced."""
    told: list[tuple[str, str]] = []
    for connection in store._file._idle:
        level = "FULL" if connection.is_durable else "NORMAL"
        assert connection.rows("PRAGMA synchronous") == [(2 if connection.is_durable else 1,)]
        connection.plain.set_trace_callback(lambda statement, level=level: told.append((level, statement)))
    yield told
    for connection in store._file._idle:
        connection.plain.set_trace_callback(None)


def an_ending(*, ended_at: float = NOW) -> Ending:
    return Ending(sid=uuid4(), reason=EndReason.IDLE, ended_at=ended_at, user_id="ada")


def _count_endings(path: Path) -> object:
    return _run_sql(path, "SELECT count(*) FROM ending")[0][0]


def _run_sql(path: Path, sql: str, *told: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(sql, told).fetchall()
    finally:
        connection.close()


def _in_child(act: object) -> bool:
    """Return whether ``act`` came to an end in a forked child."""
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(30)
            act()  # type: ignore[operator]
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _open_files() -> Iterator[Path]:
    for link in Path("/proc/self/fd").iterdir():
        if os.path.exists(link):
            yield link


def _assert(truth: bool) -> None:
    assert truth
