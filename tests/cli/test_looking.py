"""Commands that look: they tell of sessions on each store, and never a value."""

import json
import os
import re
import subprocess
import sys

import pytest
from flask import Flask
from flask import session

from flask_idlesession import IdleSession
from flask_idlesession.cli import cli
from flask_idlesession.cli.tables import is_terminal
from flask_idlesession.stores.revocation_marks import mark_of


def test_stats_counts_users_and_idle_ages(site):
    site.put(1, "ada", idle=30)
    site.put(2, "ada", idle=600)
    site.put(3, idle=1200)
    counted = site.json("stats")
    assert (counted["live"], counted["users"], counted["anonymous"]) == (3, 1, 1)
    assert counted["idle_age"]["p50"] == 600 and counted["idle_age"]["p90"] == 1200
    assert counted["idle_age"]["buckets"][:4] == [[60, 1], [300, 0], [900, 1], [1800, 1]]
    assert sum(count for _, count in counted["idle_age"]["buckets"]) == 3
    assert counted["store"].lower().startswith(("memory", "sqlite", "redis"))
    assert "3 live sessions" in site.run("stats").stdout


def test_stats_of_nothing_has_no_quantile(site):
    assert site.json("stats")["idle_age"]["p50"] is None
    assert "0 live sessions" in site.run("stats").stdout


def test_list_has_the_last_seen_first_and_what_may_be_shown(site):
    old = site.put(1, "ada", idle=600, address="192.0.2.0/24", agent="Firefox 140 on Linux", level="admin")
    new = site.put(2, idle=5)
    listed = site.json("list")
    assert [each["id"] for each in listed] == [new, old]
    assert listed[1] == {
        "id": old,
        "user": "ada",
        "created_at": site.clock() - 3600,
        "last_seen_at": site.clock() - 600,
        "ends_at": site.clock() + 1200,
        "address": "192.0.2.0/24",
        "browser": "Firefox on Linux",
        "labels": {"level": "admin"},
    }


def test_list_keeps_to_all_criteria(site):
    ada = site.put(1, "ada", idle=600, address="192.0.2.0/24", level="admin", score=2.5)
    bob = site.put(2, "bob", idle=5, address="198.51.100.7")

    def ids(*args):
        return [each["id"] for each in site.json("list", *args)]

    assert ids("--user", "ada") == [ada] and ids("--user", "eve") == []
    assert ids("--idle-over", "599") == [ada] and ids("--idle-over", "600") == []
    assert ids("--address", "192.0.2.9") == [ada] and ids("--address", "198.51.100.0/24") == [bob]
    assert ids("--label", "level=admin") == [ada] and ids("--label", "score=2.5") == [ada]
    assert ids("--label", "level=admin", "--label", "score=3") == []
    assert ids("--limit", "1") == [bob]
    assert "1 of 2 sessions are shown." in site.run("list", "--limit", "1").stdout


def test_list_says_that_nothing_matched(site):
    result = site.run("list", "--user", "nobody")
    assert result.exit_code == 0 and "Nothing matched" in result.stdout


def test_a_table_fits_the_terminal_and_cuts_no_id(site, monkeypatch):
    sid = site.put(1, "a-user-with-a-very-long-name@and-a-long-domain.example", address="2001:db8:1234::/48")
    for columns in (70, 80, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("flask_idlesession.cli.tables.is_terminal", lambda: True)
        lines = site.run("list").stdout.splitlines()
        assert max(map(len, lines)) <= columns and sid in lines[1]


def test_a_table_in_a_pipe_is_not_cut(site, monkeypatch):
    user = "a-user-with-a-very-long-name@and-a-long-domain.example"
    sid = site.put(1, user, address="2001:db8:1234::/48", agent="Firefox 140 on Linux", values={"k" * 200: 1})
    monkeypatch.setenv("COLUMNS", "60")
    listed = site.run("list").stdout
    assert all(text in listed for text in (sid, user, "2001:db8:1234::/48", "Firefox on Linux"))
    assert "k" * 200 in site.run("show", sid).stdout


def test_only_a_terminal_is_taken_for_one(monkeypatch):
    try:
        master, slave = os.openpty()
    except OSError as error:
        pytest.skip(f"This machine has no terminals: {error}")
    with open(master), open(slave, "w") as terminal, open(os.devnull, "w") as file:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert is_terminal()
        monkeypatch.setattr(sys, "stdout", file)
        assert not is_terminal()


def test_a_user_cannot_write_to_the_terminal_of_an_operator(site):
    site.put(1, "eve\x1b[2J\n", note="\x1b]0;x\x07", values={"k\x1b[2J": 1})
    for args in (["list"], ["show", site.json("list")[0]["id"]]):
        assert "\x1b" not in site.run(*args).stdout and "\x07" not in site.run(*args).stdout


def test_show_has_keys_types_and_sizes_and_never_a_value(site):
    sid = site.put(1, "ada", values={"cart": ["swordfish"], "seen": 3})
    for args in (["show", sid], ["show", sid, "--json"]):
        result = site.run(*args)
        assert result.exit_code == 0 and "swordfish" not in result.stdout
    keys = site.json("show", sid)["keys"]
    assert [(each["name"], each["type"]) for each in keys] == [("cart", "list"), ("seen", "int")]
    assert all(each["bytes"] > 0 for each in keys)


def test_show_is_no_activity(site):
    sid = site.put(1, "ada", idle=600)
    site.run("show", sid)
    assert site.json("list")[0]["last_seen_at"] == site.clock() - 600


def test_show_says_that_there_is_no_such_session(site):
    result = site.run("show", "0b0f5c0e-8a55-4f0c-9a0b-3a4d1c2b5e6f")
    assert result.exit_code == 1 and "Nothing matched" in result.output


@pytest.mark.parametrize(
    "args", [["show", "swordfish"], ["show", "--json", "swordfish"], ["revoke", "swordfish", "--yes"]]
)
def test_a_text_that_is_no_session_id_is_not_shown_and_the_error_says_where_ids_are(site, args):
    result = site.run(*args)
    assert result.exit_code == 2 and "swordfish" not in result.output
    told = " ".join(result.output.split())
    assert "flask idlesession list --user" in told and "audit log" in told and "[ISE110]" in told


def test_show_says_how_a_session_ended_for_as_long_as_that_is_remembered(site):
    sid = site.put(1, "ada")
    assert site.run("revoke", sid, "--yes").exit_code == 0
    shown = site.run("show", sid)
    assert shown.exit_code == 1
    assert re.match(
        rf"Session {sid} ended at \d{{4}}-\d\d-\d\d .* UTC: revoked, by flask idlesession\. Its user: ada\.",
        shown.output,
    )
    as_json = site.run("show", sid, "--json")
    assert as_json.exit_code == 1
    ended_at = site.clock()
    wanted = {"id": sid, "user": "ada", "ended_at": ended_at, "reason": "revoked", "by": "flask idlesession"}
    assert json.loads(as_json.stdout) == wanted
    site.clock.advance(86_400)
    for args in ([sid], [sid, "--json"]):
        forgotten = site.run("show", *args)
        assert forgotten.exit_code == 1 and not forgotten.stdout
        assert forgotten.output.startswith("Nothing matched") and "no end of it is remembered" in forgotten.output


def test_show_takes_the_revocation_of_a_user_for_no_session(site):
    site.put(1, "ada")
    assert site.run("revoke", "--user", "ada", "--yes").exit_code == 0
    assert "Nothing matched" in site.run("show", str(mark_of("ada"))).output


def test_a_session_that_has_expired_is_not_there(site):
    sid = site.put(1, "ada", idle=1800)
    assert site.json("list") == [] and site.run("show", sid).exit_code == 1


def an_application(**config):
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": "8f1c0b1d9a7e4f22b6c3", **config})
    IdleSession(app)

    @app.get("/")
    def index():
        session["a"] = 1
        return ""

    return app


def test_sessions_in_another_process_are_said_to_be_there():
    for args in (["list"], ["stats"], ["revoke", "--all", "--yes"], ["prune"]):
        result = an_application().test_cli_runner().invoke(cli, args)
        assert result.exit_code == 3
        assert "another process" in result.output and "sqlite:///" in result.output


def test_sessions_in_the_memory_of_this_process_are_listed():
    app = an_application()
    app.test_client().get("/")
    assert len(json.loads(app.test_cli_runner().invoke(cli, ["list", "--json"]).stdout)) == 1


def test_the_journal_of_another_process_is_read_without_its_lock(tmp_path):
    path = tmp_path / "sessions.journal"
    config = {
        "IDLESESSION_JOURNAL": path,
        "IDLESESSION_ENCRYPTION_KEYS": ["k" * 32],
        "IDLESESSION_DURABILITY": "always",
    }
    app = an_application(**config)
    app.test_client().get("/")
    app.extensions["idlesession"].manager.close()
    app = an_application(**config)
    app.test_client().get("/")
    before = path.read_bytes()
    other = an_application(**config)
    runner = other.test_cli_runner()
    listed = runner.invoke(cli, ["list", "--json"])
    assert listed.exit_code == 0 and "read from the journal" in listed.stderr
    sids = [each["id"] for each in json.loads(listed.stdout)]
    assert len(sids) >= 1
    keys = json.loads(runner.invoke(cli, ["show", sids[0], "--json"]).stdout)["keys"]
    assert [(each["name"], each["type"]) for each in keys] == [("a", "int")]
    assert json.loads(runner.invoke(cli, ["stats", "--json"]).stdout)["live"] == len(sids)
    assert path.read_bytes() == before
    for args in (["revoke", "--all", "--yes"], ["prune"]):
        result = runner.invoke(cli, args)
        assert result.exit_code == 3 and "sessions.journal" in result.output and "Stop that process" in result.output
    app.extensions["idlesession"].manager.close()


def test_a_journal_that_is_not_there_is_said(tmp_path):
    result = an_application(IDLESESSION_JOURNAL=tmp_path / "a.journal").test_cli_runner().invoke(cli, ["list"])
    assert result.exit_code == 3 and "a.journal" in result.output
    assert not (tmp_path / "a.journal").exists()


def test_an_application_without_idle_sessions_is_told_so():
    result = Flask(__name__).test_cli_runner().invoke(cli, ["list"])
    assert result.exit_code == 3 and "IdleSession(app)" in result.output


def test_a_store_that_is_down_is_a_sentence():
    app = an_application(IDLESESSION_STORE="redis://127.0.0.1:1/0")
    result = app.test_cli_runner().invoke(cli, ["list"])
    assert result.exit_code == 3 and "Traceback" not in result.output and result.output.startswith("Error: ")


def test_gen_key_needs_no_application():
    result = Flask(__name__).test_cli_runner().invoke(cli, ["gen-key"])
    assert len(bytes.fromhex(result.stdout)) == 32
    assert result.stdout != Flask(__name__).test_cli_runner().invoke(cli, ["gen-key"]).stdout


def test_each_command_has_help_with_an_example():
    for name in cli.commands:
        result = Flask(__name__).test_cli_runner().invoke(cli, [name, "--help"])
        assert "Example" in result.output and f"flask idlesession {name}" in result.output


def test_the_commands_import_nothing_that_other_commands_of_flask_do_not_need():
    code = "import sys, flask.cli; before = set(sys.modules); import flask_idlesession.cli; "
    code += "print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    ours = {name for name in loaded if name.startswith("flask_idlesession.")}
    assert ours <= {"flask_idlesession.model", "flask_idlesession.model.errors"} | {
        name for name in ours if name.startswith("flask_idlesession.cli")
    }


def test_the_command_is_one_of_flask():
    from importlib.metadata import entry_points

    found = [each for each in entry_points(group="flask.commands") if each.name == "idlesession"]
    assert {each.value for each in found} <= {"flask_idlesession.cli:cli"}
