"""The command ``check``: it finds each fault that was planted, and nothing where all is well."""

import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from select import select

import pytest
from flask import Flask
from flask import session
from support import redis_servers
from support import servers
from support.programs import need_packages
from support.servers import running

from flask_idlesession import IdleSession
from flask_idlesession import passive
from flask_idlesession.cli import cli
from flask_idlesession.model.clock import system_clock
from flask_idlesession.model.messages import CODES
from flask_idlesession.operations.other_processes import OtherProcesses
from flask_idlesession.operations.other_processes import Peer
from flask_idlesession.operations.probes import probe
from flask_idlesession.operations.rules import RULES
from flask_idlesession.stores.contract import Traits
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.stores.sqlite import file as sqlite_file
from flask_idlesession.testing import FakeClock

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
        ("ISE101", {"SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": False}),
        ("ISW119", {"IDLESESSION_MAX_SESSIONS": 5}),
        ("ISW119", {"IDLESESSION_WARN_BEFORE": 60}),
        ("ISW119", {"IDLESESSION_CLAIMS_LIFETIME": 60}),
        ("ISW119", {"IDLESESSION_AT_MAX_SESSIONS_PER_USER": "refuse"}),
        ("ISW119", {"IDLESESSION_REMEMBER_LIFETIME": 600}),
        ("ISW119", {"IDLESESSION_ROTATION_INTERVAL": 86400}),
        ("ISW119", {"PERMANENT_SESSION_LIFETIME": 60}),
        ("ISW119", {"IDLESESSION_ANONYMOUS_IDLE_TIMEOUT": 90000}),
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


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"IDLESESSION_ADOPT": ["flask"]}, "forge"),
        ({"IDLESESSION_KEEP_FORMS": 1000}, "kept forms"),
        ({"IDLESESSION_ADOPT": ["flask"], "DEBUG": True}, "forge"),
        ({"IDLESESSION_ADOPT": ["flask"], "IDLESESSION_STORE": None, "IDLESESSION_JOURNAL": "a.journal"}, "forge"),
    ],
)
@pytest.mark.parametrize("key", ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
def test_a_weak_key_is_an_error_where_it_alone_protects_something(sqlite, config, word, key):
    weak = {"SECRET_KEY": "changeme"} if key == "SECRET_KEY" else {"SECRET_KEY_FALLBACKS": ["changeme"]}
    found, exit_code = look(**{"IDLESESSION_STORE": sqlite, **config, **weak})
    assert {"ISE001", "ISW001"} <= set(found) <= {"ISE001", "ISW001", "ISW102", "ISW119"}
    assert word in found["ISE001"]["what"] and found["ISE001"]["level"] == "error" and exit_code == 1
    assert "changeme" not in json.dumps(found)
    assert "ISE001" not in look(**{"IDLESESSION_STORE": sqlite, **config})[0]


def test_sessions_of_flask_session_need_no_strong_key(sqlite):
    config = {"IDLESESSION_ADOPT": ["flask-session"], "SESSION_TYPE": "filesystem", "SECRET_KEY": "changeme"}
    assert set(look(IDLESESSION_STORE=sqlite, **config)[0]) == {"ISW001"}


def test_a_finding_can_be_silenced(sqlite):
    config = {"SECRET_KEY": "secret", "IDLESESSION_SILENCED_CHECKS": ["ISW001", "ISW110"]}
    assert look("--deploy", IDLESESSION_STORE=sqlite, **config) == ({}, 0)
    assert set(look(IDLESESSION_STORE=sqlite, IDLESESSION_SILENCED_CHECKS=["ISW999"])[0]) == {"ISE101"}


def test_sessions_in_memory_are_a_warning_and_in_production_an_error():
    assert look()[0]["ISW101"]["level"] == "warning" and look()[1] == 0
    assert look("--deploy")[0]["ISW101"]["level"] == "error" and look("--deploy")[1] == 1


def test_several_processes_with_memory_and_different_keys_are_found(monkeypatch):
    monkeypatch.setattr(OtherProcesses, "living", lambda self: {11: Peer("a"), 12: Peer("b")})
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


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"IDLESESSION_STORE": "redis://ann:swordfish@127.0.0.1:1/3"}, "redis://ann:***@127.0.0.1:1/3"),
        ({"IDLESESSION_STORE": "sqlite:///a/b.db"}, "sqlite:///a/b.db (below {folder})"),
        ({"IDLESESSION_STORE": "sqlite:////{folder}/b.db"}, "sqlite:////{folder}/b.db"),
        (
            {"IDLESESSION_STORE": "sqlite:////{folder}/b.db", "IDLESESSION_NAMESPACE": "shop"},
            "sqlite:////{folder}/b.db with the namespace 'shop'",
        ),
        ({"IDLESESSION_JOURNAL": "j.journal"}, "memory:// with the journal 'j.journal' (below {folder})"),
        ({"IDLESESSION_JOURNAL": "{folder}/j"}, "memory:// with the journal '{folder}/j'"),
    ],
)
def test_the_first_line_names_the_store_that_is_looked_at_without_a_password(config, place, tmp_path):
    folder = str(tmp_path / "instance")
    app = Flask(__name__, instance_path=folder)
    app.config.update({**GOOD, **{name: value.format(folder=folder) for name, value in config.items()}})
    IdleSession(app)
    output = app.test_cli_runner().invoke(cli, ["check"]).output
    assert output.splitlines()[0] == f"Store: {place.format(folder=folder)}"
    assert "swordfish" not in output


def test_a_store_that_was_handed_in_is_named_by_its_kind():
    app = Flask(__name__)
    app.config.update(GOOD)
    IdleSession(app, store=MemoryStore())
    assert app.test_cli_runner().invoke(cli, ["check"]).output.startswith("Store: a ready MemoryStore\n")


APP = """
import os
from flask import Flask, session
from flask_idlesession import IdleSession
from flask_idlesession import passive

app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ.get("TEST_KEY") or os.urandom(24).hex()
app.config.update(SESSION_COOKIE_SECURE=True, SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_NAME="__Host-session")
app.config.update(IDLESESSION_SILENCED_CHECKS=["ISW110"], IDLESESSION_STORE=os.environ["TEST_STORE"])
if "TEST_WRONG" in os.environ:
    app.config["IDLESESSION_IDLE_TIMEOUT"] = -5
IdleSession(app)

@app.get("/")
def index():
    session["n"] = session.get("n", 0) + 1
    return str(os.getpid())
"""


class Deployed:
    """An application under gunicorn, and the command beside it."""

    def __init__(self, folder, store, *, key="3fc8f0e3b1a94d7288b1c7e95d02a6f41b7e"):
        self.folder, self.port = folder, redis_servers.free_port()
        (folder / "tmp").mkdir()
        (folder / "shop.py").write_text(APP)
        self.environ = {**os.environ, "TEST_STORE": store, "TEST_KEY": key, "TMPDIR": str(folder / "tmp")}

    def serve(self, *options):
        where = ["-b", f"127.0.0.1:{self.port}", "--no-control-socket"]
        return self._run([sys.executable, "-m", "gunicorn", "shop:app", *where, *options])

    def serve_by_uwsgi(self, *options):
        program = str(Path(sys.executable).with_name("uwsgi"))
        where = ["--http-socket", f"127.0.0.1:{self.port}", "--module", "shop:app"]
        return self._run([program, *where, "--need-app", "--die-on-term", *options])

    def _run(self, command):
        return running(Server(command, "", port=self.port, folder=self.folder, environ=self.environ))

    def visit(self, times=40, **headers):
        """Ask at the same time, so that no worker takes all of it; return the ids of those that answered with one."""

        def ask(_):
            with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
                connection.request("GET", "/", headers=headers)
                return connection.getresponse().read()

        with ThreadPoolExecutor(8) as pool:
            return {int(text) for text in pool.map(ask, range(times)) if text.isdigit()}

    def visit_several(self):
        """Return the ids of the workers that answered, of which there are two at least."""
        pids = set()
        redis_servers.wait_until(lambda: len(pids.update(self.visit()) or pids) > 1, "two workers have answered")
        return pids

    def check(self, *args):
        command = [sys.executable, "-m", "flask", "--app", "shop", "idlesession", "check", *args]
        return subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)

    def codes(self, *args):
        done = self.check("--json", *args)
        assert "Traceback" not in done.stderr, done.stderr
        return {finding["code"]: finding["what"] for finding in json.loads(done.stdout)}


class Server(servers.Server):
    def __init__(self, *args, environ, **options):
        super().__init__(*args, **options)
        self.environ = environ

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        redis_servers.wait_until(self._listens, "gunicorn listens")


@pytest.fixture(params=["sqlite", "redis", "postgresql"])
def sound_store(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/db/sessions.db"
    elif request.param == "redis":
        with redis_servers.one_server(redis_servers.redis_program(), "--appendonly", "yes") as server:
            yield server.url
    else:
        yield request.getfixturevalue("postgresql").url


def nothing(store):
    """Return what is printed where all is well; the user of a server is not shown."""
    shown = re.sub("//.*@", "//***@", store)
    return f"Store: {shown}\nErrors: 0. Warnings: 0.\n"


def test_nothing_is_said_of_four_sound_workers(sound_store, tmp_path):
    site = Deployed(tmp_path, sound_store)
    with site.serve("-w", "4"):
        site.visit()
        done = site.check("--deploy")
    assert (done.returncode, done.stdout) == (0, nothing(sound_store)), done.stderr


def test_nothing_is_said_of_the_example_well_configured(sound_store, tmp_path):
    site = Deployed(tmp_path, sound_store)
    (tmp_path / "shop.py").write_text(EXAMPLE)
    site.environ["PYTHONPATH"] = os.pathsep.join((os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])))
    with site.serve("-w", "4"):
        for _ in range(40):
            with closing(HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
                connection.request("GET", "/")
                assert connection.getresponse().status == 302
        done = site.check("--deploy")
    assert (done.returncode, done.stdout) == (0, nothing(sound_store)), done.stderr


EXAMPLE = """
import os
from example_app import create_app

app = create_app(
    {
        "SECRET_KEY": os.environ["TEST_KEY"],
        "IDLESESSION_STORE": os.environ["TEST_STORE"],
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_NAME": "__Host-session",
        "IDLESESSION_SILENCED_CHECKS": ["ISW110"],
    }
)
"""


def test_four_workers_with_memory_are_found(tmp_path):
    site = Deployed(tmp_path, "memory://")
    with site.serve("-w", "4"):
        pids = site.visit_several()
        found = site.codes()
    assert set(found) == {"ISE102"}
    assert all(str(pid) in found["ISE102"] for pid in pids)


def test_four_workers_with_one_journal_are_found(tmp_path):
    site = Deployed(tmp_path, "memory://")
    journal = 'app.config["IDLESESSION_JOURNAL"] = "sessions.journal"'
    (tmp_path / "shop.py").write_text(APP.replace("\nIdleSession(app)", f"\n{journal}\nIdleSession(app)"))
    with site.serve("-w", "4"):
        redis_servers.wait_until(lambda: site.visit() and site.codes(), "several workers have been asked")
        assert set(site.codes()) == {"ISE102"}


def test_a_key_that_each_start_makes_anew_is_found(tmp_path, sqlite):
    site = Deployed(tmp_path, sqlite, key="")
    with site.serve("-w", "1"):
        site.visit(times=1)
        assert "another secret key" in site.codes()["ISE103"]
    site.port = redis_servers.free_port()
    with site.serve("-w", "2"):
        site.visit_several()
        assert "different secret keys" in site.codes()["ISE103"]


def test_a_proxy_whose_header_nothing_reads_is_found(tmp_path, sqlite):
    site = Deployed(tmp_path, sqlite)
    with site.serve():
        pid = site.visit(times=1).pop()
        assert site.codes() == {}
        site.visit(times=2, **{"X-Forwarded-For": "203.0.113.7"})
        found = site.codes()
    assert set(found) == {"ISW117"} and str(pid) in found["ISW117"]
    (tmp_path / "shop.py").write_text(APP + PROXY_FIX)
    site.port = redis_servers.free_port()
    with site.serve():
        site.visit(times=2, **{"X-Forwarded-For": "203.0.113.7"})
        assert site.codes() == {}


PROXY_FIX = """
from werkzeug.middleware.proxy_fix import ProxyFix
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)
"""


@pytest.mark.parametrize(("options", "codes"), [("{'processes': b'2'}", {"ISW116"}), ("{'threads': b'2'}", set())])
def test_uwsgi_without_threads_is_found(tmp_path, sqlite, options, codes):
    site = Deployed(tmp_path, sqlite)
    (tmp_path / "uwsgi.py").write_text(f"opt = {options}\n")  # uWSGI gives its applications this module.
    (tmp_path / "shop.py").write_text("import uwsgi\n" + APP)
    with site.serve():
        site.visit(times=1)
        assert set(site.codes()) == codes


@pytest.mark.parametrize(("options", "codes"), [((), {"ISW116"}), (("--enable-threads",), set())])
def test_a_real_uwsgi_without_threads_is_found(tmp_path, sqlite, options, codes):
    need_packages("pyuwsgi")
    site = Deployed(tmp_path, sqlite)
    with site.serve_by_uwsgi("--master", "--processes", "2", *options):
        pids = site.visit()
        found = site.codes()
    assert set(found) == codes
    assert all(str(pid) in found["ISW116"] for pid in pids if codes)


def test_a_wrong_setting_is_a_finding_and_no_traceback(tmp_path, sqlite):
    site = Deployed(tmp_path, sqlite)
    site.environ["TEST_WRONG"] = "1"
    done = site.check()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        done.stdout.startswith("error ISE101: IDLESESSION_IDLE_TIMEOUT is -5") and "errors.html#ise101" in done.stdout
    )
    assert set(json.loads(site.check("--json").stdout)[0]) == {"code", "level", "what", "why", "mend", "docs"}


def test_the_command_says_what_it_could_not_see(tmp_path, sqlite):
    done = Deployed(tmp_path, sqlite).check()
    assert done.returncode == 0 and "not seen: No process that serves the application was found" in done.stdout
    with redis_servers.a_server_with_users(redis_servers.redis_program(), "~*", "+@all", "-config", "-info") as guarded:
        done = Deployed(folder_in(tmp_path), guarded.url).check()
    assert "not seen: The server does not tell how it is set up" in done.stdout


def folder_in(folder):
    (folder / "other").mkdir()
    return folder / "other"


def test_a_user_of_redis_who_lacks_a_command_is_found():
    rules = ("~*", "+@all", "-evalsha")
    with redis_servers.a_server_with_users(redis_servers.redis_program(), *rules) as guarded:
        assert "ISE108" in look(IDLESESSION_STORE=guarded.url)[0]


def test_a_role_of_postgresql_that_may_not_write_is_found(postgresql):
    import psycopg

    look(IDLESESSION_STORE=postgresql.url)  # It makes the tables.
    with psycopg.connect(postgresql.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
    found, exit_code = look(IDLESESSION_STORE=postgresql.url.replace("idle@", "reader@"))
    assert set(found) == {"ISE108"} and exit_code == 1


def test_a_server_that_lets_in_everybody_from_outside_is_found(monkeypatch):
    with redis_servers.one_server(redis_servers.redis_program(), "--appendonly", "yes") as server:
        assert look(IDLESESSION_STORE=server.url)[0] == {}
        assert look(IDLESESSION_STORE=server.url.replace("127.0.0.1", "localhost"))[0] == {}
        monkeypatch.setattr("flask_idlesession.stores.redis.store._is_here", lambda host: False)
        assert set(look(IDLESESSION_STORE=server.url)[0]) == {"ISW114"}
        with closing(server.client()) as client:
            client.execute_command("ACL", "SETUSER", "idle", "on", ">word", "~*", "&*", "+@all")
        assert look(IDLESESSION_STORE=server.url.replace("//", "//idle:word@"))[0] == {}


class Older(socketserver.BaseRequestHandler):
    """Hands a connection on to a Redis server, and lets its answers tell an older version.

    No system that the tests run on has a Redis before 6.2, and no package brings one.
    """

    def handle(self):
        with socket.create_connection(("127.0.0.1", self.server.behind)) as server:
            while ready := select([self.request, server], [], [])[0]:
                for end in ready:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    other = self.request if end is server else server
                    other.sendall(re.sub(rb"(?<=redis_version:)\d[\d.]{4,}", self.older, data))

    @staticmethod
    def older(version):
        return b"6.0.16"[: len(version[0])].ljust(len(version[0]), b"6")  # The answer's length was told before.


def test_an_old_redis_is_found(redis_server):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Older) as relay:
        relay.behind, relay.daemon_threads = redis_server.port, True
        threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            url = f"redis://127.0.0.1:{relay.server_address[1]}/0"
            found = look("--deploy", IDLESESSION_STORE=url)[0]
        finally:
            relay.shutdown()
    assert "Redis 6.0." in found["ISW120"]["what"]
    assert "ISW120" not in look("--deploy", IDLESESSION_STORE=redis_server.url)[0]


def test_touches_that_wait_for_the_disk_are_found(mariadb):
    import pymysql

    with pymysql.connect(host="127.0.0.1", port=mariadb.port, user="idle", autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT @@innodb_flush_log_at_trx_commit")
        ((before,),) = cursor.fetchall()
        try:
            cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
            found, exit_code = look("--deploy", IDLESESSION_STORE=mariadb.url)
            assert set(found) == {"ISW121"} and found["ISW121"]["level"] == "warning" and exit_code == 0
            assert look(IDLESESSION_STORE=mariadb.url, IDLESESSION_TOUCH_INTERVAL=60)[0] == {}
            cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
            assert look(IDLESESSION_STORE=mariadb.url)[0] == {}
        finally:
            cursor.execute(f"SET GLOBAL innodb_flush_log_at_trx_commit = {before}")


def test_many_processes_that_store_each_activity_in_one_sqlite_file_are_found(monkeypatch, sqlite):
    peers = {pid: Peer("") for pid in range(1, 6)}
    monkeypatch.setattr(OtherProcesses, "living", lambda self: peers)
    found, _ = look(IDLESESSION_STORE=sqlite)
    assert set(found) == {"ISW121"} and "5 processes" in found["ISW121"]["what"]
    assert look(IDLESESSION_STORE=sqlite, IDLESESSION_TOUCH_INTERVAL=60)[0] == {}
    del peers[1]
    assert look(IDLESESSION_STORE=sqlite)[0] == {}


def test_pgbouncer_without_a_limit_for_statements_is_found(postgresql):
    import psycopg

    with servers.pgbouncer(postgresql) as pooler:
        assert look(IDLESESSION_STORE=postgresql.url)[0] == {}
        assert set(look(IDLESESSION_STORE=pooler.url)[0]) == {"ISW115"}
    with psycopg.connect(postgresql.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("ALTER ROLE idle SET statement_timeout = '2s'")
        try:
            with servers.pgbouncer(postgresql) as pooler:
                assert look(IDLESESSION_STORE=pooler.url)[0] == {}
        finally:
            connection.execute("ALTER ROLE idle RESET statement_timeout")


@pytest.mark.parametrize("kind", ["redis_server", "postgresql", "mariadb"])
def test_a_clock_that_differs_from_the_servers_is_found(kind, request):
    url, app = request.getfixturevalue(kind).url, Flask(__name__)
    IdleSession(app, clock=lambda: system_clock() + 90)
    app.config.update({**GOOD, "IDLESESSION_STORE": url, "IDLESESSION_SILENCED_CHECKS": ["ISW109"]})
    told = json.loads(app.test_cli_runner().invoke(cli, ["check", "--json"]).stdout)
    assert [finding["code"] for finding in told] == ["ISW111"] and re.search(r"(89|90|91)\.", told[0]["what"])


def test_a_remember_cookie_that_outlives_the_lifetime_is_found(sqlite):
    login = pytest.importorskip("flask_login")

    def codes(**config):
        app = Flask(__name__)
        IdleSession(app)
        app.config.update({**GOOD, "IDLESESSION_STORE": sqlite, **config})
        login.LoginManager(app)
        result = app.test_cli_runner().invoke(cli, ["check", "--json"])
        return [finding["code"] for finding in json.loads(result.stdout)]

    assert codes() == ["ISW118"]
    assert codes(REMEMBER_COOKIE_DURATION=timedelta(days=2)) == ["ISW118"]
    assert codes(REMEMBER_COOKIE_DURATION=timedelta(hours=24)) == []


def test_a_file_that_others_may_read_is_found_before_it_is_opened(sqlite, tmp_path):
    look(IDLESESSION_STORE=sqlite)
    (tmp_path / "sessions.db").chmod(0o640)
    found, exit_code = look(IDLESESSION_STORE=sqlite)
    assert set(found) == {"ISE107"} and exit_code == 1
    (tmp_path / "sessions.journal").touch()
    (tmp_path / "sessions.journal").chmod(0o604)
    assert "604" in look(IDLESESSION_JOURNAL=tmp_path / "sessions.journal")[0]["ISE107"]["what"]


def test_a_network_file_system_is_found(sqlite, monkeypatch):
    for module in ("operations.store_checks", "stores.sqlite.file"):
        monkeypatch.setattr(f"flask_idlesession.{module}.file_system_of", lambda folder: "nfs4")
    found, _ = look(IDLESESSION_STORE=sqlite)
    assert set(found) == {"ISE109"} and "nfs4" in found["ISE109"]["what"]


class Slow(MemoryStore):
    traits = Traits(chunked=True)

    def load(self, sid, *, now, touch=None):
        time.sleep(0.06)
        return super().load(sid, now=now, touch=touch)


def test_a_slow_store_is_found():
    assert "ISW112" in look(IDLESESSION_STORE=Slow())[0]


def test_a_poller_is_named_by_its_path_until_it_is_passive(sqlite):
    app, clock = Flask(__name__), FakeClock(now=time.time() - 300)
    app.config.update({**GOOD, "IDLESESSION_STORE": sqlite, "IDLESESSION_TALLIES": True, "TESTING": True})
    IdleSession(app, clock=clock)

    @app.get("/unread/<int:folder>")
    def unread(folder):
        session["n"] = session.get("n", 0) + 1
        return "0"

    clients = [app.test_client() for _ in range(5)]
    for _ in range(5):
        for client in clients:
            client.get("/unread/1", base_url="https://localhost")
        clock.advance(58)
    assert app.test_cli_runner().invoke(cli, ["check"]).exit_code == 0
    app.extensions["idlesession"].tallies.flush()
    result = app.test_cli_runner().invoke(cli, ["check", "--json"])
    (finding,) = json.loads(result.stdout)
    assert finding["code"] == "ISW122" and finding["level"] == "warning"
    assert finding["what"].startswith("/unread/<int:folder> comes every 58 s ± 0.1 s in 100% of the sessions")
    passive(unread)
    assert json.loads(app.test_cli_runner().invoke(cli, ["check", "--json"]).stdout) == []
