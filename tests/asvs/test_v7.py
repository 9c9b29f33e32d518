"""OWASP ASVS 5.0, chapter V7, Session Management: one test for each item, from outside, named by its number."""

import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import pytest
from bank import Browser
from bank import infos
from bank import open_bank
from flask import Flask
from support.fleet import a_fleet
from support.fleet import Kind

from flask_idlesession import MemoryStore
from flask_idlesession import session_loaded
from flask_idlesession import SessionInfo
from flask_idlesession import TooManySessions
from flask_idlesession.model.ids import Credential
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock
from flask_idlesession.web.tokens import Tokens

HOUR, DAY = 3600, 86400


@pytest.fixture
def app(clock: FakeClock) -> Flask:
    return open_bank(clock=clock)


# V7.1: documentation. What is documented is what happens.


def test_7_1_1_without_any_setting_a_session_ends_by_idleness_and_by_age(clock: FakeClock) -> None:
    app = open_bank(clock=clock, IDLESESSION_PRESET=None, IDLESESSION_ANONYMOUS_IDLE_TIMEOUT=None)
    Browser(app).enter()
    (info,) = infos(app)
    assert isfinite(info.idle_timeout) and isfinite(info.lifetime_ends_at)
    assert (info.idle_timeout, info.lifetime_ends_at - info.created_at) == (1800, DAY)


def test_7_1_1_the_documented_timeouts_are_those_in_effect(clock: FakeClock) -> None:
    documented = re.findall(
        r'^``"((?:nist|asvs)-\w+)"``\s+(\d+)\s+(\d+)\s',
        (Path(__file__).parents[2] / "docs" / "security.rst").read_text(),
        re.MULTILINE,
    )
    assert len(documented) == 6
    for preset, idle_timeout, lifetime in documented:
        app = open_bank(clock=clock, IDLESESSION_PRESET=preset)
        Browser(app).enter()
        (info,) = infos(app)
        assert info.idle_timeout == int(idle_timeout), preset
        assert info.lifetime_ends_at - info.created_at == int(lifetime), preset


class Slow(MemoryStore):
    """Takes its time to list sessions, so that others can come in between."""

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        found = list(super().find(now=now, user_id=user_id))
        time.sleep(0.002)
        yield from found


def log_in_at_once(app: Flask, count: int) -> tuple[list[Browser], int]:
    """Log one user in from so many browsers; return those that still are, and how many log-ins were refused."""
    browsers, refused = [Browser(app) for _ in range(count)], Counter[str]()
    barrier = threading.Barrier(count)

    def enter(browser: Browser) -> None:
        barrier.wait()
        try:
            browser.post("/in/ada")
        except TooManySessions:
            refused["ada"] += 1

    threads = [threading.Thread(target=enter, args=(browser,)) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [browser for browser in browsers if browser.who == "ada"], refused.total()


def test_7_1_2_a_user_has_no_more_sessions_than_are_allowed_and_the_oldest_end(clock: FakeClock) -> None:
    app = open_bank(clock=clock, store=Slow(), IDLESESSION_MAX_SESSIONS_PER_USER=3)
    inside, refused = log_in_at_once(app, 20)
    assert (len(inside), refused) == (3, 0)


def test_7_1_2_or_further_log_ins_are_refused(clock: FakeClock) -> None:
    app = open_bank(
        clock=clock, store=Slow(), IDLESESSION_MAX_SESSIONS_PER_USER=3, IDLESESSION_AT_MAX_SESSIONS_PER_USER="refuse"
    )
    inside, refused = log_in_at_once(app, 20)
    assert (len(inside), refused) == (3, 17)


def test_7_1_3_an_identity_provider_ends_the_sessions_that_it_began(app: Flask) -> None:
    phone, laptop, other = Browser(app), Browser(app), Browser(app)
    for browser, idp_sid in ((phone, "one"), (laptop, "one"), (other, "two")):
        browser.post(f"/in/ada?idp_sid={idp_sid}")
    assert Browser(app).post("/back-channel/one").text == "2"
    assert [browser.who for browser in (phone, laptop, other)] == ["None", "None", "ada"]


# V7.2: fundamentals.


def test_7_2_1_what_a_client_says_of_time_or_changes_in_its_cookie_counts_for_nothing(
    app: Flask, clock: FakeClock
) -> None:
    browser = Browser(app).enter()
    token = browser.token
    for place in (0, 20, 63, 65, 107):
        letter = "A" if token[place] != "A" else "Q"
        assert browser.with_token(token[:place] + letter + token[place + 1 :]).who == "None"
    assert browser.with_token(f"{token}; Expires=Fri, 31 Dec 9999 23:59:59 GMT").who == "None"
    clock.advance(HOUR + 0.1)
    old = {"Date": "Tue, 14 Nov 2023 22:13:20 GMT", "If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}
    assert browser.get("/who", headers=old).text == "None"


@pytest.mark.parametrize("key", ["dev", "secret", "changeme", "your-secret-key", "Super Secret Key", b"1234567"])
def test_7_2_2_no_token_that_is_made_with_a_known_key_opens_a_session(clock: FakeClock, key: str | bytes) -> None:
    app = open_bank(clock=clock)
    app.secret_key = key
    browser = Browser(app).enter()
    (info,) = infos(app)
    stored = app.extensions["idlesession"].manager.store.load(info.sid, now=clock())
    for secret in (bytes(32), stored.secret_digest):
        forged = Tokens([key]).issue(Credential(info.sid, secret))
        assert browser.with_token(forged).who == "None"
    assert browser.who == "ada"


def test_7_2_3_tokens_are_unique_and_hold_256_random_bits(app: Flask) -> None:
    secrets = []
    for _ in range(1000):
        random.seed(0)
        secrets.append(Browser(app).enter().secret)
    assert {len(secret) for secret in secrets} == {32} and len(set(secrets)) == 1000
    bits = [sum(secret[place // 8] >> place % 8 & 1 for secret in secrets) for place in range(256)]
    assert all(400 < count < 600 for count in bits)  # Six sigma: a fair source fails here once in a million runs.


def test_7_2_4_a_log_in_replaces_the_token_and_the_old_one_is_dead(app: Flask) -> None:
    browser = Browser(app)
    browser.post("/cart/tea")
    planted = browser.copy()
    browser.enter()
    assert browser.token != planted.token and browser.secret != planted.secret
    assert (browser.who, planted.who, planted.get("/peek").text) == ("ada", "None", "empty")


def test_7_2_4_a_reauthentication_replaces_the_token_and_the_old_one_is_dead(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app).enter()
    copied = browser.copy()
    clock.advance(60)
    browser.post("/again")
    assert browser.secret != copied.secret
    assert (browser.who, copied.who) == ("ada", "None")


# V7.3: timeouts.


def test_7_3_1_a_session_ends_by_idleness_to_the_second_and_stays_dead(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app).enter()
    clock.advance(HOUR - 0.1)
    assert browser.who == "ada"
    clock.advance(HOUR - 0.1)
    assert browser.who == "ada"  # Activity counted.
    clock.advance(HOUR)
    assert [browser.who, browser.who] == ["None", "None"]
    assert browser.get("/ended").text == "idle by None"


def test_7_3_2_neither_activity_nor_rotation_prolongs_the_lifetime(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app).enter()
    for _ in range(47):
        clock.advance(1800)
        browser.post("/rotate")
        assert browser.who == "ada"
    clock.advance(1799)
    assert browser.who == "ada"
    clock.advance(1)
    assert browser.who == "None"
    assert browser.get("/ended").text == "lifetime by None"


# V7.4: termination.


def test_7_4_1_after_a_log_out_the_token_is_dead_on_every_worker(tmp_path: Path) -> None:
    with a_fleet(Kind("sqlite", gunicorns=(2,)), tmp_path) as fleet:
        fleet.meet(connections=1)
        one, other = fleet.workers.values()
        token = one.ask("/in/ada").token
        assert [worker.ask("/show", token).body.strip() for worker in (one, other)] == ['{"user":"ada"}'] * 2
        out = other.ask("/out", token)
        assert "Max-Age=0" in out.cookies[0]
        for worker in (one, other, one):
            answer = worker.ask("/show", token)
            assert (answer.body.strip(), answer.cookies) == ("{}", [])


def test_7_4_1_nothing_that_a_request_does_brings_an_ended_session_back(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app).enter()
    copied, late = browser.copy(), browser.copy()
    met = []

    def end_meanwhile(sender: object, **_: object) -> None:
        if not met:  # The first request to see the session is the late one; now it is ended beneath it.
            met.append(sender)
            browser.post("/out")

    with session_loaded.connected_to(end_meanwhile, app):
        response = late.post("/cart/tea")
    assert met and "Set-Cookie" not in response.headers
    assert [each.who for each in (browser, copied, late)] == ["None"] * 3
    assert not [info for info in infos(app) if info.user_id]


def test_7_4_2_when_an_account_is_disabled_all_its_sessions_end_on_all_workers(
    tmp_path: Path, clock: FakeClock
) -> None:
    workers = [open_bank(clock=clock, store=SQLiteStore(tmp_path / "sessions.db")) for _ in range(3)]
    browsers = [Browser(worker).enter() for worker in workers for _ in range(4)]
    other = Browser(workers[0]).enter("grace")
    clock.advance(1)
    assert Browser(workers[2]).post("/disable/ada").text == "12"
    assert {browser.who for browser in browsers} == {"None"}
    assert other.who == "grace"
    assert browsers[0].get("/ended").text == "revoked by the administrator"


def test_7_4_2_a_log_in_that_is_under_way_when_the_account_is_disabled_fails(app: Flask, clock: FakeClock) -> None:
    browser, met = Browser(app), []
    browser.post("/cart/tea")

    def disable_meanwhile(sender: object, **_: object) -> None:
        if not met:
            met.append(sender)
            clock.advance(1)
            Browser(app).post("/disable/ada")

    with session_loaded.connected_to(disable_meanwhile, app):
        browser.post("/in/ada")
    assert met and browser.who == "None"


def test_7_4_3_after_a_change_of_password_all_other_sessions_end_and_this_one_gets_a_new_token(
    app: Flask, clock: FakeClock
) -> None:
    here, phone, tablet, other = (Browser(app) for _ in range(4))
    for browser in (here, phone, tablet):
        browser.enter()
    other.enter("grace")
    copied = here.copy()
    clock.advance(1)
    assert here.post("/password").text == "2"
    assert [browser.who for browser in (here, phone, tablet, other)] == ["ada", "None", "None", "grace"]
    assert here.secret != copied.secret
    clock.advance(10)  # Requests that were under way have been answered.
    assert copied.who == "None"


def test_7_4_4_one_post_logs_out_and_a_get_does_not(app: Flask) -> None:
    browser = Browser(app).enter()
    assert browser.get("/out").status_code == 405 and browser.who == "ada"
    assert browser.post("/out").status_code == 200
    assert (browser.token, browser.who) == ("", "None")


def test_7_4_5_an_administrator_ends_one_users_or_all_sessions_and_the_audit_says_so(
    app: Flask, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flask_idlesession.audit")
    ada, grace, anonymous = Browser(app).enter(), Browser(app).enter("grace"), Browser(app)
    anonymous.post("/cart/tea")
    clock.advance(1)
    Browser(app).post("/disable/ada")
    assert [browser.who for browser in (ada, grace)] == ["None", "grace"]
    Browser(app).post("/everybody/out")
    assert (grace.who, anonymous.get("/peek").text) == ("None", "empty")
    told = [record.audit for record in caplog.records if record.name == "flask_idlesession.audit"]
    ends = [(entry.get("user"), entry["by"]) for entry in told if entry["event"] == "revoked"]
    assert sorted(ends, key=str) == [(user, "the administrator") for user in ("ada", "grace", None)]
    assert grace.get("/ended").text == "revoked by the administrator"


# V7.5: defences against abuse.


def test_7_5_1_an_attribute_of_the_account_is_changed_only_after_authenticating_anew(
    app: Flask, clock: FakeClock
) -> None:
    browser = Browser(app)
    assert browser.post("/email").status_code == 401
    browser.enter()
    assert browser.post("/email").status_code == 200
    for _ in range(6):  # Activity does not count.
        clock.advance(51)
        assert browser.who == "ada"
    assert browser.post("/email").status_code == 401
    browser.post("/again")
    assert browser.post("/email").status_code == 200


def test_7_5_2_users_see_their_own_sessions_and_end_any_of_them_after_authenticating(
    app: Flask, clock: FakeClock
) -> None:
    here, phone = Browser(app).enter(), Browser(app).enter()
    shown = here.get("/sessions").json
    assert [entry["device"] for entry in shown] == ["Chrome on macOS"] * 2
    assert {entry["id"] for entry in shown} == {str(info.sid) for info in infos(app)}
    (theirs,) = (str(info.sid) for info in infos(app) if str(info.sid) != entry_of(here))
    clock.advance(301)
    assert here.post(f"/sessions/{theirs}/end").status_code == 401 and phone.who == "ada"
    here.post("/again")
    assert here.post(f"/sessions/{theirs}/end").text == "ended"
    assert (here.who, phone.who) == ("ada", "None")


def entry_of(browser: Browser) -> str:
    """Return the id of the session that a browser has."""
    with browser.client:
        browser.get("/who")
        from flask import session

        return str(session.sid)  # type: ignore[attr-defined]


def test_7_5_2_nobody_ends_or_sees_the_session_of_another(app: Flask) -> None:
    ada, mallory = Browser(app).enter(), Browser(app).enter("mallory")
    sid = entry_of(ada)
    assert sid not in mallory.get("/sessions").text
    assert mallory.post(f"/sessions/{sid}/end").status_code == 404
    assert ada.who == "ada"
    assert mallory.with_token(sid).who == "None"  # An id is shown, and opens nothing.


def test_7_5_3_a_sensitive_transaction_needs_a_stronger_and_recent_proof(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app).enter()
    assert browser.post("/wire").status_code == 401
    browser.post("/again?level=passkey")
    assert browser.post("/wire").status_code == 200
    clock.advance(61)
    assert browser.post("/wire").status_code == 401
    assert browser.post("/email").status_code == 200  # Which asks for less.


# V7.6: federation.


def test_7_6_1_a_session_ends_when_the_identity_provider_says(app: Flask, clock: FakeClock) -> None:
    browser, usual = Browser(app), Browser(app).enter()
    browser.post("/in/ada?lifetime=1200")
    for _ in range(2):
        clock.advance(599)
        assert (browser.who, usual.who) == ("ada", "ada")
    clock.advance(2)
    assert (browser.who, usual.who) == ("None", "ada")


def test_7_6_2_no_session_begins_unless_a_user_does_something(app: Flask) -> None:
    for _ in range(200):
        response = Browser(app).get("/peek")
        assert "Set-Cookie" not in response.headers
    assert infos(app) == []
    Browser(app).post("/cart/tea")
    assert len(infos(app)) == 1


def test_7_6_2_a_session_that_ended_is_not_begun_anew_without_the_user(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app).enter()
    clock.advance(HOUR)
    for path in ("/who", "/account", "/peek"):
        assert "Set-Cookie" not in browser.get(path).headers
    assert infos(app) == []
