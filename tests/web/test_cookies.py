"""Several cookies of one name: which of them counts, and which of them the browser is rid of."""

from typing import Any

import pytest
from flask import Flask
from flask import session
from werkzeug.test import TestResponse

from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import StoreError
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.testing import FakeClock

KEY = "9f3c2a7be10d44f8a6c5d2e1b7a890ff"


def make_app(store: Store | None = None, *, clock: FakeClock | None = None, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": KEY, **config})
    IdleSession(app, store=MemoryStore() if store is None else store, clock=clock or FakeClock())

    @app.post("/in/<user>")
    def enter(user: str) -> str:
        log_in(user)
        session["who"] = user
        return "in"

    @app.post("/out")
    def leave() -> str:
        log_out()
        return "out"

    @app.post("/rotate")
    def rotate() -> str:
        session.rotate()  # type: ignore[attr-defined]
        return "rotated"

    @app.get("/who")
    def who() -> str:
        return str(session.get("who"))

    return app


def enter(app: Flask, user: str = "ada") -> str:
    """Log a user in with a browser of their own; return its cookie."""
    return app.test_client().post(f"/in/{user}").headers["Set-Cookie"].partition(";")[0]


def ask(app: Flask, *cookies: str, path: str = "/who", method: str = "GET", **how: Any) -> TestResponse:
    return app.test_client(use_cookies=False).open(path, method=method, headers={"Cookie": "; ".join(cookies)}, **how)


def flask_cookie(key: str = KEY) -> str:
    """Return the cookie of a session of Flask's own."""
    app = Flask(__name__)
    app.secret_key = key

    @app.post("/in")
    def set_it() -> str:
        session["theirs"] = 1
        return "set"

    return app.test_client().post("/in").headers["Set-Cookie"].partition(";")[0]


STRANGE = {
    "garbage": "session=hello",
    "empty": "session=",
    "Flask's own": flask_cookie(),
    "Flask's own, of another application": flask_cookie("another key of another application"),
}


def other_token() -> str:
    return enter(make_app(SECRET_KEY="another key of another application"))


# Which one counts.


@pytest.mark.parametrize("strange", [*STRANGE, "a token of another application"])
def test_a_user_is_logged_in_beside_any_cookie_that_is_no_token_of_ours(strange: str) -> None:
    app = make_app()
    other, mine = STRANGE.get(strange) or other_token(), enter(app)
    for cookies in ((other, mine), (mine, other), (other, mine, other), (mine, mine, other)):
        assert ask(app, *cookies).text == "ada"
    assert ask(app, other).text == "None"


def test_a_user_logs_in_beside_a_cookie_that_is_no_token_of_ours() -> None:
    app = make_app()
    answer = ask(app, "session=hello", path="/in/ada", method="POST")
    (line,) = answer.headers.getlist("Set-Cookie")
    assert ask(app, "session=hello", line.partition(";")[0]).text == "ada"


@pytest.mark.parametrize("how", ["logged out", "expired", "rotated away", "of an unknown session", "the same"])
def test_of_two_tokens_of_ours_the_one_that_opens_a_live_session_counts(how: str) -> None:
    clock = FakeClock()
    app = make_app(clock=clock)
    stale = enter(app, "grace")
    if how == "logged out":
        ask(app, stale, path="/out", method="POST")
    elif how == "expired":
        clock.advance(1800)
    elif how == "rotated away":
        ask(app, stale, path="/in/grace", method="POST")
    elif how == "of an unknown session":
        stale = enter(make_app())
    mine = enter(app)
    if how == "the same":
        stale = mine
    for cookies in ((stale, mine), (mine, stale)):
        assert ask(app, *cookies).text == "ada"


def test_a_token_from_just_before_a_rotation_is_no_second_session() -> None:
    app = make_app()
    former = enter(app)
    answer = ask(app, former, path="/rotate", method="POST")
    present = answer.headers["Set-Cookie"].partition(";")[0]
    for cookies in ((former, present), (present, former)):
        assert ask(app, *cookies).text == "ada"
    rotated = ask(app, former, present, path="/rotate", method="POST")
    assert ask(app, rotated.headers.getlist("Set-Cookie")[-1].partition(";")[0]).text == "ada"


def test_of_two_live_sessions_none_counts_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    one, other = enter(app, "ada"), enter(app, "grace")
    for cookies in ((one, other), (other, one), (one, "session=x", other)):
        assert ask(app, *cookies).text == "None"
    lines = [line for line in caplog.messages if "several live sessions" in line]
    assert len(lines) == 1 and "SESSION_COOKIE_DOMAIN" in lines[0]
    assert [ask(app, cookie).text for cookie in (one, other)] == ["ada", "grace"]


def test_a_store_that_cannot_say_which_one_lives_fails_the_request_that_needs_its_session() -> None:
    class Shaky(MemoryStore):
        down = False

        def load(self, *args: Any, **how: Any) -> Any:
            if self.down:
                raise StoreError("down")
            return super().load(*args, **how)

    store = Shaky()
    app = make_app(store)
    app.add_url_rule("/ignore", view_func=lambda: "ignored")
    one, other = enter(app), enter(app)
    store.down = True
    assert ask(app, one, other).status_code == 503
    assert ask(app, one, other, path="/ignore").text == "ignored"


def test_a_foreign_cookie_is_told_once_with_the_setting_that_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    mine = enter(app)
    for _ in range(3):
        ask(app, mine, "session=hello")
    (line,) = caplog.messages
    assert "SESSION_COOKIE_NAME" in line and "hello" not in line


def test_a_cookie_of_flasks_own_session_by_our_key_is_no_foreign_one(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    ask(app, enter(app), flask_cookie())
    assert caplog.messages == []


# What the browser is rid of.


def deleted(answer: TestResponse) -> list[tuple[str | None, str]]:
    """Return the domains and paths of the cookies that an answer deletes."""
    lines = [line for line in answer.headers.getlist("Set-Cookie") if "Max-Age=0" in line]
    attributes = [dict(part.partition("=")[::2] for part in line.split("; ")) for line in lines]
    return [(each.get("Domain"), each["Path"]) for each in attributes]


def test_an_answer_that_sets_the_cookie_deletes_the_others_that_were_ours() -> None:
    app = make_app(SESSION_COOKIE_PATH="/shop", APPLICATION_ROOT="/shop")
    stale, mine = enter(make_app()), enter(app)
    base = "https://www.a.example.test:8443"
    answer = ask(app, stale, mine, path="/in/ada", method="POST", base_url=base)
    assert deleted(answer) == [
        (None, "/"),
        ("a.example.test", "/shop"),
        ("a.example.test", "/"),
        ("example.test", "/shop"),
        ("example.test", "/"),
    ]
    last = answer.headers.getlist("Set-Cookie")[-1]
    assert last.startswith("session=") and "Max-Age=0" not in last and "Path=/shop" in last
    assert all("Secure" in line for line in answer.headers.getlist("Set-Cookie"))


def test_an_answer_that_deletes_the_cookie_deletes_the_others_too() -> None:
    app = make_app(SESSION_COOKIE_DOMAIN="example.test")
    base = "http://www.example.test"
    answer = ask(app, enter(make_app()), enter(app), path="/out", method="POST", base_url=base)
    assert sorted(deleted(answer), key=str) == [("example.test", "/"), (None, "/")]


@pytest.mark.parametrize("foreign", ["session=hello", other_token()])
def test_beside_another_applications_cookie_nothing_but_our_own_is_deleted(foreign: str) -> None:
    app = make_app()
    base = "http://www.example.test"
    for path in ("/in/ada", "/out"):
        answer = ask(app, enter(make_app()), foreign, enter(app), path=path, method="POST", base_url=base)
        assert deleted(answer) == ([(None, "/")] if path == "/out" else [])


def test_one_cookie_alone_is_set_and_deleted_as_ever() -> None:
    app = make_app()
    mine = enter(app)
    assert len(ask(app, mine, path="/in/ada", method="POST").headers.getlist("Set-Cookie")) == 1
    assert len(ask(app, enter(app), path="/out", method="POST").headers.getlist("Set-Cookie")) == 1


def test_an_answer_has_eight_such_headers_at_most() -> None:
    app = make_app(SESSION_COOKIE_PATH="/x")
    base = "http://a.b.c.d.e.f.g.example.test"
    answer = ask(app, enter(make_app()), enter(app), path="/in/ada", method="POST", base_url=base)
    assert len(answer.headers.getlist("Set-Cookie")) == 8


@pytest.mark.parametrize("base", ["http://127.0.0.1:5000", "http://[::1]:5000", "http://localhost:5000"])
def test_an_address_has_no_parent_domain(base: str) -> None:
    app = make_app(SESSION_COOKIE_PATH="/x")
    answer = ask(app, enter(make_app()), enter(app), path="/in/ada", method="POST", base_url=base)
    assert deleted(answer) == [(None, "/")]


def test_a_host_cookie_has_no_others() -> None:
    app = make_app(SESSION_COOKIE_NAME="__Host-id", SESSION_COOKIE_SECURE=True)
    stale = enter(make_app()).replace("session=", "__Host-id=")
    answer = ask(app, stale, enter(app), path="/in/ada", method="POST", base_url="https://www.example.test")
    assert len(answer.headers.getlist("Set-Cookie")) == 1


@pytest.mark.parametrize(
    ("before", "after"), [(None, "example.test"), ("example.test", None), ("example.test", "www.example.test")]
)
def test_a_browser_is_well_after_the_cookies_domain_was_changed(before: str | None, after: str | None) -> None:
    base = "http://www.example.test"
    store = MemoryStore()
    old, new = (make_app(store, SESSION_COOKIE_DOMAIN=domain) for domain in (before, after))
    browser = old.test_client()
    browser.post("/in/ada", base_url=base)
    browser.application = new
    assert browser.get("/who", base_url=base).text == "ada"
    for user in ("grace", "ada", "grace"):
        browser.post(f"/in/{user}", base_url=base)
        assert browser.get("/who", base_url=base).text == user
    sent = browser.get("/who", base_url=base).request.headers["Cookie"]
    assert sent.count("session=") == 1
    browser.post("/out", base_url=base)
    assert browser.get("/who", base_url=base).text == "None"
