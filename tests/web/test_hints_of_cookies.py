"""In debug mode a developer is told, once, of a cookie that does not come back, and why that may be."""

from typing import Any

import pytest
from flask import Flask
from flask import session

from flask_idlesession import csrf_protect
from flask_idlesession import IdleSession


def an_app(*, debug: bool = True, **config: Any) -> Flask:
    app = Flask("hinted")
    app.config.update(SECRET_KEY="k" * 32, **config)
    app.debug = debug
    IdleSession(app)
    app.add_url_rule("/begin", "begin", lambda: session.update(a=1) or "")
    app.add_url_rule("/read", "read", lambda: str(session.get("a")), methods=["GET", "POST"])
    app.add_url_rule("/plain", "plain", lambda: "plain", methods=["GET", "POST"])
    app.add_url_rule("/guarded", "guarded", csrf_protect(lambda: str(session.get("a"))), methods=["POST"])
    return app


def lines(caplog: pytest.LogCaptureFixture, code: str) -> list[str]:
    return [line.getMessage() for line in caplog.records if f"[{code}]" in line.getMessage()]


def visit(app: Flask, times: int, *, url: str = "/begin", **how: Any) -> None:
    """Come so many times, each time without a cookie."""
    for _ in range(times):
        app.test_client().get(url, **how)


@pytest.mark.parametrize(
    ("config", "how", "cause"),
    [
        ({}, {}, "blocks cookies"),
        ({"SESSION_COOKIE_SECURE": True}, {}, "it is Secure, and the page came over plain HTTP"),
        ({"SESSION_COOKIE_SECURE": True}, {"base_url": "https://localhost"}, "blocks cookies"),
        ({"SESSION_COOKIE_NAME": "__Host-a", "SESSION_COOKIE_SECURE": True}, {}, "over plain HTTP"),
        ({"SESSION_COOKIE_DOMAIN": "shop.example"}, {}, "SESSION_COOKIE_DOMAIN is 'shop.example', and the page is at"),
        ({"SESSION_COOKIE_DOMAIN": "shop.example"}, {"base_url": "http://www.shop.example"}, "blocks cookies"),
        ({"SESSION_COOKIE_PATH": "/shop"}, {}, "it is for the path '/shop', and the page is at '/begin'"),
        ({"APPLICATION_ROOT": "/shop"}, {"base_url": "http://localhost/shop"}, "blocks cookies"),
        ({"SESSION_COOKIE_SAMESITE": "Lax"}, {"headers": {"Sec-Fetch-Site": "cross-site"}}, "part of another site"),
    ],
    ids=repr,
)
def test_a_cookie_that_never_comes_back_is_told_with_the_likely_cause(
    config: dict[str, Any], how: dict[str, Any], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = an_app(**config)
    visit(app, 2, **how)
    assert lines(caplog, "ISH001") == []
    visit(app, 3, **how)
    (line,) = lines(caplog, "ISH001")
    assert cause in line and repr(config.get("SESSION_COOKIE_NAME", "session")) in line


def test_sessions_of_several_browsers_or_of_one_that_sends_its_cookie_are_no_sign(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = an_app()
    for number in range(10):
        visit(app, 1, headers={"User-Agent": f"Browser/{number}"})
        visit(app, 1, environ_base={"REMOTE_ADDR": f"192.0.2.{number}"})
    for _ in range(5):
        client = app.test_client()
        client.get("/begin")
        client.get("/read")
    visit(app, 9, url="/read")
    assert lines(caplog, "ISH001") == []


def test_a_form_from_another_site_without_the_cookie_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = an_app(SESSION_COOKIE_SAMESITE="Lax")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://pay.example"}):
        assert app.test_client().post("/read", headers=headers).text == "None"
    (line,) = lines(caplog, "ISH002")
    assert line.startswith("A POST to '/read' from another site came without the cookie 'session'")
    assert "SESSION_COOKIE_SAMESITE is 'Lax'" in line


@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        ("POST", "/read", {"Sec-Fetch-Site": "same-origin"}),
        ("POST", "/read", {}),
        ("POST", "/plain", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", "/read", {"Sec-Fetch-Site": "cross-site"}),
        ("POST", "/read", {"Sec-Fetch-Site": "cross-site", "Cookie": "session=garbage"}),
        ("POST", "/guarded", {"Sec-Fetch-Site": "cross-site"}),
    ],
)
def test_other_requests_are_no_sign_of_that(
    method: str, url: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    an_app().test_client(use_cookies=False).open(url, method=method, headers=headers)
    assert lines(caplog, "ISH002") == []


def test_without_debug_mode_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = an_app(debug=False)
    visit(app, 5)
    app.test_client().post("/read", headers={"Sec-Fetch-Site": "cross-site"})
    assert not [line for line in caplog.records if "[ISH" in line.getMessage()]
