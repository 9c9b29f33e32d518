"""A damaged journal: whatever happened to its bytes, it starts, says what it lost, and revives nobody."""

import logging
import random
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores.journal import file as journal_file
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.journal.frames import GUARD_AT
from flask_idlesession.stores.journal.frames import PREAMBLE
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import SECOND

pytest.importorskip("fcntl")


class Written:
    """The bytes of a journal, and what those who wrote it know."""

    def __init__(self, path: Path, *, live: dict[UUID, Record], ended: set[UUID], turned: set[UUID]) -> None:
        self.data = path.read_bytes()
        self.live = live
        self.ended = ended
        #: Sessions whose first secret must never open them again.
        self.turned = turned


@pytest.fixture(scope="module", params=["as it grew", "compacted half way"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    path = tmp_path_factory.mktemp("written") / "journal"
    store = JournalStore(path, now=NOW, durability="always")
    live: dict[UUID, Record] = {}
    ended, turned = set(), set()
    for n in range(60):
        record = a_record(user_id=f"u{n}" if n % 2 else None, values={"v": bytes(range(n))})
        store.create(record)
        sid = record.info.sid
        change = Change(holder=HOLDER, delta={"w": b"%d" % n}, last_seen_at=NOW)
        if n % 3 == 0:
            store.commit(sid, change, now=NOW)
        if n % 5 == 0:
            store.commit(sid, Change(holder=HOLDER, rotation=Rotation(secret_digest=SECOND, user_id="x")), now=NOW)
            turned.add(sid)
        if n % 4 == 1:
            store.delete(sid)
            ended.add(sid)
        else:
            live[sid] = store.load(sid, now=NOW)  # type: ignore[assignment]
        if n == 30 and request.param != "as it grew":
            store._journal._try_rewrite(paced=False)
        if n == 40:
            store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW + 1), now=NOW + 1)
            store._journal._write_touches()
    for sid in live:
        live[sid] = store.load(sid, now=NOW)  # type: ignore[assignment]
    store.close()
    return Written(path, live=live, ended=ended, turned=turned)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of the bytes is what is tested here, not the disk."""
    monkeypatch.setattr(journal_file, "_sync", lambda disk, fd: None)
    monkeypatch.setattr(journal_file, "sync_folder", lambda path, disk: None)


class Reader:
    """Opens bytes as a journal, and checks what must hold whatever they are."""

    def __init__(self, path: Path, written: Written, caplog: pytest.LogCaptureFixture) -> None:
        self.path = path
        self.written = written
        self.caplog = caplog

    def __call__(self, data: bytes, *, exactly: bool = True) -> dict[UUID, Record]:
        """Return the sessions that come back. ``exactly``: none of them as it was at an earlier time."""
        self.path.write_bytes(data)
        self.path.chmod(0o600)
        self.caplog.clear()
        store = JournalStore(self.path, now=NOW)
        found = {info.sid: store.load(info.sid, now=NOW) for info in store.find(now=NOW)}
        store.close()
        assert not found.keys() & self.written.ended, "A session that was ended is back."
        assert all(found[sid].secret_digest == SECOND for sid in found.keys() & self.written.turned)
        assert found.keys() <= self.written.live.keys()
        for sid, record in found.items():
            was = self.written.live[sid]
            assert record.info.last_seen_at <= was.info.last_seen_at, "The touch alone may be missing."
            assert not exactly or record.values == was.values
        return found

    @property
    def said(self) -> list[str]:
        return [line.getMessage() for line in self.caplog.records if line.levelno >= logging.WARNING]


@pytest.fixture
def read(tmp_path: Path, written: Written, caplog: pytest.LogCaptureFixture) -> Reader:
    return Reader(tmp_path / "journal", written, caplog)


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cases(plain: int, soak: int) -> list[Any]:
    return [plain, pytest.param(soak, marks=pytest.mark.soak)]


def test_an_intact_journal_says_nothing(read: Reader, written: Written) -> None:
    assert read(written.data) == written.live
    assert not read.said


@pytest.mark.parametrize("count", cases(150, 10_000))
def test_a_flipped_bit_costs_at_most_the_session_that_it_hit(read: Reader, written: Written, count: int) -> None:
    for seed in range(count):
        bit = random.Random(seed).randrange(8 * len(written.data))
        found = read(flip(written.data, bit))
        assert len(found) >= len(written.live) - 1, f"Bit {bit} cost more than one session."
        if found.keys() != written.live.keys():
            assert len(read.said) == 1 and "is damaged" in read.said[0] and ".damaged" in read.said[0]
            assert read.path.with_name("journal.damaged").read_bytes() == flip(written.data, bit)


def test_no_bit_of_the_preamble_matters(read: Reader, written: Written) -> None:
    for bit in random.Random(2).sample(range(8 * PREAMBLE), 100):
        assert read(flip(written.data, bit)) == written.live


@pytest.mark.parametrize("count", cases(150, 10_000))
def test_a_truncated_journal_revives_nobody(read: Reader, written: Written, count: int) -> None:
    sizes = range(len(written.data))
    for size in sizes if count >= len(sizes) else random.Random(1).sample(sizes, count):
        read(written.data[:size], exactly=False)
        assert len(read.said) == 1, f"{size} bytes of {len(written.data)}: {read.said}"


def test_a_cut_that_took_no_end_with_it_costs_only_what_was_cut(read: Reader, written: Written, tmp_path: Path) -> None:
    store = JournalStore(tmp_path / "other", now=NOW, durability="always")
    records = [a_record() for _ in range(10)]
    store.create(records[0])
    store.delete(records[0].info.sid)
    ends = []
    for record in records[1:]:
        store.create(record)
        ends.append((tmp_path / "other").stat().st_size)
    store.close()
    data = (tmp_path / "other").read_bytes()
    live = {record.info.sid: record for record in records[1:]}
    read.written = Written(tmp_path / "other", live=live, ended={records[0].info.sid}, turned=set())
    for size in range(ends[0], len(data), 7):
        whole = sum(end <= size for end in ends)
        assert whole <= len(read(data[:size])) <= whole + 1
        assert "is damaged" in read.said[0], "The disk had confirmed what is no longer there."


@pytest.mark.parametrize("count", cases(150, 10_000))
def test_a_hole_in_the_middle_revives_nobody(read: Reader, written: Written, count: int) -> None:
    for seed in range(count):
        chance = random.Random(seed)
        size = chance.choice([1, 8, 64, 512, 4096])
        at = chance.randrange(PREAMBLE, len(written.data))
        hole = bytes(size) if chance.random() < 0.5 else chance.randbytes(size)
        read((written.data[:at] + hole + written.data[at + size :])[: len(written.data)], exactly=False)


@pytest.mark.parametrize("count", cases(50, 3_000))
def test_bytes_that_are_missing_or_come_twice_revive_nobody(read: Reader, written: Written, count: int) -> None:
    for seed in range(count):
        chance = random.Random(seed)
        at, size = chance.randrange(PREAMBLE, len(written.data)), chance.randrange(1, 2000)
        read(written.data[:at] + written.data[at + size :], exactly=False)
        read(written.data[: at + size] + written.data[at:], exactly=False)


@pytest.mark.parametrize("count", cases(50, 3_000))
def test_ten_flipped_bits_revive_nobody(read: Reader, written: Written, count: int) -> None:
    for seed in range(count):
        chance, data = random.Random(seed), written.data
        for _ in range(10):
            data = flip(data, chance.randrange(8 * PREAMBLE, 8 * len(data)))
        read(data, exactly=False)


def test_the_tail_of_an_older_file_revives_nobody(read: Reader, written: Written, tmp_path: Path) -> None:
    """Blocks that another journal left on the disk do not look like frames of this one."""
    store = JournalStore(tmp_path / "other", now=NOW)
    store.create(a_record())
    store.close()
    assert read(written.data + (tmp_path / "other").read_bytes()[PREAMBLE:]) == written.live


def test_a_value_that_looks_like_a_frame_is_a_value(tmp_path: Path, read: Reader) -> None:
    """Who may write a value cannot write a session: not even into a file that is damaged just there."""
    store = JournalStore(tmp_path / "source", now=NOW)
    forged = a_record(user_id="admin")
    store.create(forged)
    store.close()
    frames = (tmp_path / "source").read_bytes()[PREAMBLE:]
    store = JournalStore(tmp_path / "target", now=NOW)
    store.create(a_record(values={"name": frames * 3}))
    store.close()
    data = bytearray((tmp_path / "target").read_bytes())
    at = data.index(frames)
    data[PREAMBLE:at] = bytes(at - PREAMBLE)
    (tmp_path / "target").write_bytes(data)
    store = JournalStore(tmp_path / "target", now=NOW)
    assert store.load(forged.info.sid, now=NOW) is None
    store.close()


def test_a_lost_guard_alone_loses_nobody(read: Reader, written: Written) -> None:
    data = written.data[:GUARD_AT] + bytes(PREAMBLE - GUARD_AT) + written.data[PREAMBLE:]
    assert read(data) == written.live
    assert "is damaged" in read.said[0]


def test_a_lost_header_loses_all_and_keeps_the_file_beside(read: Reader, written: Written) -> None:
    data = b"idlesess" + bytes(GUARD_AT - 8) + written.data[GUARD_AT:]
    assert read(data) == {}
    assert read.path.with_name("journal.damaged").read_bytes() == data
    assert f"{len(data)} bytes could not be read" in read.said[0]


def test_after_damage_the_next_start_finds_a_whole_file(read: Reader, written: Written) -> None:
    found = read(flip(written.data, 8 * (PREAMBLE + 200)))
    assert read(read.path.read_bytes()) == found
    assert not read.said


def test_a_block_that_cannot_be_read_is_as_good_as_zeros(
    tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BadBlock:
        def __getattr__(self, name: str) -> Any:
            return getattr(journal_file.os, name)

        def pread(self, fd: int, size: int, at: int) -> bytes:
            if at <= 4096 < at + size:
                raise OSError(5, "Input/output error")
            return journal_file.os.pread(fd, size, at)

    path = tmp_path / "journal"
    path.write_bytes(written.data)
    path.chmod(0o600)
    store = JournalStore(path, now=NOW, disk=BadBlock())
    assert {info.sid for info in store.find(now=NOW)} <= written.live.keys()
    store.close()


def test_without_a_guard_no_stretch_that_is_cut_out_brings_back_who_was_logged_out(
    read: Reader, written: Written
) -> None:
    for start in range(PREAMBLE, len(written.data), 211):
        for size in (230, 300, 1000):
            data = written.data[:GUARD_AT] + bytes(PREAMBLE - GUARD_AT) + written.data[PREAMBLE:start]
            read(data + written.data[start + size :], exactly=False)
