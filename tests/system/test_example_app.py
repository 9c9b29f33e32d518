"""The example application: by the test client on a fake clock, and as its users meet it, in a browser."""

import ast
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

import flask_idlesession
from example_app import create_app
from example_app.development import development_key
from example_app.durations import in_words

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
IDLE = 6


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


@pytest.mark.parametrize("path", ["/", "/notes/", "/this-session/", "/session/mine"])
def test_who_is_not_logged_in_is_led_to_the_form_and_gets_no_cookie(visitor, path):
    response = visitor.get(path, follow_redirects=True)
    assert response.request.path == "/login"
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
    assert thief.get("/notes/").location == "/login?next=/notes/"


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
    assert ada.get("/notes/").location == "/login?next=/notes/"
    assert "to be forgotten" not in log_in(ada, "ada").text


def test_asking_for_the_status_does_not_prolong_the_session(ada, clock):
    for left in range(1700, 0, -100):
        clock.advance(100)
        assert ada.get("/session/status").json["remaining_ms"] == left * 1000
    clock.advance(100)
    assert ada.get("/session/status").json["reason"] == "idle"


def test_staying_prolongs_the_session(ada, clock):
    clock.advance(1799)
    ada.post("/session/touch", headers={"Sec-Fetch-Site": "same-origin"})
    clock.advance(1799)
    assert ada.get("/session/status").json["remaining_ms"] == 1000


def test_the_page_on_the_session_tells_what_it_knows(ada, clock, notebook):
    clock.advance(60)
    page = ada.get("/this-session/").text
    (info,) = notebook.extensions["idlesession"].manager.find()
    for fact in (str(info.sid), "<dd>ada</dd>", "22:13:20 UTC", "30 minutes", "06:13:20 UTC"):
        assert fact in page
    assert token_of(ada) not in page


@pytest.mark.parametrize(
    ("seconds", "reason"), [(1800, "because you were not active"), (None, "for the longest time that is allowed")]
)
def test_the_log_in_page_says_why_the_session_ended(ada, clock, seconds, reason):
    if seconds is None:
        for _ in range(17):
            clock.advance(1790)
            ada.get("/session/touch")
            ada.get("/notes/")
    else:
        clock.advance(seconds)
    page = ada.get("/notes/", follow_redirects=True).text
    assert reason in page
    assert "<title>You were logged out" in page


def test_a_user_comes_back_to_the_page_that_they_were_on_the_way_to(visitor):
    form = visitor.get("/this-session/").location
    answer = visitor.post(form, data={"user": "ada", "password": PASSWORDS["ada"]})
    assert answer.location == "/this-session/"


@pytest.mark.parametrize(
    "target", ["//evil.example", "http://evil.example", "/\\evil.example", "/\t/evil.example", "x"]
)
def test_nobody_is_led_to_another_site(visitor, target):
    data = {"user": "ada", "password": PASSWORDS["ada"]}
    assert visitor.post("/login", query_string={"next": target}, data=data).location == "/notes/"


def test_a_note_that_was_sent_too_late_is_in_the_form_after_the_log_in(ada, clock):
    clock.advance(1800)
    answer = ada.post(
        "/notes/", data={"text": "written for half an hour"}, headers={"Referer": "http://localhost/notes/"}
    )
    assert answer.location == "/login?next=/notes/"
    ada.post(answer.location, data={"user": "ada", "password": PASSWORDS["ada"]})
    assert ">written for half an hour</textarea>" in ada.get("/notes/").text
    write(ada, "written for half an hour")
    assert "></textarea>" in ada.get("/notes/").text


def test_devices_are_listed_and_signed_out_after_a_fresh_log_in(notebook, ada, clock):
    phone = notebook.test_client()
    log_in(phone, "ada")
    page = ada.get("/session/mine").text
    assert "<title>Where you are signed in – Notebook</title>" in page
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    clock.advance(301)
    assert ada.post("/session/mine/end-others", data={"csrf_token": token}).location == "/login"
    log_in(ada, "ada")
    token = re.search(r'name="csrf_token" value="([^"]+)"', ada.get("/session/mine").text)[1]
    assert (
        "1 session was signed out."
        in ada.post("/session/mine/end-others", data={"csrf_token": token}, follow_redirects=True).text
    )
    assert phone.get("/session/status").json["reason"] == "revoked"


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
    assert thief.get("/notes/").location == "/login?next=/notes/"


@pytest.mark.parametrize("path", ["/login", "/notes/", "/this-session/", "/session/mine", "/session/ended"])
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
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (89.2, "1 minute 29 seconds"),
        (1800, "30 minutes"),
        (28800, "8 hours"),
        (90061, "25 hours 1 minute 1 second"),
    ],
)
def test_durations_are_written_for_people(seconds, words):
    assert in_words(seconds) == words


def test_the_example_uses_public_names_alone():
    public = set(flask_idlesession.__all__)
    for path in (CHECKOUT / "example_app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flask_idlesession"):
                names = {alias.name for alias in node.names}
                is_public = node.module.startswith("flask_idlesession.integrations.") or names <= public
                assert is_public, path
            elif isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_") or node.attr == "__name__", path


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
    page.get_by_label("New note").fill("half a sen")
    typed_at = time.monotonic()
    page.get_by_role("alertdialog", name="Are you still there?").wait_for()
    page.wait_for_url("**/session/ended?*reason=idle*")
    assert IDLE - 1 < time.monotonic() - typed_at < IDLE + 3
    assert page.get_by_role("heading", name="You were signed out").evaluate("it => it === document.activeElement")
    assert page.get_by_text(f"when you are not active for {IDLE} seconds").is_visible()
    assert page.get_by_text("Your text was kept in this tab.").is_visible()
    page.go_back()
    page.get_by_role("heading", name="You were logged out").wait_for()
    assert "algebraical" not in page.content()
    fill_in_log_in(page)
    assert page.get_by_text("No notes yet").is_visible()
    page.get_by_text("is here again").wait_for()
    assert page.get_by_label("New note").input_value() == "half a sen"


def test_staying_leaves_the_page_and_what_is_typed_as_they_are(window, server):
    page = open_notes(window, server)
    page.get_by_label("New note").fill("half a sen")
    for _ in range(2):
        page.get_by_role("button", name="Stay signed in").click()
        page.get_by_role("alertdialog").wait_for(state="hidden")
    page.get_by_label("New note").press_sequentially("tence")
    add_note(page, page.get_by_label("New note").input_value())
    assert page.get_by_text("half a sentence").is_visible()


def test_a_window_left_open_shows_nothing_after_the_session_ended_in_another(window, server):
    left_open = open_notes(window, server)
    other = window.new_page()
    other.goto(f"{server.url}/this-session/")
    other.get_by_role("button", name="Log out").click()
    other.get_by_text("You are logged out, and your notes are gone.").wait_for()
    left_open.wait_for_url("**/session/ended?*reason=logged-out*")
    assert left_open.get_by_text("You have signed out.").is_visible()


@pytest.mark.soak
def test_without_scripts_the_next_click_after_the_end_leads_to_the_form(browser, server):
    context = browser.new_context(java_script_enabled=False)
    page = open_notes(context, server)
    page.wait_for_timeout((IDLE + 0.2) * 1000)
    page.get_by_role("link", name="This session").click()
    assert page.get_by_text("because you were not active").is_visible()
    context.close()


def test_at_320_pixels_no_page_scrolls_sideways_and_no_target_is_too_small(window, server):
    page = open_notes(window, server)
    add_note(page, "x" * 200)
    for path in ("/notes/", "/this-session/", "/session/mine", "/session/ended"):
        if path.endswith("/ended"):
            window.clear_cookies()
        page.goto(server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        heights = "all => all.map(it => it.getBoundingClientRect().height).filter(height => height)"
        assert min(page.eval_on_selector_all("button, input, textarea, nav a, .idlesession-button", heights)) >= 44


def test_after_a_restart_users_log_in_again_and_nothing_breaks(window, tmp_path):
    server = Server(tmp_path)
    try:
        page = open_notes(window, server)
        key = (tmp_path / "instance" / "secret_key").read_text()
        server.stop()
        page.get_by_role("alertdialog", name="No connection").wait_for()
        assert not page.get_by_role("heading", name="Notes").is_visible()
        server.start()
        page.wait_for_url("**/session/ended?*")
        page.get_by_role("link", name="Sign in again").click()
        fill_in_log_in(page)
        add_note(page, "after the restart")
        assert (tmp_path / "instance" / "secret_key").read_text() == key
        assert "Traceback" not in server.log
        assert "is no token" not in server.log
    finally:
        server.stop()
