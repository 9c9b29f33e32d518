"""The pages and the answers for scripts, by HTTP: who may ask for what, and what it changes."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask import session
from flask.testing import FlaskClient
from markupsafe import escape
from support.pages_site import make_site

from flask_idlesession import ConfigError
from flask_idlesession import csrf_token
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import MemoryStore
from flask_idlesession import StoreUnavailable
from flask_idlesession.testing import FakeClock

OURS = {"Sec-Fetch-Site": "same-origin"}
NOTHING = {"state": "none", "remaining_ms": 0, "lifetime_remaining_ms": 0, "can_extend": False, "reason": None}


@pytest.fixture
def app(clock: FakeClock) -> Flask:
    return make_site(clock=clock, IDLESESSION_IDLE_TIMEOUT=600, IDLESESSION_LIFETIME=7200)


@pytest.fixture
def ada(app: Flask) -> FlaskClient:
    return signed_in(app, "ada")


def signed_in(app: Flask, name: str) -> FlaskClient:
    client = app.test_client()
    assert client.post("/log-in", data={"name": name}).status_code == 303
    return client


def status(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/session/status")
    assert answer.status_code == 200
    return dict(answer.json or {})


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    return found[1]


def end_own(client: FlaskClient, sid: object, **more: Any) -> Any:
    token = token_in(client.get("/session/mine").text)
    return client.post("/session/mine/end", data={"id": str(sid), "csrf_token": token}, **more)


def sid_of(client: FlaskClient) -> str:
    with client.session_transaction() as transaction:
        return str(transaction.sid)


# The status.


def test_without_a_session_there_is_none_and_none_is_begun(app: Flask) -> None:
    client = app.test_client()
    answer = client.get("/session/status")
    assert answer.json == NOTHING
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert list(app.extensions["idlesession"].manager.find()) == []


def test_a_live_session_has_its_time_in_whole_milliseconds(ada: FlaskClient, clock: FakeClock) -> None:
    clock.advance(0.0004)
    answer = status(ada)
    assert answer == {
        "state": "live",
        "remaining_ms": 600_000,
        "lifetime_remaining_ms": 7_200_000,
        "can_extend": True,
        "reason": None,
    }
    assert all(type(answer[name]) is int for name in ("remaining_ms", "lifetime_remaining_ms"))


def test_to_ask_for_the_status_keeps_nobody_signed_in(ada: FlaskClient, clock: FakeClock) -> None:
    for seconds in range(60, 600, 60):
        clock.advance(60)
        assert status(ada)["remaining_ms"] == (600 - seconds) * 1000
    clock.advance(60)
    assert status(ada) == {**NOTHING, "state": "ended", "reason": "idle"}


def test_a_session_that_is_live_has_something_left(ada: FlaskClient, clock: FakeClock) -> None:
    clock.advance(599.9999)
    assert status(ada)["state"] == "live"
    assert status(ada)["remaining_ms"] == 1


@pytest.mark.parametrize(
    "config",
    [
        {"IDLESESSION_ROTATION_INTERVAL": 60},
        {"SESSION_REFRESH_EACH_REQUEST": True},
        {"IDLESESSION_TOUCH_INTERVAL": 30},
        {"IDLESESSION_ACTIVITY": lambda request: True},
        {"IDLESESSION_CLAIMS": "claims", "IDLESESSION_CLAIMS_KEY": "k" * 32},
    ],
    ids=lambda config: next(iter(config)),
)
def test_the_status_sets_no_cookie_whatever_the_settings(clock: FakeClock, config: dict[str, Any]) -> None:
    app = make_site(clock=clock, IDLESESSION_IDLE_TIMEOUT=600, **config)
    client = signed_in(app, "ada")
    with client.session_transaction() as transaction:
        transaction.permanent = True
    (before,) = app.extensions["idlesession"].manager.find()
    for _ in range(3):
        clock.advance(100)
        answer = client.get("/session/status")
        assert answer.json is not None
        assert answer.json["state"] == "live"
        assert "Set-Cookie" not in answer.headers
    (after,) = app.extensions["idlesession"].manager.find()
    assert after == before


def test_the_status_sets_no_cookie_when_the_key_has_changed(app: Flask, ada: FlaskClient) -> None:
    app.config["SECRET_KEY_FALLBACKS"] = [app.secret_key]
    app.secret_key = "another key for the site of the tests"
    answer = ada.get("/session/status")
    assert answer.json is not None
    assert answer.json["state"] == "live"
    assert "Set-Cookie" not in answer.headers


def test_the_status_keeps_what_is_flashed_for_the_next_page(app: Flask) -> None:
    client = app.test_client()
    client.post("/log-in", data={"name": "nobody"})
    client.get("/session/status")
    assert "There is no such user." in client.get("/log-in").text


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda app, clock: clock.advance(600), "idle"),
        (lambda app, clock: app.extensions["idlesession"].manager.revoke_user("ada"), "revoked"),
    ],
)
def test_a_session_that_is_over_has_its_reason(
    app: Flask, ada: FlaskClient, clock: FakeClock, end: Callable[[Flask, FakeClock], object], reason: str
) -> None:
    end(app, clock)
    assert status(ada) == {**NOTHING, "state": "ended", "reason": reason}


def test_the_end_of_the_lifetime_cannot_be_put_off(ada: FlaskClient, clock: FakeClock) -> None:
    for _ in range(12):
        clock.advance(550)
        ada.get("/")
    assert status(ada) == {
        "state": "live",
        "remaining_ms": 600_000,
        "lifetime_remaining_ms": 600_000,
        "can_extend": False,
        "reason": None,
    }
    ada.post("/session/touch", headers=OURS)
    assert status(ada)["remaining_ms"] == 600_000
    clock.advance(600)
    assert status(ada)["reason"] == "lifetime"


def test_a_session_that_was_evicted_says_so(clock: FakeClock) -> None:
    app = make_site(clock=clock, IDLESESSION_MAX_SESSIONS_PER_USER=1)
    first = signed_in(app, "ada")
    signed_in(app, "ada")
    assert status(first)["reason"] == "evicted"


def test_a_copy_of_the_token_is_told_that_its_holder_logged_out(app: Flask, ada: FlaskClient) -> None:
    copy = app.test_client()
    cookie = ada.get_cookie("session")
    assert cookie is not None
    copy.set_cookie("session", cookie.value)
    ada.post("/log-out")
    assert status(ada) == NOTHING
    assert status(copy) == {**NOTHING, "state": "ended", "reason": "logged-out"}


def test_a_session_of_which_nothing_is_known_any_more_is_over_without_a_reason(
    ada: FlaskClient, clock: FakeClock
) -> None:
    clock.advance(600)
    assert status(ada)["reason"] == "idle"
    clock.advance(4000)
    assert status(ada) == {**NOTHING, "state": "ended"}


def test_what_is_no_token_is_no_session(app: Flask) -> None:
    client = app.test_client()
    client.set_cookie("session", "garbage")
    assert status(client) == NOTHING


def test_the_status_of_another_user_s_page_is_that_it_is_over(app: Flask, ada: FlaskClient) -> None:
    mark = re.search(r'data-user="(\w+)"', ada.get("/").text)
    assert mark
    assert ada.get(f"/session/status?user={mark[1]}").json["state"] == "live"  # type: ignore[index]
    grace = signed_in(app, "grace")
    for user in (mark[1], "nonsense", "ä"):
        told = grace.get("/session/status", query_string={"user": user}).json
        assert told == {**NOTHING, "state": "ended", "reason": "logged-out"}


def test_a_page_from_before_the_key_was_changed_is_still_its_user_s(app: Flask, ada: FlaskClient) -> None:
    mark = re.search(r'data-user="(\w+)"', ada.get("/").text)
    assert mark
    app.config["SECRET_KEY_FALLBACKS"] = [app.secret_key]
    app.secret_key = "another key for the site of the tests"
    assert ada.get(f"/session/status?user={mark[1]}").json["state"] == "live"  # type: ignore[index]


# The touch, and the log-out.


def test_a_touch_extends_and_says_so(ada: FlaskClient, clock: FakeClock) -> None:
    clock.advance(500)
    answer = ada.post("/session/touch", headers=OURS)
    assert answer.json == {**status(ada), "remaining_ms": 600_000}
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_touch_with_a_time_counts_from_then(ada: FlaskClient, clock: FakeClock) -> None:
    clock.advance(500)
    ada.post("/session/touch", headers=OURS, data={"ago_ms": "120000"})
    assert status(ada)["remaining_ms"] == 480_000


@pytest.mark.parametrize("ago", ["-1", "x", "1e999", "nan", "", "99999999999999999999"])
def test_a_touch_never_moves_the_end_to_where_it_was_not(ada: FlaskClient, clock: FakeClock, ago: str) -> None:
    clock.advance(100)
    before = status(ada)["remaining_ms"]
    answer = ada.post("/session/touch", headers=OURS, data={"ago_ms": ago})
    assert answer.status_code == 200
    assert before <= status(ada)["remaining_ms"] <= 600_000


def test_a_touch_of_a_session_that_is_over_brings_nothing_back(ada: FlaskClient, clock: FakeClock) -> None:
    clock.advance(600)
    answer = ada.post("/session/touch", headers=OURS)
    assert answer.json == {**NOTHING, "state": "ended", "reason": "idle"}
    assert "Set-Cookie" not in answer.headers
    assert ada.post("/session/touch", headers=OURS).json == answer.json


def test_a_touch_from_another_user_s_page_extends_nothing(ada: FlaskClient, clock: FakeClock) -> None:
    clock.advance(100)
    answer = ada.post("/session/touch", headers=OURS, data={"user": "nonsense"})
    assert answer.json["state"] == "ended"  # type: ignore[index]
    assert status(ada)["remaining_ms"] == 500_000


@pytest.mark.parametrize(
    "path", ["/session/touch", "/session/log-out", "/session/mine/end", "/session/mine/end-others"]
)
def test_what_changes_something_is_a_post(ada: FlaskClient, path: str) -> None:
    assert ada.get(path).status_code == 405


@pytest.mark.parametrize("path", ["/session/touch", "/session/log-out"])
@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://localhost"}, True),  # A proxy in front may have taken the scheme away.
        ({"Origin": "http://localhost:8080"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Origin": "http://[::1"}, False),
        ({"Origin": "null"}, False),
        ({}, False),
    ],
)
def test_only_our_own_pages_may_touch_and_log_out(
    ada: FlaskClient, clock: FakeClock, path: str, headers: dict[str, str], is_ours: bool
) -> None:
    clock.advance(100)
    answer = ada.post(path, headers=headers)
    assert answer.status_code == (200 if is_ours else 403)
    if not is_ours:
        assert status(ada)["remaining_ms"] == 500_000


def test_where_the_browser_tells_nothing_the_csrf_token_does(ada: FlaskClient) -> None:
    token = token_in(ada.get("/").text)
    assert ada.post("/session/touch", headers={"X-CSRF-Token": token}).status_code == 200
    assert ada.post("/session/touch", headers={"X-CSRF-Token": token[:-1]}).status_code == 403
    assert ada.post("/session/log-out", data={"csrf_token": token}).status_code == 200
    assert status(ada) == NOTHING


def test_a_log_out_ends_the_session_and_tells_a_script(ada: FlaskClient, app: Flask) -> None:
    answer = ada.post("/session/log-out", headers=OURS)
    assert answer.json == {**NOTHING, "state": "ended", "reason": "logged-out"}
    assert ada.get_cookie("session") is None
    assert list(app.extensions["idlesession"].manager.find()) == []


def test_a_log_out_by_a_form_leads_to_the_page_that_says_so(ada: FlaskClient) -> None:
    answer = ada.post("/session/log-out", headers={**OURS, "Accept": "text/html,*/*;q=0.8"}, follow_redirects=True)
    assert '<h1 tabindex="-1" autofocus>You are signed out</h1>' in answer.text


# The page after the end.


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (lambda app, clock: clock.advance(600), "signed out when you are not active for 10 minutes"),
        (
            lambda app, clock: app.extensions["idlesession"].manager.revoke_user("ada"),
            "ended by an administrator, or from another of your devices",
        ),
        (
            lambda app, clock: app.extensions["idlesession"].manager.revoke_user("ada", by="ada"),
            "You signed this device out from another one.",
        ),
    ],
)
def test_the_server_knows_why_whatever_the_address_says(
    app: Flask, ada: FlaskClient, clock: FakeClock, end: Callable[[Flask, FakeClock], object], sentence: str
) -> None:
    end(app, clock)
    page = ada.get("/session/ended?reason=lifetime")
    assert sentence in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in page.headers


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("lifetime", "signed out 2 hours after you signed in"),
        ("logged-out", "You have signed out."),
        ("evicted", "to make room"),
        ("<b>", "Your session is over."),
        ("", "Your session is over."),
    ],
)
def test_where_the_server_does_not_know_the_address_chooses_one_of_its_sentences(
    app: Flask, reason: str, sentence: str
) -> None:
    page = app.test_client().get("/session/ended", query_string={"reason": reason}).text
    assert sentence in page
    assert "<b>" not in page


def test_the_page_after_the_end_leads_back_by_the_log_in_page(app: Flask) -> None:
    page = app.test_client().get("/session/ended", query_string={"next": "/other?a=b&c=d#e"}).text
    assert 'href="/log-in?next=/other?a%3Db%26c%3Dd%23e"' in page


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n//evil.example",
        " //evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/ok\r\nLocation: //evil.example",
        "/\\/evil.example",
        "/%2F/evil.example",
        "/%252F/evil.example",
        "/%5Cevil.example",
        "/%255Cevil.example",
        "/%09/evil.example",
        "/%0d%0aLocation:%20//evil.example",
        "/..//evil.example",
        "/.//evil.example",
        "/%2e%2E//evil.example",
        "/a/../..//evil.example",
        "/\x00/evil.example",
        "/\x7f/evil.example",
        "/\x85/evil.example",
        "https:evil.example",
        "http:///evil.example",
        "///evil.example",
        "\x01//evil.example",
        "@evil.example",
        "//evil.example%2f..",
        "/%" + "25" * 2000 + "41",
        "/" + "x" * 5000,
        "/session/ended?next=/x",
        "/session/log-out",
        "/session/mine/end",
        "/session/mine/end-others?x=y",
        "",
    ],
)
def test_the_way_back_never_leads_off_the_site(app: Flask, target: str) -> None:
    page = app.test_client().get("/session/ended", query_string={"next": target}).text
    assert 'href="/log-in"' in page
    assert "evil" not in page


@pytest.mark.parametrize(
    "target", ["/", "/a/b.c/..d", "/search?q=a%0Ab%5Cc&to=//x", "/käse/%C3%A4", "/@ada;v=1,2~(!)'*", "/a#//b"]
)
def test_the_way_back_may_be_any_page_of_the_site(ada: FlaskClient, target: str) -> None:
    page = ada.get("/session/ended", query_string={"next": target}).text
    assert f'href="{escape(target)}"' in page


def test_who_is_signed_in_is_told_so_and_led_on(ada: FlaskClient) -> None:
    page = ada.get("/session/ended?next=/other").text
    assert "You are signed in" in page
    assert 'href="/other"' in page


def test_the_page_after_the_end_says_that_a_form_waits(ada: FlaskClient, clock: FakeClock) -> None:
    clock.advance(600)
    ada.post("/save", data={"title": "half a sent"})
    page = ada.get("/session/ended").text
    assert "Your last form was kept." in page
    assert "not active for 10 minutes" in page


@pytest.mark.parametrize(
    ("login_view", "href"),
    [
        (None, "/other"),
        ("/sign-in", "/sign-in?next=%2Fother"),
        ("/sign-in?method=key", "/sign-in?method=key&amp;next=%2Fother"),
        ("https://login.example/start", "https://login.example/start"),
    ],
)
def test_the_log_in_page_may_be_any(clock: FakeClock, login_view: str | None, href: str) -> None:
    app = make_site(clock=clock)
    app.config["IDLESESSION_LOGIN_VIEW"] = login_view
    assert f'href="{href}"' in app.test_client().get("/session/ended?next=/other").text


def test_below_a_prefix_of_the_server_everything_is_found(app: Flask) -> None:
    client = signed_in(app, "ada")
    page = client.get("/", base_url="http://localhost/app").text
    assert 'data-status="/app/session/status"' in page
    assert 'href="/app/session/static/idlesession.css' in page
    assert 'href="/app/"' in client.get("/session/ended", base_url="http://localhost/app").text


# Where one is signed in.


def test_each_session_is_shown_this_device_first(app: Flask, clock: FakeClock) -> None:
    phone = app.test_client()
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1"
    phone.post(
        "/log-in", data={"name": "ada"}, headers={"User-Agent": agent}, environ_base={"REMOTE_ADDR": "192.0.2.7"}
    )
    clock.advance(100)
    client = app.test_client()
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    client.post("/log-in", data={"name": "ada"}, headers={"User-Agent": agent})
    clock.advance(240)
    page = client.get("/session/mine", headers={"User-Agent": agent}).text
    assert page.index("Firefox on Linux") < page.index("This device") < page.index("Safari on iPhone")
    first, second = page.split('<li class="idlesession-card idlesession-device">')[1:]
    assert "This device" in first
    assert "idlesession-badge" not in second
    for fact in ("127.0.0.0/24", ">4 minutes ago<", ">just now<", ">in 10 minutes<"):
        assert fact in first
    for fact in ("192.0.2.0/24", ">5 minutes ago<", ">in 5 minutes<", sid_of(phone)):
        assert fact in second
    assert "This ends 1 other session." in page


def test_who_is_not_signed_in_is_led_to_the_log_in_page(app: Flask) -> None:
    answer = app.test_client().get("/session/mine")
    assert answer.status_code == 303
    assert answer.location == "/log-in?next=/session/mine"


def test_one_of_the_sessions_can_be_ended(app: Flask, ada: FlaskClient) -> None:
    other = signed_in(app, "ada")
    answer = end_own(ada, sid_of(other))
    assert answer.status_code == 303
    assert "1 session was signed out." in ada.get(answer.location).text
    assert status(other)["reason"] == "revoked"
    assert "You are signed in on this device only." in ada.get("/session/mine").text


@pytest.mark.parametrize("sid", ["another's", "00000000-0000-4000-8000-000000000000", "x", ""])
def test_a_session_that_is_not_one_s_own_is_not_found(app: Flask, ada: FlaskClient, sid: str) -> None:
    grace = signed_in(app, "grace")
    assert end_own(ada, sid_of(grace) if sid == "another's" else sid).status_code == 404
    assert status(grace)["state"] == "live"


def test_to_end_this_session_is_to_sign_out(ada: FlaskClient) -> None:
    answer = end_own(ada, sid_of(ada))
    assert answer.location == "/session/ended?reason=logged-out"
    assert ada.get_cookie("session") is None


def test_all_others_can_be_ended_and_how_many_is_said_before(app: Flask, ada: FlaskClient) -> None:
    others = [signed_in(app, "ada") for _ in range(3)]
    grace = signed_in(app, "grace")
    page = ada.get("/session/mine").text
    assert "Sign out 3 other sessions" in page
    answer = ada.post("/session/mine/end-others", data={"csrf_token": token_in(page)})
    assert answer.status_code == 303
    assert "3 sessions were signed out." in ada.get(answer.location).text
    assert {status(other)["reason"] for other in others} == {"revoked"}
    assert status(ada)["state"] == status(grace)["state"] == "live"


@pytest.mark.parametrize("path", ["/session/mine/end", "/session/mine/end-others"])
def test_without_the_token_nothing_is_ended(app: Flask, ada: FlaskClient, path: str) -> None:
    other = signed_in(app, "ada")
    for data in ({}, {"csrf_token": "wrong"}):
        assert ada.post(path, data={"id": sid_of(other), **data}, headers=OURS).status_code == 403
    assert status(other)["state"] == "live"


@pytest.mark.parametrize("path", ["/session/mine/end", "/session/mine/end-others"])
def test_who_comes_after_the_end_is_led_to_the_log_in_page(ada: FlaskClient, clock: FakeClock, path: str) -> None:
    token = token_in(ada.get("/session/mine").text)
    clock.advance(600)
    answer = ada.post(path, data={"csrf_token": token})
    assert answer.status_code == 303
    assert answer.location.startswith("/log-in")


def test_an_application_may_ask_for_a_fresh_log_in_before(clock: FakeClock) -> None:
    guard = fresh_login_required(max_age=300)(lambda: None)
    app = make_site(clock=clock, before_ending=guard)
    client, other = signed_in(app, "ada"), signed_in(app, "ada")
    clock.advance(301)
    assert end_own(client, sid_of(other)).location.startswith("/log-in")
    assert status(other)["state"] == "live"
    client.post("/log-in", data={"name": "ada"})
    assert end_own(client, sid_of(other)).location.startswith("/session/mine")
    assert status(other)["reason"] == "revoked"


def test_an_application_may_answer_in_place_of_ending(clock: FakeClock) -> None:
    app = make_site(clock=clock, before_ending=lambda: ("not now", 409))
    client, other = signed_in(app, "ada"), signed_in(app, "ada")
    assert end_own(client, sid_of(other)).status_code == 409
    token = token_in(client.get("/session/mine").text)
    assert client.post("/session/mine/end-others", data={"csrf_token": token}).text == "not now"
    assert status(other)["state"] == "live"
    assert end_own(client, sid_of(client)).status_code == 303  # To sign out oneself needs no leave.


def test_of_very_many_sessions_those_used_last_are_shown_and_all_are_counted(app: Flask, ada: FlaskClient) -> None:
    for _ in range(120):
        signed_in(app, "ada")
    page = ada.get("/session/mine").text
    assert page.count("idlesession-device") == 100
    assert "21 more sessions are not shown." in page
    assert "Sign out 120 other sessions" in page


def test_what_a_client_says_of_itself_is_text(app: Flask) -> None:
    client = app.test_client()
    client.post("/log-in", data={"name": "ada"}, headers={"User-Agent": "<img src=x onerror=alert(1)>/1"})
    assert "<img" not in client.get("/session/mine").text


# Being mounted.


def bare_app(**config: Any) -> Flask:
    app = Flask("bare")
    app.testing = True
    app.secret_key = "a key for the site of the tests"
    app.config.update(config)
    return app


def test_without_the_setting_there_is_nothing(clock: FakeClock) -> None:
    app = bare_app()
    IdleSession(app, clock=clock)
    assert [rule.rule for rule in app.url_map.iter_rules()] == ["/static/<path:filename>"]
    assert app.test_client().get("/session/status").status_code == 404


def test_a_setting_that_comes_too_late_is_an_error() -> None:
    app = bare_app()
    IdleSession(app)
    app.config["IDLESESSION_PAGES"] = "/session"
    with pytest.raises(ConfigError, match=r"IDLESESSION_PAGES is '/session', .*before IdleSession\(app\)"):
        app.extensions["idlesession"].runtime()


@pytest.mark.parametrize("prefix", ["session", "/session/", "/", "", 5, True, "/a<b>", "//a", "/a?b", "http://a/b"])
def test_a_prefix_that_is_none_is_an_error_at_once(prefix: object) -> None:
    with pytest.raises(ConfigError, match="IDLESESSION_PAGES is .*; it must be"):
        IdleSession(bare_app(IDLESESSION_PAGES=prefix))


def test_a_prefix_may_have_several_parts() -> None:
    app = bare_app(IDLESESSION_PAGES="/my/account")
    IdleSession(app)
    assert app.test_client().get("/my/account/status").json == NOTHING


def test_two_applications_of_one_object_have_their_own_pages() -> None:
    extension = IdleSession()
    first, second = bare_app(IDLESESSION_PAGES="/one"), bare_app(IDLESESSION_PAGES="/two")
    for app in (first, second):
        extension.init_app(app)
    assert first.test_client().get("/one/status").status_code == 200
    assert first.test_client().get("/two/status").status_code == 404
    assert second.test_client().get("/two/status").status_code == 200


def test_the_pages_guard_themselves_where_flask_wtf_guards_every_view(clock: FakeClock) -> None:
    from flask_wtf.csrf import CSRFProtect

    app = make_site(clock=clock)
    app.config["WTF_CSRF_CHECK_DEFAULT"] = True
    app.config["WTF_CSRF_METHODS"] = ["POST"]
    protection = CSRFProtect(app)
    protection.exempt(app.view_functions["check"])
    client, other = signed_in(app, "ada"), signed_in(app, "ada")
    assert client.post("/session/touch", headers=OURS).status_code == 200
    assert end_own(client, sid_of(other)).status_code == 303
    assert client.post("/session/mine/end-others", headers=OURS).status_code == 403
    assert client.post("/session/log-out", headers=OURS).status_code == 200
    assert client.post("/save", data={"title": "no token"}).status_code == 400


def test_a_page_with_the_warning_is_not_stored_unless_its_view_says_otherwise(app: Flask) -> None:
    @app.get("/cached")
    def cached() -> Any:
        from flask import make_response
        from flask import render_template_string

        response = make_response(render_template_string("{{ idlesession_widget() }}"))
        response.headers["Cache-Control"] = "private, max-age=60"
        return response

    @app.get("/plain")
    def plain() -> str:
        session.get("a")
        return "plain"

    client = signed_in(app, "ada")
    assert client.get("/").headers["Cache-Control"] == "no-store"
    assert client.get("/cached").headers["Cache-Control"] == "private, max-age=60"
    assert "Accept-Language" in client.get("/cached").headers["Vary"]
    assert "Cache-Control" not in client.get("/plain").headers


def test_the_page_that_signs_in_warns_as_well(app: Flask) -> None:
    @app.post("/enter")
    def enter() -> str:
        from flask import render_template_string

        log_in("ada")
        return render_template_string("{{ idlesession_widget() }}")

    page = app.test_client().post("/enter").text
    assert "<dialog" in page
    assert "&#34;remaining_ms&#34;: 600000" in page


@pytest.mark.parametrize(
    ("idle_timeout", "warn_before", "is_warned_ms"),
    [
        (600, 120, 120_000),
        (200, 120, 100_000),
        (40, 120, 20_000),
        (39, 120, 19_500),
        (39, 5, 5_000),  # Users of a very short session are warned as it is said, and the checks report it.
    ],
)
def test_the_warning_comes_before_the_end_and_never_before_half_of_the_idle_timeout(
    clock: FakeClock, idle_timeout: float, warn_before: float, is_warned_ms: int
) -> None:
    app = make_site(clock=clock, IDLESESSION_IDLE_TIMEOUT=idle_timeout, IDLESESSION_WARN_BEFORE=warn_before)
    assert f'data-warn-ms="{is_warned_ms}"' in signed_in(app, "ada").get("/").text


def test_a_session_with_a_longer_idle_timeout_of_its_own_is_warned_of_for_twenty_seconds(clock: FakeClock) -> None:
    app = make_site(clock=clock, IDLESESSION_IDLE_TIMEOUT=30, IDLESESSION_WARN_BEFORE=5)

    @app.post("/remember")
    def remember() -> str:
        session.idle_timeout = 600
        return ""

    client = signed_in(app, "ada")
    client.post("/remember")
    assert 'data-warn-ms="20000"' in client.get("/").text


def test_a_guest_s_session_with_something_in_it_is_warned_of_in_other_words(app: Flask) -> None:
    @app.get("/cart")
    def cart() -> str:
        from flask import render_template_string

        session["cart"] = ["tea"]
        return render_template_string("{{ idlesession_widget() }}")

    client = app.test_client()
    client.get("/cart")
    page = client.get("/cart").text
    assert "Your session ends in " in page
    assert "Stay here" in page
    assert "signed" not in page.split("<dialog")[1].split("</dialog>")[0]
    assert 'data-user=""' in page


def test_a_guest_s_session_without_anything_in_it_is_not_warned_of(app: Flask) -> None:
    @app.get("/empty")
    def empty() -> str:
        from flask import render_template_string

        csrf_token()
        return render_template_string("{{ idlesession_widget() }}")

    client = app.test_client()
    client.get("/empty")
    assert "<dialog" not in client.get("/empty").text


def test_the_functions_are_there_in_macros_without_context(app: Flask) -> None:
    @app.get("/macro")
    def in_macro() -> str:
        from flask import render_template_string

        return render_template_string(
            "{% macro m() %}{{ idlesession_widget() }}{% endmacro %}{{ m() }}{{ idlesession_notice() }}"
        )

    page = app.test_client().get("/macro").text
    assert "<idlesession-widget" in page
    assert "signed out when you are not active for 10 minutes, and 2 hours after you signed in" in page


# A store that is down.


class DownStore(MemoryStore):
    """A store whose server cannot be reached, once it is down."""

    is_down = False

    def load(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_down:
            raise StoreUnavailable("The server cannot be reached.")
        return super().load(*args, **kwargs)


@pytest.fixture
def without_store(clock: FakeClock) -> FlaskClient:
    """A client whose session's store went down."""
    store = DownStore()
    app = make_site(clock=clock, store=store)

    @app.get("/public")
    def public() -> str:
        from flask import render_template_string

        return render_template_string("public {{ idlesession_notice() }} {{ idlesession_widget() }}")

    client = signed_in(app, "ada")
    store.is_down = True
    return client


def test_a_script_is_told_of_an_outage_as_of_one(without_store: FlaskClient) -> None:
    assert without_store.get("/session/status").status_code == 503
    assert without_store.post("/session/touch", headers=OURS).status_code == 503
    assert without_store.get_cookie("session") is not None


def test_a_public_page_and_the_page_after_the_end_are_shown_in_an_outage(without_store: FlaskClient) -> None:
    page = without_store.get("/public")
    assert page.status_code == 200
    assert page.text.startswith("public <p")
    assert "<idlesession-widget" not in page.text
    answer = without_store.get("/session/ended?reason=idle")
    assert "not active for 30 minutes" in answer.text
    assert without_store.get_cookie("session") is not None
