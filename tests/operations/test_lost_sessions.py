"""Genuine tokens of sessions that a memory store never had: the sign of a restart, or of another host."""

import logging
import threading
from uuid import uuid4

import pytest
from flask import Flask
from flask import session

from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import MemoryStore
from flask_idlesession.model.ids import Credential
from flask_idlesession.model.policy import Policy
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import Record
from flask_idlesession.operations.lost_sessions import LostSessions
from flask_idlesession.testing import FakeClock
from flask_idlesession.web.tokens import Tokens

START = 1_700_000_000.0
KEY = "k" * 32


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def strays(store):
    return LostSessions(store, began_at=START)


def test_many_sessions_that_were_never_here_are_one_warning_with_the_lines_that_mend_it(strays, caplog):
    for _ in range(9):
        strays.note(uuid4(), now=START + 1)
    assert caplog.records == []
    for _ in range(50):
        strays.note(uuid4(), now=START + 2)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "10 different sessions" in caplog.text
    for line in ('"IDLESESSION_STORE"] = "sqlite:///sessions.db"', '"IDLESESSION_JOURNAL"] = "', "redis://"):
        assert line in caplog.text
    assert not strays._seen, "What was counted is kept for nothing."


def test_one_browser_that_asks_again_and_again_is_no_sign(strays, caplog):
    sid = uuid4()
    for _ in range(100):
        strays.note(sid, now=START + 1)
    assert caplog.records == []


def test_sessions_that_ended_here_are_no_sign(strays, store, caplog):
    for _ in range(50):
        info = Policy(idle_timeout=1).begin(now=START)
        store.create(Record(info=info, secret_digest=b"", values={}))
        strays.note(info.sid, now=START + 2)  # It has expired, and was not pruned yet.
    for _ in range(50):
        sid = uuid4()
        store.bury([Ending(sid=sid, reason=EndReason.LOGGED_OUT, ended_at=START)], until=START + 3600)
        strays.note(sid, now=START + 2)
    assert caplog.records == []
    assert not strays._seen


def test_some_minutes_after_the_start_nothing_is_counted_any_more(strays, caplog):
    for _ in range(50):
        strays.note(uuid4(), now=START + 300)
    assert caplog.records == []
    assert not strays._seen


def test_threads_that_count_at_the_same_time_warn_once(store, caplog):
    for _ in range(50):
        caplog.clear()
        strays = LostSessions(store, began_at=START)
        barrier = threading.Barrier(4)

        def come(strays=strays, barrier=barrier):
            barrier.wait()
            for _ in range(8):
                strays.note(uuid4(), now=START)

        threads = [threading.Thread(target=come) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(caplog.records) == 1


def make_app(store=None, **config):
    app = Flask(__name__)
    app.config.update(SECRET_KEY=KEY, **config)
    clock = FakeClock()
    IdleSession(app, store=store, clock=clock)

    @app.get("/read")
    def read():
        return dict(session)

    @app.get("/write")
    def write():
        session["a"] = 1
        return ""

    return app, clock


def come_back(app, tokens):
    for token in tokens:
        client = app.test_client()
        client.set_cookie("session", token)
        assert client.get("/read").json == {}


def genuine():
    return [Tokens((KEY,)).issue(Credential.new()) for _ in range(12)]


def test_users_who_come_back_to_an_application_that_was_started_anew_are_told_of(caplog):
    before, _ = make_app()
    clients = [before.test_client() for _ in range(12)]
    for client in clients:
        client.get("/write")
    after, _ = make_app()
    come_back(after, [client.get_cookie("session").value for client in clients])
    assert sum("different sessions" in record.message for record in caplog.records) == 1


def test_tokens_of_another_key_and_what_is_none_are_no_sign(caplog):
    app, _ = make_app()
    come_back(app, [Tokens(("another key",)).issue(Credential.new()) for _ in range(12)] + ["garbage"] * 12)
    assert "different sessions" not in caplog.text


def test_in_tests_and_where_sessions_outlive_the_process_it_is_no_sign(tmp_path, caplog):
    come_back(make_app(TESTING=True)[0], genuine())
    app, _ = make_app(IDLESESSION_JOURNAL=tmp_path / "sessions.journal")
    come_back(app, genuine())
    app.extensions["idlesession"].manager.close()
    app, _ = make_app(IDLESESSION_STORE=f"sqlite:///{tmp_path}/sessions.db")
    come_back(app, genuine())
    app.extensions["idlesession"].manager.close()
    assert "different sessions" not in caplog.text


def test_what_was_logged_out_here_is_no_sign(caplog):
    app, _ = make_app()
    app.add_url_rule("/end", "end", lambda: session.clear() or "")
    tokens = []
    for _ in range(12):
        client = app.test_client()
        client.get("/write")
        tokens.append(client.get_cookie("session").value)
        client.get("/end")
    come_back(app, tokens)
    assert "different sessions" not in caplog.text
