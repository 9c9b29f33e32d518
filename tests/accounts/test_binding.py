"""Sessions that are bound to where their user logged in from: what a request from elsewhere meets with."""

import logging
from typing import Any

import pytest
from flask import Flask
from flask import session
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_idlesession import authentication_age
from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import login_required
from flask_idlesession import MemoryStore
from flask_idlesession import passive
from flask_idlesession import reauthenticate
from flask_idlesession import session_ending
from flask_idlesession import session_mismatched
from flask_idlesession import StoreError
from flask_idlesession.settings.keys import read_settings
from flask_idlesession.testing import FakeClock

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{} Safari/537.36"
EDGE = MAC.format("130.0.0.0") + " Edg/130.0.0.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Safari/604.1"
HOME, AWAY = "192.0.2.17", "198.51.100.4"
KEPT = ["truncated", "full"]


def make_app(store: Any = None, *, x_for: int = 0, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the binding tests")
    app.config.update({f"IDLESESSION_{key.upper()}": value for key, value in config.items()})
    IdleSession(app, clock=FakeClock(), store=store)
    if x_for:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=x_for)  # type: ignore[method-assign]

    @app.get("/in")
    def enter() -> str:
        log_in("ada")
        return "in"

    @app.get("/again")
    def again() -> str:
        reauthenticate()
        return "again"

    @app.get("/who")
    def who() -> str:
        return str(current_user_id())

    @app.get("/poll")
    @passive
    def poll() -> str:
        return str(current_user_id())

    @app.get("/cart")
    def cart() -> str:
        session["cart"] = "tea"
        return "put"

    @app.get("/fail")
    def fail() -> str:
        session["a"] = 1
        raise RuntimeError("The view failed.")

    @app.get("/age")
    def age() -> str:
        return str(authentication_age())

    @app.get("/members")
    @login_required
    def members() -> str:
        return "members"

    @app.get("/sensitive")
    @fresh_login_required()
    def sensitive() -> str:
        return "sensitive"

    @app.get("/why")
    def why() -> list[Any]:
        ended = session_ending()  # type: ignore[attr-defined]
        return [] if ended is None else [ended.reason.value, ended.by]

    return app


class Browser:
    """A client at an address."""

    def __init__(self, app: Flask, address: str | None = HOME, agent: str | None = MAC.format("130.0.0.0")) -> None:
        self.client = app.test_client()
        self.address, self.agent = address, agent

    def get(self, path: str, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.agent is not None:
            sent["User-Agent"] = self.agent
        return self.client.get(path, environ_overrides={"REMOTE_ADDR": self.address}, headers=sent)

    def thief(self, **how: Any) -> "Browser":
        """Return another browser with the same cookie."""
        other = Browser(self.client.application, **{"address": self.address, "agent": self.agent, **how})
        cookie = self.client.get_cookie("session")
        assert cookie is not None
        other.client.set_cookie("session", cookie.value)
        return other


def logged_in(app: Flask, **how: Any) -> Browser:
    browser = Browser(app, **how)
    assert browser.get("/in").text == "in"
    return browser


# Which networks are one.

SAME_NETWORKS = {
    "the same address": ("192.0.2.17", "192.0.2.17"),
    "a mobile provider's NAT": ("192.0.2.17", "192.0.2.201"),
    "IPv4 written as IPv6": ("192.0.2.17", "::ffff:192.0.2.17"),
    "IPv6 that was IPv4": ("::ffff:192.0.2.17", "192.0.2.99"),
    "a privacy address of the same link": ("2001:db8:1:2:aaaa::1", "2001:db8:1:2:9d3f:51c2:77:8"),
    "a link-local address with a zone": ("fe80::1%eth0", "fe80::2%wlan0"),
}
OTHER_NETWORKS = {
    "the next /24": ("192.0.2.17", "192.0.3.17"),
    "another provider": ("192.0.2.17", "198.51.100.4"),
    "IPv6 after IPv4": ("192.0.2.17", "2001:db8::1"),
    "IPv4 after IPv6": ("2001:db8::1", "192.0.2.17"),
    "another site's IPv6": ("2001:db8:1::1", "2001:db8:2::1"),
    "no address that one could compare": ("192.0.2.17", ""),
}


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("pair", SAME_NETWORKS.values(), ids=list(SAME_NETWORKS))
def test_who_moves_within_a_network_is_let_alone(pair: tuple[str, str], kept: str) -> None:
    browser = logged_in(make_app(bind_address="end", client_info=kept), address=pair[0])
    browser.address = pair[1]
    assert browser.get("/who").text == "ada"


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("pair", OTHER_NETWORKS.values(), ids=list(OTHER_NETWORKS))
def test_who_comes_from_another_network_is_seen(pair: tuple[str, str], kept: str) -> None:
    browser = logged_in(make_app(bind_address="end", client_info=kept), address=pair[0])
    browser.address = pair[1]
    assert browser.get("/who").text == "None"


def test_the_next_link_of_a_site_is_another_network_where_that_is_known() -> None:
    for kept, told in (("full", "None"), ("truncated", "ada")):
        browser = logged_in(make_app(bind_address="end", client_info=kept), address="2001:db8:1:2::1")
        browser.address = "2001:db8:1:3::1"
        assert browser.get("/who").text == told


def test_a_session_without_an_address_is_compared_once_it_has_one() -> None:
    browser = logged_in(make_app(bind_address="end"), address="")
    browser.address = HOME
    assert browser.get("/who").text == "ada"
    browser.address = AWAY
    assert browser.get("/who").text == "None"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP"])
def test_a_thief_does_not_come_home_by_a_header(header: str) -> None:
    app = make_app(bind_address="end")
    thief = logged_in(app).thief(address=AWAY)
    assert thief.get("/who", **{header: f"for={HOME}" if header == "Forwarded" else HOME}).text == "None"


def test_a_header_moves_nobody_away() -> None:
    browser = logged_in(make_app(bind_address="end"))
    assert browser.get("/who", X_Forwarded_For=AWAY).text == "ada"


def test_behind_proxy_fix_it_is_the_address_that_the_proxy_saw() -> None:
    app = make_app(bind_address="end", x_for=1)
    browser = Browser(app, address="10.0.0.1")
    browser.get("/in", X_Forwarded_For=HOME)
    thief = browser.thief()
    assert browser.get("/who", X_Forwarded_For=HOME).text == "ada"
    assert browser.get("/who", X_Forwarded_For=f"{AWAY}, {HOME}").text == "ada"
    assert thief.get("/who", X_Forwarded_For=f"{HOME}, {AWAY}").text == "None"


# Which browsers are one.


@pytest.mark.parametrize("kept", KEPT)
def test_a_browser_that_was_updated_is_the_same(kept: str) -> None:
    browser = logged_in(make_app(bind_agent="end", client_info=kept))
    for version in ("131.0.0.0", "131.0.6778.86", "129.0.0.0"):
        browser.agent = MAC.format(version)
        assert browser.get("/who").text == "ada"


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize(
    "agent",
    [EDGE, PHONE, MAC.format("130").replace("Macintosh; Intel Mac OS X 10_15_7", "X11; Linux"), "curl/8.5.0", "", None],
)
def test_another_browser_or_platform_is_seen(agent: str | None, kept: str) -> None:
    browser = logged_in(make_app(bind_agent="end", client_info=kept))
    browser.agent = agent
    assert browser.client.get("/who", headers={"User-Agent": agent or ""}).text == "None"


# What it meets with.


def test_off_is_nothing_and_the_default() -> None:
    for app in (make_app(), make_app(bind_address="off", bind_agent="off"), make_app(client_info=None)):
        browser = logged_in(app)
        browser.address, browser.agent = AWAY, PHONE
        assert browser.get("/sensitive").text == "sensitive"


def test_log_tells_each_move_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(bind_address="log", bind_agent="log")
    told: list[dict[str, Any]] = []

    def note(sender: object, **what: Any) -> None:
        told.append(what)

    browser = logged_in(app)
    browser.address = AWAY
    with session_mismatched.connected_to(note, app), caplog.at_level(logging.WARNING, "flask_idlesession"):
        for path in ("/poll", "/poll", "/sensitive", "/sensitive"):
            assert browser.get(path).status_code == 200
        assert [(one["what"], one["seen"], one["reaction"]) for one in told] == [("address", "198.51.100.0/24", "log")]
        assert told[0]["info"].labels["address"] == "192.0.2.0/24"
        browser.agent = PHONE
        browser.get("/who")
        assert [one["what"] for one in told] == ["address", "agent"]
    assert [line.getMessage().partition(" came ")[2] for line in caplog.records] == [
        "from another address than before; reaction: log. [ISW013]",
        "from another agent than before; reaction: log. [ISW013]",
    ]
    assert AWAY not in caplog.text and HOME not in caplog.text


def test_reauthenticate_asks_the_user_to_log_in_anew() -> None:
    app = make_app(bind_address="reauthenticate")
    browser = logged_in(app)
    assert browser.get("/sensitive").text == "sensitive"
    browser.address = AWAY
    assert browser.get("/who").text == "ada"
    assert browser.get("/age").text == "None"
    assert [browser.get(path).status_code for path in ("/members", "/sensitive")] == [401, 401]
    browser.address = HOME
    assert browser.get("/members").status_code == 401, "Going home proves nothing."
    browser.address = AWAY
    browser.get("/again")
    assert [browser.get(path).status_code for path in ("/members", "/sensitive")] == [200, 200]
    browser.address = HOME
    assert browser.get("/members").status_code == 401, "It is bound to where the user proved it."
    browser.get("/in")
    assert browser.get("/sensitive").status_code == 200


@pytest.mark.parametrize("path", ["/poll", "/fail", "/who", "/nowhere"])
def test_nothing_that_a_thief_asks_for_undoes_the_suspicion(path: str) -> None:
    app = make_app(bind_address="reauthenticate", save_on_error=False)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    browser = logged_in(app)
    thief = browser.thief(address=AWAY)
    thief.get(path)
    for someone in (thief, browser, thief.thief(address="203.0.113.5")):
        assert someone.get("/members").status_code == 401


def test_who_proves_it_anew_leaves_the_thief_without_a_session() -> None:
    app = make_app(bind_address="reauthenticate")
    browser = logged_in(app)
    thief = browser.thief(address=AWAY)
    thief.get("/who")
    browser.get("/again")
    assert (browser.get("/members").text, thief.get("/who").text) == ("members", "None")


def test_a_suspicion_is_told_once() -> None:
    app = make_app(bind_address="reauthenticate")
    told: list[str] = []

    def note(sender: object, what: str, **_: Any) -> None:
        told.append(what)

    with session_mismatched.connected_to(note, app):
        thief = logged_in(app).thief(address=AWAY)
        for _ in range(5):
            thief.get("/poll")
    assert told == ["address"]


@pytest.mark.parametrize(("bound", "change"), [("address", {"address": AWAY}), ("agent", {"agent": PHONE})])
@pytest.mark.parametrize("path", ["/who", "/poll"])
def test_end_ends_the_session_before_any_view_sees_it(bound: str, change: dict[str, str], path: str) -> None:
    app = make_app(**{f"bind_{bound}": "end"})
    seen: list[Any] = []
    app.before_request(lambda: seen.append(current_user_id()))
    browser = logged_in(app)
    thief = browser.thief(**change)
    answer = thief.get(path)
    assert answer.text == "None" and seen[-1] is None
    assert "Set-Cookie" not in answer.headers
    assert list(app.extensions["idlesession"].manager.find()) == []
    assert browser.get("/who").text == "None"
    for someone in (browser, thief):
        assert someone.get("/why").json == ["revoked", "binding"]


def test_a_function_that_runs_before_ours_sees_nothing_either() -> None:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the binding tests", IDLESESSION_BIND_ADDRESS="end")
    seen: list[Any] = []
    app.before_request(lambda: seen.append(dict(session)))
    IdleSession(app)

    @app.get("/in")
    def enter() -> str:
        log_in("ada")
        session["secret"] = 1
        return "in"

    browser = logged_in(app)
    browser.thief(address=AWAY).get("/in")
    assert seen == [{}, {}]


def test_what_a_thief_writes_is_in_a_session_of_their_own() -> None:
    app = make_app(bind_address="end")
    browser = logged_in(app)
    thief = browser.thief(address=AWAY)
    thief.get("/cart")
    assert [info.user_id for info in app.extensions["idlesession"].manager.find()] == [None]
    assert browser.get("/who").text == "None"


def test_the_sternest_reaction_counts() -> None:
    app = make_app(bind_address="log", bind_agent="end")
    browser = logged_in(app)
    browser.address, browser.agent = AWAY, PHONE
    assert browser.get("/who").text == "None"


def test_a_passer_by_is_bound_to_nothing() -> None:
    app = make_app(bind_address="end", bind_agent="end")
    browser = Browser(app)
    browser.get("/cart")
    browser.address, browser.agent = AWAY, PHONE
    browser.get("/cart")
    assert len(list(app.extensions["idlesession"].manager.find())) == 1


def test_a_request_that_does_not_look_at_its_session_costs_no_look() -> None:
    loads: list[Any] = []

    class Counted(MemoryStore):
        def load(self, sid: Any, *, now: float, touch: Any = None) -> Any:
            loads.append(sid)
            return super().load(sid, now=now, touch=touch)

    app = make_app(Counted(), bind_address="end")
    app.add_url_rule("/plain", view_func=passive(lambda: "plain"), endpoint="plain")
    browser = logged_in(app)
    loads.clear()
    assert browser.get("/plain").text == "plain" and loads == []


def test_a_store_that_fails_to_note_a_suspicion_is_a_failing_store() -> None:
    class Failing(MemoryStore):
        is_off = False

        def commit(self, sid: Any, change: Any, *, now: float) -> Any:
            if self.is_off:
                raise StoreError("It is off.")
            return super().commit(sid, change, now=now)

    store = Failing()
    browser = logged_in(make_app(store, bind_address="reauthenticate"))
    thief = browser.thief(address=AWAY)
    store.is_off = True
    assert thief.get("/members").status_code == 503
    store.is_off = False
    assert thief.get("/members").status_code == 401


def test_a_session_that_ends_while_it_is_suspected_is_no_longer_seen() -> None:
    class Racing(MemoryStore):
        def commit(self, sid: Any, change: Any, *, now: float) -> Any:
            if "suspect" in change.labels:
                self.delete(sid)
            return super().commit(sid, change, now=now)

    thief = logged_in(make_app(Racing(), bind_address="reauthenticate")).thief(address=AWAY)
    assert thief.get("/who").text == "None"


def test_a_test_may_open_a_session_outside_of_a_request() -> None:
    browser = logged_in(make_app(bind_address="end"), address="127.0.0.1", agent="")
    with browser.client.session_transaction() as opened:
        assert opened._user_id == "ada"  # type: ignore[attr-defined]


# What cannot be.


@pytest.mark.parametrize("key", ["IDLESESSION_BIND_ADDRESS", "IDLESESSION_BIND_AGENT"])
@pytest.mark.parametrize("reaction", ["log", "reauthenticate", "end"])
def test_sessions_cannot_be_bound_to_what_is_not_kept(key: str, reaction: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is '{reaction}', but with IDLESESSION_CLIENT_INFO = None"):
        read_settings({key: reaction, "IDLESESSION_CLIENT_INFO": None})
    read_settings({key: "off", "IDLESESSION_CLIENT_INFO": None})


@pytest.mark.parametrize("value", ["on", True, None, "END"])
def test_an_unknown_reaction_is_named(value: Any) -> None:
    with pytest.raises(ConfigError, match='must be "off", "log", "reauthenticate" or "end"'):
        read_settings({"IDLESESSION_BIND_ADDRESS": value})
