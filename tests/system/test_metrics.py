"""Metrics in use: several workers behind one address, Debian's Prometheus, rules for it, and Grafana's board."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from http.client import HTTPConnection
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from support.documents import CHECKOUT
from support.grafana_board import FOLDER
from support.grafana_board import queries
from support.programs import need_packages
from support.redis_servers import one_server
from support.redis_servers import redis_program
from support.servers import free_port
from support.waiting import wait_until
from support.web_servers import prometheus

TOKEN = "rlQYB5dMHQ1p0yM2uKc6b3Gm8eTFkX0y"

APP = """
import os
from flask import Flask, session

from flask_idlesession import IdleSession, log_in, log_out, revoke_user
from flask_idlesession.operations import tallies

tallies.FLUSHED_EACH = 1.0  # Ten seconds are long for a test.
app = Flask(__name__)
app.config.from_prefixed_env("TRIED")
IdleSession(app)

@app.get("/")
def visit():
    session["n"] = session.get("n", 0) + 1
    return "visited"

@app.get("/in/<user>")
def enter(user):
    try:
        log_in(user)
    except Exception as error:
        return type(error).__name__, 409
    return user

@app.get("/out")
def leave():
    log_out()
    return "bye"

@app.get("/revoke/<user>")
def revoke(user):
    return str(revoke_user(user))

@app.after_request
def tell_who(response):
    response.headers["X-Worker"] = str(os.getpid())
    return response
"""


@pytest.fixture(autouse=True)
def needed() -> None:
    need_packages("prometheus_client", "gunicorn")


class Served:
    """The application, as it is reached at one address."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.port, self.process, self.log = port, process, log

    def ask(self, path: str, cookie: str = "", **headers: str) -> Any:
        """Ask on a connection of its own, so that any worker answers; return the answer with its body as ``text``."""
        if cookie:
            headers["Cookie"] = cookie
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers=headers)
            answer: Any = connection.getresponse()
            answer.text = answer.read().decode()
            return answer

    def begin(self, path: str = "/") -> str:
        """Begin a session; return its cookie."""
        answer = self.ask(path)
        assert answer.status == 200, answer.text
        return str(answer.headers["Set-Cookie"]).partition(";")[0]

    def scrape(self) -> Any:
        answer = self.ask("/metrics", Authorization=f"Bearer {TOKEN}")
        assert answer.status == 200, answer.text + self.log.read_text()
        return answer

    def figures(self) -> dict[str, float]:
        lines = (line for line in self.scrape().text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@contextmanager
def served(folder: Path, store: str, *, workers: int, **config: Any) -> Iterator[Served]:
    port = free_port()
    told = {"SECRET_KEY": "of no use to anybody but a test, and long", "IDLESESSION_STORE": store}
    told |= {"IDLESESSION_METRICS": "/metrics", "IDLESESSION_METRICS_TOKEN": TOKEN, **config}
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    environment |= {f"TRIED_{name}": value if isinstance(value, str) else str(value) for name, value in told.items()}
    (folder / "tried.py").write_text(APP)
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-w", str(workers), "-k", "gthread"]
    command += ["--threads", "4", "--graceful-timeout", "5", "tried:app"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    site = Served(port, process, folder / "log")
    try:
        wait_until(lambda: answers(site), "gunicorn answers")
        yield site
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait(10)


def answers(site: Served) -> bool:
    assert site.process.poll() is None, site.log.read_text()
    try:
        return bool(site.ask("/no-such-page").status == 404)
    except OSError:
        return False


@contextmanager
def a_store(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/sessions.db"
        return
    with one_server(redis_program()) as server:
        yield server.url


# Several workers.


@pytest.mark.parametrize(("kind", "workers"), [("sqlite", 4), ("redis", 3)])
def test_any_worker_tells_true_figures_of_all(kind: str, workers: int, tmp_path: Path) -> None:
    settings = {"IDLESESSION_ANONYMOUS_IDLE_TIMEOUT": 1, "IDLESESSION_MAX_SESSIONS_PER_USER": 2}
    settings["IDLESESSION_AT_MAX_SESSIONS_PER_USER"] = "refuse"
    with a_store(kind, tmp_path) as store, served(tmp_path, store, workers=workers, **settings) as site:
        for _ in range(12):
            site.begin()  # Nobody comes back: they end by being idle.
        cookies = {user: site.begin(f"/in/{user}") for user in ("ada", "bob", "cyd", "dan", "eve")}
        site.begin("/in/ada")
        assert site.ask("/in/ada").status == 409
        for user in ("bob", "cyd"):
            assert site.ask("/out", cookies[user]).status == 200
        assert site.ask("/revoke/dan").text == "1"
        for _ in range(7):
            site.ask("/", "session=garbage")
        expected = {
            "idlesession_created_total": 12 + 6 + 7,
            "idlesession_log_ins_total": 6,
            "idlesession_log_ins_refused_total": 1,
            "idlesession_bad_tokens_total": 7,
            'idlesession_ended_total{reason="idle"}': 12 + 7,
            'idlesession_ended_total{reason="lifetime"}': 0,
            'idlesession_ended_total{reason="logged-out"}': 2,
            'idlesession_ended_total{reason="revoked"}': 1,
            'idlesession_ended_total{reason="evicted"}': 0,
            "idlesession_live": 3,
            "idlesession_circuit_open": 0,
            'idlesession_store_errors_total{kind="unavailable"}': 0,
        }

        def told() -> dict[str, float]:
            figures = site.figures()
            return {name: figures[name] for name in expected}

        wait_until(lambda: told() == expected, f"{expected}, but it is {told()}", seconds=20)
        figures = site.figures()
        assert figures['idlesession_store_seconds_count{verb="create"}'] >= 12 + 6 + 7
        assert figures["idlesession_bytes"] > 0
        passed = "idlesession_cleaner_last_pass_seconds"  # A worker that has just begun has not passed yet.
        wait_until(lambda: site.figures().get(passed, 61) < 61, "no cleaner has passed", seconds=20)
        asked: dict[str, dict[str, float]] = {}
        for _ in range(200):
            answer = site.scrape()
            asked[answer.headers["X-Worker"]] = {
                name: float(value)
                for name, _, value in (line.rpartition(" ") for line in answer.text.splitlines())
                if name in expected
            }
            assert "Set-Cookie" not in answer.headers and answer.headers["Cache-Control"] == "no-store"
            if len(asked) == workers:
                break
        assert len(asked) == workers, "Each worker was asked."
        assert list(asked.values()) == [expected] * workers


def test_a_worker_that_is_replaced_takes_no_counter_along(tmp_path: Path) -> None:
    with a_store("sqlite", tmp_path) as store, served(tmp_path, store, workers=2) as site:
        for _ in range(10):
            site.begin()
        wait_until(lambda: site.figures()["idlesession_created_total"] == 10, "all is counted")
        site.process.send_signal(signal.SIGHUP)
        old = site.log.read_text().count("Booting worker")
        wait_until(lambda: site.log.read_text().count("Booting worker") >= old + 2, "there are new workers")
        for _ in range(20):
            assert site.figures()["idlesession_created_total"] == 10


def test_an_idle_application_is_scraped_and_counts_nothing(tmp_path: Path) -> None:
    with a_store("sqlite", tmp_path) as store, served(tmp_path, store, workers=2) as site:
        site.begin()
        wait_until(lambda: site.figures()["idlesession_created_total"] == 1, "all is counted")
        file, before = tmp_path / "sessions.db", []
        while before != (before := tallied(file)):  # A worker may still count what it did at its start.
            time.sleep(2.5)
        for _ in range(12):
            site.scrape()
            time.sleep(0.3)
        assert before and tallied(file) == before


def tallied(path: Path) -> list[Any]:
    """Return all that is stored of tallies."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT * FROM tally ORDER BY 1, 2").fetchall()


# Prometheus.


def rules(*, hasty: bool) -> str:
    text = (FOLDER / "alerts.yml").read_text()
    return re.sub(r"for: \d+m", "for: 0s", text) if hasty else text


def config_for(*ports: int) -> str:
    targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    return f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: shop
    authorization: {{credentials: {TOKEN}}}
    static_configs: [{{targets: [{targets}]}}]
"""


def asked(server: Any, path: str, **arguments: str) -> Any:
    query = urllib.parse.urlencode(arguments)
    with urllib.request.urlopen(f"{server.url}/api/v1/{path}?{query}", timeout=10) as answer:
        told = json.load(answer)
    assert told["status"] == "success", told
    return told["data"]


def values_of(server: Any, query: str) -> list[float]:
    found = asked(server, "query", query=query)["result"]
    return [float(each["value"][1]) for each in found if not isnan(float(each["value"][1]))]


def test_prometheus_reads_the_figures_answers_the_board_and_an_alert_fires(tmp_path: Path) -> None:
    with one_server(redis_program()) as store, served(tmp_path, store.url, workers=2) as site:
        site.begin("/in/ada")
        with prometheus(config_for(site.port), files={"alerts.yml": rules(hasty=True)}) as server:
            wait_until(lambda: values_of(server, 'up{job="shop"}') == [1.0], "Prometheus scrapes")
            unanswered = queries()
            give_up_at = time.monotonic() + 30
            while unanswered and time.monotonic() < give_up_at:
                cookie = site.begin()
                for _ in range(5):
                    site.ask("/", cookie)
                unanswered = [query for query in unanswered if not values_of(server, query)]
            assert not unanswered
            assert values_of(server, "max(idlesession_created_total)")[0] >= 2
            assert not firing(server) & {"IdleSessionStoreDown"}
            store.stop()
            wait_until(lambda: "IdleSessionStoreDown" in firing(server), "the alert fires")
            assert values_of(server, 'up{job="shop"}') == [1.0], "The figures are told all the same."
            (labels,) = values_of(server, 'idlesession_circuit_open{job="shop"}')
            assert labels == 1


def firing(server: Any) -> set[str]:
    return {alert["labels"]["alertname"] for alert in asked(server, "alerts")["alerts"] if alert["state"] == "firing"}
