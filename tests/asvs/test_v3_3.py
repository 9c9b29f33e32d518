"""OWASP ASVS 5.0, V3.3, Cookie Setup: one test for each item, from outside, named by its number."""

import pytest
from bank import Browser
from bank import open_bank
from flask import Flask

from flask_idlesession import ConfigError
from flask_idlesession.testing import FakeClock


@pytest.fixture
def app(clock: FakeClock) -> Flask:
    return open_bank(clock=clock)


def cookie_of(app: Flask, path: str = "/in/ada") -> tuple[str, dict[str, str]]:
    """Return the name of the cookie that the site sets, and its attributes in small letters."""
    (header,) = Browser(app).post(path).headers.getlist("Set-Cookie")
    pair, *attributes = header.split("; ")
    named = (each.partition("=") for each in attributes)
    return pair.partition("=")[0], {name.lower(): value for name, _, value in named}


def test_3_3_1_the_cookie_is_secure_and_its_name_says_so(app: Flask) -> None:
    name, attributes = cookie_of(app)
    assert name.startswith("__Host-") and "secure" in attributes


def test_3_3_1_over_https_the_cookie_is_secure_without_any_setting(clock: FakeClock) -> None:
    app = open_bank(clock=clock, SESSION_COOKIE_NAME="id", SESSION_COOKIE_SECURE=None)
    assert "secure" in cookie_of(app)[1]


@pytest.mark.parametrize("name", ["__Host-id", "__Secure-id", "__host-id", "__Host-Http-id", "__Http-id"])
def test_3_3_1_a_prefix_without_secure_is_refused(clock: FakeClock, name: str) -> None:
    with pytest.raises(ConfigError, match="SESSION_COOKIE_SECURE"):
        open_bank(clock=clock, SESSION_COOKIE_NAME=name, SESSION_COOKIE_SECURE=False)


@pytest.mark.parametrize("value", ["Lax", "Strict", "None"])
def test_3_3_2_the_cookie_has_the_same_site_attribute_that_was_chosen(clock: FakeClock, value: str) -> None:
    assert cookie_of(open_bank(clock=clock, SESSION_COOKIE_SAMESITE=value))[1]["samesite"] == value


def test_3_3_2_a_cookie_for_all_sites_that_is_not_secure_is_refused(clock: FakeClock) -> None:
    with pytest.raises(ConfigError, match="SESSION_COOKIE_SECURE"):
        open_bank(clock=clock, SESSION_COOKIE_NAME="id", SESSION_COOKIE_SECURE=False, SESSION_COOKIE_SAMESITE="None")


def test_3_3_3_a_host_cookie_is_of_the_whole_host_and_of_no_other(app: Flask) -> None:
    name, attributes = cookie_of(app)
    assert name.startswith("__Host-")
    assert attributes["path"] == "/" and "domain" not in attributes


@pytest.mark.parametrize(
    ("key", "value"),
    [("SESSION_COOKIE_DOMAIN", "bank.test"), ("SESSION_COOKIE_PATH", "/a"), ("APPLICATION_ROOT", "/a")],
)
def test_3_3_3_a_host_cookie_that_is_shared_or_narrowed_is_refused(clock: FakeClock, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="SESSION_COOKIE_"):
        open_bank(clock=clock, **{key: value})


def test_3_3_4_no_script_reads_the_cookie_and_the_token_is_sent_nowhere_else(app: Flask) -> None:
    browser = Browser(app)
    assert "httponly" in cookie_of(app)[1]
    for method, path in (("post", "/cart/tea"), ("post", "/in/ada"), ("get", "/sessions"), ("post", "/again")):
        response = getattr(browser, method)(path)
        others = {name: value for name, value in response.headers if name != "Set-Cookie"}
        sent = response.text + repr(others)
        assert browser.token and browser.token.partition(".")[0] not in sent
        assert browser.secret.hex() not in sent


def test_3_3_5_name_and_value_stay_far_below_4096_bytes_whatever_the_session_holds(app: Flask) -> None:
    browser = Browser(app).enter()
    before = browser.token
    browser.post("/cart/tea?times=300000")
    browser.post("/again")
    assert len(browser.get("/peek").text) == 900_000
    assert len(browser.name) + len(browser.token) < 200 and len(browser.token) == len(before)
