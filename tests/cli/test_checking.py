"""The command ``check``: it finds each fault that was planted, and nothing where all is well."""

import json
import os

import pytest
from flask import Flask
from support import redis_servers

from flask_idlesession import IdleSession
from flask_idlesession.cli import cli
from flask_idlesession.model.messages import CODES
from flask_idlesession.operations.checks import RULES
from flask_idlesession.operations.other_processes import OtherProcesses
from flask_idlesession.operations.probes import probe
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.stores.sqlite import file as sqlite_file

GOOD = {
    "SECRET_KEY": "3fc8f0e3b1a94d7288b1c7e95d02a6f41b7e",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_COOKIE_NAME": "__Host-session",
    "IDLESESSION_SILENCED_CHECKS": ["ISW110"],  # The SQLite of the host that runs the tests is what it is.
}


def look(*args, pages=None, **config):
    """Return what a check found, by code, and its exit code."""
    app = Flask(__name__)
    app.config["IDLESESSION_PAGES"] = pages
    IdleSession(app)
    app.config.update({**GOOD, **config})  # After the extension, which refuses at once a value that is wrong.
    result = app.test_cli_runner().invoke(cli, ["check", "--json", *args])
    assert result.exit_code in (0, 1), result.output
    return {finding["code"]: finding for finding in json.loads(result.stdout)}, result.exit_code


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/sessions.db"


def test_all_is_well_on_sqlite(sqlite):
    assert look("--deploy", IDLESESSION_STORE=sqlite) == ({}, 0)


def test_all_is_well_on_a_server_that_persists():
    with redis_servers.one_server(redis_servers.redis_program(), "--appendonly", "yes") as server:
        assert look("--deploy", IDLESESSION_STORE=server.url) == ({}, 0)


@pytest.mark.parametrize(
    ("code", "config"),
    [
        ("ISW001", {"SECRET_KEY": "secret"}),
        ("ISW001", {"SECRET_KEY_FALLBACKS": ["changeme"]}),
        ("ISW102", {"SECRET_KEY_FALLBACKS": ["9b1de7a2c4f85036e7d1"]}),
        ("ISE104", {"SECRET_KEY": None}),
        ("ISW103", {"SESSION_COOKIE_SECURE": False, "SESSION_COOKIE_NAME": "session"}),
        ("ISW104", {"SESSION_COOKIE_SAMESITE": None}),
        ("ISW104", {"SESSION_COOKIE_SAMESITE": "None"}),
        ("ISW105", {"SESSION_COOKIE_HTTPONLY": False}),
        ("ISW106", {"SESSION_COOKIE_NAME": "session"}),
        ("ISW107", {"SESSION_COOKIE_NAME": "session", "SESSION_COOKIE_DOMAIN": "example.org"}),
        ("ISW108", {"IDLESESSION_IDLE_TIMEOUT": 3600, "IDLESESSION_LIFETIME": 11 * 3600 - 1}),
        ("ISE101", {"IDLESESSION_IDLE_TIMEOUT": -5}),
        ("ISE105", {"IDLESESSION_STORE": "redis://127.0.0.1:1/0"}),
    ],
)
def test_a_planted_fault_is_found(sqlite, code, config):
    found, exit_code = look(**{"IDLESESSION_STORE": sqlite, **config})
    assert code in found and set(found) <= {code, "ISW102"}
    assert set(found[code]) == {"code", "level", "what", "why", "mend", "docs"} and all(found[code].values())
    assert exit_code == (1 if code.startswith("ISE") else 0)
    assert look("--deploy", **{"IDLESESSION_STORE": sqlite, **config})[1] == int(RULES[code].matters)


def test_eleven_idle_timeouts_are_enough(sqlite):
    config = {"IDLESESSION_IDLE_TIMEOUT": 3600, "IDLESESSION_LIFETIME": 11 * 3600}
    assert look("--deploy", IDLESESSION_STORE=sqlite, **config) == ({}, 0)


@pytest.mark.parametrize("config", [{"IDLESESSION_IDLE_TIMEOUT": 39.9}, {"IDLESESSION_ANONYMOUS_IDLE_TIMEOUT": 30}])
def test_a_warning_of_under_twenty_seconds_is_found_where_there_are_pages(sqlite, config):
    config["IDLESESSION_STORE"] = sqlite
    found, exit_code = look(pages="/session", **config)
    assert set(found) == {"ISW113"}
    assert "before the end" in found["ISW113"]["what"]
    assert exit_code == 0
    assert look(**config) == ({}, 0)


def test_a_warning_of_twenty_seconds_is_enough(sqlite):
    assert look(pages="/session", IDLESESSION_STORE=sqlite, IDLESESSION_IDLE_TIMEOUT=40) == ({}, 0)


def test_no_key_is_shown(sqlite):
    config = {"SECRET_KEY": "swordfish", "SECRET_KEY_FALLBACKS": ["swordfish2"]}
    assert "swordfish" not in json.dumps(look(IDLESESSION_STORE=sqlite, **config)[0])


def test_a_finding_can_be_silenced(sqlite):
    config = {"SECRET_KEY": "secret", "IDLESESSION_SILENCED_CHECKS": ["ISW001", "ISW110"]}
    assert look("--deploy", IDLESESSION_STORE=sqlite, **config) == ({}, 0)
    assert set(look(IDLESESSION_STORE=sqlite, IDLESESSION_SILENCED_CHECKS=["ISW999"])[0]) == {"ISE101"}


def test_sessions_in_memory_are_a_warning_and_in_production_an_error():
    assert look()[0]["ISW101"]["level"] == "warning" and look()[1] == 0
    assert look("--deploy")[0]["ISW101"]["level"] == "error" and look("--deploy")[1] == 1


def test_several_processes_with_memory_and_different_keys_are_found(monkeypatch):
    monkeypatch.setattr(OtherProcesses, "living", lambda self: {11: "a", 12: "b"})
    found, exit_code = look()
    assert set(found) == {"ISE102", "ISE103"} and exit_code == 1
    assert "11, 12" in found["ISE102"]["what"]


def test_the_living_processes_are_seen_without_being_one_of_them(tmp_path):
    worker, command = (OtherProcesses("app", folder=tmp_path / "locks") for _ in range(2))
    assert command.living() == {}
    worker.join("a key")
    assert set(command.living()) == {os.getpid()}


def test_a_server_that_evicts_or_does_not_persist_is_found():
    with redis_servers.one_server(
        redis_servers.redis_program(), "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"
    ) as server:
        found, exit_code = look(IDLESESSION_STORE=server.url)
    assert set(found) == {"ISE106", "ISW109"} and exit_code == 1
    assert "allkeys-lru" in found["ISE106"]["what"]


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_a_database_that_others_may_read_is_found(site, tmp_path):
    assert "ISE107" not in site.run("check", "--json").stdout
    (tmp_path / "sessions.db").chmod(0o644)
    result = site.run("check", "--json")
    assert "ISE107" in result.stdout and "644" in result.stdout and result.exit_code == 1


def test_a_version_of_sqlite_with_the_fault_is_found(sqlite, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_FIXED", (99, 0, 0))
    monkeypatch.setattr(sqlite_file, "_FIXED_TOO", {})
    found, _ = look(IDLESESSION_STORE=sqlite, IDLESESSION_SILENCED_CHECKS=[])
    assert set(found) == {"ISW110"}


def test_a_trial_leaves_nothing_behind(site):
    trial = probe(site.manager.store, now=site.clock())
    assert trial.fault is None and trial.took >= trial.latency > 0
    assert site.json("list") == []


class Undying(MemoryStore):
    def load(self, sid, *, now, touch=None):
        return super().load(sid, now=min(now, 1000.0), touch=touch)


class Undeleting(MemoryStore):
    def delete(self, sid):
        return True


class Unwriting(MemoryStore):
    def commit(self, sid, change, *, now):
        from flask_idlesession.model.record import Outcome

        return Outcome.DONE


@pytest.mark.parametrize(
    ("kind", "fault"), [(Undying, "after its end"), (Undeleting, "deleted"), (Unwriting, "after it was made")]
)
def test_a_store_that_breaks_a_promise_is_found(kind, fault):
    assert fault in str(probe(kind(), now=1000.0).fault)


def test_each_rule_has_a_title():
    assert set(RULES) <= set(CODES)


def test_people_read_what_was_found_and_what_to_do(sqlite, tmp_path):
    app = Flask(__name__)
    app.config.update({**GOOD, "SECRET_KEY": "secret", "IDLESESSION_JOURNAL": f"{tmp_path}/sessions.journal"})
    IdleSession(app)
    output = app.test_cli_runner().invoke(cli, ["check"]).output
    assert "warning ISW001" in output and "gen-key" in output and "not seen: The journal" in output
    assert output.endswith("Errors: 0. Warnings: 1.\n")
