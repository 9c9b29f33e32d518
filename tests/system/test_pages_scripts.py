"""The scripts that the pages show do in a browser what the pages say."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask import render_template_string
from support.browsers import chromium
from support.browsers import served
from support.documents import blocks_of
from support.documents import CHECKOUT

from flask_idlesession import EventStream
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import passive
from flask_idlesession import session
from flask_idlesession.testing import FakeClock

IDLE = 600.0


def script(page: str, has: str) -> str:
    """Return the one script of a page that has this text."""
    blocks = blocks_of((CHECKOUT / "docs" / page).read_text(encoding="utf-8"))
    (code,) = (block.code for block in blocks if block.kind == "javascript" and has in block.code)
    return code


def make_app(clock: FakeClock) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", TESTING=True, IDLESESSION_PAGES="/session")
    app.config["IDLESESSION_IDLE_TIMEOUT"] = IDLE
    IdleSession(app, clock=clock)

    @app.get("/in")
    def enter() -> str:
        log_in("ada")
        return "welcome"

    @app.get("/inbox")
    def inbox() -> str:
        app.config["ASKED"] = app.config.get("ASKED", 0) + 1
        return str(session.get("n"))

    @app.get("/warned")
    def warned() -> str:
        return render_template_string("<body><p>text</p>{{ idlesession_widget() }}</body>")

    @app.get("/guarded")
    @login_required
    def guarded() -> str:
        return "in"

    @app.get("/events")
    @login_required
    def events() -> Any:
        return EventStream().response()

    @app.get("/out")
    def leave() -> str:
        log_out()
        return "bye"

    @app.get("/login")
    def login() -> str:
        return "the log-in page"

    @app.get("/favicon.ico")
    @passive  # The browser asks for it when it likes.
    def icon() -> str:
        return ""

    return app


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def site(browser: Any) -> Iterator[tuple[Any, FakeClock, Flask, str]]:
    """Yield a page of a user who is logged in, the server's clock, the application, and its address."""
    clock = FakeClock()
    app = make_app(clock)
    with served(app) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{url}/in")
        yield page, clock, app, url
        context.close()


def seconds_left(page: Any, url: str) -> float:
    """Return how long the session lives, as a passive request sees it."""
    answer = page.context.request.get(f"{url}/session/status")
    return float(answer.json()["remaining_ms"]) / 1000


def test_the_timer_of_the_page_on_activity_keeps_nobody_logged_in(site: tuple[Any, FakeClock, Flask, str]) -> None:
    page, clock, app, url = site
    code = script("activity.rst", "setInterval")
    assert "30_000" in code
    clock.advance(100)
    page.evaluate(f"() => {{ {code.replace('30_000', '50')} }}")
    page.wait_for_function("() => performance.getEntriesByName(location.origin + '/inbox').length > 2")
    assert app.config["ASKED"] > 1
    assert seconds_left(page, url) == IDLE - 100
    page.evaluate("() => fetch('/inbox')")
    assert seconds_left(page, url) == IDLE


def test_the_touch_of_the_page_on_endpoints_extends_the_session(site: tuple[Any, FakeClock, Flask, str]) -> None:
    page, clock, _, url = site
    clock.advance(100)
    state, remaining = page.evaluate(
        f"async () => {{ {script('endpoints.rst', '/session/touch')}; return [state, remaining_ms]; }}"
    )
    assert (state, remaining) == ("live", IDLE * 1000 - 1500)
    assert seconds_left(page, url) == IDLE - 1.5


def test_the_stream_of_the_page_on_neighbours_leads_to_the_log_in_page(
    site: tuple[Any, FakeClock, Flask, str],
) -> None:
    page, _, _, url = site
    page.evaluate(f"() => {{ {script('neighbours.rst', 'EventSource')}; window.source = source; }}")
    page.wait_for_function("() => window.source.readyState === EventSource.OPEN")
    page.context.request.get(f"{url}/out")
    page.wait_for_url(f"{url}/login")


def test_the_dialog_of_ones_own_takes_the_place_of_the_packages(site: tuple[Any, FakeClock, Flask, str]) -> None:
    page, clock, _, url = site
    page.goto(f"{url}/warned")
    page.evaluate("() => { window.openMyDialog = (...told) => { window.told = told; }; }")
    page.evaluate(f"() => {{ {script('pages.rst', 'openMyDialog')} }}")
    clock.advance(IDLE - 60)
    page.evaluate("document.dispatchEvent(new Event('idlesession:check'))")
    page.wait_for_function("() => window.told")
    remaining, can_extend = page.evaluate("window.told")
    assert remaining == pytest.approx(60_000, abs=5_000)
    assert can_extend is True
    assert page.locator("dialog[open]").count() == 0


def test_a_single_page_that_is_answered_401_has_the_widget_look(site: tuple[Any, FakeClock, Flask, str]) -> None:
    page, _, _, url = site
    page.goto(f"{url}/warned")
    page.context.request.get(f"{url}/out")
    code = script("pages.rst", "export async function api")
    page.evaluate(
        """code => import(URL.createObjectURL(new Blob([code], {type: "text/javascript"})))
             .then(module => module.api("/guarded"))""",
        code,
    )
    page.wait_for_url("**/session/ended**")


def test_each_script_of_the_pages_runs_here() -> None:
    shown = {
        page.name: [block.code for block in blocks_of(page.read_text(encoding="utf-8")) if block.kind == "javascript"]
        for page in (CHECKOUT / "docs").glob("*.rst")
    }
    found = {name: len(codes) for name, codes in shown.items() if codes}
    assert found == {"activity.rst": 1, "endpoints.rst": 1, "neighbours.rst": 1, "pages.rst": 2}
