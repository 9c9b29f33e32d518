"""NIST SP 800-63B-4, sections 5.1 and 5.2: one test for each item that a session library can meet, from outside."""

from base64 import urlsafe_b64decode

import pytest
from bank import Browser
from bank import infos
from bank import open_bank
from flask import Flask

from flask_idlesession.testing import FakeClock

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.fixture
def app(clock: FakeClock) -> Flask:
    return open_bank(clock=clock)


def set_cookie(browser: Browser, path: str) -> str:
    (header,) = browser.post(path).headers.getlist("Set-Cookie")
    return header


# 5.1: session bindings.


def test_5_1_the_secret_is_made_by_the_host_during_authentication(app: Flask) -> None:
    browser = Browser(app)
    browser.post("/cart/tea")
    before = browser.secret
    browser.enter()
    assert browser.secret != before
    chosen = browser.with_token("A" * 64 + "." + "A" * 43)
    chosen.enter()
    assert chosen.secret != bytes(32) and str(infos(app)[0].sid) != "00000000-0000-0000-0000-000000000000"


def test_5_1_the_secret_has_at_least_64_bits_of_an_approved_generator(app: Flask) -> None:
    secrets = {Browser(app).enter().secret for _ in range(50)}
    assert len(secrets) == 50
    assert all(len(secret) * 8 >= 64 and len(set(secret)) > 16 for secret in secrets)


def test_5_1_the_secret_is_invalidated_and_erased_at_log_out(app: Flask) -> None:
    browser = Browser(app)
    issued = set_cookie(browser, "/in/ada")
    copied = browser.copy()
    erased = set_cookie(browser, "/out")
    assert browser.token == "" and copied.who == "None"
    # A browser obeys only if every attribute is as it was.
    assert "Max-Age=0" in erased and erased.startswith("__Host-id=;")
    for attribute in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert attribute in issued and attribute in erased


@pytest.mark.parametrize(
    ("preset", "idle_timeout", "overall"),
    [("nist-aal1", 30 * DAY, 30 * DAY), ("nist-aal2", HOUR, DAY), ("nist-aal3", 15 * MINUTE, 12 * HOUR)],
)
def test_5_1_a_session_times_out_as_its_assurance_level_says(
    clock: FakeClock, preset: str, idle_timeout: int, overall: int
) -> None:
    app = open_bank(clock=clock, IDLESESSION_PRESET=preset)
    idle, busy = Browser(app).enter(), Browser(app).enter()
    clock.advance(idle_timeout)
    assert idle.who == "None"
    busy.enter()
    for _ in range(round(overall / (idle_timeout / 2)) - 1):
        clock.advance(idle_timeout / 2)
        assert busy.who == "ada"
    clock.advance(idle_timeout / 2)
    assert busy.who == "None"


def test_5_1_the_secret_does_not_outlive_the_browser(app: Flask) -> None:
    browser = Browser(app)
    for path in ("/cart/tea", "/in/ada", "/again", "/rotate"):
        header = set_cookie(browser, path)
        assert "Max-Age" not in header and "Expires" not in header


def test_5_1_a_remembered_session_is_a_choice_and_ends_as_well(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app)
    assert "Expires" in set_cookie(browser, "/in/ada?remember=1")
    clock.advance(30 * DAY - 1)
    assert browser.who == "ada"
    clock.advance(1)
    assert browser.who == "None"


def test_5_1_no_cookie_stands_in_for_authentication_once_the_session_has_ended(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app).enter()
    clock.advance(HOUR)
    assert browser.get("/account").status_code == 401
    browser.post("/cart/tea")  # A new session, and nobody's.
    assert browser.get("/account").status_code == 401 and [info.user_id for info in infos(app)] == [None]


def test_5_1_there_is_no_way_back_to_plain_http(app: Flask) -> None:
    browser = Browser(app)
    issued = browser.client.post("/in/ada", base_url="http://localhost")
    assert "; Secure" in issued.headers["Set-Cookie"]  # Which a browser does not take over http.


def test_5_1_a_post_carries_a_value_that_is_bound_to_its_session(app: Flask) -> None:
    browser, mallory = Browser(app), Browser(app).enter("mallory")
    planted = browser.get("/form").text
    browser.enter()
    mine, theirs = browser.get("/form").text, mallory.get("/form").text
    assert len({planted, mine, theirs}) == 3
    for wrong in (None, "", planted, theirs):
        assert browser.post("/pay", data={"csrf_token": wrong} if wrong is not None else {}).status_code == 403
    assert browser.post("/pay", data={"csrf_token": mine}).text == "paid"


# 5.1.1: browser cookies.


def test_5_1_1_the_cookie_is_secure_for_one_host_not_for_scripts_and_same_site(app: Flask) -> None:
    header = set_cookie(Browser(app), "/in/ada")
    assert header.startswith("__Host-id=")
    for attribute in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert f"; {attribute}" in header
    assert "Domain" not in header


def test_5_1_1_the_cookie_is_opaque_and_says_nothing_of_its_user(app: Flask) -> None:
    browser = Browser(app).enter("ada.lovelace@example.org")
    raw = urlsafe_b64decode(browser.token.partition(".")[0])
    assert len(raw) == 48 and b"ada" not in raw and "ada" not in browser.token
    again = Browser(app).enter("ada.lovelace@example.org")
    assert again.token != browser.token


def test_5_1_1_the_end_of_a_session_does_not_rely_on_the_cookie_to_expire(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app)
    browser.post("/in/ada?remember=1&lifetime=100")
    token = browser.token
    clock.advance(100)
    kept = browser.with_token(token)  # By a browser that keeps cookies for ever.
    assert (kept.token, kept.who) == (token, "None")


# 5.2: reauthentication.


def test_5_2_either_timeout_ends_the_session(app: Flask, clock: FakeClock) -> None:
    idle, busy = Browser(app).enter(), Browser(app).enter()
    for _ in range(24):
        clock.advance(HOUR - 1)
        assert busy.who == "ada"
    assert idle.who == "None"
    clock.advance(24)
    assert busy.who == "None"


def test_5_2_activity_resets_the_idle_timeout_and_a_poll_does_not(app: Flask, clock: FakeClock) -> None:
    busy, polled = Browser(app).enter(), Browser(app).enter()
    for _ in range(3):
        clock.advance(HOUR / 2 - 1)
        busy.get("/who")
        polled.get("/who", headers={"X-IdleSession-Passive": "1"})
    assert (busy.who, polled.who) == ("ada", "None")


def test_5_2_reauthentication_resets_both_timeouts(app: Flask, clock: FakeClock) -> None:
    browser = Browser(app).enter()
    for _ in range(46):
        clock.advance(HOUR / 2)
        assert browser.who == "ada"
    browser.post("/again")
    clock.advance(HOUR - 1)
    assert browser.who == "ada"
    for _ in range(44):
        clock.advance(HOUR / 2)
        assert browser.who == "ada"
    clock.advance(HOUR / 2 + 1)
    assert browser.who == "ada"
    clock.advance(HOUR / 2)
    assert browser.who == "None"


def test_5_2_only_who_is_logged_in_can_reauthenticate(app: Flask) -> None:
    browser = Browser(app)
    with pytest.raises(PermissionError):
        browser.post("/again")
    assert browser.who == "None" and infos(app) == []
