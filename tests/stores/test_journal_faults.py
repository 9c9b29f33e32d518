"""A bad disk: full, broken or away, for once or for ever; the sessions go on, and the journal catches up."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID
from uuid import uuid4

import pytest
from flask import Flask
from flask import session
from support.programs import find_program
from support.programs import skip_unless_ci

from flask_idlesession import IdleSession
from flask_idlesession import log_out
from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.errors import StoreError
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.journal import writer as journal_writer
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import delete_all
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import SECOND

pytest.importorskip("fcntl")

#: The calls that change a disk, which may all fail.
CALLS = ("open", "pwrite", "ftruncate", "fdatasync", "fsync", "rename", "unlink")


class FaultyDisk:
    """The disk of the operating system, but some calls fail as ``fails`` says."""

    def __init__(self, fails: Callable[[str, int], int | None] = lambda call, number: None) -> None:
        self.fails = fails
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*args: Any) -> Any:
            self.calls.append(name)
            error = self.fails(name, len(self.calls))
            if error is not None:
                if name == "pwrite" and len(args[1]) > 10:
                    os.pwrite(args[0], args[1][: len(args[1]) // 2], args[2])  # A full disk takes a part.
                raise OSError(error, os.strerror(error))
            return real(*args)

        return call

    def fail(self, *calls: str, error: int) -> None:
        """Let these calls fail from now on."""
        self.fails = lambda call, number: error if call in calls else None

    def heal(self) -> None:
        self.fails = lambda call, number: None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.journal"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_writer, "_GATHER", 0.005)
    monkeypatch.setattr(journal_writer, "_FIRST_RETRY", 0.01)
    monkeypatch.setattr(journal_writer, "_LONGEST_RETRY", 0.05)


def state_of(store: JournalStore) -> dict[UUID, Record | None]:
    return {info.sid: store.load(info.sid, now=NOW) for info in store.find(now=NOW)}


def reopened(path: Path) -> dict[UUID, Record | None]:
    store = JournalStore(path, now=NOW)
    state = state_of(store)
    store.close()
    return state


def mark_of(path: Path) -> bytes:
    """What tells a file from the one that it took the place of, whose inode may be used again."""
    return path.read_bytes()[16:24]


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "It did not happen within half a minute."
        time.sleep(0.005)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if line.levelno >= logging.ERROR]


FULL = ("pwrite", errno.ENOSPC)
BROKEN = ("pwrite", errno.EIO)
UNSYNCED = ("fdatasync", errno.EIO)


class TestWhileTheDiskIsBad:
    @pytest.mark.parametrize(("call", "error"), [FULL, BROKEN, UNSYNCED])
    @pytest.mark.parametrize("durability", ["always", "interval", "none"])
    def test_the_sessions_go_on_and_the_journal_catches_up(
        self, path: Path, caplog: pytest.LogCaptureFixture, call: str, error: int, durability: str
    ) -> None:
        disk = FaultyDisk()
        store = JournalStore(path, now=NOW, durability=durability, disk=disk)
        records = [a_record(user_id=user) for user in ("ada", "ada", "bob", "cyd", None)]
        for record in records:
            store.create(record)
        store.delete(uuid4())
        disk.fail(call, error=error)
        with pytest.raises(StoreError, match="cannot be written"):
            store.delete(records[2].info.sid)
        assert store.load(records[2].info.sid, now=NOW) is None, "It stays dead in memory."
        with pytest.raises(StoreError):
            delete_all(store, "ada")
        assert not list(store.find(now=NOW, user_id="ada"))
        store.create(a_record())
        store.commit(records[4].info.sid, Change(holder=HOLDER, delta={"kept": b"2"}), now=NOW)
        assert store.delete(uuid4()) is False, "Absence is an answer."
        assert len(errors(caplog)) == 1 and "go on in memory" in errors(caplog)[0]
        disk.heal()
        wait_for(lambda: store._journal.trouble is None)
        assert "can be written again" in caplog.records[-1].getMessage()
        store.delete(records[3].info.sid)
        state = state_of(store)
        assert len(state) == 2
        assert reopened_copy(path) == state
        store.close()
        assert reopened(path) == state
        assert len(errors(caplog)) == 1

    def test_a_log_in_is_refused_before_it_is_done_and_a_rotation_that_nobody_asked_for_is_not(
        self, path: Path
    ) -> None:
        disk = FaultyDisk()
        store, record = JournalStore(path, now=NOW, disk=disk), a_record()
        store.create(record)
        disk.fail("pwrite", error=errno.ENOSPC)
        with pytest.raises(StoreError):
            delete_all(store, store_user(store))
        rotation = Rotation(secret_digest=SECOND, user_id="ada")
        with pytest.raises(StoreError):
            store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW)
        assert store.load(record.info.sid, now=NOW) == record, "The old token is good, so that the user can try again."
        rotation = Rotation(secret_digest=SECOND, user_id=None, grace_ends_at=NOW + 10)
        store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW)
        disk.heal()
        store.close()
        assert reopened(path)[record.info.sid].secret_digest == SECOND

    def test_a_sync_that_failed_is_never_tried_again_on_the_same_file(self, path: Path) -> None:
        disk = FaultyDisk()
        store, record = JournalStore(path, now=NOW, disk=disk), a_record()
        store.create(record)
        mark = mark_of(path)
        failed = []

        def fail_once(call: str, number: int) -> int | None:
            if call == "fdatasync" and not failed:
                failed.append(number)
                return errno.EIO
            return None

        disk.fails = fail_once
        with pytest.raises(StoreError):
            store.delete(record.info.sid)
        wait_for(lambda: store._journal.trouble is None)
        assert mark_of(path) != mark
        assert "rename" in disk.calls[failed[0] :] and disk.calls[failed[0] :][1] == "open"
        store.close()
        assert reopened(path) == {}

    def test_a_full_disk_is_written_on_where_it_stopped(self, path: Path) -> None:
        disk = FaultyDisk()
        store = JournalStore(path, now=NOW, durability="always", disk=disk)
        store.create(a_record())
        mark, size = mark_of(path), path.stat().st_size
        disk.fail("pwrite", error=errno.ENOSPC)
        store.create(a_record())
        assert path.stat().st_size == size, "What was written half is cut off at once."
        disk.heal()
        wait_for(lambda: store._journal.trouble is None)
        assert mark_of(path) == mark
        store.close()
        assert len(reopened(path)) == 2

    def test_a_store_that_is_closed_on_a_bad_disk_says_what_that_means(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = FaultyDisk()
        store = JournalStore(path, now=NOW, disk=disk)
        disk.fail("pwrite", error=errno.ENOSPC)
        store.create(a_record())
        store.close()
        assert "closed without the last changes" in errors(caplog)[-1]
        assert reopened(path) == {}

    def test_a_disk_that_is_bad_at_the_start_does_not_keep_the_application_from_starting(self, path: Path) -> None:
        disk = FaultyDisk()
        disk.fail("pwrite", error=errno.ENOSPC)
        store, record = JournalStore(path, now=NOW, disk=disk), a_record()
        store.create(record)
        with pytest.raises(StoreError):
            delete_all(store, store_user(store))
        disk.heal()
        wait_for(lambda: store._journal.trouble is None)
        store.close()
        assert reopened(path) == {record.info.sid: record}

    def test_a_compaction_that_fails_leaves_the_file_as_it_is(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = FaultyDisk()
        store = JournalStore(path, now=NOW, disk=disk)
        store.create(a_record())
        store.delete(uuid4())
        disk.fails = lambda call, number: errno.ENOSPC if call == "open" else None
        store._journal._try_rewrite(paced=False)
        assert "could not be compacted" in caplog.records[-1].getMessage()
        assert store._journal.trouble is None
        store.delete(next(iter(state_of(store))))
        store.close()
        assert reopened(path) == {}
        assert not path.with_name(path.name + ".new").exists()


def store_user(store: JournalStore) -> str:
    """Give the store a session of a user, and return that user."""
    store.create(a_record(user_id="somebody"))
    return "somebody"


def reopened_copy(path: Path) -> dict[UUID, Record | None]:
    copy = path.with_name(f"copy-{uuid4()}")
    shutil.copy(path, copy)
    return reopened(copy)


class TestEachCallInTurn:
    """As SQLite does it: the n-th call fails, for n = 1, 2, 3… until nothing fails any more."""

    def run(self, path: Path, disk: FaultyDisk) -> tuple[dict[UUID, Record | None], set[UUID]]:
        """Live through some sessions; return what is in memory at the end, and what was ended for sure."""
        store = JournalStore(path, now=NOW, durability="always", disk=disk)
        records = [a_record(user_id="u") for _ in range(6)]
        ended = set()
        for number, record in enumerate(records):
            store.create(record)
            store.commit(record.info.sid, Change(holder=HOLDER, delta={"n": b"%d" % number}), now=NOW)
            if number % 2:
                try:
                    store.delete(record.info.sid)
                    ended.add(record.info.sid)
                except StoreError:
                    pass
            if number == 3:
                store._journal._try_rewrite(paced=False)
        copy = path.with_name("crash")
        if path.exists():
            shutil.copy(path, copy)
            assert not reopened(copy).keys() & ended, "A crash at the end would bring an ended session back."
        state = state_of(store)
        assert len(state) == 3
        disk.heal()
        store.close()
        return state, ended

    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
    @pytest.mark.parametrize("is_for_ever", [False, True])
    def test_no_failure_loses_what_lives_or_revives_what_ended(
        self, tmp_path: Path, error: int, is_for_ever: bool
    ) -> None:
        disk = FaultyDisk()
        self.run(tmp_path / "first", disk)
        for failing in range(1, len(disk.calls) + 5):
            folder = tmp_path / f"{failing}"
            folder.mkdir()
            disk = FaultyDisk(lambda call, n, f=failing: error if n == f or is_for_ever and n > f else None)
            try:
                state, _ = self.run(folder / "journal", disk)
            except ConfigError:
                assert failing <= 5 and disk.calls[-1] == "open", "What cannot be opened must not be overwritten."
                continue
            assert reopened(folder / "journal") == state
        assert failing > len(disk.calls) or is_for_ever


class TestInAnApplication:
    def test_a_log_out_on_a_bad_disk_is_503_with_the_cookie_cleared_and_final(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = FaultyDisk()
        app = Flask("journaled")
        app.secret_key = "k" * 32
        store = JournalStore(path, now=NOW, disk=disk)
        IdleSession(app, clock=FakeClock(NOW), store=store)

        @app.get("/")
        def show() -> str:
            return str(session.setdefault("n", 1))

        @app.get("/out")
        def out() -> str:
            log_out()
            return "out"

        client = app.test_client()
        client.get("/")
        cookie = client.get_cookie("session").value
        disk.fail("pwrite", error=errno.ENOSPC)
        answer = client.get("/out")
        assert answer.status_code == 503 and "Retry-After" in answer.headers
        assert client.get_cookie("session") is None
        client.set_cookie("session", cookie)
        assert client.get("/").status_code == 200
        assert len(store) == 1 and store.find(now=NOW)
        disk.heal()
        store.close()
        assert len(reopened(path)) == 1


# Real disks.

SCRIPT = """
import sys; sys.path[:0] = sys.argv[2:]
import logging
from uuid import uuid4
from flask_idlesession.testing.store_contract import a_record, NOW
from flask_idlesession.model.errors import StoreError
from flask_idlesession.stores.journal import JournalStore
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
store = JournalStore(sys.argv[1], now=NOW)
refused = []
for n in range(12):
    record = a_record(values={"v": b"x" * 100})
    store.create(record)
    try:
        if n % 2:
            store.delete(record.info.sid)
    except StoreError:
        refused.append(record.info.sid)
    assert (store.load(record.info.sid, now=NOW) is None) == bool(n % 2)
print(len(store), len(refused))
store.close()
"""


@pytest.mark.parametrize(
    "injection",
    [
        "pwrite64:error=ENOSPC:when=6",
        "pwrite64:error=EIO:when=6",
        "pwrite64:error=ENOSPC:when=5..9",
        "fdatasync:error=EIO:when=4",
        "fdatasync:error=EIO:when=3+2",
        "rename:error=EIO:when=1",
        "fsync:error=EIO:when=1",
    ],
)
def test_real_calls_that_fail_are_survived(path: Path, injection: str) -> None:
    strace = find_program("strace")
    # Only the call that fails is stopped at: to look at every one would make the program slow.
    call, _, _ = injection.partition(":")
    command = [
        strace,
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        os.devnull,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={injection}",
    ]
    run = subprocess.run(
        [*command, sys.executable, "-c", SCRIPT, path, *sys.path], capture_output=True, text=True, timeout=120
    )
    if "ptrace" in run.stderr and run.returncode:
        skip_unless_ci(f"strace may not trace here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[0] == "6"
    assert "cannot be written" in run.stderr and run.stderr.count("go on in memory") <= 6
    assert len(reopened(path)) == 6


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = find_program("mount")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        reason = f"a tmpfs cannot be mounted: {mounted.stderr.strip()}"
        skip_unless_ci(reason) if os.geteuid() == 0 else pytest.skip(reason)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_and_is_cleared_again(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = small_disk / "sessions.journal"
    store = JournalStore(path, now=NOW, durability="always")
    while store._journal.trouble is None:
        store.create(a_record(values={"v": b"x" * 1000}))
        assert len(store) < 100
    victim = next(iter(state_of(store)))
    with pytest.raises(StoreError):
        store.delete(victim)
    assert store.load(victim, now=NOW) is None
    small = [a_record() for _ in range(50)]
    for record in small:
        store.create(record)
    assert len(errors(caplog)) == 1
    for info in list(store.find(now=NOW)):
        if info.sid not in {record.info.sid for record in small}:
            with suppress(StoreError):
                store.delete(info.sid)
    subprocess.run(["mount", "-o", "remount,size=256k", small_disk], check=True)
    wait_for(lambda: store._journal.trouble is None)
    assert state_of(store).keys() == {record.info.sid for record in small}
    assert reopened_copy(path) == state_of(store)
    store.close()
    assert reopened(path).keys() == {record.info.sid for record in small}


def test_a_read_only_folder_is_refused_at_the_start(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ConfigError, match="Read-only file system.*a folder that this user may write"):
        JournalStore(small_disk / "sessions.journal", now=NOW)


def test_a_file_system_that_becomes_read_only_is_a_bad_disk(small_disk: Path) -> None:
    path = small_disk / "sessions.journal"
    store, record = JournalStore(path, now=NOW, durability="always"), a_record()
    store.create(record)
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ConfigError):
        JournalStore(path, now=NOW)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert reopened(path) == {record.info.sid: record}
