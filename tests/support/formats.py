"""Knows what the files in ``tests/fixtures/formats-*`` hold, and fills a store's server from one of them."""

import json
import shutil
from base64 import b64decode
from collections.abc import Callable
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from datetime import timezone
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from uuid import uuid4

import sqlalchemy
from markupsafe import Markup
from redis import Redis
from sqlalchemy.engine import make_url
from sqlalchemy.engine import URL

#: The instant at which the files were written, and at which they are opened.
NOW = 1_700_000_000.0

#: The settings of the application that wrote them, and of each that opens them.
SETTINGS = {
    "SECRET_KEY": "The tokens of the files were signed with this.",
    "PERMANENT_SESSION_LIFETIME": 7200,
}
ENCRYPTION = {"IDLESESSION_ENCRYPTION_KEYS": ["The values were encrypted with this, where they are."]}

#: What each session holds.
VALUES: dict[str, Any] = {
    "atoms": [None, True, -1, 2**63, -(2**200), 0.1, "Größe \U0001f375", b"\x00\xff", "\ud800"],
    "tuple": ("a", (1, [2, (3,)]), ()),
    "sets": [{1, 2, 3}, frozenset({4}), set()],
    "amount": Decimal("12.50"),
    "instants": [
        datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC),
        datetime(2023, 11, 15, 3, 43, 20, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2023, 10, 29, 2, 30, fold=1),
    ],
    "days": [date(2023, 11, 14), time(22, 13, 20, 5), timedelta(days=-1, microseconds=7)],
    "id": UUID("6f1c9a52-7b8e-4d0a-9c3f-2e5d7a1b4c60"),
    "markup": Markup("<b>&amp;</b>"),
    "cart": {"items": [{"count": 2, 7: "its key is an int", ("a", 1): "a tuple"}]},
}

#: What only some of them have.
LABELS = {"tenant": "acme", "seats": 3.5}
OWN_TIMEOUT = 5400.0
ENVIRON = {"REMOTE_ADDR": "192.0.2.77", "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0"}

#: The name of each store's file.
FILES = {
    "journal": "sessions.journal",
    "sqlite": "sessions.db",
    "redis": "redis.json",
    "postgresql": "postgresql.sql",
    "mariadb": "mariadb.sql",
}


def copy_file(file: Path, folder: Path) -> Path:
    """Return a copy, if there is such a file, that is readable by its owner alone, as stores leave theirs."""
    copy = folder / file.name
    if file.exists():
        shutil.copyfile(file, copy)
        copy.chmod(0o600)
    return copy


def fill_redis(client: Redis, file: Path) -> None:
    """Empty a database, and restore what a file says, if there is one."""
    client.flushdb()
    restore: dict[str, Callable[[bytes, Any], object]] = {
        "string": client.set,
        "hash": lambda name, pairs: client.hset(name, mapping=dict(pairs)),
        "set": lambda name, members: client.sadd(name, *members),
        "zset": lambda name, pairs: client.zadd(name, {member: float(score) for member, score in pairs}),
    }
    for key in json.loads(file.read_text()) if file.exists() else []:
        name = b64decode(key["name"])
        restore[key["type"]](name, _decoded(key["value"]))
        if key["milliseconds_left"] is not None:
            client.pexpire(name, key["milliseconds_left"])


def fill_database(url: str, file: Path) -> URL:
    """Make a database of its own on the server, and run the statements of a file, if there is one; return its URL."""
    own = make_url(url).set(database=f"formats_{uuid4().hex}")
    _execute(make_url(url), [f"CREATE DATABASE {own.database}"])
    if file.exists():
        _execute(own, file.read_text(encoding="utf-8").split(";\n"))
    return own


def _decoded(value: Any) -> Any:
    return [_decoded(each) for each in value] if isinstance(value, list) else b64decode(value)


def _execute(url: URL, statements: list[str]) -> None:
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        for statement in filter(str.strip, statements):
            connection.exec_driver_sql(statement)
