"""Guards of views: where users without a log-in are led, and what scripts are told instead."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import login_required
from flask_idlesession.testing import FakeClock


def make_app(clock: FakeClock, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="k" * 32, TESTING=True, IDLESESSION_LOGIN_VIEW="log_in_page", **config)
    IdleSession(app, clock=clock)

    @app.get("/log-in")
    def log_in_page() -> str:
        return "<form>"

    @app.post("/log-in")
    def enter() -> str:
        log_in("ada")
        return ""

    @app.route("/account", methods=["GET", "POST"])
    @login_required
    def account() -> str:
        return "<h1>Account</h1>"

    @app.get("/fresh")
    @fresh_login_required(max_age=60)
    def fresh() -> str:
        return "<h1>Fresh</h1>"

    return app


@pytest.fixture
def over(app: Flask, clock: FakeClock) -> FlaskClient:
    """A client whose session has gone idle."""
    return gone_idle(app, clock)


def gone_idle(app: Flask, clock: FakeClock) -> FlaskClient:
    client = app.test_client()
    client.post("/log-in")
    clock.advance(1801)
    return client


PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,application/xhtml+xml"}
FETCH = {"Sec-Fetch-Mode": "cors", "Accept": "*/*"}
HTMX = {"HX-Request": "true", "Sec-Fetch-Mode": "cors", "Accept": "*/*"}
TURBO = {"Sec-Fetch-Mode": "cors", "Accept": "text/html, application/xhtml+xml"}


@pytest.mark.parametrize("headers", [{}, PAGE, TURBO, {"Accept": "*/*"}], ids=["none", "page", "turbo", "any"])
def test_a_page_after_the_end_is_led_to_the_log_in_page(over: FlaskClient, headers: dict[str, str]) -> None:
    answer = over.get("/account?tab=2", headers=headers)
    assert answer.status_code == 303
    assert answer.location == "/log-in?next=/account?tab%3D2"


@pytest.mark.parametrize(
    "headers",
    [
        FETCH,
        HTMX,
        {"HX-Request": "true"},
        {"X-Requested-With": "XMLHttpRequest"},
        {"Accept": "application/json, text/plain, */*"},
        {"Sec-Fetch-Mode": "same-origin"},
        {"Sec-Fetch-Mode": "no-cors"},
    ],
    ids=["fetch", "htmx", "old htmx", "xhr", "axios", "same-origin", "no-cors"],
)
def test_a_script_after_the_end_is_told_so_and_gets_no_page(over: FlaskClient, headers: dict[str, str]) -> None:
    answer = over.get("/account", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["X-IdleSession"] == "ended; reason=idle"
    assert answer.json == {"state": "ended", "reason": "idle"}
    assert "<" not in answer.text


def test_a_script_that_never_had_a_session_is_told_so(app: Flask) -> None:
    answer = app.test_client().get("/account", headers=FETCH)
    assert (answer.status_code, answer.headers["X-IdleSession"]) == (401, "none")


def test_a_script_whose_user_must_prove_again_who_they_are_is_told_that_the_session_lives(
    app: Flask, clock: FakeClock
) -> None:
    client = app.test_client()
    client.post("/log-in")
    clock.advance(61)
    answer = client.get("/fresh", headers=HTMX)
    assert (answer.status_code, answer.headers["X-IdleSession"]) == (401, "live")
    assert answer.headers["HX-Redirect"] == "/log-in"


def test_htmx_is_led_to_the_log_in_page_and_back_to_the_page_that_it_was_on(over: FlaskClient) -> None:
    headers = {**HTMX, "HX-Current-URL": "http://localhost/inbox?page=2#top"}
    assert over.get("/account", headers=headers).headers["HX-Redirect"] == "/log-in?next=/inbox?page%3D2"


def test_htmx_is_led_to_the_page_after_the_end_where_there_is_one(clock: FakeClock) -> None:
    client = gone_idle(make_app(clock, IDLESESSION_PAGES="/session"), clock)
    headers = {**HTMX, "HX-Current-URL": "http://localhost/inbox"}
    answer = client.get("/account", headers=headers)
    assert answer.headers["HX-Redirect"] == "/session/ended?next=/inbox&reason=idle"


@pytest.mark.parametrize(
    "page", ["http://evil.example/inbox", "//evil.example", "http://localhost.evil.example/", "x", "http://[", "//[::1"]
)
def test_nobody_is_led_back_to_a_page_of_another_site(over: FlaskClient, page: str) -> None:
    for headers in ({**HTMX, "HX-Current-URL": page}, {"Referer": page}):
        answer = over.post("/account", headers=headers)
        target = answer.headers.get("HX-Redirect") or answer.location
        assert target == "/log-in"


def test_a_form_that_came_too_late_is_led_back_to_the_page_that_it_stands_on(over: FlaskClient) -> None:
    answer = over.post("/account", headers={"Referer": "http://localhost/letter?to=ada"})
    assert answer.location == "/log-in?next=/letter?to%3Dada"


def test_below_a_prefix_the_way_back_has_the_prefix(over: FlaskClient) -> None:
    answer = over.get("/account", base_url="http://localhost/app")
    assert answer.location == "/app/log-in?next=/app/account"


def test_without_a_log_in_page_everybody_gets_401(clock: FakeClock) -> None:
    app = make_app(clock)
    app.config["IDLESESSION_LOGIN_VIEW"] = None
    assert app.test_client().get("/account", headers=PAGE).status_code == 401
    answer = app.test_client().get("/account", headers=HTMX)
    assert answer.status_code == 401
    assert "HX-Redirect" not in answer.headers
