"""A guard that stands above a route guards it all the same, and the log says where it belongs."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Blueprint
from flask import Flask
from flask import session
from flask.views import MethodView

from flask_idlesession import csrf_protect
from flask_idlesession import exclusive
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import login_required

View = Callable[..., Any]


def traced(view: View) -> View:
    """Stands for a decorator of somebody else's."""

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return wrapper


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="k" * 32, TESTING=True)
    IdleSession(app)
    return app


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "[ISW010]" in record.getMessage()]


@pytest.mark.parametrize("guard", [login_required, fresh_login_required(), fresh_login_required(max_age=9)])
@pytest.mark.parametrize("between", [[], [traced], [traced, traced]], ids=len)
def test_a_log_in_guard_above_its_route_guards_it(
    app: Flask, guard: Any, between: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def page() -> str:
        return "secret"

    view: View = app.get("/page")(page)
    for decorator in between:
        view = decorator(view)
    guard(view)
    client = app.test_client()
    assert client.get("/page").status_code == 401
    assert client.get("/page").status_code == 401
    (line,) = lines(caplog)
    assert "'page'" in line and "below @app.route()" in line


def test_a_guard_above_the_route_of_a_blueprint_guards_it(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    blueprint = Blueprint("shop", __name__, url_prefix="/shop")

    @login_required
    @blueprint.get("/page")
    async def page() -> str:
        return "secret"

    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, name="again", url_prefix="/again")
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/shop/page", "/again/page")] == [401, 401]
    assert len(lines(caplog)) == 2


def test_of_two_guards_above_a_route_both_are_asked(app: Flask) -> None:
    @csrf_protect
    @login_required
    @app.post("/page")
    def page() -> str:
        return "secret"

    client = app.test_client()
    assert client.post("/page").status_code == 403, "The upper one is asked first, as it is written."
    assert client.post("/page", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 403


def test_csrf_protect_and_exclusive_above_a_route_are_called(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    @csrf_protect
    @app.post("/change")
    def change() -> str:
        return "changed"

    @exclusive
    @app.get("/alone")
    def alone() -> str:
        return str(session._alone is not None)

    app.add_url_rule("/begin", "begin", lambda: session.update(a=1) or "")
    client = app.test_client()
    assert client.post("/change").status_code == 403
    client.get("/begin")
    assert client.get("/alone").text == "True"
    assert len(lines(caplog)) == 2


def test_guards_below_their_routes_are_left_as_they_are(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    @app.get("/guarded")
    @traced
    @login_required
    @traced
    def guarded() -> str:
        return "secret"

    def page() -> str:
        return "both"

    app.add_url_rule("/open", "open", page)
    app.add_url_rule("/closed", "closed", login_required(page))

    class Page(MethodView):
        decorators = [login_required]

        def get(self) -> str:
            return "secret"

    app.add_url_rule("/class", view_func=Page.as_view("class"))
    before = dict(app.view_functions)
    client = app.test_client()
    answers = [client.get(path).status_code for path in ("/guarded", "/open", "/closed", "/class")]
    assert answers == [401, 200, 401, 401]
    assert app.view_functions == before and lines(caplog) == []


def test_a_view_that_makes_guards_as_it_runs_stays_open_and_is_no_leak(app: Flask) -> None:
    @app.get("/part")
    def part() -> str:
        return "part"

    @app.get("/whole")
    def whole() -> Any:
        return login_required(part)()

    client = app.test_client()
    assert client.get("/part").text == "part"
    for _ in range(100):
        assert client.get("/whole").status_code == 401
    assert client.get("/part").text == "part"
    assert len(part._idlesession_guards.guards) <= 16  # type: ignore[attr-defined]


def test_nothing_is_said_of_a_view_without_guards(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    app.add_url_rule("/", view_func=lambda: "page")
    assert app.test_client().get("/").text == "page"
    assert lines(caplog) == []
