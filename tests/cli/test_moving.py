"""The command ``move``: every session arrives as it was, and what ended stays ended."""

from contextlib import closing
from pathlib import Path

import pytest
from conftest import Site

from flask_idlesession.model.clock import system_clock
from flask_idlesession.model.ids import SessionId
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import EndReason


@pytest.fixture
def pair(tmp_path, redis_server):
    with closing(redis_server.client()) as client:
        client.flushall()
    urls = f"sqlite:///{tmp_path}/sessions.db", redis_server.url
    one, two = (Site(IDLESESSION_STORE=url) for url in urls)
    for site in (one, two):
        site.clock.advance(system_clock() - site.clock())
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


def test_what_cannot_be_moved_is_said(pair):
    one, _, (source, _) = pair
    assert one.run("move", source, source).exit_code == 2
    assert "out of reach" in one.run("move", "memory://", source).output
    assert one.run("move", source, "redis://127.0.0.1:1/0").exit_code == 3
