"""The commands by which the page on operating backs sessions up bring them back as they were."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import session
from support.documents import blocks_of
from support.documents import CHECKOUT
from support.programs import find_program
from support.redis_servers import one_server
from support.redis_servers import redis_program
from support.servers import postgresql

from flask_idlesession import IdleSession
from flask_idlesession.cli import cli

COMMANDS = [
    line.removeprefix("$ ")
    for block in blocks_of((CHECKOUT / "docs/operate.rst").read_text(encoding="utf-8"))
    if block.kind == "console"
    for line in block.code.splitlines()
]


def command(beginning: str, **names: object) -> str:
    """Return the page's command that begins so, with other names in the place of the page's."""
    (found,) = (line for line in COMMANDS if line.startswith(beginning))
    for shown, meant in names.items():
        found = found.replace(shown.strip("_"), str(meant))
    return found


def run(told: str, folder: Path, **environment: str) -> None:
    told = told.replace("python -c", f"{sys.executable} -c")
    done = subprocess.run(
        told, shell=True, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr


def make_app(url: str, folder: Path) -> Flask:
    app = Flask(__name__, instance_path=str(folder / "instance"))
    app.config.update(SECRET_KEY="7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", IDLESESSION_STORE=url, TESTING=True)
    IdleSession(app)

    @app.get("/add")
    def add() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    return app


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Flask]:
    app = make_app(url, folder)
    with closing(app.extensions["idlesession"].manager):
        yield app


def begin(url: str, folder: Path) -> str:
    """Begin a session; return its cookie."""
    with opened(url, folder) as app:
        client = app.test_client()
        client.get("/add")
        cookie = client.get_cookie("session")
        assert cookie is not None
        return cookie.value


def add(url: str, folder: Path, cookie: str) -> str:
    with opened(url, folder) as app:
        client = app.test_client()
        client.set_cookie("session", cookie)
        return client.get("/add").text


def test_the_copy_of_an_sqlite_file_is_whole(tmp_path: Path) -> None:
    cookie = begin("sqlite:///sessions.db", tmp_path)
    run(command("python -c"), tmp_path)
    for name in ("sessions.db", "sessions.db-wal", "sessions.db-shm"):
        (tmp_path / "instance" / name).unlink(missing_ok=True)
    (tmp_path / "copy.db").rename(tmp_path / "instance/sessions.db").chmod(0o600)
    assert add("sqlite:///sessions.db", tmp_path, cookie) == "2"


def test_the_copy_of_a_redis_server_is_whole(tmp_path: Path) -> None:
    find_program("redis-cli")
    with one_server(redis_program()) as server:
        cookie = begin(server.url, tmp_path)
        run(command("redis-cli", _6379=server.port), tmp_path)
        server.stop()
        shutil.copy(tmp_path / "copy.rdb", server.folder / "dump.rdb")
        server.start()
        assert add(server.url, tmp_path, cookie) == "2"


def test_the_copy_of_a_postgresql_table_is_whole_and_all_can_be_ended(tmp_path: Path) -> None:
    environment = {"PGHOST": "127.0.0.1", "PGUSER": "idle"}
    with postgresql() as server:
        programs = Path(find_program("pg_dump")).parent
        environment["PATH"] = f"{programs}:{os.environ['PATH']}"
        cookie = begin(server.url, tmp_path)
        run(command("pg_dump", _5432=server.port), tmp_path, **environment)
        assert add(server.url, tmp_path, cookie) == "2"
        run(command("pg_restore", _5432=server.port), tmp_path, **environment)
        assert add(server.url, tmp_path, cookie) == "2"
        with opened(server.url, tmp_path) as app:
            told = command("flask idlesession revoke --all").split()[2:]
            result: Any = app.test_cli_runner().invoke(cli, told)
            assert result.exit_code == 0, result.output
        time.sleep(0.01)
        assert add(server.url, tmp_path, cookie) == "1"


@pytest.mark.parametrize("told", [line for line in COMMANDS if line.startswith("flask idlesession")])
def test_each_command_is_one(told: str, tmp_path: Path) -> None:
    with opened("sqlite:///sessions.db", tmp_path) as app:
        result = app.test_cli_runner().invoke(cli, told.split()[2:])
        assert result.exit_code in (0, 1), result.output
