"""Error pages while the store is down: they show messages and the user like any page, and are answered 503."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import abort
from flask import flash
from flask import Flask
from flask import g
from flask import render_template_string
from flask import session

from flask_idlesession import csrf_token
from flask_idlesession import current_user_id
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import session_ending
from flask_idlesession import session_info
from flask_idlesession import StoreError
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.testing import FakeClock

flask_login = pytest.importorskip("flask_login")

#: Flask-Login 0.6.3 asks datetime for the time in a way that Python 3.12 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

BASE = (
    "{% for message in get_flashed_messages() %}{{ message }}{% endfor %}"
    "{{ 'Log out' if current_user.is_authenticated else 'Log in' }} "
    "{{ csrf_token() and '' }}{{ session.get('a') }} Sorry"
)


class Failing(MemoryStore):
    """A store that can be made to fail: at each step, or at writes alone."""

    down = ""

    def load(self, *args: Any, **how: Any) -> Any:
        self._fail("all")
        return super().load(*args, **how)

    def commit(self, *args: Any, **how: Any) -> Any:
        self._fail("all", "writes")
        return super().commit(*args, **how)

    def create(self, *args: Any, **how: Any) -> Any:
        self._fail("all", "writes")
        return super().create(*args, **how)

    def delete(self, *args: Any, **how: Any) -> Any:
        self._fail("all", "writes")
        return super().delete(*args, **how)

    def ending(self, *args: Any, **how: Any) -> Any:
        self._fail("all")
        return super().ending(*args, **how)

    def _fail(self, *kinds: str) -> None:
        if self.down in kinds:
            raise StoreError("The database is away.")


class User(flask_login.UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.fixture
def store() -> Failing:
    return Failing()


@pytest.fixture
def site(store: Failing) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="9f3c2a7be10d44f8a6c5d2e1b7a890ff")
    IdleSession(app, store=store, clock=FakeClock())
    flask_login.LoginManager(app).user_loader(User)

    @app.get("/in")
    def enter() -> str:
        flask_login.login_user(User("ada"), remember=True)
        session["a"] = 1
        return "in"

    @app.get("/page")
    def page() -> str:
        return render_template_string(BASE)

    @app.get("/read")
    def read() -> str:
        return str(session.get("a"))

    @app.get("/write")
    def write() -> str:
        session["a"] = 2
        return "written"

    @app.get("/ignore")
    def ignore() -> str:
        return "ignored"

    @app.get("/wrapped")
    def wrapped() -> str:
        try:
            return str(session["a"])
        except StoreError as error:
            raise LookupError("of the application") from error

    return app


def handled(site: Flask, kind: Any, answer: Callable[[], Any]) -> None:
    @site.errorhandler(kind)
    def handle(error: Any) -> Any:
        return answer(), getattr(error, "code", 500)


def browser(site: Flask) -> Any:
    client = site.test_client()
    client.get("/in")
    return client


KINDS = [StoreError, 503, Exception]


@pytest.mark.parametrize("down", ["all", "writes"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_page_may_look_at_the_session_like_any_page(site: Flask, store: Failing, kind: Any, down: str) -> None:
    handled(site, kind, lambda: render_template_string(BASE))
    client = browser(site)
    store.down = down
    for path in ("/page", "/read", "/write") if down == "all" else ("/write",):
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (503, "Log out None Sorry"), path
        assert "Set-Cookie" not in answer.headers and answer.headers.get("Retry-After") is None
    store.down = ""
    assert client.get("/page").text == "Log out 1 Sorry"


def test_without_a_remember_cookie_the_user_of_an_error_page_is_nobody(site: Flask, store: Failing) -> None:
    handled(site, 503, lambda: render_template_string(BASE))
    client = browser(site)
    client.delete_cookie("remember_token")
    store.down = "all"
    assert client.get("/page").text == "Log in None Sorry"
    store.down = ""
    assert client.get("/page").text == "Log out 1 Sorry"


@pytest.mark.parametrize("kind", [None, 500])
@pytest.mark.parametrize("path", ["/page", "/read", "/write"])
def test_without_a_handler_of_its_own_a_failure_is_503(site: Flask, store: Failing, kind: Any, path: str) -> None:
    if kind is not None:
        handled(site, kind, lambda: render_template_string(BASE))
    client = browser(site)
    store.down = "all"
    answer = client.get(path)
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0


def test_functions_after_the_request_find_the_session_empty(site: Flask, store: Failing) -> None:
    seen = []

    @site.after_request
    def look(response: Any) -> Any:
        seen.append((dict(session), current_user_id(), session_info(), session_ending()))
        return response

    client = browser(site)
    seen.clear()
    store.down = "all"
    assert client.get("/read").status_code == 503
    assert seen == [({}, None, None, None)]


def test_an_error_page_of_another_error_meets_the_failure_as_503(site: Flask, store: Failing) -> None:
    handled(site, 404, lambda: render_template_string(BASE))
    client = browser(site)
    store.down = "all"
    answer = client.get("/nowhere")
    assert answer.status_code == 503 and answer.headers["Retry-After"]


def test_an_error_that_the_application_made_of_a_failure_has_its_page(site: Flask, store: Failing) -> None:
    @site.errorhandler(LookupError)
    def sorry(error: Any) -> Any:
        return render_template_string(BASE), 502

    client = browser(site)
    store.down = "all"
    answer = client.get("/wrapped")
    assert (answer.status_code, answer.text) == (502, "Log out None Sorry")


CHANGES: dict[str, Callable[[], object]] = {
    "an assignment": lambda: session.update(b=1),
    "a message": lambda: flash("sorry"),
    "a log-in": lambda: log_in("grace"),
    "a rotation": lambda: session.rotate(),  # type: ignore[attr-defined]
    "an idle timeout": lambda: setattr(session, "idle_timeout", 60),
    "a permanent session": lambda: setattr(session, "permanent", True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_session_refuses_to_be_changed_while_a_failure_is_answered(
    site: Flask, store: Failing, change: str
) -> None:
    refused = []

    @site.errorhandler(StoreError)
    def sorry(error: Any) -> Any:
        store.down = ""
        store.down = "all"
        with pytest.raises(StoreError) as raised:
            CHANGES[change]()
        store.down = ""
        refused.append(str(raised.value))
        return "sorry", 503

    client = browser(site)
    store.down = "all"
    assert client.get("/read").status_code == 503
    assert refused == ["The database is away. [ISE080]"]
    store.down = ""
    (info,) = site.extensions["idlesession"].manager.find()
    assert info.user_id == "ada" and client.get("/read").text == "1"


def test_nothing_that_a_handler_did_is_stored_when_the_store_is_back_by_then(site: Flask, store: Failing) -> None:
    @site.errorhandler(StoreError)
    def sorry(error: Any) -> Any:
        csrf_token()
        session.pop("a", None)
        store.down = ""
        return "sorry", 503

    client = browser(site)
    store.down = "all"
    assert "Set-Cookie" not in client.get("/read").headers
    assert client.get("/read").text == "1"


def test_a_log_out_while_a_failure_is_answered_is_one(site: Flask, store: Failing) -> None:
    @site.errorhandler(StoreError)
    def sorry(error: Any) -> Any:
        log_out()
        return "sorry", 503

    client = browser(site)
    token = client.get_cookie("session").value
    store.down = "all"
    client.get("/read")
    assert client.get_cookie("session") is None and client.get_cookie("remember_token") is None
    store.down = ""
    client.set_cookie("session", token)
    assert client.get("/read").text == "None"


def test_a_view_that_catches_a_failure_meets_it_again(site: Flask, store: Failing) -> None:
    @site.get("/twice")
    def twice() -> str:
        for _ in range(3):
            try:
                session.get("a")
                abort(418)
            except StoreError:
                pass
        with pytest.raises(StoreError):
            session["a"] = 3
        return "caught"

    client = browser(site)
    store.down = "all"
    assert client.get("/twice").text == "caught"
    store.down = ""
    assert client.get("/read").text == "1"


def test_a_view_that_tries_again_when_the_store_is_back_has_its_session(site: Flask, store: Failing) -> None:
    @site.get("/retry")
    def retry() -> str:
        try:
            session.get("a")
        except StoreError:
            g.tries = 1
        store.down = ""
        session["a"] += 1
        return str(session["a"])

    client = browser(site)
    store.down = "all"
    assert client.get("/retry").text == "2"
    assert client.get("/read").text == "2"


def test_a_session_is_read_again_by_a_handler_when_the_store_is_back(site: Flask, store: Failing) -> None:
    @site.errorhandler(StoreError)
    def sorry(error: Any) -> Any:
        store.down = ""
        return f"sorry, {current_user_id()}", 503

    client = browser(site)
    store.down = "all"
    assert client.get("/read").text == "sorry, ada"


def test_an_asynchronous_handler_may_look_at_the_session(site: Flask, store: Failing) -> None:
    @site.errorhandler(StoreError)
    async def sorry(error: Any) -> Any:
        return render_template_string(BASE), 503

    client = browser(site)
    store.down = "all"
    assert client.get("/page").text == "Log out None Sorry"
