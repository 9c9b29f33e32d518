"""Metrics: true figures, in the form that is asked for, for those who may read them; and a request leaves no trace."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import redirect
from flask import session
from support.programs import need_packages

from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import revoke_user
from flask_idlesession import StoreUnavailable
from flask_idlesession.stores import open_store
from flask_idlesession.stores.contract import Traits
from flask_idlesession.testing import FakeClock

TOKEN = "rlQYB5dMHQ1p0yM2uKc6b3Gm8eTFkX0y"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
IDLE = 100


@pytest.fixture(autouse=True)
def needed() -> None:
    need_packages("prometheus_client")


class Site:
    """An application with metrics, on a store and a clock of its own."""

    def __init__(self, store: Any = None, *, dashboard: Any = None, **config: Any) -> None:
        self.clock = FakeClock()
        self.app = app = Flask("metered")
        app.config.update(SECRET_KEY="c2b1a0f0ff35dd8a1b0a6fd8f5a3a3f1", TESTING=True, IDLESESSION_IDLE_TIMEOUT=IDLE)
        app.config.update({"IDLESESSION_METRICS": "/metrics", "IDLESESSION_METRICS_TOKEN": TOKEN, **config})
        IdleSession(app, store=store, clock=self.clock, dashboard=dashboard)
        app.add_url_rule("/in/<user>", view_func=self.enter)
        app.add_url_rule("/out", view_func=self.leave)
        app.add_url_rule("/", view_func=self.write)

    def enter(self, user: str) -> str:
        log_in(user)
        return user

    def leave(self) -> str:
        log_out()
        return "bye"

    def write(self) -> str:
        session["n"] = session.get("n", 0) + 1
        return "written"

    def scrape(self, **headers: str) -> Any:
        return self.app.test_client().get("/metrics", headers={**SHOWN, **headers})

    def figures(self) -> dict[str, float]:
        """Return the samples by their names and labels, as they are written."""
        answer = self.scrape()
        assert answer.status_code == 200, answer.text
        lines = (line for line in answer.text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture(params=["memory", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    store = MemoryStore() if request.param == "memory" else open_store("sqlite:///s.db", folder=tmp_path)
    yield Site(store)
    store.close()


# The figures.


def test_each_figure_is_true(stored: Site) -> None:
    site = stored
    site.app.config["IDLESESSION_MAX_SESSIONS_PER_USER"] = 2
    site.app.config["IDLESESSION_AT_MAX_SESSIONS_PER_USER"] = "refuse"
    for _ in range(3):
        site.app.test_client().get("/")  # They end by being idle.
    site.clock.advance(IDLE)
    with site.app.app_context():
        assert site.app.extensions["idlesession"].manager.prune() <= 3
    ada, bob, eve = (site.app.test_client() for _ in range(3))
    ada.get("/in/ada")
    bob.get("/in/bob")
    eve.get("/in/eve")
    bob.get("/out")
    with site.app.app_context():
        revoke_user("eve")
    site.app.test_client().get("/in/ada")
    with pytest.raises(Exception, match="IDLESESSION_MAX_SESSIONS_PER_USER"):
        site.app.test_client().get("/in/ada")
    garbage = site.app.test_client()
    garbage.set_cookie("session", "garbage")
    garbage.get("/")
    figures = site.figures()
    assert figures["idlesession_created_total"] == 8
    assert figures["idlesession_log_ins_total"] == 4
    assert figures['idlesession_ended_total{reason="idle"}'] == 3
    assert figures['idlesession_ended_total{reason="logged-out"}'] == 1
    assert figures['idlesession_ended_total{reason="revoked"}'] == 1
    assert figures['idlesession_ended_total{reason="evicted"}'] == 0
    assert figures['idlesession_ended_total{reason="lifetime"}'] == 0
    assert figures["idlesession_log_ins_refused_total"] == 1
    assert figures["idlesession_bad_tokens_total"] == 1
    assert figures["idlesession_live"] == 3
    assert figures["idlesession_bytes"] > 0
    assert figures["idlesession_circuit_open"] == 0


def test_the_buckets_of_a_verb_rise_to_the_number_of_its_calls(stored: Site) -> None:
    for _ in range(5):
        stored.app.test_client().get("/")
    figures = stored.figures()
    buckets = [value for name, value in figures.items() if name.startswith("idlesession_store_seconds_bucket{")]
    assert buckets
    created = [value for name, value in figures.items() if "_bucket" in name and 'verb="create"' in name]
    assert created == sorted(created) and created[-1] == 5
    assert figures['idlesession_store_seconds_count{verb="create"}'] == 5
    assert 0 < figures['idlesession_store_seconds_sum{verb="create"}'] < 5


def test_each_reason_and_each_kind_is_there_before_it_first_occurs(site: Site) -> None:
    """A rate needs a zero to rise from."""
    figures = site.figures()
    for reason in ("idle", "lifetime", "logged-out", "revoked", "evicted"):
        assert figures[f'idlesession_ended_total{{reason="{reason}"}}'] == 0
    for kind in ("unavailable", "rejected", "unreadable", "other"):
        assert figures[f'idlesession_store_errors_total{{kind="{kind}"}}'] == 0
    for name in ("created", "log_ins", "log_ins_refused", "bad_tokens"):
        assert figures[f"idlesession_{name}_total"] == 0


def test_labels_tell_nothing_of_users_and_do_not_grow_with_the_traffic(site: Site) -> None:
    for number in range(3):
        site.app.test_client().get(f"/in/user-{number}", environ_base={"REMOTE_ADDR": "203.0.113.7"})
    few = site.scrape().text
    for number in range(30):
        site.app.test_client().get(f"/in/user-{number}")
        site.app.test_client().get(f"/no-such-page-{number}")
    many = site.scrape().text
    assert "user-" not in many and "203.0" not in many and "no-such" not in many
    assert [line.rpartition(" ")[0] for line in many.splitlines()] == [
        line.rpartition(" ")[0] for line in few.splitlines()
    ]


def test_a_cleaner_that_has_passed_is_told(site: Site) -> None:
    site.app.extensions["idlesession"].manager.prune()
    figures = site.figures()
    assert 0 <= figures.get("idlesession_cleaner_last_pass_seconds", 0) < 61


# A store that is down.


class FailingStore(MemoryStore):
    """A store on a server, as far as it says, that can be stopped."""

    is_off = False
    counted = 0

    @property
    def traits(self) -> Traits:
        return Traits(counts=True, keeps_tallies=True)

    def count(self) -> Any:
        self.counted += 1
        return self._or_fail(super().count)

    def load(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_fail(super().load, *args, **kwargs)

    def create(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_fail(super().create, *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_fail(super().delete, *args, **kwargs)

    def add_tally(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_fail(super().add_tally, *args, **kwargs)

    def tally_totals(self) -> Any:
        return self._or_fail(super().tally_totals)

    def _or_fail(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        if self.is_off:
            raise StoreUnavailable("Nobody answers on port 6379.")
        return method(*args, **kwargs)


def test_an_outage_is_told_without_what_only_the_store_knows() -> None:
    store = FailingStore()
    site = Site(store)
    site.app.test_client().get("/")
    before = site.figures()
    assert before["idlesession_live"] == 1 and before["idlesession_circuit_open"] == 0
    store.is_off = True
    assert site.app.test_client().get("/").status_code == 503
    during = site.figures()
    assert during["idlesession_circuit_open"] == 1
    assert not {name for name in during if "_total" in name or name in ("idlesession_live", "idlesession_bytes")}
    assert set(during) <= {"idlesession_circuit_open", "idlesession_cleaner_last_pass_seconds"}


def test_after_an_outage_its_failures_are_counted_and_nothing_fell() -> None:
    store = FailingStore()
    site = Site(store)
    site.app.test_client().get("/")
    store.is_off = True
    site.app.test_client().get("/")
    site.figures()
    store.is_off = False
    state = site.app.extensions["idlesession"]
    give_up = 300
    while state.manager.store.is_down and give_up:  # Its end is noticed by the next call a second later.
        state.health()
        give_up -= 1
        time.sleep(0.02)
    figures = site.figures()
    assert figures["idlesession_circuit_open"] == 0
    assert figures["idlesession_created_total"] == 1
    assert figures['idlesession_store_errors_total{kind="unavailable"}'] >= 1


# Its form.


def test_prometheus_gets_its_own_text_and_openmetrics_is_answered_to_who_accepts_it(site: Site) -> None:
    plain = site.scrape()
    assert plain.content_type.startswith("text/plain; version=0.0.4")
    assert "# TYPE idlesession_created_total counter\n" in plain.text and "# EOF" not in plain.text
    asked = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
    modern = site.scrape(Accept=asked)
    assert modern.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert "# TYPE idlesession_created counter\n" in modern.text and modern.text.endswith("# EOF\n")
    assert "# UNIT idlesession_bytes bytes\n" in modern.text
    assert site.scrape(Accept="text/html").content_type.startswith("text/plain")


def test_both_forms_can_be_parsed_and_say_the_same(site: Site) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as modern
    from prometheus_client.parser import text_string_to_metric_families as plain

    site.app.test_client().get("/in/ada")

    def samples(families: Any) -> set[tuple[str, frozenset[Any]]]:
        return {(sample.name, frozenset(sample.labels.items())) for family in families for sample in family.samples}

    told = samples(plain(site.scrape().text))
    assert told == samples(modern(site.scrape(Accept="application/openmetrics-text").text))
    assert all(family.documentation for family in plain(site.scrape().text))


# Who may read them.


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN} {TOKEN}"},
        {"Authorization": "Bearer töken"},
        {"Cookie": f"token={TOKEN}"},
    ],
)
def test_who_does_not_show_the_token_is_told_nothing(site: Site, headers: dict[str, str]) -> None:
    encoded = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    answer = site.app.test_client().get(f"/metrics?token={TOKEN}", headers=encoded)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "idlesession_" not in answer.text and TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_written_in_any_case(site: Site, scheme: str) -> None:
    assert site.scrape(Authorization=f"{scheme} {TOKEN}").status_code == 200


def test_a_guard_decides_where_there_is_no_token() -> None:
    said: list[Any] = [True]
    site = Site(dashboard=lambda: said[0], IDLESESSION_METRICS_TOKEN=None)
    ask = site.app.test_client().get
    assert ask("/metrics").status_code == 200
    for stranger in (False, None, 0, ""):
        said[0] = stranger
        assert ask("/metrics").status_code == 404
    said[0] = ("Not you.", 403)
    answer = ask("/metrics")
    assert answer.status_code == 403 and answer.text == "Not you."


def test_a_guard_that_leads_away_is_followed_and_leaves_no_session() -> None:
    def guard() -> Any:
        session["next"] = "/metrics"
        return redirect("/log-in")

    site = Site(dashboard=guard, IDLESESSION_METRICS_TOKEN=None)
    answer = site.app.test_client().get("/metrics")
    assert answer.status_code == 302 and "Set-Cookie" not in answer.headers
    assert not list(site.app.extensions["idlesession"].manager.find())


def test_an_asynchronous_guard_is_awaited() -> None:
    async def guard() -> bool:
        return False

    site = Site(dashboard=guard, IDLESESSION_METRICS_TOKEN=None)
    assert site.app.test_client().get("/metrics").status_code == 404


def test_the_guard_is_of_the_metrics_alone_where_there_are_no_pages() -> None:
    site = Site(dashboard=lambda: True, IDLESESSION_METRICS_TOKEN=None)
    assert site.app.test_client().get("/metrics").status_code == 200
    assert site.app.test_client().get("/session/dashboard").status_code == 404


def test_the_token_opens_no_dashboard() -> None:
    site = Site(dashboard=lambda: False, IDLESESSION_PAGES="/session")
    assert site.scrape().status_code == 200
    assert site.app.test_client().get("/session/dashboard", headers=SHOWN).status_code == 404


def test_the_token_lets_in_whom_the_guard_would_not() -> None:
    site = Site(dashboard=lambda: False)
    assert site.scrape().status_code == 200
    assert site.app.test_client().get("/metrics").status_code == 404
    assert site.scrape(Authorization="Bearer wrong").status_code == 404


def test_without_token_and_guard_the_application_does_not_start() -> None:
    with pytest.raises(ConfigError, match=r"IDLESESSION_METRICS_TOKEN.*dashboard=.*\[ISE032\]"):
        Site(IDLESESSION_METRICS_TOKEN=None)


def test_a_token_that_is_taken_out_later_opens_nothing(site: Site) -> None:
    site.app.config["IDLESESSION_METRICS_TOKEN"] = None
    with pytest.raises(ConfigError, match="ISE032"):
        site.app.test_client().get("/metrics")


# The setting.


def test_it_is_off_by_default() -> None:
    site = Site(IDLESESSION_METRICS=None, IDLESESSION_METRICS_TOKEN=None)
    assert site.scrape().status_code == 404
    assert "idlesession.metrics" not in site.app.view_functions


def test_any_path_can_be_named() -> None:
    site = Site(IDLESESSION_METRICS="/internal/session-metrics")
    assert site.app.test_client().get("/internal/session-metrics", headers=SHOWN).status_code == 200
    assert site.scrape().status_code == 404


@pytest.mark.parametrize("value", ["metrics", "/", "", "/metrics/", True, 9090, "/a b", "/<path:all>", ["/metrics"]])
def test_a_path_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"IDLESESSION_METRICS is .*such as \"/metrics\""):
        Site(IDLESESSION_METRICS=value)


@pytest.mark.parametrize("later", [None, "/other"])
def test_a_path_that_is_set_later_is_refused(site: Site, later: str | None) -> None:
    site.app.config["IDLESESSION_METRICS"] = later
    with pytest.raises(ConfigError, match=r"IDLESESSION_METRICS is .* but it was '/metrics'.*ISE031"):
        site.app.test_client().get("/")


def test_a_path_that_is_first_set_later_is_refused() -> None:
    site = Site(IDLESESSION_METRICS=None)
    site.app.config["IDLESESSION_METRICS"] = "/metrics"
    with pytest.raises(ConfigError, match=r"IDLESESSION_METRICS is '/metrics', but it was None"):
        site.app.test_client().get("/")


@pytest.mark.parametrize("value", ["", " ", "two words", "tökén", 12345, True, ["token"], b"\xff", "a=b"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(value: Any) -> None:
    with pytest.raises(ConfigError, match="IDLESESSION_METRICS_TOKEN must be a text") as raised:
        Site(IDLESESSION_METRICS_TOKEN=value)
    if len(str(value)) > 3:
        assert str(value) not in str(raised.value)


def test_a_token_may_be_bytes() -> None:
    assert Site(IDLESESSION_METRICS_TOKEN=TOKEN.encode()).scrape().status_code == 200


def test_without_the_package_a_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"pip install 'flask_idlesession\[prometheus\]'.*ISE023"):
        Site()


# A request leaves no trace.


def test_it_begins_no_session_sets_no_cookie_and_nobody_stores_it(site: Site) -> None:
    answer = site.scrape()
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert site.figures()["idlesession_live"] == 0
    assert site.figures()["idlesession_created_total"] == 0


def test_it_begins_no_session_where_the_application_writes_to_each(site: Site) -> None:
    @site.app.before_request
    def count() -> None:
        session["visits"] = session.get("visits", 0) + 1

    assert "Set-Cookie" not in site.scrape().headers
    assert not list(site.app.extensions["idlesession"].manager.find())


def test_an_operator_who_looks_is_not_active(site: Site) -> None:
    browser = site.app.test_client()
    browser.get("/in/ada")
    (before,) = site.app.extensions["idlesession"].manager.find()
    site.clock.advance(50)
    assert "Set-Cookie" not in browser.get("/metrics", headers=SHOWN).headers
    (after,) = site.app.extensions["idlesession"].manager.find()
    assert after == before


def test_looking_at_it_again_and_again_changes_nothing(stored: Site) -> None:
    stored.app.test_client().get("/")
    before = stored.figures()
    for _ in range(5):
        stored.scrape()
    after = stored.figures()
    moving = ("cleaner_last", "store_seconds", "_bytes")  # SQLite's log grows with what is counted.
    same = {name: value for name, value in before.items() if not any(word in name for word in moving)}
    assert same == {name: after[name] for name in same}


def test_to_be_scraped_writes_nothing_into_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_store("sqlite:///s.db", folder=tmp_path)) as store:
        site = Site(store)
        added: list[Any] = []
        add = store.add_tally
        monkeypatch.setattr(store, "add_tally", lambda *told, **more: added.append(told) or add(*told, **more))
        site.app.test_client().get("/")
        site.figures()
        assert added, "What happens is written."
        added.clear()
        for _ in range(5):
            site.figures()
        assert not added


def test_head_and_get_are_all_that_it_answers(site: Site) -> None:
    assert site.app.test_client().head("/metrics", headers=SHOWN).status_code == 200
    assert site.app.test_client().post("/metrics", headers=SHOWN).status_code == 405


def test_its_token_is_no_bad_token_of_a_session(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    site = Site(IDLESESSION_TOKEN_HEADER="Authorization")
    site.scrape()
    assert site.figures()["idlesession_bad_tokens_total"] == 0
    assert not caplog.records
    site.app.test_client().get("/", headers={"Authorization": "Bearer garbage"})
    assert site.figures()["idlesession_bad_tokens_total"] == 1


def test_it_works_beside_the_pages(site: Site) -> None:
    site = Site(IDLESESSION_PAGES="/session")
    assert site.scrape().status_code == 200
    assert site.app.test_client().get("/session/status").status_code == 200


def test_it_works_before_there_is_a_secret_key() -> None:
    site = Site()
    del site.app.config["SECRET_KEY"]
    site.app.config["SECRET_KEY"] = None
    assert site.scrape().status_code == 200


# A registry of the application's own.


def test_a_collector_puts_the_figures_into_a_registry_of_the_application() -> None:
    from prometheus_client import CollectorRegistry

    from flask_idlesession.integrations.prometheus import SessionCollector

    site = Site(IDLESESSION_METRICS=None, IDLESESSION_METRICS_TOKEN=None, IDLESESSION_TALLIES=True)
    registry = CollectorRegistry(auto_describe=True)
    registry.register(SessionCollector(site.app))
    site.app.test_client().get("/")
    assert registry.get_sample_value("idlesession_live") == 1
    assert registry.get_sample_value("idlesession_created_total") == 1


def test_without_tallies_a_collector_tells_what_can_be_seen() -> None:
    from prometheus_client import CollectorRegistry

    from flask_idlesession.integrations.prometheus import SessionCollector

    site = Site(IDLESESSION_METRICS=None, IDLESESSION_METRICS_TOKEN=None)
    registry = CollectorRegistry()
    registry.register(SessionCollector(site.app))
    site.app.test_client().get("/")
    assert registry.get_sample_value("idlesession_live") == 1
    assert registry.get_sample_value("idlesession_created_total") is None


def test_a_collector_of_another_application_says_what_is_missing() -> None:
    from flask_idlesession.integrations.prometheus import SessionCollector

    with pytest.raises(ConfigError, match=r"IdleSession\(app\) before SessionCollector"):
        SessionCollector(Flask("other"))
