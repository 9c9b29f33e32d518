"""An application with sessions on each kind of store, a frozen clock, and a way to run commands."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from flask_idlesession import IdleSession
from flask_idlesession.cli import cli
from flask_idlesession.model.ids import digest
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.testing import FakeClock

NOW = 1_800_000_000.0


#: The SQLite of the host that runs the tests is what it is.
SILENT = {"IDLESESSION_SILENCED_CHECKS": ["ISW110"]}


class Site:
    """An application and its commands."""

    def __init__(self, *, now: float = NOW, **config: Any) -> None:
        self.app = Flask(__name__)
        self.app.config.update({"SECRET_KEY": "8f1c0b1d9a7e4f22b6c3", "TESTING": True, **SILENT, **config})
        self.clock = FakeClock(now)
        IdleSession(self.app, clock=self.clock)
        self.manager = self.app.extensions["idlesession"].manager

    def run(self, *args: str, **options: Any) -> Any:
        return self.app.test_cli_runner().invoke(cli, list(args), prog_name="flask idlesession", **options)

    def json(self, *args: str) -> Any:
        result = self.run(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def put(self, number: int, user: str | None = None, *, idle: float = 0.0, values: Any = None, **labels: Any) -> str:
        """Keep a session with a known id, as if it had been begun an hour ago; return its id."""
        sid = UUID(int=number << 96 | 4 << 76 | 2 << 62)
        info = SessionInfo(
            sid=sid,
            user_id=user,
            created_at=self.clock() - 3600,
            last_seen_at=self.clock() - idle,
            idle_timeout=1800.0,
            lifetime_ends_at=self.clock() + 82800,
            labels=labels,
        )
        encoded = {key: self.manager.codec.encode(value) for key, value in (values or {}).items()}
        self.manager.store.create(Record(info=info, secret_digest=digest(b"s" * 32), values=encoded))
        return str(sid)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def site(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Site]:
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        client = server.client() if hasattr(server, "client") else None
        url = server.url
        if client is not None:
            client.flushall()
    else:
        url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.db"
    site = Site(IDLESESSION_STORE=url)
    with closing(site.manager):
        site.manager.revoke_all()
        yield site


@pytest.fixture(autouse=True)
def own_instance_folder(tmp_path, monkeypatch):
    """Let each test have notes of its own of what was carried."""
    (tmp_path / "instance").mkdir(mode=0o700)
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda self: str(tmp_path / "instance"))
