"""The dashboard over HTTP: who gets in, what it tells, what it never tells, and how sessions end by it."""

import json
import logging
import re
from collections.abc import Callable
from html import unescape
from typing import Any
from uuid import UUID
from uuid import uuid4

import pytest
from flask import Flask
from flask import redirect
from flask import request
from flask import session

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.stores.revocation_marks import mark_of
from flask_idlesession.testing import FakeClock

JSON = {"Accept": "application/json"}
OPERATOR = {"X-Operator": "yes"}
SECRET = "the value that nobody is shown"

PATHS = [
    "/session/dashboard",
    "/session/dashboard?hours=24",
    "/session/dashboard/sessions",
    f"/session/dashboard/sessions/{UUID(int=1, version=4)}",
    "/session/dashboard/end",
    "/session/dashboard/static/dashboard.js",
    "/session//dashboard",
    "/session/dashboard/",
]


def may_see() -> Any:
    return request.headers.get("X-Operator") == "yes"


def make_shop(guard: Callable[[], Any] | None = may_see, *, clock: FakeClock | None = None, **config: Any) -> Flask:
    app = Flask("shop")
    app.testing = True
    app.secret_key = "a key for the shop of the tests, 32"
    app.config.update(IDLESESSION_PAGES="/session", **config)
    IdleSession(app, dashboard=guard, clock=FakeClock() if clock is None else clock)

    @app.get("/")
    def index() -> str:
        session["note"] = SECRET
        return "shop"

    @app.get("/in/<name>")
    def enter(name: str) -> str:
        log_in(name)
        session["cart"] = ["loom"]
        return "in"

    return app


@pytest.fixture
def shop(clock: FakeClock) -> Flask:
    return make_shop(clock=clock)


def visit(app: Flask, path: str, *, address: str = "192.0.2.77", agent: str = "Mozilla/5.0 Firefox/140.0") -> Any:
    client = app.test_client()
    client.get(path, environ_overrides={"REMOTE_ADDR": address}, headers={"User-Agent": agent})
    return client


def told(client: Any, path: str = "", **headers: str) -> Any:
    answer = client.get(f"/session/dashboard{path}", headers={**JSON, **OPERATOR, **headers})
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def infos(app: Flask) -> list[Any]:
    return list(app.extensions["idlesession"].manager.find())


def post(client: Any, page: str = "", **form: str) -> Any:
    """Send a form as the page has it, with the CSRF token that stands there."""
    text = client.get(f"/session/dashboard{page}", headers=OPERATOR).text
    (token, *_) = re.findall(r'name="csrf_token" value="([^"]+)"', text)
    return client.post("/session/dashboard/end", data={"csrf_token": token, **form}, headers=OPERATOR)


# Who gets in.


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_finds_nothing_whatever_the_path_and_the_method(shop: Flask, path: str, method: str) -> None:
    answer = shop.test_client().open(path, method=method)
    nothing = shop.test_client().open("/nothing", method=method)
    assert (answer.status_code, answer.data) == (404, nothing.data)
    assert set(answer.headers.keys()) - {"Vary"} == set(nothing.headers.keys())


def test_without_a_guard_there_is_no_dashboard() -> None:
    app = make_shop(None)
    assert not [rule for rule in app.url_map.iter_rules() if "dashboard" in rule.rule]
    assert app.test_client().get("/session/dashboard", headers=OPERATOR).status_code == 404
    assert app.extensions["idlesession"].tallies is None


def test_a_dashboard_needs_the_pages() -> None:
    app = Flask("shop")
    app.secret_key = "a key for the shop of the tests, 32"
    with pytest.raises(ConfigError, match="IDLESESSION_PAGES is not set"):
        IdleSession(app, dashboard=may_see)


def test_a_dashboard_turns_the_tallies_on(shop: Flask) -> None:
    assert shop.extensions["idlesession"].tallies is not None


def test_a_guard_may_answer(clock: FakeClock) -> None:
    app = make_shop(lambda: redirect("/in/ada"), clock=clock)
    answer = app.test_client().get("/session/dashboard")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/in/ada")


def test_a_guard_sees_the_session_of_the_request(clock: FakeClock) -> None:
    app = make_shop(lambda: current_user_id() == "ada", clock=clock)
    assert visit(app, "/in/bob").get("/session/dashboard").status_code == 404
    assert visit(app, "/in/ada").get("/session/dashboard").status_code == 200


def test_an_operator_is_told_which_methods_there_are(shop: Flask) -> None:
    client = shop.test_client()
    assert client.post("/session/dashboard", headers=OPERATOR).status_code == 405
    assert client.get("/session/dashboard/end", headers=OPERATOR).status_code == 405
    assert client.head("/session/dashboard", headers=OPERATOR).status_code == 200


# The figures.


def test_the_figures_agree_with_what_happened(shop: Flask, clock: FakeClock) -> None:
    for name in ("ada", "ada", "bob"):
        visit(shop, f"/in/{name}")
    visit(shop, "/")
    shop.extensions["idlesession"].manager.revoke_user("bob")
    clock.advance(60)
    seen = told(shop.test_client())
    assert (seen["live"], seen["live_is_exact"], seen["users"], seen["with_a_user"]) == (3, True, 1, 2)
    assert seen["last_hour"]["created"] == 4
    assert seen["last_hour"]["ended"] == {"idle": 0, "lifetime": 0, "logged-out": 0, "revoked": 1, "evicted": 0}
    assert seen["series"]["live"][-2:] == [3, 3] and seen["series"]["live"][-3] == 0
    assert sum(seen["series"]["created"]) == 4
    assert seen["store"]["kind"] == "MemoryStore" and seen["store"]["p50"] is not None
    assert seen["counted_by_all_workers"] is True and seen["seconds_that_a_kill_loses"] == 10


def test_a_day_is_drawn_in_steps_of_fifteen_minutes(shop: Flask, clock: FakeClock) -> None:
    visit(shop, "/")
    clock.advance(1800)
    shop.extensions["idlesession"].manager.prune()
    series = told(shop.test_client(), "?hours=24")["series"]
    assert (series["step"], len(series["created"])) == (900, 96)
    assert sum(series["created"]) == 1 and sum(series["ended"]["idle"]) == 1
    assert series["live"][-1] == 0 and series["live"][-3] == 1


def test_it_tells_what_shorter_timeouts_would_do(shop: Flask, clock: FakeClock) -> None:
    for _ in range(3):
        visit(shop, "/")
    clock.advance(1300)
    visit(shop, "/")
    age = told(shop.test_client())["idle_age"]
    assert age["timeout"] == 1800 and sum(bar["number"] for bar in age["bars"]) == 4
    assert age["shorter_timeouts"] == [{"timeout": 600, "ended_part": 0.75}, {"timeout": 1200, "ended_part": 0.75}]
    page = shop.test_client().get("/session/dashboard", headers=OPERATOR).text
    assert "At 20 minutes, 75 % more would have been asked to log in again." in page


def test_the_page_says_the_same_as_the_json_and_what_a_kill_loses(shop: Flask) -> None:
    for number in range(7):
        visit(shop, f"/in/u{number}")
    client = shop.test_client()
    page = client.get("/session/dashboard", headers=OPERATOR)
    assert page.headers["Vary"].lower().split(", ").count("accept") == 1
    assert page.headers["Cache-Control"] == "no-store"
    assert '<dd class="idlesession-figure" data-tile="live">7</dd>' in page.text
    assert "A worker that is killed loses what it counted in its last ten seconds." in page.text
    assert "ISW101" in page.text


def test_accept_decides_between_the_page_and_json(shop: Flask) -> None:
    client = shop.test_client()
    for accept, kind in (
        ("application/json", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("application/json;q=0.9, text/html;q=0.5", "application/json"),
    ):
        answer = client.get("/session/dashboard", headers={**OPERATOR, "Accept": accept})
        assert answer.headers["Content-Type"] == kind
    assert client.get("/session/dashboard", headers=OPERATOR).mimetype == "text/html"


def test_json_begins_no_session(shop: Flask) -> None:
    for path in ("", "/sessions", "/sessions?q=ada"):
        answer = shop.test_client().get(f"/session/dashboard{path}", headers={**JSON, **OPERATOR})
        assert "Set-Cookie" not in answer.headers
    assert infos(shop) == []


def test_it_keeps_nobody_signed_in(shop: Flask, clock: FakeClock) -> None:
    client = visit(shop, "/in/ada")
    (before,) = infos(shop)
    clock.advance(100)
    told(client)
    client.get("/session/dashboard", headers=OPERATOR)
    client.get("/session/dashboard/sessions", headers=OPERATOR)
    (after,) = infos(shop)
    assert after.last_seen_at == before.last_seen_at


# The search.


def test_sessions_are_found_by_user_address_network_and_id(shop: Flask) -> None:
    visit(shop, "/in/ada", address="198.51.100.7")
    visit(shop, "/in/ada", address="203.0.113.9")
    visit(shop, "/in/bob", address="203.0.113.10")
    client = shop.test_client()

    def users(wanted: str) -> list[str]:
        return sorted(each["user"] for each in told(client, f"/sessions?q={wanted}")["sessions"])

    assert users("ada") == ["ada", "ada"]
    assert users("203.0.113.9") == ["ada", "bob"]  # Truncated: either may be.
    assert users("198.51.100.0/24") == ["ada"]
    assert users("2001:db8::1") == users("nobody") == []
    (bob,) = (info for info in infos(shop) if info.user_id == "bob")
    assert users(str(bob.sid)) == ["bob"]
    assert users(str(uuid4())) == []
    assert len(users("")) == 3


def test_how_a_session_ended_is_found_by_its_id_while_it_is_remembered(shop: Flask, clock: FakeClock) -> None:
    visit(shop, "/in/ada")
    (info,) = infos(shop)
    manager, client = shop.extensions["idlesession"].manager, shop.test_client()
    manager.revoke(info.sid, by="<eve>")
    at = clock()
    clock.advance(300)
    ending = {"id": str(info.sid), "user": "ada", "ended_at": at, "reason": "revoked", "by": "<eve>"}
    assert told(client, f"/sessions?q={info.sid}")["ending"] == ending
    address = f"/session/dashboard/sessions/{info.sid}"
    answer = client.get(address, headers={**OPERATOR, **JSON})
    assert (answer.status_code, answer.get_json()) == (404, {"ending": ending})
    page = client.get(address, headers=OPERATOR, follow_redirects=True)
    assert page.status_code == 200
    assert all(text in page.text for text in ("ada", "5 minutes ago", "Revoked", "&lt;eve&gt;"))
    assert "0 sessions" not in page.text, "One was found, and it has ended."
    clock.advance(3600)
    assert told(client, f"/sessions?q={info.sid}")["ending"] is None
    assert client.get(address, headers=OPERATOR).status_code == 404
    assert (
        "Only live sessions are found."
        in client.get(f"/session/dashboard/sessions?q={info.sid}", headers=OPERATOR).text
    )


def test_a_search_that_finds_nothing_says_how_to_find_out_about_an_ended_session(shop: Flask) -> None:
    visit(shop, "/in/ada")
    client = shop.test_client()
    for wanted, is_said in (("bob", True), (str(uuid4()), True), ("ada", False), ("", False)):
        page = client.get(f"/session/dashboard/sessions?q={wanted}", headers=OPERATOR).text
        assert ("Only live sessions are found." in page) is is_said
        assert told(client, f"/sessions?q={wanted}")["ending"] is None


def test_the_revocation_of_a_user_is_no_ended_session(shop: Flask) -> None:
    shop.extensions["idlesession"].manager.revoke_user("ada")
    assert told(shop.test_client(), f"/sessions?q={mark_of('ada')}")["ending"] is None


@pytest.mark.parametrize("reason", EndReason)
def test_each_reason_of_an_end_has_its_word(shop: Flask, reason: EndReason) -> None:
    manager = shop.extensions["idlesession"].manager
    sid = manager.create({})
    manager.remove(sid, reason=reason)
    page = shop.test_client().get(f"/session/dashboard/sessions?q={sid}", headers=OPERATOR).text
    assert f"<dd>{reason.value.capitalize()}</dd>" in page and "<dd>Anonymous</dd>" in page


def test_a_user_whose_id_is_an_address_or_an_id_is_found(shop: Flask) -> None:
    awkward = str(uuid4())
    for name in ("192.0.2.1", awkward):
        visit(shop, f"/in/{name}")
    for name in ("192.0.2.1", awkward):
        assert [each["user"] for each in told(shop.test_client(), f"/sessions?q={name}")["sessions"]] == [name]


def test_a_session_is_shown_by_its_keys_types_and_sizes_alone(shop: Flask) -> None:
    visit(shop, "/in/ada")
    (info,) = infos(shop)
    seen = told(shop.test_client(), f"/sessions/{info.sid}")
    assert seen["user"] == "ada" and seen["address"] == "192.0.2.0/24"
    assert [(key["name"], key["type"]) for key in seen["keys"] if not key["name"].startswith("__")] == [
        ("cart", "list")
    ]
    page = shop.test_client().get(f"/session/dashboard/sessions/{info.sid}", headers=OPERATOR).text
    assert "<code>cart</code>" in page and "loom" not in page
    assert shop.test_client().get(f"/session/dashboard/sessions/{uuid4()}", headers=OPERATOR).status_code == 404


def test_no_answer_has_a_value_a_token_or_a_secret(shop: Flask) -> None:
    client = visit(shop, "/")
    visit(shop, "/in/ada")
    token = client.get_cookie("session").value
    record = shop.extensions["idlesession"].manager.store.load(infos(shop)[0].sid, now=FakeClock()())
    sids = [str(info.sid) for info in infos(shop)]
    for headers in ({}, JSON):
        for path in ("", "/sessions", "/sessions?q=ada", *(f"/sessions/{sid}" for sid in sids)):
            text = client.get(f"/session/dashboard{path}", headers={**OPERATOR, **headers}).text
            assert SECRET not in text and "loom" not in text
            assert token not in text and record.secret_digest.hex() not in text
            assert "192.0.2.77" not in text


@pytest.mark.parametrize(("kept", "shown"), [("full", "192.0.2.77"), ("truncated", "192.0.2.0/24"), (None, None)])
def test_addresses_are_shown_as_the_settings_say_now(clock: FakeClock, kept: str | None, shown: str | None) -> None:
    store = MemoryStore()
    before = Flask("shop")
    before.config.update(SECRET_KEY="a key for the shop of the tests, 32", IDLESESSION_CLIENT_INFO="full", TESTING=True)
    IdleSession(before, store=store, clock=clock)
    before.add_url_rule("/", "index", lambda: str(log_in("ada")))
    visit(before, "/")
    app = Flask("shop")
    app.config.update(SECRET_KEY="a key for the shop of the tests, 32", TESTING=True, IDLESESSION_CLIENT_INFO=kept)
    app.config.update(IDLESESSION_PAGES="/session")
    IdleSession(app, store=store, clock=clock, dashboard=may_see)
    (seen,) = told(app.test_client(), "/sessions")["sessions"]
    assert seen["address"] == shown
    if kept is None:
        assert seen["browser"] is None
        assert told(app.test_client(), "/sessions?q=192.0.2.77")["sessions"] == []


def test_texts_of_clients_are_escaped(shop: Flask) -> None:
    visit(shop, "/in/<b>eve", agent="<script>x</script>/1.0")
    page = shop.test_client().get("/session/dashboard/sessions", headers=OPERATOR).text
    assert "&lt;b&gt;eve" in page and "<b>eve" not in page and "<script>x" not in page


# Ending sessions.


def test_one_session_a_user_s_and_the_idle_ones_are_ended(shop: Flask, clock: FakeClock) -> None:
    for name in ("ada", "ada", "bob", "cleo"):
        visit(shop, f"/in/{name}")
    clock.advance(601)
    visit(shop, "/in/dana")
    client = shop.test_client()
    (bob,) = (info for info in infos(shop) if info.user_id == "bob")
    answer = post(client, "/sessions", what="session", id=str(bob.sid), q="bob")
    assert answer.headers["Location"] == "/session/dashboard/sessions?q=bob&done=1"
    assert "1 session was ended." in client.get(answer.headers["Location"], headers=OPERATOR).text
    assert post(client, "/sessions?q=ada", what="user", user="ada", q="ada").status_code == 303
    assert sorted(str(info.user_id) for info in infos(shop)) == ["None", "cleo", "dana"]  # The operator's own has none.
    assert post(client, what="idle", minutes="10").headers["Location"] == "/session/dashboard?done=1"
    assert sorted(str(info.user_id) for info in infos(shop)) == ["None", "dana"]


def test_all_are_ended_by_a_typed_phrase_and_the_operator_s_own_goes_on(shop: Flask) -> None:
    client = visit(shop, "/in/ada")
    visit(shop, "/in/bob")
    for wrong in ("", "yes", "localhos"):
        assert post(client, what="all", phrase=wrong).status_code == 400
    assert len(infos(shop)) == 2
    assert "type: localhost" in unescape(client.get("/session/dashboard", headers=OPERATOR).text)
    assert post(client, what="all", phrase=" localhost ").headers["Location"] == "/session/dashboard?done=1"
    assert [info.user_id for info in infos(shop)] == ["ada"]


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"what": "everything"},
        {"what": "idle", "minutes": "soon"},
        {"what": "idle", "minutes": "0"},
        {"what": "idle", "minutes": "nan"},
        {"what": "idle", "minutes": "-5"},
        {"what": "user"},
    ],
)
def test_a_form_that_names_nothing_ends_nothing(shop: Flask, form: dict[str, str]) -> None:
    visit(shop, "/in/ada")
    assert post(shop.test_client(), **form).status_code == 400
    assert "ada" in {info.user_id for info in infos(shop)}


def test_without_the_csrf_token_nothing_ends(shop: Flask) -> None:
    client = visit(shop, "/in/ada")
    answer = client.post("/session/dashboard/end", data={"what": "user", "user": "ada"}, headers=OPERATOR)
    assert answer.status_code == 403
    assert len(infos(shop)) == 1


@pytest.mark.parametrize(("path", "by"), [("/in/ada", "ada"), ("/", "dashboard")])
def test_the_audit_log_tells_who(shop: Flask, caplog: pytest.LogCaptureFixture, path: str, by: str) -> None:
    caplog.set_level(logging.INFO, "flask_idlesession.audit")
    visit(shop, "/in/bob")
    post(visit(shop, path), "/sessions?q=bob", what="user", user="bob")
    entries = [json.loads(record.message) for record in caplog.records]
    (entry,) = (each for each in entries if each["event"] == "revoked")
    assert (entry["user"], entry["by"]) == ("bob", by)


def test_json_tells_how_many_ended(shop: Flask) -> None:
    client = visit(shop, "/in/ada")
    page = client.get("/session/dashboard", headers=OPERATOR).text
    (token, *_) = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    form = {"what": "user", "user": "ada"}
    answer = client.post("/session/dashboard/end", data=form, headers={**OPERATOR, **JSON, "X-CSRF-Token": token})
    assert answer.get_json() == {"ended": 1}


# The files, and what goes wrong.


def test_the_files_are_the_operators_alone_and_kept_by_their_browsers(shop: Flask) -> None:
    client = shop.test_client()
    page = client.get("/session/dashboard", headers=OPERATOR).text
    links = re.findall(r'(?:src|href)="(/session/dashboard/static/[^"]+)"', page)
    assert len(links) == 4 and all("?v=" in link for link in links)
    for link in links:
        answer = client.get(link, headers=OPERATOR)
        assert answer.status_code == 200 and answer.headers["Cache-Control"].startswith("private")
        answer.close()
    assert client.get("/session/dashboard/static/../dashboard.py", headers=OPERATOR).status_code == 404
    assert client.get("/session/static/dashboard.js").status_code == 404


def test_an_outage_is_told_and_no_error(clock: FakeClock, tmp_path: Any) -> None:
    app = make_shop(clock=clock, IDLESESSION_STORE="redis://127.0.0.1:1/0")
    answer = app.test_client().get("/session/dashboard", headers=OPERATOR)
    assert answer.status_code == 200
    assert "The store does not answer." in answer.text and "csrf_token" not in answer.text
    seen = told(app.test_client())
    assert seen["live"] is None and seen["store"]["answers"] is False and seen["series"] is None


def test_the_page_needs_nothing_inline_and_has_the_nonce(shop: Flask) -> None:
    shop.jinja_env.globals["csp_nonce"] = lambda: "abc123"
    page = shop.test_client().get("/session/dashboard", headers=OPERATOR).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:|https?://", page)
    assert all('nonce="abc123"' in tag for tag in re.findall(r"<(?:script|link)[^>]*>", page))


def test_any_worker_answers_for_all(clock: FakeClock, tmp_path: Any) -> None:
    store = f"sqlite:///{tmp_path}/sessions.db"
    workers = [make_shop(clock=clock, IDLESESSION_STORE=store) for _ in range(4)]
    for number, worker in enumerate(workers):
        for each in range(number + 1):
            visit(worker, f"/in/{number}-{each}")
    workers[0].extensions["idlesession"].manager.revoke_user("3-0")
    for worker in workers:
        worker.extensions["idlesession"].tallies.flush()
    for worker in workers:
        seen = told(worker.test_client())
        assert (seen["live"], seen["users"], seen["live_is_exact"]) == (9, 9, True)
        assert seen["last_hour"]["created"] == 10
        assert seen["last_hour"]["ended"]["revoked"] == 1
        assert seen["store"]["kind"] == "SQLiteStore" and seen["store"]["bytes"] > 0


def test_a_store_without_tallies_is_said_to_be_counted_by_one_process(clock: FakeClock) -> None:
    from cachelib import SimpleCache

    app = make_shop(clock=clock, IDLESESSION_STORE=SimpleCache(default_timeout=0))
    visit(app, "/in/ada")
    seen = told(app.test_client())
    assert seen["counted_by_all_workers"] is False and seen["last_hour"]["created"] == 1
    page = app.test_client().get("/session/dashboard", headers=OPERATOR).text
    assert "what is counted here is of one process." in page


def test_the_polling_finder_speaks_up_on_the_page(shop: Flask) -> None:
    counter = shop.extensions["idlesession"].tallies.counter
    for what, amount in (("judged", 20), ("sure", 20), ("60000", 20), ("spread", 20_000), ("evidence", 400)):
        counter.count(f"beat.notifications.{what}", amount)
    (poller,) = told(shop.test_client())["pollers"]
    assert (poller["endpoint"], poller["period"]) == ("notifications", 60.0)
    page = unescape(shop.test_client().get("/session/dashboard", headers=OPERATOR).text)
    assert "notifications comes every 60 s" in page and "@passive" in page
