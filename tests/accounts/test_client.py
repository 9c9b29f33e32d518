"""Where users log in from: what is kept of it, of whom, and how people say it."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask import session
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_idlesession import device_of
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import passive
from flask_idlesession import reauthenticate
from flask_idlesession import SessionInfo
from flask_idlesession.accounts.client import address_in
from flask_idlesession.accounts.client import browser_in
from flask_idlesession.accounts.client import ClientInfo
from flask_idlesession.accounts.client import in_same_network
from flask_idlesession.accounts.client import is_same_browser
from flask_idlesession.testing import FakeClock

CHROME = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 "
    "Safari/537.36"
)
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"

Visit = Callable[..., dict[str, Any]]


def make_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the origin tests", **config)
    IdleSession(app, clock=FakeClock())

    @app.get("/in")
    def enter() -> str:
        log_in("ada")
        return "in"

    @app.get("/again")
    def again() -> str:
        reauthenticate()
        return "in"

    @app.get("/look")
    def look() -> str:
        return str(len(session))

    @app.get("/poll")
    @passive
    def poll() -> str:
        session["polled"] = True
        return "polled"

    @app.get("/cart")
    def cart() -> str:
        session["cart"] = "tea"
        return "put"

    return app


def labels_of(app: Flask) -> dict[str, Any]:
    (info,) = app.extensions["idlesession"].manager.find()
    return {name: value for name, value in info.labels.items() if name not in ("authenticated_at", "level")}


def visit(client: Any, path: str, address: str | None, agent: str | None, **headers: str) -> None:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if agent is not None:
        sent["User-Agent"] = agent
    answer = client.get(path, environ_overrides={"REMOTE_ADDR": address}, headers=sent)
    assert answer.status_code == 200


# What is kept.


@pytest.mark.parametrize(
    ("kept", "first", "last"),
    [
        (
            "truncated",
            {"address": "192.0.2.0/24", "agent": "Chrome 130 on macOS"},
            {"address": "2001:db8:1::/48", "agent": "Safari 17 on iPhone"},
        ),
        (
            "full",
            {"address": "192.0.2.17", "agent": CHROME.format(130)},
            {"address": "2001:db8:1:2::5", "agent": SAFARI},
        ),
        (None, {}, {}),
    ],
)
def test_the_first_and_the_last_origin_are_kept_as_far_as_the_application_says(
    kept: str | None, first: dict[str, str], last: dict[str, str]
) -> None:
    app = make_app(IDLESESSION_CLIENT_INFO=kept)
    client = app.test_client()
    visit(client, "/in", "192.0.2.17", CHROME.format(130))
    begun = {f"first_{name}": value for name, value in first.items()}
    assert labels_of(app) == {**first, **begun}
    visit(client, "/look", "2001:db8:1:2::5", SAFARI)
    assert labels_of(app) == {**last, **begun}
    visit(client, "/again", "192.0.2.17", CHROME.format(130))
    assert labels_of(app) == {**first, **begun}


def test_of_a_passer_by_nothing_is_kept_until_the_log_in() -> None:
    app = make_app(IDLESESSION_CLIENT_INFO="full")
    client = app.test_client()
    visit(client, "/cart", "192.0.2.17", SAFARI)
    assert labels_of(app) == {}
    visit(client, "/in", "192.0.2.18", FIREFOX)
    assert labels_of(app)["first_address"] == "192.0.2.18"


def test_a_passive_request_does_not_say_where_the_user_is() -> None:
    app = make_app(IDLESESSION_CLIENT_INFO="full")
    client = app.test_client()
    visit(client, "/in", "192.0.2.17", FIREFOX)
    visit(client, "/poll", "198.51.100.1", SAFARI)
    visit(client, "/look", "198.51.100.2", SAFARI, X_IdleSession_Passive="1")
    assert labels_of(app)["address"] == "192.0.2.17" and labels_of(app)["agent"] == FIREFOX


def test_a_log_in_by_a_passive_request_says_where_it_came_from() -> None:
    app = make_app()
    visit(app.test_client(), "/in", "192.0.2.17", FIREFOX, X_IdleSession_Passive="1")
    assert labels_of(app)["first_agent"] == "Firefox 132 on Linux"


def test_the_same_origin_is_written_once() -> None:
    app = make_app(IDLESESSION_TOUCH_INTERVAL=60)
    client = app.test_client()
    visit(client, "/in", "192.0.2.17", FIREFOX)
    changes: list[Any] = []
    store = app.extensions["idlesession"].manager.store
    commit = store.commit
    store.commit = lambda sid, change, **how: (changes.append(change), commit(sid, change, **how))[1]
    for _ in range(5):
        visit(client, "/look", "192.0.2.99", FIREFOX)
    assert changes == [], "It is the same network."
    visit(client, "/look", "192.0.3.1", FIREFOX)
    assert [dict(change.labels) for change in changes] == [{"address": "192.0.3.0/24"}]


def test_what_is_not_known_is_not_noted() -> None:
    app = make_app(IDLESESSION_CLIENT_INFO="full")
    for number, address in enumerate((None, "", "unix:", "localhost")):
        client = app.test_client()
        with client.session_transaction():
            pass
        visit(client, "/in", address, "")
        infos = list(app.extensions["idlesession"].manager.find())
        assert len(infos) == number + 1
    assert all("address" not in info.labels and "agent" not in info.labels for info in infos)


def test_a_long_or_crooked_user_agent_is_cut_and_cleaned() -> None:
    app = make_app(IDLESESSION_CLIENT_INFO="full")
    client = app.test_client()
    client.get("/in", environ_overrides={"HTTP_USER_AGENT": "curl/8\t\x1b[31m\x85 caf\xe9 " + "x" * 10_000})
    agent = labels_of(app)["agent"]
    assert len(agent) == 512 and agent.startswith("curl/8\ufffd\ufffd[31m\ufffd caf\xe9 xxx")


def test_a_forwarded_header_counts_only_behind_proxy_fix() -> None:
    app = make_app(IDLESESSION_CLIENT_INFO="full")
    spoofed = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9", "X-Real-IP": "203.0.113.9"}
    app.test_client().get("/in", environ_overrides={"REMOTE_ADDR": "192.0.2.17"}, headers=spoofed)
    assert labels_of(app)["address"] == "192.0.2.17"
    app = make_app(IDLESESSION_CLIENT_INFO="full")
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign]
    forwarded = {"X-Forwarded-For": "203.0.113.66, 203.0.113.9"}
    app.test_client().get("/in", environ_overrides={"REMOTE_ADDR": "192.0.2.17"}, headers=forwarded)
    assert labels_of(app)["address"] == "203.0.113.9", "what the client itself put before it is not believed"


def test_outside_of_a_request_there_is_no_origin() -> None:
    assert ClientInfo("full")() == {}


@pytest.mark.parametrize(
    ("text", "truncated"),
    [
        ("192.0.2.17", "192.0.2.0/24"),
        ("::ffff:192.0.2.17", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("::1", "::/48"),
    ],
)
def test_an_address_is_truncated_to_what_256_customers_share(text: str, truncated: str) -> None:
    app = make_app()
    visit(app.test_client(), "/in", text, FIREFOX)
    assert labels_of(app)["address"] == truncated


def test_ipv4_written_as_ipv6_is_ipv4() -> None:
    assert address_in("::ffff:192.0.2.1") == address_in("192.0.2.1")
    assert in_same_network("192.0.2.1", "::ffff:192.0.2.200")
    assert in_same_network("192.0.2.0/24", "::ffff:192.0.2.200")


# How people say it.


def info_with(**labels: str) -> SessionInfo:
    return SessionInfo(
        sid=uuid4(), created_at=0.0, last_seen_at=0.0, idle_timeout=1.0, lifetime_ends_at=1.0, labels=labels
    )


AGENTS = [
    (CHROME.format(130), "Chrome on macOS"),
    (SAFARI, "Safari on iPhone"),
    (FIREFOX, "Firefox on Linux"),
    (SAFARI.replace("Version/17.5", "CriOS/125.0.6422.80"), "Chrome on iPhone"),
    (SAFARI.replace("iPhone; CPU iPhone", "iPad; CPU"), "Safari on iPad"),
    (SAFARI.replace("Version/17.5 ", "").replace(" Safari/604.1", ""), "A browser on iPhone"),
    (CHROME.format(130).replace("Macintosh; Intel Mac OS X 10_15_7", "Linux; Android 10; K"), "Chrome on Android"),
    (CHROME.format(130).replace("Macintosh; Intel Mac OS X 10_15_7", "X11; CrOS x86_64 14541"), "Chrome on ChromeOS"),
    (
        CHROME.format(130).replace("Macintosh; Intel Mac OS X 10_15_7", "Windows NT 10.0; Win64; x64")
        + " Edg/130.0.2849.56",
        "Edge on Windows",
    ),
    ("Mozilla/5.0 (Android 14; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0", "Firefox on Android"),
    ("curl/8.5.0", "curl"),
    ("Mozilla/5.0", "A browser"),
    ("", "A browser"),
]


@pytest.mark.parametrize(("agent", "device"), AGENTS)
@pytest.mark.parametrize("is_parser_there", [True, False])
@pytest.mark.parametrize("kept", ["full", "truncated"])
def test_a_device_is_said_as_people_say_it(
    agent: str, device: str, kept: str, is_parser_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_parser_there:
        monkeypatch.setitem(__import__("sys").modules, "ua_parser", None)
    with Flask(__name__).test_request_context("/", headers={"User-Agent": agent}):
        labels = ClientInfo(kept)()
    assert device_of(info_with(**labels)) == device  # type: ignore[arg-type]


def test_ua_parser_knows_more_than_we_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ua_parser")
    agent = "Mozilla/5.0 (PlayStation 4 3.11) AppleWebKit/537.73 (KHTML, like Gecko)"
    known = "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko"
    assert device_of(info_with(agent=known)) == "IE on Windows"
    monkeypatch.setitem(__import__("sys").modules, "ua_parser", None)
    assert device_of(info_with(agent=known)) == "A browser on Windows"
    assert device_of(info_with(agent=agent)) == "A browser"


@pytest.mark.parametrize(
    ("brands", "platform", "device"),
    [
        ('"Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"', '"macOS"', "Chrome on macOS"),
        ('" Not A;Brand";v="99", "Brave";v="130", "Chromium";v="130"', '"Windows"', "Brave on Windows"),
        ('"Not;A=Brand";v="8", "Chromium";v="130", "Microsoft Edge";v="130"', '"Android"', "Edge on Android"),
        ('"Chromium";v="130", "Not_A Brand";v="24"', '"Chrome OS"', "Chromium on ChromeOS"),
        ('"Chromium";v="130"', '"Unknown"', "Chromium"),
        ('"Chromium";v="130"', "", "Chromium"),
        ('"<img src=x>";v="1", "Chromium";v="130"', '"<b>"', "Chromium"),
        ('"Not?A_Brand";v="99"', '"macOS"', "Firefox on Linux"),
        ("garbage" * 1000, "garbage", "Firefox on Linux"),
        ("", "", "Firefox on Linux"),
    ],
)
def test_what_the_browser_says_of_itself_at_log_in_counts_most(brands: str, platform: str, device: str) -> None:
    app = make_app()
    client = app.test_client()
    visit(client, "/in", "192.0.2.1", FIREFOX, Sec_CH_UA=brands, Sec_CH_UA_Platform=platform)
    (info,) = app.extensions["idlesession"].manager.find()
    assert device_of(info) == device
    visit(client, "/again", "192.0.2.1", FIREFOX)
    (info,) = app.extensions["idlesession"].manager.find()
    assert device_of(info) == "Firefox on Linux", "it is said anew with each log-in"


def test_without_an_origin_no_device_is_noted() -> None:
    app = make_app(IDLESESSION_CLIENT_INFO=None)
    visit(app.test_client(), "/in", "192.0.2.1", FIREFOX, Sec_CH_UA='"Brave";v="1"', Sec_CH_UA_Platform='"macOS"')
    assert labels_of(app) == {}
    (info,) = app.extensions["idlesession"].manager.find()
    assert device_of(info) == "A browser"


# What was kept is recognised, whatever it is.

texts = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=60)
spoken = st.lists(
    st.sampled_from([" on ", "Linux", "iPhone", "A browser", "Chrome/", "7", " ", "Mozilla/5.0", "x", "\n", "/", "("]),
    max_size=8,
).map("".join)


@given(texts | spoken)
def test_a_user_agent_that_was_kept_is_recognised_when_it_comes_again(agent: str) -> None:
    for kept in ("truncated", "full"):
        with Flask(__name__).test_request_context("/", environ_overrides={"HTTP_USER_AGENT": agent}):
            label = ClientInfo(kept)().get("agent")
        assert label is None if not agent else is_same_browser(str(label), agent)


@given(st.ip_addresses() | texts)
def test_an_address_that_was_kept_is_recognised_when_it_comes_again(address: Any) -> None:
    for kept in ("truncated", "full"):
        with Flask(__name__).test_request_context("/", environ_overrides={"REMOTE_ADDR": str(address)}):
            label = ClientInfo(kept)().get("address")
        assert label is None or in_same_network(str(label), str(address))


def test_no_user_agent_takes_long_to_read() -> None:
    for piece in ("Version/1 ", "Edg", "Chrome/", "a", '"', " on ", "Safari"):
        browser_in((piece * 512)[:512])
