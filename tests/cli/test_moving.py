"""The commands ``move``, ``export`` and ``import``: every session arrives as it was, and what ended stays ended."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from uuid import uuid4

import pytest
from conftest import Site

from flask_idlesession import current_user_id
from flask_idlesession import log_in
from flask_idlesession.model.clock import system_clock
from flask_idlesession.model.ids import SessionId
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import EndReason
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.operations.moving import Fate
from flask_idlesession.operations.moving import move
from flask_idlesession.operations.moving import sids_in
from flask_idlesession.operations.moving_notes import Notes
from flask_idlesession.stores import open_store
from flask_idlesession.stores.contract import endings_of
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.journal.reading import JournalCopy
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.stores.revocation_marks import EVERYBODY
from flask_idlesession.stores.revocation_marks import mark_of

KINDS = ("journal", "sqlite", "redis", "postgresql", "mariadb")


@pytest.fixture
def pair(tmp_path, redis_server):
    with closing(redis_server.client()) as client:
        client.flushall()
    urls = f"sqlite:///{tmp_path}/sessions.db", redis_server.url
    one, two = (Site(now=system_clock(), IDLESESSION_STORE=url) for url in urls)
    with closing(one.manager), closing(two.manager):
        yield one, two, urls


def states(site):
    now = site.clock()
    found = [site.manager.store.load(info.sid, now=now) for info in site.manager.store.find(now=now)]
    return {each.info.sid: (each.info, each.secret_digest, dict(each.values)) for each in found}


def test_sessions_move_there_and_back_and_a_second_pass_carries_what_changed(pair, tmp_path: Path):
    one, two, (source, target) = pair
    sids = [one.put(number, f"user {number}", idle=number, values={"n": number}) for number in range(1, 30)]
    assert one.run("move", source, target).stdout.startswith("Sessions carried: 29.")
    assert states(two) == states(one)
    assert one.run("move", source, target).stdout.startswith("Sessions carried: 0. Left as they were: 29.")
    one.manager.replace(SessionId(sids[0]), {"n": "new"})
    one.manager.revoke(SessionId(sids[1]))
    assert "carried: 1. Left as they were: 27. Ended meanwhile: 1." in one.run("move", source, target).stdout
    assert states(two) == states(one) and len(states(two)) == 28
    back = f"sqlite:///{tmp_path}/back.db"
    assert "carried: 28." in one.run("move", target, back).stdout


def test_a_newer_state_and_an_end_at_the_target_stay(pair):
    one, two, (source, target) = pair
    one.put(1, "ada", idle=60), two.put(1, "ada", idle=5, values={"n": 2})
    sid = SessionId(one.put(2, "bob"))
    ending = Ending(sid=sid, reason=EndReason.LOGGED_OUT, ended_at=two.clock())
    two.manager.store.bury([ending], until=two.clock() + 600)
    before = states(two)
    assert "carried: 0. Left as they were: 2." in one.run("move", source, target).stdout
    assert states(two) == before and len(before) == 1


def test_an_end_by_time_at_the_target_ends_no_session_that_was_used_at_the_source(pair):
    one, two, (source, target) = pair
    sid = SessionId(one.put(1, "ada", values={"n": 1}))
    ending = Ending(sid=sid, reason=EndReason.IDLE, ended_at=two.clock() - 60)
    two.manager.store.bury([ending], until=two.clock() + 600)
    assert "carried: 1." in one.run("move", source, target).stdout
    assert states(two) == states(one) and len(states(two)) == 1


def log_in_while(site, happens):
    """Log a user in at the site while something happens; return the user whom the browser is logged in as then."""

    @site.app.get("/in")
    def enter():
        log_in("ada")
        happens()
        return "in"

    client = site.app.test_client()
    client.get("/in")
    cookie = client.get_cookie("session")
    with site.app.test_request_context(headers={"Cookie": f"session={cookie.value}"} if cookie else {}):
        return current_user_id()


@pytest.mark.parametrize("revoke", ["revoke_user", "revoke_all"])
@pytest.mark.parametrize("has_sessions_at", ["source", "target"])
def test_a_revocation_at_the_source_ends_a_log_in_that_is_under_way_at_the_target(pair, revoke, has_sessions_at):
    one, two, (source, target) = pair
    (one if has_sessions_at == "source" else two).put(1, "ada")

    def revoke_and_move():
        for site in pair[:2]:
            site.clock.advance(1)
        getattr(one.manager, revoke)(*(["ada"] if revoke == "revoke_user" else []))
        if has_sessions_at == "source":
            one.put(2, "ada")
        assert one.run("move", source, target).exit_code == 0

    assert log_in_while(two, revoke_and_move) is None


def test_who_logs_in_after_a_revocation_was_carried_stays(pair):
    one, two, (source, target) = pair
    one.manager.revoke_all()
    assert one.run("move", source, target).exit_code == 0
    for site in (one, two):
        site.clock.advance(1)
    assert log_in_while(two, lambda: one.run("move", source, target)) == "ada"


def test_an_older_revocation_does_not_replace_the_targets(pair):
    one, two, (source, target) = pair
    one.manager.revoke_all()
    two.clock.advance(5)
    two.manager.revoke_all()
    assert one.run("move", source, target).exit_code == 0
    assert two.manager.store.ending(EVERYBODY, now=two.clock()).ended_at == pytest.approx(two.clock())


def test_what_cannot_be_moved_is_said(pair):
    one, _, (source, _) = pair
    assert one.run("move", source, source).exit_code == 2
    assert "out of reach" in one.run("move", "memory://", source).output
    assert one.run("move", source, "redis://127.0.0.1:1/0").exit_code == 3
    assert one.run("move", "sqlite:///missing.db", source).exit_code == 2
    assert one.run("move", "journal:///missing.journal", source).exit_code == 3


def a_record(number: int) -> Record:
    now = system_clock()
    info = SessionInfo(
        sid=uuid4(),
        user_id=f"user {number}" if number % 2 else None,
        created_at=now - 100.25,
        last_seen_at=now - number,
        idle_timeout=1800.0,
        lifetime_ends_at=now + 86400,
        labels={"level": "admin", "score": 2.5, "address": "192.0.2.0/24"},
    )
    values = {"\u00e4": b"\x00\xff" * number, f"key {number}": b"\xc0"}
    return Record(info=info, secret_digest=os.urandom(32), values=values)


def content(store) -> dict:
    now = system_clock()
    records = (store.load(info.sid, now=now) for info in store.find(now=now))
    return {record.info.sid: (record.info, record.secret_digest, dict(record.values)) for record in records}


@pytest.fixture
def opened(request, tmp_path):
    """Return a way to open each kind of store, empty at first, by the URL that ``move`` is given."""
    urls = {"journal": f"journal:///{tmp_path}/j/sessions.journal", "sqlite": f"sqlite:///{tmp_path}/s/sessions.db"}

    def url(kind: str) -> str:
        if kind not in urls:
            urls[kind] = request.getfixturevalue("redis_server" if kind == "redis" else kind).url
            with closing(open_store(urls[kind], folder=tmp_path)) as store:
                for info in list(store.find(now=0.0)):
                    store.delete(info.sid)
        return urls[kind]

    def open_kind(kind: str, *, reads: bool = False):
        if kind != "journal":
            return closing(open_store(url(kind), folder=tmp_path))
        path, now = tmp_path / "j" / "sessions.journal", system_clock()
        return closing(JournalCopy(path, now=now) if reads else JournalStore(path, now=now))

    open_kind.url = url
    return open_kind


@pytest.mark.parametrize(("source", "target"), list(permutations(KINDS, 2)))
def test_sessions_move_between_any_two_kinds_of_store(opened, source, target):
    with opened(source) as store:
        for number in range(40):
            store.create(a_record(number))
        now = system_clock()
        revoked = [Ending(sid=mark, reason=EndReason.REVOKED, ended_at=now) for mark in (EVERYBODY, mark_of("user 1"))]
        store.bury(revoked, until=now + 600)
    with opened(source, reads=True) as store:
        before = content(store)
    site = Site()
    result = site.run("move", opened.url(source), opened.url(target))
    assert result.stdout.startswith("Sessions carried: 40."), result.output
    with opened(target, reads=True) as store:
        assert content(store) == before and len(before) == 40
        remembered = endings_of(store, [ending.sid for ending in revoked], now=now)
        assert set(remembered) == (set() if "journal" in (source, target) else set(revoked))  # It keeps sessions alone.
    with opened(source) as store:
        gone = list(before)[:5]
        for sid in gone:
            store.delete(sid)  # Of long ago: how it ended is remembered no more.
    assert (
        "carried: 0. Left as they were: 35. Ended meanwhile: 5."
        in site.run("move", opened.url(source), opened.url(target)).stdout
    )
    with opened(target, reads=True) as store:
        assert set(content(store)) == set(before) - set(gone)


def test_what_was_used_at_the_target_does_not_end_where_the_source_forgot_it(pair):
    one, two, (source, target) = pair
    idle, out = SessionId(one.put(1, "ada", idle=60)), SessionId(one.put(2, "bob", idle=60))
    mine = SessionId(two.put(3, "eve", idle=60))
    one.run("move", source, target)
    for sid in (idle, out):
        two.manager.replace(sid, {"n": "used"})
        one.manager.store.delete(sid)
    now = system_clock()
    endings = [Ending(sid=idle, reason=EndReason.IDLE, ended_at=now + 60)]
    endings += [Ending(sid=out, reason=EndReason.LOGGED_OUT, ended_at=now + 60)]
    one.manager.store.bury(endings, until=now + 600)
    assert "Ended meanwhile: 1." in one.run("move", source, target).stdout
    assert set(states(two)) == {idle, mine}
    assert two.manager.store.ending(out, now=now).reason is EndReason.LOGGED_OUT


def test_a_later_pass_does_not_undo_what_the_target_wrote_meanwhile(pair):
    one, two, (source, target) = pair
    sid = SessionId(one.put(1, "ada", idle=60, values={"n": 1}))
    one.run("move", source, target)
    record = two.manager.store.load(sid, now=two.clock())
    two.manager.store.delete(sid)
    two.manager.store.create(record.holding({"n": b"\x07"}))  # A passive request: it was seen no later.
    assert "Left as they were: 1." in one.run("move", source, target).stdout
    assert states(two)[sid][2] == {"n": b"\x07"}


CHANGES = {
    "values": lambda record: record.holding({"n": b"\x02", "new": b"\x03"}),
    "activity": lambda record: replace(record, info=replace(record.info, last_seen_at=system_clock())),
    "labels": lambda record: replace(record, info=replace(record.info, labels={"level": "user", "team": 7})),
    "idle timeout": lambda record: replace(record, info=replace(record.info, idle_timeout=900.0)),
    "permanence": lambda record: replace(record, info=replace(record.info, refresh_by=system_clock() + 900)),
    "log-in": lambda record: replace(
        record,
        info=replace(record.info, user_id="eve", lifetime_ends_at=system_clock() + 9000),
        secret_digest=b"n" * 32,
        former_digest=record.secret_digest,
        former_ends_at=system_clock() + 900,  # A server may have to start first.
    ),
    "rotation": lambda record: replace(record, secret_digest=b"n" * 32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_session_is_never_missing_at_the_target(opened, kind, tmp_path, monkeypatch):
    now = system_clock()
    records = {name: replace(a_record(10), values={"n": b"\x01", "old": b"\x00"}) for name in CHANGES}
    changed = [CHANGES[name](record) for name, record in records.items()]
    with opened(kind) as target, closing(Notes(tmp_path / "notes")) as notes:
        deleted, real = [], target.delete
        monkeypatch.setattr(target, "delete", lambda sid: deleted.append(sid) or real(sid))
        for state, fate in ((records.values(), Fate.CARRIED), (changed, Fate.CARRIED), (changed, Fate.LEFT)):
            source = MemoryStore()
            for record in state:
                source.create(record)
            sids = sids_in(source, now=now)
            assert Counter(move(source, target, sids, now=now, notes=notes)) == {fate: len(CHANGES)}
            assert content(target) == content(source)
        assert not {record.info.sid for record in changed} & set(deleted)


def test_encrypted_values_are_carried_as_they_are(tmp_path):
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in "ab"]
    encrypted = {"now": system_clock(), "IDLESESSION_ENCRYPTION_KEYS": ["k" * 32]}
    sites = [Site(IDLESESSION_STORE=url, **encrypted) for url in urls]
    with closing(sites[0].manager), closing(sites[1].manager):
        sid = sites[0].manager.create({"word": "swordfish"}, user_id="ada")
        assert Site().run("move", *urls).stdout.startswith("Sessions carried: 1.")
        assert sites[1].manager.read(sid) == {"word": "swordfish"}
    assert b"swordfish" not in (tmp_path / "b.db").read_bytes()


def test_sessions_go_to_a_file_and_come_back(tmp_path):
    url, file = f"sqlite:///{tmp_path}/a.db", tmp_path / "backup" / "sessions.journal"
    one, two = (Site(now=system_clock(), IDLESESSION_STORE=each) for each in (url, f"sqlite:///{tmp_path}/b.db"))
    with closing(one.manager), closing(two.manager):
        sids = [one.put(number, "ada", values={"n": number}) for number in range(1, 8)]
        assert one.run("export", str(file)).stdout.startswith("Sessions carried: 7.")
        assert file.stat().st_mode & 0o777 == 0o600
        one.manager.revoke(SessionId(sids[0]))
        assert "Ended meanwhile: 1." in one.run("export", str(file)).stdout
        assert two.run("import", str(file)).stdout.startswith("Sessions carried: 6.")
        assert states(two) == states(one)
        assert "Left as they were: 6." in two.run("import", str(file)).stdout
        (tmp_path / "no.journal").write_bytes(b"something else")
        (tmp_path / "no.journal").chmod(0o600)
        assert two.run("import", str(tmp_path / "no.journal")).exit_code == 3


class Picky(MemoryStore):
    def create(self, record):
        from flask_idlesession.model.errors import RecordRejected

        if len(record.values["n"]) > 5:
            raise RecordRejected("It is too large.")
        super().create(record)


def test_one_session_that_the_target_refuses_holds_up_no_other(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/a.db"
    site, picky = Site(now=system_clock(), IDLESESSION_STORE=url), Picky()
    monkeypatch.setattr("flask_idlesession.cli.moving._open_target", lambda url, folder: picky)
    with closing(site.manager):
        for number in range(1, 6):
            site.put(number, values={"n": "x" * (3 * number)})
        result = site.run("move", url, "redis://127.0.0.1:1/0")
    assert result.exit_code == 1 and "carried: 1." in result.stdout and "Not carried: 4" in result.output
    assert len(picky) == 1


def test_a_move_that_is_killed_goes_on_when_it_is_called_again(tmp_path, redis_server):
    with closing(redis_server.client()) as client:
        client.flushall()
        (tmp_path / "app.py").write_text(APP)
        with closing(open_store(f"sqlite:///{tmp_path}/a.db", folder=tmp_path)) as store:
            for number in range(3000):
                store.create(a_record(number % 50))
            before = content(store)
        command = [sys.executable, "-m", "flask", "--app", "app", "idlesession", "move"]
        command += [f"sqlite:///{tmp_path}/a.db", redis_server.url]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while client.dbsize() < 700 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    with closing(open_store(redis_server.url, folder=tmp_path)) as target:
        assert 0 < len(content(target)) < 3000
        told = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        assert content(target) == before
        assert "Sessions carried: 0." not in told and "Ended meanwhile: 0." in told
        for info in list(target.find(now=0.0)):
            target.delete(info.sid)


APP = """
from flask import Flask
from flask_idlesession import IdleSession

app = Flask(__name__)
app.secret_key = "8f1c0b1d9a7e4f22b6c3"
IdleSession(app)
"""
