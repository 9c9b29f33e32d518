"""The journal: the contract, what outlives the process, who may have the file, and what it leaves behind."""

import errno
import gc
import logging
import os
import stat
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID
from uuid import uuid4

import pytest
from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.journal import writer as journal_writer
from flask_idlesession.stores.journal.frames import PREAMBLE
from flask_idlesession.stores.journal.frames import ROW_OVERHEAD
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import at_once
from flask_idlesession.testing.store_contract import delete_all
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import IDLE
from flask_idlesession.testing.store_contract import LIFETIME
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import SECOND
from flask_idlesession.testing.store_contract import sids
from flask_idlesession.testing.store_contract import StoreContract

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and flock")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.journal"


@pytest.fixture
def open_journal(path: Path, request: pytest.FixtureRequest) -> Callable[..., JournalStore]:
    """Open the journal, and close it after the test."""

    def open_journal(**options: Any) -> JournalStore:
        store = JournalStore(path, **{"now": NOW, **options})
        request.addfinalizer(store.close)
        return store

    return open_journal


def touch(at: float) -> Change:
    return Change(holder=HOLDER, last_seen_at=at)


class TestContract(StoreContract):
    crowd = 50
    rounds = 5

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: JournalStore(tmp_path / f"{uuid4()}.journal", now=NOW)


class TestContractAlways(TestContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: JournalStore(tmp_path / f"{uuid4()}.journal", now=NOW, durability="always", max_bytes=None)


class TestWhatComesBack:
    @pytest.mark.parametrize("durability", ["always", "interval", "none"])
    def test_a_session_outlives_a_restart_as_it_was(self, open_journal: Any, durability: str) -> None:
        store = open_journal(durability=durability)
        records = [a_record(user_id=f"user{n % 7}" if n % 3 else None, values={"n": bytes([n])}) for n in range(100)]
        for record in records:
            store.create(record)
        store.close()
        again = open_journal(durability=durability)
        assert [again.load(record.info.sid, now=NOW) for record in records] == records
        assert sids(again.find(now=NOW, user_id="user1")) == {r.info.sid for r in records if r.info.user_id == "user1"}
        assert len(again) == 100

    def test_a_write_a_touch_and_a_rotation_come_back(self, open_journal: Any) -> None:
        store, record = open_journal(), a_record()
        sid = record.info.sid
        store.create(record)
        store.commit(sid, Change(holder=HOLDER, delta={"kept": None, "new": b"n"}), now=NOW)
        store.commit(sid, touch(NOW + 5), now=NOW + 5)
        rotation = Rotation(secret_digest=SECOND, user_id="ada", lifetime_ends_at=NOW + 99)
        store.commit(sid, Change(holder=HOLDER, rotation=rotation), now=NOW + 5)
        before = store.load(sid, now=NOW + 5)
        store.close()
        after = open_journal(now=NOW + 6).load(sid, now=NOW + 6)
        assert after == before
        assert after.secret_digest == SECOND and after.info.last_seen_at == NOW + 5 and after.info.user_id == "ada"

    def test_a_touch_alone_comes_back(self, open_journal: Any) -> None:
        store, record = open_journal(), a_record()
        store.create(record)
        store.close()
        store = open_journal()
        store.commit(record.info.sid, touch(NOW + 50), now=NOW + 50)
        store.close()
        again = open_journal(now=NOW + IDLE + 10)
        assert again.load(record.info.sid, now=NOW + IDLE + 10).info.last_seen_at == NOW + 50

    def test_what_has_ended_stays_away(self, open_journal: Any) -> None:
        store = open_journal()
        records = [a_record(user_id=user) for user in ("ada", "ada", "bob", None, None)]
        for record in records:
            store.create(record)
        delete_all(store, "ada", keep=records[1].info.sid)
        store.delete(records[3].info.sid)
        change = Change(holder=HOLDER, delta={"kept": None}, end_if_emptied=True)
        assert store.commit(records[4].info.sid, change, now=NOW) is Outcome.EMPTIED
        store.close()
        assert sids(open_journal().find(now=NOW)) == {records[1].info.sid, records[2].info.sid}

    def test_what_expired_meanwhile_is_not_loaded(self, open_journal: Any) -> None:
        store = open_journal()
        short, long = a_record(), a_record(idle_timeout=1000.0)
        store.create(short)
        store.create(long)
        store.close()
        again = open_journal(now=NOW + IDLE)
        assert again.prune(now=NOW + IDLE, limit=10) == []
        assert len(again) == 1 and again.load(long.info.sid, now=NOW + IDLE) == long
        assert again.prune(now=NOW + IDLE, limit=9) == []

    def test_what_was_evicted_stays_away(self, open_journal: Any) -> None:
        store = open_journal(max_sessions=2)
        for _ in range(5):
            store.create(a_record())
        kept = sids(store.find(now=NOW))
        store.close()
        assert sids(open_journal().find(now=NOW)) == kept

    def test_what_was_pruned_does_not_come_back_when_the_clock_was_set_back(self, open_journal: Any) -> None:
        store = open_journal()
        store.create(a_record())
        assert len(store.prune(now=NOW + IDLE, limit=9)) == 1
        store.close()
        assert len(open_journal(now=NOW - 100)) == 0

    def test_a_session_from_the_future_was_seen_now(self, open_journal: Any) -> None:
        store, record = open_journal(), a_record(last_seen_at=NOW)
        store.create(record)
        store.close()
        assert open_journal(now=NOW - 500).load(record.info.sid, now=NOW - 500).info.last_seen_at == NOW - 500

    def test_sessions_without_an_end_come_back(self, open_journal: Any) -> None:
        endless = {"idle_timeout": float("inf"), "lifetime_ends_at": float("inf")}
        store, record = open_journal(), a_record(**endless)
        store.create(record)
        store.close()
        again = open_journal()
        assert again.load(record.info.sid, now=NOW) == record
        assert again.prune(now=NOW, limit=5) == []

    def test_restored_sessions_expire_and_are_evicted_like_others(self, open_journal: Any) -> None:
        store = open_journal()
        records = [a_record(user_id="u" if n % 2 else None, last_seen_at=NOW - n / 10) for n in range(500)]
        for record in records:
            store.create(record)
        store.close()
        again = open_journal(max_sessions=500)
        again.create(a_record())
        (evicted,) = again.prune(now=NOW, limit=1)
        assert evicted.sid == records[498].info.sid, "The longest unseen of the anonymous ones."
        ends = [info for _ in range(600) for info in again.prune(now=NOW + IDLE - 20, limit=1)]
        assert sids(ends) == {r.info.sid for r in records if r.info.expires_at <= NOW + IDLE - 20} - {evicted.sid}
        assert again.next_expiry() > NOW + IDLE - 20

    def test_a_journal_can_be_reopened_again_and_again(self, open_journal: Any, path: Path) -> None:
        store = open_journal()
        store.create(a_record())
        for _ in range(20):
            store.close()
            store = open_journal()
        assert len(store) == 1 and path.stat().st_size < 2000


class TestDurability:
    def test_an_end_is_in_the_file_before_it_returns(self, path: Path, tmp_path: Path) -> None:
        store = JournalStore(path, now=NOW)
        records = [a_record(user_id="ada") for _ in range(3)]
        for record in records:
            store.create(record)
        store.delete(records[0].info.sid)
        assert sids(copy_of(path, tmp_path).find(now=NOW)) == {r.info.sid for r in records[1:]}
        rotation = Rotation(secret_digest=SECOND, user_id="ada")
        store.commit(records[1].info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW)
        assert copy_of(path, tmp_path).load(records[1].info.sid, now=NOW).secret_digest == SECOND
        delete_all(store, "ada")
        assert len(copy_of(path, tmp_path)) == 0
        store.close()

    def test_always_means_before_it_returns(self, path: Path, tmp_path: Path) -> None:
        store, record = JournalStore(path, now=NOW, durability="always"), a_record()
        store.create(record)
        assert copy_of(path, tmp_path).load(record.info.sid, now=NOW) == record
        store.commit(record.info.sid, Change(holder=HOLDER, delta={"kept": b"2"}), now=NOW)
        assert copy_of(path, tmp_path).load(record.info.sid, now=NOW).values == {"kept": b"2"}
        store.close()

    def test_interval_means_soon(self, path: Path, tmp_path: Path) -> None:
        store, record = JournalStore(path, now=NOW), a_record()
        store.create(record)
        deadline = time.monotonic() + 10
        while copy_of(path, tmp_path).load(record.info.sid, now=NOW) is None:
            assert time.monotonic() < deadline, "It is not in the file after ten seconds."
            time.sleep(0.01)
        store.close()

    def test_one_sync_serves_all_that_wait(self, path: Path) -> None:
        disk = SlowDisk()
        store = JournalStore(path, now=NOW, durability="always", disk=disk)
        disk.syncs = 0
        at_once(*[lambda: store.create(a_record())] * 16)
        assert len(store) == 16 and disk.syncs <= 4
        store.close()

    def test_a_touch_costs_no_write_of_its_own(self, path: Path) -> None:
        disk = SlowDisk()
        store, record = JournalStore(path, now=NOW, durability="always", disk=disk), a_record()
        store.create(record)
        before = disk.writes
        for n in range(1000):
            store.commit(record.info.sid, touch(NOW + n / 100), now=NOW + n / 100)
        assert disk.writes == before
        store.close()
        assert disk.writes - before <= 2, "All touches are one write, when the store is closed."

    def test_a_delete_waits_for_that_of_another(self, path: Path) -> None:
        disk = SlowDisk()
        store, record = JournalStore(path, now=NOW, disk=disk), a_record()
        store.create(record)
        store.delete(uuid4())

        def end() -> int:
            store.delete(record.info.sid)
            return disk.syncs

        before = disk.syncs
        assert all(after > before for after in at_once(end, end, end))
        store.close()


class SlowDisk:
    """The disk, and how often it was asked to write and to sync."""

    def __init__(self) -> None:
        self.syncs = self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, fd: int, data: Any, at: int) -> int:
        self.writes += 1
        return os.pwrite(fd, data, at)

    def fdatasync(self, fd: int) -> None:
        time.sleep(0.05)
        self.syncs += 1


def mark_of(path: Path) -> bytes:
    """What tells a file from the one that it took the place of, whose inode may be used again."""
    return path.read_bytes()[16:24]


def packed_of(store: JournalStore) -> list[bytes]:
    return [packed for shard in store._shards for packed in shard.values()]


def copy_of(path: Path, folder: Path) -> JournalStore:
    """Return what a process would find that started now, after a crash of this one."""
    copy = folder / f"copy-{uuid4()}"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    store = JournalStore(copy, now=NOW)
    store.close()
    return store


class TestWhoMayHaveTheFile:
    def test_a_second_store_is_refused_with_the_pid_and_the_mend(self, open_journal: Any, path: Path) -> None:
        open_journal()
        with pytest.raises(ConfigError, match="in use by this process itself.*SQLite"):
            open_journal()
        code = (
            "import sys; from flask_idlesession.stores.journal import JournalStore; JournalStore(sys.argv[1], now=0.0)"
        )
        other = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
        assert other.returncode == 1
        assert f"in use by process {os.getpid()}; " in other.stderr

    def test_the_file_is_free_again_after_close_and_after_a_refusal(self, open_journal: Any, path: Path) -> None:
        open_journal().close()
        path.chmod(0o644)
        with pytest.raises(ConfigError):
            open_journal()
        path.chmod(0o600)
        open_journal()

    def test_file_and_folder_are_for_their_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "sessions.journal"
        JournalStore(path, now=NOW).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.with_name("sessions.journal.lock").stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
    def test_a_file_that_others_may_open_is_refused(self, open_journal: Any, path: Path, mode: int) -> None:
        open_journal().close()
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"mode 0{mode:o}.*chmod 600"):
            open_journal()

    @pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="needs root to give a file away")
    def test_a_file_of_somebody_else_is_refused(self, open_journal: Any, path: Path) -> None:
        open_journal().close()
        os.chown(path, 12345, -1)
        with pytest.raises(ConfigError, match="belongs to user 12345.*chown 0 "):
            open_journal()

    def test_a_symbolic_link_is_refused(self, open_journal: Any, path: Path) -> None:
        path.symlink_to("elsewhere")
        with pytest.raises(ConfigError, match="symbolic link; name the file"):
            open_journal()

    def test_a_link_in_place_of_the_lock_is_refused(self, open_journal: Any, path: Path, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("keep me")
        path.with_name(path.name + ".lock").symlink_to("precious")
        with pytest.raises(ConfigError):
            open_journal()
        assert (tmp_path / "precious").read_text() == "keep me"

    @pytest.mark.parametrize("make", [Path.mkdir, lambda path: os.mkfifo(path, 0o600)])
    def test_what_is_no_file_is_refused(self, open_journal: Any, path: Path, make: Callable[[Path], None]) -> None:
        make(path)
        with pytest.raises(ConfigError):
            open_journal()

    @pytest.mark.parametrize("content", [b"SQLite format 3\x00" * 20, b"root:x:0:0", b"\x00" * 500, b"i"])
    def test_a_file_that_is_something_else_is_refused_and_left_alone(
        self, open_journal: Any, path: Path, content: bytes
    ) -> None:
        path.write_bytes(content)
        path.chmod(0o600)
        if content == b"i":  # The first byte of a journal: all that a crash left of it.
            assert len(open_journal()) == 0
            return
        with pytest.raises(ConfigError, match="something else; name another file"):
            open_journal()
        assert path.read_bytes() == content

    def test_a_file_of_another_version_is_refused(
        self, open_journal: Any, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flask_idlesession.stores.journal.frames.VERSION", 7)
        open_journal().close()
        monkeypatch.undo()
        before = path.read_bytes()
        with pytest.raises(ConfigError, match="version 7, and this package writes version 2; .*move this one away"):
            open_journal()
        assert path.read_bytes() == before

    def test_an_empty_file_is_a_new_journal(self, open_journal: Any, path: Path) -> None:
        path.touch(0o600)
        store = open_journal()
        store.create(a_record())
        store.close()
        assert len(open_journal()) == 1

    def test_a_removed_lock_file_lets_no_second_process_in(self, path: Path) -> None:
        """The journal itself is locked, too: two that write it would bring back what has ended."""
        store, records = JournalStore(path, now=NOW, durability="always"), [a_record() for _ in range(20)]
        for record in records:
            store.create(record)
        lock = path.with_name(path.name + ".lock")
        lock.unlink()
        code = (
            "import sys; from flask_idlesession.stores.journal import JournalStore; JournalStore(sys.argv[1], now=0.0)"
        )
        other = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
        assert other.returncode == 1 and "in use by another process" in other.stderr
        for record in records[:10]:
            assert store.delete(record.info.sid)
        assert lock.read_text() == f"{os.getpid()}\n", "It was made again."
        other = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
        assert f"in use by process {os.getpid()}; " in other.stderr
        left = copy_of(path, path.parent)
        assert {info.sid for info in left.find(now=NOW)} == {record.info.sid for record in records[10:]}
        store.close()

    def test_an_owner_whose_lock_was_taken_over_ends_nothing_in_silence(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Lock and journal were removed, and another process began new ones."""
        store, record = JournalStore(path, now=NOW, durability="always"), a_record()
        store.create(record)
        time.sleep(0.2)  # By now it writes nothing more by itself.
        path.unlink()
        path.with_name(path.name + ".lock").unlink()
        code = (
            "import sys; from flask_idlesession.stores.journal import JournalStore; "
            "store = JournalStore(sys.argv[1], now=0.0); print('has it', flush=True); sys.stdin.readline()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None and other.stdin is not None
            assert other.stdout.readline() == "has it\n"
            with pytest.raises(StoreUnavailable, match="another process has it now"):
                store.delete(record.info.sid)
            assert store.load(record.info.sid, now=NOW) is None
            assert "another process has it now" in caplog.text
            other.stdin.close()
        store.close()

    @pytest.mark.parametrize("how", ["removed", "replaced"])
    def test_a_journal_that_is_gone_from_its_place_is_written_again(
        self, path: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        store, records = JournalStore(path, now=NOW), [a_record() for _ in range(20)]
        for record in records:
            store.create(record)
        if how == "removed":
            path.unlink()
        else:
            (tmp_path / "backup").write_bytes(path.read_bytes())
            (tmp_path / "backup").rename(path)
        with suppress(StoreUnavailable):
            store.delete(records[0].info.sid)
        give_up_at = time.monotonic() + 10
        while store._journal.trouble is not None:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)
        assert store.delete(records[1].info.sid)
        assert "It was removed or replaced while it was in use" in caplog.text
        left = copy_of(path, tmp_path)
        assert {info.sid for info in left.find(now=NOW)} == {record.info.sid for record in records[2:]}
        store.close()

    def test_the_text_in_a_lock_file_is_no_line_of_the_message(self, path: Path) -> None:
        store = JournalStore(path, now=NOW)
        path.with_name(path.name + ".lock").write_text("1\nAll is well.\n")
        with pytest.raises(ConfigError, match="in use by another process") as caught:
            JournalStore(path, now=NOW)
        assert "\n" not in str(caught.value)
        store.close()

    @pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="needs root to give a file away")
    def test_a_lock_file_of_somebody_else_is_refused(self, path: Path) -> None:
        JournalStore(path, now=NOW).close()
        os.chown(path.with_name(path.name + ".lock"), 12345, -1)
        with pytest.raises(ConfigError, match="sessions.journal.lock.*belongs to user 12345"):
            JournalStore(path, now=NOW)


class TestOnceFree:
    """A server's new worker starts while the old one has the journal."""

    @pytest.fixture
    def old(self, path: Path) -> Iterator[Any]:
        """Another process that has the journal, with a session in it, until its input ends."""
        code = (
            "import sys; from uuid import UUID; from support.store_races import a_record; "
            "from flask_idlesession.stores.journal import JournalStore; "
            "store = JournalStore(sys.argv[1], now=0.0); store.create(a_record(UUID(int=7))); "
            "print('has it', flush=True); sys.stdin.readline(); store.close()"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "has it\n"
            yield process

    def test_each_call_is_an_outage_until_the_file_is_free_and_then_all_is_there(
        self, path: Path, old: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        began = time.monotonic()
        store, sid = JournalStore.once_free(path, now=NOW), UUID(int=7)
        calls: list[Callable[[], object]] = [
            lambda: store.load(sid, now=NOW),
            lambda: store.load(sid, now=NOW, touch=Touch(HOLDER)),
            lambda: store.create(a_record()),
            lambda: store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW), now=NOW),
            lambda: store.delete(sid),
            lambda: store.delete_many([sid]),
            lambda: list(store.find(now=NOW)),
            lambda: store.prune(now=NOW, limit=1),
            lambda: store.next_expiry(),
            lambda: store.bury([], until=NOW),
            lambda: store.ending(sid, now=NOW),
        ]
        for call in calls * 2:
            with pytest.raises(StoreUnavailable, match=f"in use by process {old.pid}"):
                call()
        assert store.touch(sid, HOLDER, NOW) is False and store.fades_at(sid) == inf
        assert time.monotonic() - began < 0.5, "Nothing waits."
        old.stdin.close()
        assert old.wait(30) == 0
        time.sleep(0.06)
        loaded = store.load(sid, now=NOW)
        assert loaded is not None and loaded.info.sid == sid
        for call in calls:
            call()
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 2 and "Until it is free" in told[0] and "is free, and is used from now on" in told[1]
        store.close()

    def test_a_store_that_was_never_free_is_closed_and_dropped(self, path: Path, old: Any) -> None:
        store = JournalStore.once_free(path, now=NOW)
        store.close()
        store.close()
        old.stdin.close()
        assert old.wait(30) == 0
        assert len(JournalStore(path, now=NOW)) == 1

    def test_another_store_of_this_process_is_no_old_worker(self, path: Path, open_journal: Any) -> None:
        open_journal()
        with pytest.raises(ConfigError, match="this process itself"):
            JournalStore.once_free(path, now=NOW)

    def test_an_application_answers_503_and_serves_requests_without_a_session(
        self, path: Path, old: Any, tmp_path: Path
    ) -> None:
        app = Flask("new worker", instance_path=str(tmp_path / "instance"))
        app.config.update(TESTING=True, SECRET_KEY="0123456789 of the new worker", IDLESESSION_JOURNAL=str(path))
        IdleSession(app)
        app.add_url_rule("/set", view_func=lambda: session.update(a=1) or "set", endpoint="set")
        app.add_url_rule("/plain", view_func=lambda: "plain", endpoint="plain")
        for _ in range(3):
            assert app.test_client().get("/plain").text == "plain"
            answer = app.test_client().get("/set")
            assert answer.status_code == 503 and answer.headers["Retry-After"]
            assert not app.extensions["idlesession"].health().is_up
        old.stdin.close()
        assert old.wait(30) == 0
        time.sleep(0.06)
        assert app.test_client().get("/set").text == "set"
        app.extensions["idlesession"].manager.close()

    def test_a_full_disk_at_the_start_is_waited_for(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full:
            is_full = True

            def __getattr__(self, name: str) -> Any:
                return getattr(os, name)

            def open(self, *arguments: Any) -> int:
                if self.is_full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return os.open(*arguments)

        disk = Full()
        with pytest.raises(ConfigError, match="No space left"):
            JournalStore(path, now=NOW, disk=disk)
        store = JournalStore.once_free(path, now=NOW, disk=disk)
        with pytest.raises(StoreUnavailable, match="No space left"):
            store.create(a_record())
        disk.is_full = False
        time.sleep(0.06)
        store.create(a_record())
        assert len(store) == 1
        store.close()


class TestCompaction:
    def fill(self, store: JournalStore, count: int = 3000) -> list[Any]:
        records = [a_record(user_id=f"u{n}" if n % 2 else None, values={"v": b"x" * 200}) for n in range(count)]
        for record in records:
            store.create(record)
        return records

    def wait_for(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, "It did not happen within half a minute."
            time.sleep(0.01)

    def test_a_file_that_is_mostly_dead_is_written_anew(
        self, open_journal: Any, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal_writer, "_WORTH_IT", 0)
        store = open_journal()
        records = self.fill(store)
        mark = mark_of(path)
        for record in records[:2900]:
            delete_all(store, record.info.user_id) if record.info.user_id else None
        for n in range(30):
            for record in records[::2]:
                store.commit(record.info.sid, Change(holder=HOLDER, delta={"v": b"%d" % n}), now=NOW)
            store.delete(uuid4())
        size = sum(map(len, packed_of(store))) + PREAMBLE + ROW_OVERHEAD * len(store)
        self.wait_for(lambda: mark_of(path) != mark and path.stat().st_size <= 2 * size)
        state = sorted(store.find(now=NOW), key=lambda info: info.sid)
        store.close()
        assert not path.with_name(path.name + ".new").exists()
        assert sorted(open_journal().find(now=NOW), key=lambda info: info.sid) == state

    def test_what_happens_meanwhile_is_in_the_new_file_too(self, open_journal: Any, path: Path) -> None:
        store = open_journal(durability="always")
        records = self.fill(store, 500)
        stop = threading.Event()
        mark = mark_of(path)

        def work() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                record = records[n % len(records)]
                if n % 5:
                    store.commit(record.info.sid, Change(holder=HOLDER, delta={"v": b"%d" % n}), now=NOW)
                elif n % 10:
                    store.create(a_record())
                else:
                    store.delete(record.info.sid)

        def rewrite() -> None:
            try:
                for _ in range(5):
                    store._journal._try_rewrite(paced=False)
            finally:
                stop.set()

        at_once(work, work, rewrite)
        assert mark_of(path) != mark
        state = {info.sid: store.load(info.sid, now=NOW) for info in store.find(now=NOW)}
        store.close()
        again = open_journal()
        assert {info.sid: again.load(info.sid, now=NOW) for info in again.find(now=NOW)} == state

    def test_after_it_the_file_is_at_most_twice_the_live_data(self, open_journal: Any, path: Path) -> None:
        store = open_journal()
        records = self.fill(store)
        store._journal._try_rewrite(paced=False)
        assert path.stat().st_size <= 2 * len(records) * 200
        store.close()


class TestForks:
    def test_a_forked_child_goes_on_in_memory_and_leaves_the_file_alone(
        self, open_journal: Any, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store, record = open_journal(), a_record()
        store.create(record)
        store.delete(uuid4())
        before = path.read_bytes()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:  # pragma: no cover
            try:
                store.create(a_record())
                store.delete(record.info.sid)
                store.commit(record.info.sid, touch(NOW + 1), now=NOW)
                said = sum("forked" in line.getMessage() for line in caplog.records)
                store.close()
                os.write(write, b"%d %d" % (len(store), said))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(write)
        assert os.read(read, 10) == b"1 1"
        os.close(read)
        assert path.read_bytes() == before
        store.create(a_record())
        store.close()
        assert len(open_journal()) == 2

    def test_a_child_does_not_keep_the_file_from_the_next_owner(self, open_journal: Any) -> None:
        store = open_journal()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:  # pragma: no cover
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        store.close()
        open_journal()
        os.close(write)
        os.waitpid(pid, 0)
        os.close(read)


class TestNothingIsLeftBehind:
    def threads(self) -> int:
        return sum(thread.name == "flask_idlesession journal" for thread in threading.enumerate())

    def test_close_ends_the_thread_and_is_idempotent(self, open_journal: Any) -> None:
        before = self.threads()
        store = open_journal()
        assert self.threads() == before + 1
        store.close()
        store.close()
        assert self.threads() == before

    def test_a_store_that_is_dropped_flushes_and_frees_everything(self, path: Path, open_journal: Any) -> None:
        gc.collect()  # What other tests left behind is none of this one's business.
        threads, files = self.threads(), len(os.listdir("/proc/self/fd"))
        store = JournalStore(path, now=NOW)
        store.create(a_record())
        gone = weakref.ref(store._journal)
        del store
        gc.collect()
        assert self.threads() == threads and len(os.listdir("/proc/self/fd")) <= files
        assert gone() is None
        assert len(open_journal()) == 1

    def test_a_refused_start_leaves_nothing(self, path: Path) -> None:
        path.write_bytes(b"something else entirely")
        path.chmod(0o600)
        gc.collect()  # What other tests left behind is none of this one's business.
        threads, files = self.threads(), len(os.listdir("/proc/self/fd"))
        with pytest.raises(ConfigError):
            JournalStore(path, now=NOW)
        gc.collect()
        assert self.threads() == threads and len(os.listdir("/proc/self/fd")) <= files

    def test_what_an_exiting_process_wrote_last_is_kept(self, path: Path, open_journal: Any) -> None:
        code = """
import sys; sys.path[:0] = sys.argv[2:]
from flask_idlesession.testing.store_contract import a_record, NOW
from flask_idlesession.stores.journal import JournalStore
store = JournalStore(sys.argv[1], now=NOW)
store.create(a_record())
"""
        subprocess.run([sys.executable, "-c", code, path, *sys.path], check=True, timeout=60)
        assert len(open_journal()) == 1

    def test_after_close_it_says_that_nothing_is_written_down(
        self, open_journal: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = open_journal()
        store.close()
        store.create(a_record())
        store.create(a_record())
        assert [line.levelno for line in caplog.records if "it was closed" in line.getMessage()] == [logging.WARNING]


class TestInAnApplication:
    def make_app(self, path: Path, clock: FakeClock, **config: Any) -> Flask:
        app = Flask("journaled")
        app.testing = True
        app.secret_key = "k" * 32
        app.config.update(IDLESESSION_JOURNAL=str(path), **config)
        IdleSession(app, clock=clock)

        @app.get("/")
        def count() -> str:
            session["n"] = session.get("n", 0) + 1
            return str(session["n"])

        return app

    @pytest.mark.parametrize("durability", ["always", "interval", "none"])
    def test_a_deploy_logs_nobody_out(self, path: Path, durability: str) -> None:
        clock = FakeClock(NOW)
        client = self.make_app(path, clock, IDLESESSION_DURABILITY=durability).test_client()
        assert client.get("/").text == "1"
        cookie = client.get_cookie("session").value
        client.application.extensions["idlesession"].manager.close()
        clock.advance(60)
        client = self.make_app(path, clock).test_client()
        client.set_cookie("session", cookie)
        assert client.get("/").text == "2"
        client.application.extensions["idlesession"].manager.close()

    def test_an_app_that_is_dropped_gives_the_file_back(self, path: Path) -> None:
        for _ in range(3):
            app = self.make_app(path, FakeClock(NOW))
            app.test_client().get("/")
            del app
            gc.collect()

    @pytest.mark.parametrize(
        "config",
        [
            {"IDLESESSION_JOURNAL": 5},
            {"IDLESESSION_JOURNAL": ""},
            {"IDLESESSION_DURABILITY": "sometimes"},
            {"IDLESESSION_STORE": "sqlite:///x.db"},
        ],
    )
    def test_a_setting_that_makes_no_sense_is_refused(self, path: Path, tmp_path: Path, config: dict[str, Any]) -> None:
        if "IDLESESSION_STORE" in config:
            config = {"IDLESESSION_STORE": f"sqlite:///{tmp_path}/x.db"}
        app = self.make_app(path, FakeClock(NOW))
        app.config.update(config)
        with pytest.raises(ConfigError, match="IDLESESSION_(JOURNAL|DURABILITY) is "):
            app.test_client().get("/")

    def test_an_unknown_durability_is_refused(self, path: Path) -> None:
        with pytest.raises(ConfigError, match="'often' is unknown; it must be one of always, interval, none"):
            JournalStore(path, now=NOW, durability="often")


def test_a_slow_start_says_how_far_it_is(
    open_journal: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_journal()
    for _ in range(50):
        store.create(a_record(lifetime_ends_at=NOW + LIFETIME))
    store.close()
    monkeypatch.setattr("flask_idlesession.stores.journal.replay._PATIENCE", 0.0)
    caplog.set_level(logging.INFO, logger="flask_idlesession")
    open_journal()
    assert any("Reading the journal" in line.getMessage() for line in caplog.records)


@pytest.mark.parametrize("lost", [1, 5, 48, 60])
@pytest.mark.parametrize("what", ["an end", "a log-in", "a write"])
def test_what_a_write_cut_short_says_is_so_at_no_start(
    open_journal: Callable[..., JournalStore], path: Path, what: str, lost: int
) -> None:
    """It is cut off: it would be so at one start alone, and a session that was over would be back at the next."""
    store = open_journal()
    store.create(record := a_record(values={"a": b"1"}))
    store.create(another := a_record())
    store.delete(another.info.sid)  # Waits for the disk, and for what was written before.
    before = path.read_bytes()
    if what == "an end":
        store.delete(record.info.sid)
    elif what == "a log-in":
        rotation = Rotation(secret_digest=b"n" * 32, user_id="ada")
        store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW)
    else:
        store.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"2"}), now=NOW)
    store.close()
    path.write_bytes(before + path.read_bytes()[len(before) : -lost])  # And the guard is that of before, too.
    for _ in range(3):
        store = open_journal()
        assert store.load(record.info.sid, now=NOW) == record and len(store) == 1
        store.close()
