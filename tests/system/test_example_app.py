"""The example application: by the test client on a fake clock, and as its users meet it, in a browser."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from datetime import datetime
from datetime import UTC
from pathlib import Path

import pytest
from support.programs import find_program

from example_app import create_app
from example_app.development import development_key
from example_app.durations import in_words
from example_app.durations import on_clock
from flask_idlesession.testing import FakeClock

CHECKOUT = Path(__file__).parents[2]
PASSWORDS = {"ada": "analytical engine", "grace": "nanosecond"}
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]

# Seconds without activity after which the real server's sessions end.
IDLE = 3


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def notebook(clock):
    return create_app({"SECRET_KEY": "for tests", "TESTING": True}, clock=clock)


@pytest.fixture
def visitor(notebook):
    return notebook.test_client()


@pytest.fixture
def ada(visitor):
    log_in(visitor, "ada")
    return visitor


def log_in(client, user):
    return client.post("/login", data={"user": user, "password": PASSWORDS[user]}, follow_redirects=True)


def write(client, text):
    return client.post("/notes/", data={"text": text}, follow_redirects=True)


def token_of(client):
    return client.get_cookie("session").value


# The test client.


@pytest.mark.parametrize("path", ["/", "/notes/", "/session/"])
def test_who_is_not_logged_in_is_led_to_the_form_and_gets_no_cookie(visitor, path):
    response = visitor.get(path, follow_redirects=True)
    assert response.request.full_path == "/login?"
    assert "<h1>Log in</h1>" in response.text
    assert visitor.get_cookie("session") is None


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(visitor):
    answers = [visitor.post("/login", data={"user": user, "password": "wrong"}) for user in ("ada", "nobody")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert "The name or the password is wrong." in answers[0].text
    assert answers[0].text == answers[1].text.replace("nobody", "ada")
    assert visitor.get_cookie("session") is None


@pytest.mark.parametrize("form", [{}, *({"user": user, "password": PASSWORDS["ada"]} for user in ("grace", "nobody"))])
def test_a_password_of_another_user_does_not_do(visitor, form):
    assert visitor.post("/login", data=form).status_code == 403
    assert visitor.get_cookie("session") is None


def test_a_log_in_gives_a_new_token_and_the_one_before_opens_nothing(notebook, visitor):
    log_in(visitor, "ada")
    visitor.post("/logout")
    anonymous = token_of(visitor)  # Of the session that carries the farewell to the next page.
    log_in(visitor, "ada")
    assert token_of(visitor) != anonymous
    thief = notebook.test_client()
    thief.set_cookie("session", anonymous)
    assert thief.get("/notes/").location == "/login?ended=over"


def test_notes_are_kept_newest_first_and_deleted_one_by_one(ada):
    assert "No notes yet" in ada.get("/notes/").text
    write(ada, "the first")
    page = write(ada, "<b>the second</b>\r\nin two lines").text
    assert "The note is kept." in page
    assert "2 notes" in page
    assert page.index("&lt;b&gt;the second&lt;/b&gt;\nin two lines") < page.index("the first")
    newest, _ = re.findall(r'action="(/notes/[^"]+/delete)"', page)
    for _ in range(2):  # The second time as from a window in which the note is still shown.
        page = ada.post(newest, follow_redirects=True).text
    assert "1 note<" in page
    assert "the second" not in page


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(" \r\n ", "A note needs a word or two."), ("x" * 501, "500 characters at most; this one has 501.")],
)
def test_a_note_that_is_refused_stays_in_the_form(ada, text, complaint):
    response = ada.post("/notes/", data={"text": text})
    assert response.status_code == 422
    assert complaint in response.text
    assert f">{text.strip()}</textarea>" in response.text
    assert "No notes yet" in response.text


def test_there_is_room_for_fifty_notes(ada):
    for number in range(50):
        assert ada.post("/notes/", data={"text": f"note {number}"}).status_code == 302
    assert "delete one first" in ada.post("/notes/", data={"text": "one more"}).text


def test_notes_that_two_windows_write_at_once_are_both_kept(ada):
    with ada.session_transaction() as slow:
        write(ada, "from the quick window")
        slow["note:slow"] = {"text": "from the slow window", "written_at": datetime.now(UTC)}
    page = ada.get("/notes/").text
    assert "from the quick window" in page
    assert "from the slow window" in page


def test_notes_go_when_the_idle_timeout_has_passed(ada, clock):
    write(ada, "to be forgotten")
    clock.advance(1799)
    assert "to be forgotten" in ada.get("/notes/").text
    clock.advance(1800)
    assert ada.get("/notes/").location == "/login?ended=over"
    assert "to be forgotten" not in log_in(ada, "ada").text


def test_asking_for_the_status_does_not_prolong_the_session(ada, clock):
    for left in range(1700, 0, -100):
        clock.advance(100)
        assert ada.get("/session/status").json == {"live": True, "seconds_left": left, "ends_by": "idle"}
    clock.advance(100)
    assert ada.get("/session/status").json == {"live": False, "seconds_left": 0, "ends_by": None}


def test_staying_prolongs_the_session(ada, clock):
    clock.advance(1799)
    assert ada.post("/session/stay").json["seconds_left"] == 1800
    clock.advance(1799)
    assert ada.get("/session/status").json["seconds_left"] == 1


def test_nothing_prolongs_the_lifetime_and_the_countdown_knows_it(ada, clock):
    for _ in range(16):
        clock.advance(1790)
        ada.get("/notes/")
    answer = {"live": True, "seconds_left": 28800 - 16 * 1790, "ends_by": "lifetime"}
    assert ada.post("/session/stay").json == ada.get("/session/status").json == answer
    assert 'data-ends-by="lifetime"' in ada.get("/notes/").text


def test_the_page_on_the_session_tells_what_it_knows(ada, clock, notebook):
    clock.advance(60)
    page = ada.get("/session/").text
    (info,) = notebook.extensions["idlesession"].manager.find()
    for fact in (str(info.sid), "<dd>ada</dd>", "22:13:20 UTC", "30 minutes", "06:13:20 UTC", "30:00"):
        assert fact in page
    assert token_of(ada) not in page


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        ("idle", "you are logged out after 30 minutes without activity"),
        ("lifetime", "you are logged out 8 hours after you logged in"),
        ("early", "ended before its time"),
        ("over", "you were away for 30 minutes or longer"),
    ],
)
def test_the_log_in_page_says_why_the_session_ended(visitor, ended, reason):
    page = visitor.get(f"/login?ended={ended}").text
    assert reason in page
    assert "<title>You were logged out" in page


def test_the_log_in_page_repeats_nothing_that_a_link_puts_into_it(visitor):
    assert visitor.get("/login?ended=Call+this+number").text == visitor.get("/login").text


def test_who_is_logged_in_needs_no_form(ada):
    assert ada.get("/login?ended=idle").location == "/notes/"


def test_another_user_of_the_same_browser_gets_no_notes(ada):
    write(ada, "ada's own")
    assert "ada&#39;s own" not in log_in(ada, "grace").text


def test_the_same_user_logging_in_again_keeps_the_notes(ada):
    write(ada, "ada's own")
    before = token_of(ada)
    assert "ada&#39;s own" in log_in(ada, "ada").text
    assert token_of(ada) != before


def test_a_log_out_is_final_and_needs_a_post(notebook, ada):
    assert ada.get("/logout").status_code == 405
    copied = token_of(ada)
    assert "You are logged out" in ada.post("/logout", follow_redirects=True).text
    assert ada.get_cookie("session") is None
    thief = notebook.test_client()
    thief.set_cookie("session", copied)
    assert thief.get("/notes/").location == "/login?ended=over"


@pytest.mark.parametrize("path", ["/login", "/notes/", "/session/"])
def test_a_page_is_not_cached_and_runs_no_inline_script(ada, notebook, path):
    client = notebook.test_client() if path == "/login" else ada
    response = client.get(path)
    assert response.headers["Cache-Control"] == "no-store"
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", response.text)


def test_the_cookie_stays_home_on_posts_from_other_sites(visitor):
    response = visitor.post("/login", data={"user": "ada", "password": PASSWORDS["ada"]})
    assert "SameSite=Lax" in response.headers["Set-Cookie"]
    assert "HttpOnly" in response.headers["Set-Cookie"]


def test_the_development_key_is_made_once_and_is_its_owners_alone(tmp_path):
    folder = tmp_path / "instance"
    key = development_key(str(folder))
    assert len(key) == 64
    assert development_key(str(folder)) == key
    assert [(file.name, file.stat().st_mode & 0o777) for file in folder.iterdir()] == [("secret_key", 0o600)]


@pytest.mark.parametrize(
    ("seconds", "words", "clock_face"),
    [
        (0, "0 seconds", "0:00"),
        (1, "1 second", "0:01"),
        (89.2, "1 minute 29 seconds", "1:30"),
        (1800, "30 minutes", "30:00"),
        (28800, "8 hours", "8:00:00"),
        (90061, "25 hours 1 minute 1 second", "25:01:01"),
    ],
)
def test_durations_are_written_for_people(seconds, words, clock_face):
    assert (in_words(seconds), on_clock(seconds)) == (words, clock_face)


# A real server and a real browser.


class Server:
    """The example application as README runs it, from a copy whose instance folder is its own."""

    def __init__(self, folder):
        shutil.copytree(CHECKOUT / "example_app", folder / "example_app")
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        path = os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flask", "--app", "example_app", "run", "--port", str(self.port)],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path, "EXAMPLE_IDLE_TIMEOUT": str(IDLE)},
                stderr=log,
                stdout=log,
            )
        give_up_at = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < give_up_at:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        pytest.fail(f"The example did not start:\n{self.log}")

    def stop(self):
        self.process.kill()
        self.process.wait()

    @property
    def log(self):
        return (self.folder / "log").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("example"))
    yield server
    server.stop()
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def browser():
    chromium = find_program("chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def window(browser):
    """A browser with no cookies, on a phone of 320 px; its scripts must raise nothing."""
    context = browser.new_context(viewport={"width": 320, "height": 640})
    context.set_default_timeout(10_000)
    problems = []
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on("console", lambda message: problems.append(message.text) if "Security" in message.text else None)
    yield context
    context.close()
    assert problems == []


def open_notes(window, server):
    page = window.new_page()
    page.goto(server.url)
    fill_in_log_in(page)
    return page


def fill_in_log_in(page):
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORDS["ada"])
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Welcome, Ada.").wait_for()
    page.wait_for_load_state()  # The script has run: who stops the server from here on does not stop that.


def add_note(page, text):
    page.get_by_label("New note").fill(text)
    page.get_by_role("button", name="Add note").click()
    page.get_by_text("The note is kept.").wait_for()


def test_a_user_writes_notes_watches_the_idle_end_come_is_told_why_and_logs_in_again(window, server):
    page = open_notes(window, server)
    add_note(page, "Weave algebraical patterns.")
    clicked_at = time.monotonic()
    page.get_by_role("link", name="This session").click()
    page.locator("#countdown").wait_for(state="visible")
    assert re.fullmatch(r"You will be logged out in 0:0[12]\.", page.locator("#announcement").text_content())
    page.wait_for_url("**/login?ended=idle")
    page.get_by_role("heading", name="Log in again").wait_for()
    assert IDLE < time.monotonic() - clicked_at < IDLE + 3
    assert page.get_by_role("heading", name="You were logged out").evaluate("it => it === document.activeElement")
    assert page.get_by_text(f"you are logged out after {IDLE} seconds without activity").is_visible()
    page.go_back()
    page.wait_for_url("**/login?ended=*")
    assert "algebraical" not in page.content()
    fill_in_log_in(page)
    assert page.get_by_text("No notes yet").is_visible()


def test_staying_leaves_the_page_and_what_is_typed_as_they_are(window, server):
    page = open_notes(window, server)
    page.get_by_label("New note").fill("half a sen")
    for _ in range(2):
        page.get_by_role("button", name="Stay logged in").click()
        page.locator("#countdown").wait_for(state="hidden")
    page.get_by_label("New note").press_sequentially("tence")
    add_note(page, page.get_by_label("New note").input_value())
    assert page.get_by_text("half a sentence").is_visible()


def test_a_window_left_open_shows_nothing_after_the_session_ended_in_another(window, server):
    left_open = open_notes(window, server)
    other = window.new_page()
    other.goto(f"{server.url}/session/")
    other.get_by_role("button", name="Log out").click()
    other.get_by_text("You are logged out, and your notes are gone.").wait_for()
    left_open.wait_for_url("**/login?ended=early")
    assert left_open.get_by_text("ended before its time").is_visible()


def test_a_server_in_trouble_at_the_end_leaves_no_notes_on_the_screen(window, server):
    page = open_notes(window, server)
    window.route("**/session/status", lambda route: route.fulfill(status=503, body="{}"))
    page.get_by_text("The server does not answer just now.").wait_for()
    assert not page.get_by_role("heading", name="Notes").is_visible()
    window.unroute_all()
    page.wait_for_url("**/login?ended=idle")


@pytest.mark.soak
def test_without_scripts_the_next_click_after_the_end_leads_to_the_form(browser, server):
    context = browser.new_context(java_script_enabled=False)
    page = open_notes(context, server)
    page.wait_for_timeout((IDLE + 0.2) * 1000)
    page.get_by_role("link", name="This session").click()
    assert page.get_by_text(f"you were away for {IDLE} seconds or longer").is_visible()
    context.close()


def test_at_320_pixels_no_page_scrolls_sideways_and_no_target_is_too_small(window, server):
    page = open_notes(window, server)
    add_note(page, "x" * 200)
    for path in ("/notes/", "/session/", "/login?ended=idle"):
        if path.startswith("/login"):
            window.clear_cookies()
        page.goto(server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        heights = "all => all.map(it => it.getBoundingClientRect().height).filter(height => height)"
        assert min(page.eval_on_selector_all("button, input, textarea, nav a", heights)) >= 44


def test_after_a_restart_users_log_in_again_and_nothing_breaks(window, tmp_path):
    server = Server(tmp_path)
    try:
        page = open_notes(window, server)
        key = (tmp_path / "instance" / "secret_key").read_text()
        server.stop()
        page.get_by_text("The server does not answer just now.").wait_for()
        assert not page.get_by_role("heading", name="Notes").is_visible()
        server.start()
        page.wait_for_url("**/login?ended=*")
        fill_in_log_in(page)
        add_note(page, "after the restart")
        assert (tmp_path / "instance" / "secret_key").read_text() == key
        assert "Traceback" not in server.log
        assert "is no token" not in server.log
    finally:
        server.stop()
