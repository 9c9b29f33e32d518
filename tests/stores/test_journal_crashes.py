"""Crashes: of the process at any moment, of the machine between any two calls; nothing promised is lost."""

import logging
import os
import random
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.programs import find_program
from support.programs import skip_unless_ci

from flask_idlesession.stores.journal import file as journal_file
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.testing.store_contract import NOW

pytest.importorskip("fcntl")

# Kill -9, and a witness.

WORKER = """
import os, random, sys, threading
path, durability, seed = sys.argv[1:4]; sys.path[:0] = sys.argv[4:]
from uuid import uuid4
from flask_idlesession.testing.store_contract import a_record, NOW
from flask_idlesession.model.ids import digest
from flask_idlesession.model.record import Change, Rotation
from flask_idlesession.stores.journal import writer as journal_writer
from flask_idlesession.stores.journal import JournalStore
journal_writer._WORTH_IT = 20_000
journal_writer._TOUCHES = 0.05

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def secret(n):
    return digest(b"%d" % n)

store = JournalStore(path, now=NOW, durability=durability)
secrets = {secret(n): n for n in range(200)}
for info in store.find(now=NOW):
    record = store.load(info.sid, now=NOW)
    tell("found", info.sid, secrets[record.secret_digest], record.values["n"].decode())
tell("ready")

def work(chance):
    mine = {}
    while True:
        sid = chance.choice(list(mine)) if mine and chance.random() < 0.8 else None
        if sid is None:
            record = a_record(holder=secret(0), values={"n": b"0", "pad": b"x" * 300}, user_id=str(uuid4()))
            sid = record.info.sid
            tell("begin", "create", sid, 0, 0)
            store.create(record)
            mine[sid] = [0, 0, record.info.user_id]
            tell("done", "create", sid, 0, 0)
            continue
        turn, n, user = mine[sid]
        what = chance.choice(["write", "write", "touch", "turn", "delete", "delete_all"])
        if what in ("delete", "delete_all"):
            tell("begin", "end", sid, 0, 0)
            del mine[sid]
            store.delete(sid) if what == "delete" else delete_all(store, user)
            tell("done", "end", sid, 0, 0)
        elif what == "touch":
            store.commit(sid, Change(holder=secret(turn), last_seen_at=NOW), now=NOW)
        else:
            n += 1
            turn += what == "turn"
            rotation = Rotation(secret_digest=secret(turn), user_id=user) if what == "turn" else None
            tell("begin", what, sid, turn, n)
            store.commit(
                sid, Change(holder=secret(mine[sid][0]), delta={"n": b"%d" % n}, rotation=rotation), now=NOW
            )
            mine[sid] = [turn, n, user]
            tell("done", what, sid, turn, n)

for number in range(4):
    threading.Thread(target=work, args=(random.Random(f"{seed} {number}"),), daemon=True).start()
threading.Event().wait()
"""


@dataclass
class Fate:
    """What the witness knows of one session."""

    #: (turn, n) that was acknowledged as durable; None: nothing was. And whether its end was.
    promised: tuple[int, int] | None = None
    ended: bool = False
    #: What was begun since, and may or may not have happened.
    possible: list[tuple[int, int]] = field(default_factory=list)
    may_have_ended: bool = False


class Witness:
    """Hears what a worker begins and what it was told is done, and checks what the next one finds."""

    def __init__(self, durability: str) -> None:
        self.durability = durability
        self.fates: dict[str, Fate] = {}
        self.found: dict[str, tuple[int, int]] = {}
        self.promises = 0

    def hear(self, line: str) -> bool:
        """Take one line; return whether it says that the worker has read its journal."""
        word, *rest = line.split()
        if word == "ready":
            self.check()
            return True
        if word == "found":
            sid, turn, n = rest
            self.found[sid] = (int(turn), int(n))
            return False
        what, sid, turn, n = rest
        fate = self.fates.setdefault(sid, Fate())
        state = (int(turn), int(n))
        if word == "begin":
            if what == "end":
                fate.may_have_ended = True
            else:
                fate.possible.append(state)
        elif what == "end":
            fate.ended = True
            self.promises += 1
        elif what == "turn" or self.durability == "always":
            fate.promised, fate.possible = state, []
            self.promises += 1
        return False

    def check(self) -> None:
        for sid, fate in self.fates.items():
            found = self.found.pop(sid, None)
            if found is None:
                assert fate.ended or fate.may_have_ended or fate.promised is None, f"{sid} is missing: {fate}"
            else:
                assert not fate.ended, f"{sid} was ended, and is back: {fate}"
                assert found == fate.promised or found in fate.possible, f"{sid} is {found}: {fate}"
            if found is None:
                fate.ended, fate.promised = True, None
            else:
                fate.promised = found if self.durability == "always" else fate.promised
                fate.possible = [found]
                fate.may_have_ended = False
        assert not self.found, "A session that nobody created was found."


def kill_and_restart(path: Path, durability: str, rounds: int) -> Witness:
    witness, chance = Witness(durability), random.Random(7)
    for number in range(rounds):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, path, durability, str(number), *sys.path], stdout=subprocess.PIPE
        )
        assert worker.stdout is not None
        try:
            for line in worker.stdout:
                if witness.hear(line.decode()):
                    break
            else:
                pytest.fail("The worker did not come up.")
            listen(worker, witness, seconds=chance.uniform(0.01, 0.5))
        finally:
            worker.send_signal(signal.SIGKILL)
            rest = worker.stdout.read()
            worker.wait()
        for line in rest.splitlines():
            witness.hear(line.decode())
        worker.stdout.close()
    return witness


def listen(worker: Any, witness: Witness, *, seconds: float) -> None:
    """Take what the worker says until the time is up; a line that is cut in two is put together."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                witness.hear(worker.stdout.readline().decode())


@pytest.mark.parametrize("durability", ["always", "interval"])
@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_kill_9_loses_nothing_that_was_promised(tmp_path: Path, durability: str, rounds: int) -> None:
    witness = kill_and_restart(tmp_path / "sessions.journal", durability, rounds)
    assert witness.promises > rounds


# A crash of the machine: what was not synced may be there, or not, or in part.


@dataclass
class Call:
    """A call that changes a disk, or a promise that was made between two of them."""

    name: str
    path: str = ""
    data: bytes = b""
    at: int = 0
    to: str = ""


class RecordingDisk:
    """The disk, and what was done to it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        #: What is done when a new file is synced for the first time, before it takes the place of the old one.
        self.meanwhile: list[Callable[[], None]] = []
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        self._paths[fd] = str(path)
        if flags & os.O_CREAT:
            self.calls.append(Call("create", str(path)))
        return fd

    def pwrite(self, fd: int, data: Any, at: int) -> int:
        self.calls.append(Call("write", self._paths[fd], bytes(data), at))
        return os.pwrite(fd, data, at)

    def ftruncate(self, fd: int, size: int) -> None:
        self.calls.append(Call("truncate", self._paths[fd], at=size))
        os.ftruncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        self.calls.append(Call("sync", self._paths[fd]))
        if self.meanwhile and self._paths[fd].endswith(".new"):
            self.meanwhile.pop()()

    def fsync(self, fd: int) -> None:
        self.calls.append(Call("sync folder"))

    def rename(self, path: Any, to: Any) -> None:
        self.calls.append(Call("rename", str(path), to=str(to)))
        os.rename(path, to)
        for fd, known in self._paths.items():
            if known == str(path):
                self._paths[fd] = str(to)

    def unlink(self, path: Any) -> None:
        os.unlink(path)
        self.calls.append(Call("unlink", str(path)))

    def promise(self, what: str, sid: Any) -> None:
        self.calls.append(Call("promise", path=str(sid), to=what))


class Inode:
    def __init__(self) -> None:
        self.synced = b""
        self.pending: list[Call] = []

    def content(self, calls: Iterable[Call], chance: random.Random | None = None) -> bytes:
        data = bytearray(self.synced)
        for call in calls:
            if call.name == "truncate":
                del data[call.at :]
                data += bytes(call.at - len(data))
                continue
            written = call.data
            if chance is not None and chance.random() < 0.3:  # Torn: some of its sectors are not there.
                written = torn(data, call, chance)
            data[len(data) :] = bytes(max(call.at - len(data), 0))
            data[call.at : call.at + len(written)] = written
        return bytes(data)


def torn(before: bytearray, call: Call, chance: random.Random) -> bytes:
    result = bytearray(call.data)
    start = call.at - call.at % 512
    for sector in range(start, call.at + len(call.data), 512):
        if chance.random() < 0.5:
            low, high = max(sector, call.at), min(sector + 512, call.at + len(call.data))
            was = bytes(before[low:high]).ljust(high - low, b"\0")
            result[low - call.at : high - call.at] = was
    return bytes(result)


def crash_states(calls: list[Call], journal: str, chance: random.Random) -> Iterator[bytes | None]:
    """Yield what may be found at ``journal`` if the machine stops after all these calls."""
    folder: dict[str, Inode] = {}
    steps: list[dict[str, Inode]] = [{}]  # What the folder on the disk may be: from the last sync on.
    for call in calls:
        if call.name == "create":
            folder[call.path] = folder.get(call.path) or Inode()
            steps.append(dict(folder))
        elif call.name in ("write", "truncate"):
            folder[call.path].pending.append(call)
        elif call.name == "sync":
            inode = folder[call.path]
            inode.synced, inode.pending = inode.content(inode.pending), []
        elif call.name == "rename":
            folder[call.to] = folder.pop(call.path)
            steps.append(dict(folder))
        elif call.name == "unlink":
            folder.pop(call.path, None)
            steps.append(dict(folder))
        elif call.name == "sync folder":
            steps = [dict(folder)]
    for step in steps:
        inode = step.get(journal)
        if inode is None:
            yield None
            continue
        yield inode.content(inode.pending)
        yield inode.synced
        for _ in range(3):
            some = [call for call in inode.pending if chance.random() < 0.6]
            yield inode.content(some, chance)


class Judge:
    """Opens crash states, and holds them against what was promised before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: set[tuple[int, bytes | None]] = set()

    def check(self, state: bytes | None, promised: list[Call]) -> None:
        if (len(promised), state) in self.seen:
            return
        self.seen.add((len(promised), state))
        self.path.unlink(missing_ok=True)
        if state is not None:
            self.path.write_bytes(state)
            self.path.chmod(0o600)
        store = JournalStore(self.path, now=NOW)
        found = {str(info.sid) for info in store.find(now=NOW)}
        store.close()
        promises = {call.path: call.to for call in promised}
        for sid, what in promises.items():
            if what == "created":
                assert sid in found, "A session that was promised is not there."
            elif what == "ended":
                assert sid not in found, "A session that was ended is there."


def check_every_crash(calls: list[Call], journal: Path, judge: Judge, *, every: int = 1, seed: int = 0) -> int:
    chance = random.Random(seed)
    for end in range(0, len(calls) + 1, every):
        promised = [call for call in calls[:end] if call.name == "promise"]
        for state in crash_states([call for call in calls[:end] if call.name != "promise"], str(journal), chance):
            judge.check(state, promised)
    return len(judge.seen)


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Judge:
    caplog.set_level(logging.CRITICAL + 1, logger="flask_idlesession")
    (tmp_path / "judge").mkdir()
    return Judge(tmp_path / "judge" / "journal")


def end(store: JournalStore, disk: RecordingDisk, record: Any) -> None:
    disk.promise("perhaps", record.info.sid)
    store.delete(record.info.sid)
    disk.promise("ended", record.info.sid)


def a_life(path: Path, disk: RecordingDisk) -> None:
    """Live through creations, writes, ends and two compactions, all on that disk."""
    from flask_idlesession.model.record import Change
    from flask_idlesession.testing.store_contract import a_record
    from flask_idlesession.testing.store_contract import HOLDER

    store = JournalStore(path, now=NOW, durability="always", disk=disk)
    for n in range(12):
        record = a_record(user_id="u", values={"v": bytes([n]) * (n * 300)})
        store.create(record)
        disk.promise("created", record.info.sid)
        if n % 3 == 0:
            store.commit(record.info.sid, Change(holder=HOLDER, delta={"w": b"1"}), now=NOW)
        if n % 3 == 1 and n not in (4, 8):
            end(store, disk, record)
        if n in (4, 8):
            disk.meanwhile.append(partial(end, store, disk, record))
            store._journal._try_rewrite(paced=False)
    store.close()


@pytest.mark.parametrize("seeds", [1, pytest.param(60, marks=pytest.mark.soak)])
def test_no_crash_of_the_machine_breaks_a_promise(
    tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    disk = RecordingDisk()
    a_life(tmp_path / "journal", disk)
    monkeypatch.setattr(journal_file, "_sync", lambda disk, fd: None)
    monkeypatch.setattr(journal_file, "sync_folder", lambda path, disk: None)
    assert sum(call.name == "rename" for call in disk.calls) == 3
    for seed in range(seeds):
        assert check_every_crash(disk.calls, tmp_path / "journal", judge, seed=seed) > 100


def test_a_crash_in_the_middle_of_the_recovery_is_recovered_from(
    tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage makes a start write a new file; a crash there must lose nothing more."""
    a_life(tmp_path / "journal", RecordingDisk())
    data = bytearray((tmp_path / "journal").read_bytes())
    data[600] ^= 1
    (tmp_path / "journal").write_bytes(data)
    disk = RecordingDisk()
    store = JournalStore(tmp_path / "journal", now=NOW, disk=disk)
    kept = [str(info.sid) for info in store.find(now=NOW)]
    store.close()
    monkeypatch.setattr(journal_file, "_sync", lambda disk, fd: None)
    before = [Call("create", str(tmp_path / "journal")), Call("write", str(tmp_path / "journal"), bytes(data))]
    before += [Call("sync", str(tmp_path / "journal")), Call("sync folder")]
    promises = [Call("promise", sid, to="created") for sid in kept]
    chance = random.Random(1)
    for end in range(len(disk.calls) + 1):
        for state in crash_states([*before, *disk.calls[:end]], str(tmp_path / "journal"), chance):
            judge.check(state, promises)
    assert len(judge.seen) >= 2, "The old file, and the new one."


# The same, from what the system saw.

LIFE = """
import sys; sys.path[:0] = sys.argv[2:]
import os
from pathlib import Path
import test_journal_crashes as crashes
class Told(crashes.RecordingDisk):
    def promise(self, what, sid):
        os.write(1, f"{what} {sid}\\n".encode())
    def fdatasync(self, fd):
        os.fdatasync(fd)
        super().fdatasync(fd)
    fsync = staticmethod(os.fsync)
crashes.a_life(Path(sys.argv[1]), Told())
"""

_STRACED = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?: .*)?$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def parse_strace(text: str, folder: str) -> list[Call]:
    """Return the calls that changed files in ``folder``, and the promises, which were written to descriptor 1."""
    calls: list[Call] = []
    paths: dict[int, str] = {}
    unfinished: dict[str, str] = {}
    for line in text.splitlines():
        if line.endswith("<unfinished ...>"):
            thread, rest = line.removesuffix("<unfinished ...>").split(maxsplit=1)
            unfinished[thread] = rest
            continue
        resumed = re.match(r"(\d+) +<\.\.\. \w+ resumed>(.*)", line)
        if resumed:
            line = f"{resumed[1]} {unfinished.pop(resumed[1])}{resumed[2]}"
        match = _STRACED.match(line)
        if match is None or int(match[4]) < 0:
            continue
        name, arguments, result = match[2], match[3], int(match[4])
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(arguments)]
        numbers = [int(part) for part in re.split(r", *", arguments) if part.strip().isdigit()]
        if name == "openat":
            paths[result] = texts[0].decode()
            if "O_CREAT" in arguments and paths[result].startswith(folder):
                calls.append(Call("create", paths[result]))
        elif name == "write" and numbers[0] == 1:
            what, sid = texts[0].decode().split()
            calls.append(Call("promise", sid, to=what))
        elif name in ("pwrite64", "ftruncate", "fdatasync") and paths.get(numbers[0], "").startswith(folder):
            path = paths[numbers[0]]
            if name == "pwrite64":
                calls.append(Call("write", path, texts[0][:result], numbers[-1]))
            else:
                calls.append(Call("truncate", path, at=numbers[-1]) if name == "ftruncate" else Call("sync", path))
        elif name == "fsync":
            calls.append(Call("sync folder"))
        elif name == "rename" and texts[0].decode().startswith(folder):
            calls.append(Call("rename", texts[0].decode(), to=texts[1].decode()))
            paths.update({fd: texts[1].decode() for fd, path in paths.items() if path == texts[0].decode()})
        elif name == "unlink" and texts[0].decode().startswith(folder):
            calls.append(Call("unlink", texts[0].decode()))
    return calls


def test_no_crash_between_two_calls_that_the_system_saw_breaks_a_promise(
    tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    strace = find_program("strace")
    folder = tmp_path / "traced"
    folder.mkdir()
    names = "openat,write,pwrite64,ftruncate,fdatasync,fsync,rename,unlink"
    trace = [
        strace,
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-xx",
        "-s",
        "10000000",
        "-e",
        f"trace={names}",
        "-o",
        tmp_path / "trace",
    ]
    run = subprocess.run(
        [*trace, sys.executable, "-c", LIFE, folder / "journal", *sys.path], capture_output=True, text=True, timeout=300
    )
    if run.returncode and "ptrace" in run.stderr:
        skip_unless_ci(f"strace may not trace here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    calls = parse_strace((tmp_path / "trace").read_text(), str(folder))
    assert sum(call.name == "promise" for call in calls) == run.stdout.count("\n")
    assert sum(call.name == "rename" for call in calls) == 3
    assert sum(call.name == "sync folder" for call in calls) == 3
    monkeypatch.setattr(journal_file, "_sync", lambda disk, fd: None)
    monkeypatch.setattr(journal_file, "sync_folder", lambda path, disk: None)
    assert check_every_crash(calls, folder / "journal", judge) > 100
