"""htmx, from its npm package, in Chromium: a page whose user was logged out leads to the page after the end."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from support.archives import extract
from support.browsers import served
from support.programs import skip_unless_ci

from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import login_required
from flask_idlesession import passive
from flask_idlesession.testing import FakeClock

IDLE = 600.0

PAGE = """<!doctype html><html lang="en"><title>Inbox</title><link rel="icon" href="data:,">
<script src="/htmx.js"></script>
<p id="mails">none yet</p>
<button hx-get="/mails" hx-target="#mails">Look</button>
"""

POLL = '<p id="unread" hx-get="/unread" hx-trigger="every 100ms">not asked</p>'


@pytest.fixture(scope="module", params=["2", "4"])
def script(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of each major version, as npm has it."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("htmx")
    if npm is None:
        skip_unless_ci("npm is not installed")
    asked = [npm, "pack", "--silent", f"htmx.org@{request.param}"]
    if subprocess.run(asked, cwd=folder, capture_output=True, timeout=60, check=False).returncode:
        skip_unless_ci(f"npm does not bring htmx {request.param}")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        extract(packed, folder)
    return (folder / "package" / "dist" / "htmx.min.js").read_text(encoding="utf-8")


@pytest.fixture
def page(clock: FakeClock, script: str, window: Any) -> Iterator[Any]:
    app = Flask("inbox")
    app.config.update(
        SECRET_KEY="2c1f0fd0a3c3ff60e8a8a9d7b0c1d5f1",
        IDLESESSION_PAGES="/session",
        IDLESESSION_LOGIN_VIEW="enter",
        IDLESESSION_IDLE_TIMEOUT=IDLE,
    )
    IdleSession(app, clock=clock)

    @app.get("/enter")
    def enter() -> str:
        log_in("ada")
        return "in"

    @app.get("/inbox")
    @login_required
    def inbox() -> str:
        return PAGE

    @app.get("/polls")
    @login_required
    def polls() -> str:
        return PAGE + POLL

    @app.get("/htmx.js")
    def htmx() -> tuple[str, dict[str, str]]:
        return script, {"Content-Type": "text/javascript"}

    @app.get("/mails")
    @login_required
    def mails() -> str:
        return f"mails of {current_user_id()}"

    @app.get("/unread")
    @passive
    @login_required
    def unread() -> str:
        return f"unread at {clock():.0f}"

    with served(app) as url:
        page = window.new_page()
        page.goto(f"{url}/enter")
        page.goto(f"{url}/inbox")
        yield page
        page.close()


def test_a_click_after_the_end_leads_to_the_page_after_the_end(page: Any, clock: FakeClock) -> None:
    page.get_by_role("button").click()
    page.get_by_text("mails of ada").wait_for()
    clock.advance(IDLE)
    page.get_by_role("button").click()
    page.wait_for_url(re.compile("/session/ended"))
    assert "reason=idle" in page.url and "next=/inbox" in page.url
    assert page.get_by_role("heading", level=1).count() == 1, "It is a page of its own, and no part of another."


def test_a_poll_keeps_no_session_alive_and_leads_to_the_page_after_the_end(page: Any, clock: FakeClock) -> None:
    page.goto(page.url.replace("/inbox", "/polls"))
    page.get_by_text("unread at").wait_for()
    clock.advance(IDLE - 1)
    page.get_by_text(f"unread at {clock():.0f}").wait_for()
    clock.advance(1)
    page.wait_for_url(re.compile("/session/ended"))
    assert "reason=idle" in page.url
