"""OpenTelemetry is told what this process does with its sessions, if it is asked for, and of nothing else."""

import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest
from flask import Flask
from flask import session
from support.programs import need_packages

from flask_idlesession import ConfigError
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import StoreUnavailable
from flask_idlesession.operations.latency import BOUNDS
from flask_idlesession.testing import FakeClock


@pytest.fixture(autouse=True)
def needed() -> None:
    need_packages("opentelemetry.sdk")


class FailingStore(MemoryStore):
    is_off = False

    def load(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_off:
            raise StoreUnavailable("Nobody answers.")
        return super().load(*args, **kwargs)

    def count(self) -> Any:
        if self.is_off:
            raise StoreUnavailable("Nobody answers.")
        return super().count()


class Site:
    def __init__(self, **config: Any) -> None:
        self.clock, self.store = FakeClock(), FailingStore()
        self.app = app = Flask("observed")
        app.config.update(SECRET_KEY="c2b1a0f0ff35dd8a1b0a6fd8f5a3a3f1", TESTING=True, IDLESESSION_IDLE_TIMEOUT=100)
        app.config.update({"IDLESESSION_OPENTELEMETRY": True, **config})
        IdleSession(app, store=self.store, clock=self.clock)

        @app.get("/in/<user>")
        def enter(user: str) -> str:
            log_in(user)
            return user

        @app.get("/out")
        def leave() -> str:
            log_out()
            return "bye"

        @app.get("/")
        def write() -> str:
            session["n"] = session.get("n", 0) + 1
            return "written"


@pytest.fixture
def reader(needed: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A reader of a provider that is this test's alone: a real one can be set once in a process."""
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(metrics, "get_meter", lambda name, *rest, **more: provider.get_meter(name, *rest, **more))
    yield reader
    provider.shutdown()


def told(reader: Any) -> dict[str, Any]:
    """Return the metrics by name: of each the data points, by the value of the attribute."""
    data = reader.get_metrics_data()
    found: dict[str, Any] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            assert scope.scope.name == "flask_idlesession"
            for metric in scope.metrics:
                points = metric.data.data_points
                found[metric.name] = {next(iter(point.attributes.values()), None): point for point in points}
                assert metric.description and metric.unit
    return found


def test_each_instrument_tells_what_happened(reader: Any) -> None:
    site = Site(IDLESESSION_MAX_SESSIONS_PER_USER=1, IDLESESSION_AT_MAX_SESSIONS_PER_USER="refuse")
    site.app.test_client().get("/")
    ada = site.app.test_client()
    ada.get("/in/ada")
    with pytest.raises(Exception, match="MAX_SESSIONS_PER_USER"):
        site.app.test_client().get("/in/ada")
    ada.get("/out")
    garbage = site.app.test_client()
    garbage.set_cookie("session", "garbage")
    garbage.get("/")
    site.clock.advance(100)
    site.app.extensions["idlesession"].manager.prune()
    found = told(reader)
    assert found["idlesession.created"][None].value == 3
    assert found["idlesession.log_ins"][None].value == 1
    assert found["idlesession.log_ins_refused"][None].value == 1
    assert found["idlesession.bad_tokens"][None].value == 1
    assert {reason: point.value for reason, point in found["idlesession.ended"].items()} == {"logged-out": 1, "idle": 2}
    assert found["idlesession.store.duration"]["create"].count >= 3
    assert list(found["idlesession.store.duration"]["create"].explicit_bounds) == list(BOUNDS)
    assert found["idlesession.live"][None].value == 0
    assert found["idlesession.bytes"][None].value == 0
    assert found["idlesession.circuit_open"][None].value == 0
    assert "idlesession.store.errors" not in found


def test_live_sessions_are_counted_when_the_numbers_are_collected(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_idlesession.integrations.opentelemetry._STANDS", 0.0)
    site = Site()
    for number in range(1, 4):
        site.app.test_client().get("/")
        assert told(reader)["idlesession.live"][None].value == number


def test_an_outage_is_told_and_what_is_not_known_is_left_out(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_idlesession.integrations.opentelemetry._STANDS", 0.0)
    site = Site()
    browser = site.app.test_client()
    browser.get("/")
    site.store.is_off = True
    assert browser.get("/").status_code == 503
    found = told(reader)
    assert found["idlesession.circuit_open"][None].value == 1
    assert not found.get("idlesession.live")
    assert found["idlesession.store.errors"]["unavailable"].value >= 1


def test_it_is_off_by_default(reader: Any) -> None:
    site = Site(IDLESESSION_OPENTELEMETRY=False)
    site.app.test_client().get("/")
    assert told(reader) == {}


def test_it_writes_nothing_into_the_store(reader: Any) -> None:
    site = Site()
    site.app.test_client().get("/")
    told(reader)
    assert site.app.extensions["idlesession"].tallies is None
    assert site.store.tally_totals() == {}


def test_it_works_beside_tallies(reader: Any) -> None:
    site = Site(IDLESESSION_TALLIES=True)
    site.app.test_client().get("/")
    assert told(reader)["idlesession.created"][None].value == 1
    assert site.app.extensions["idlesession"].tallies.totals()["created"] == 1
    assert told(reader)["idlesession.store.duration"]["create"].count == 1


def test_a_provider_that_is_set_later_is_told_too() -> None:
    code = """
from flask import Flask, session
from flask_idlesession import IdleSession
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

app = Flask("later")
app.config.update(SECRET_KEY="k" * 32, TESTING=True, IDLESESSION_OPENTELEMETRY=True)
IdleSession(app)
app.add_url_rule("/", view_func=lambda: session.update(a=1) or "")
app.test_client().get("/")
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
app.test_client().get("/")
for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics:
    for metric in scope.metrics:
        print(metric.name, [getattr(point, "value", None) for point in metric.data.data_points])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "idlesession.created [1]\n" in done.stdout and "idlesession.live [2]\n" in done.stdout, done.stderr


def test_an_application_that_is_dropped_is_collected(reader: Any) -> None:
    site = Site()
    site.app.test_client().get("/")
    told(reader)
    gone = weakref.ref(site.app)
    del site
    gc.collect()
    assert gone() is None
    assert not told(reader).get("idlesession.live")


def test_without_the_package_a_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(ConfigError, match=r"pip install 'flask_idlesession\[opentelemetry\]'.*ISE023"):
        Site()


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_it_is_true_or_false(value: Any) -> None:
    with pytest.raises(ConfigError, match="IDLESESSION_OPENTELEMETRY is"):
        Site(IDLESESSION_OPENTELEMETRY=value)
