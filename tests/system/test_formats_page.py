"""The page on formats says what the bytes are: extension types, fields, tables, keys."""

import re
import sqlite3
from contextlib import closing
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import pytest
from flask import Flask
from flask import session
from markupsafe import Markup
from support.documents import CHECKOUT
from support.redis_servers import one_server
from support.redis_servers import redis_program

from flask_idlesession import Codec
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import Record
from flask_idlesession import SessionInfo

PAGE = (CHECKOUT / "docs/formats.rst").read_text(encoding="utf-8")

#: The payload of each extension type's example, as the page tells it.
PAYLOADS: list[tuple[int, Any, Any]] = [
    (1, (1, "a"), [1, "a"]),
    (2, {1, 2}, [1, 2]),
    (3, frozenset({1}), [1]),
    (4, UUID(int=7), UUID(int=7).bytes),
    (5, Decimal("1.50"), b"1.50"),
    (6, datetime(2026, 11, 28, 4, 45), None),
    (7, date(2026, 11, 28), b"2026-11-28"),
    (8, time(4, 45), None),
    (9, timedelta(days=1, seconds=2, microseconds=3), [1, 2, 3]),
    (10, Markup("<b>"), b"<b>"),
    (11, 2**70, (2**70).to_bytes(9, "big", signed=True)),
    (12, {1: "a"}, [1, "a"]),
    (13, "\ud800", b"\xed\xa0\x80"),
]


@pytest.mark.parametrize(("code", "value", "payload"), PAYLOADS, ids=lambda each: str(each)[:20])
def test_a_value_has_the_extension_type_and_the_payload_of_the_page(code: int, value: Any, payload: Any) -> None:
    found = msgpack.unpackb(Codec().encode(value), strict_map_key=False)
    assert found.code == code
    if isinstance(payload, bytes):
        assert found.data == payload
    elif payload is not None:
        assert msgpack.unpackb(found.data) == payload
    else:
        assert isinstance(msgpack.unpackb(found.data), list)


def test_the_page_has_every_extension_type() -> None:
    from flask_idlesession.model import codec

    numbers = {value for name, value in vars(codec).items() if re.fullmatch("_[A-Z_]+", name) and type(value) is int}
    numbers -= {codec._DEEPEST}
    assert {int(number) for number in re.findall(r"^(\d+) +\S", PAGE, re.MULTILINE)} == numbers
    assert numbers == {*(code for code, _, _ in PAYLOADS), codec._CUSTOM}


def test_the_page_has_every_field_of_a_record() -> None:
    fields = [*SessionInfo.__dataclass_fields__, *Record.__dataclass_fields__]
    assert not [name for name in fields if name != "info" and f"\n``{name}``" not in PAGE]


def make_app(store: str, folder: Path) -> Flask:
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(SECRET_KEY="7c0e5b0f0ff35dd8a1b0a6fd8f5a3a3f", TESTING=True, IDLESESSION_STORE=store)
    IdleSession(app)

    @app.get("/")
    def enter() -> str:
        session["cart"] = ["tea"]
        log_in("ada")
        return ""

    return app


def test_the_tables_are_those_of_the_page(tmp_path: Path) -> None:
    app = make_app("sqlite:///sessions.db", tmp_path)
    app.test_client().get("/")
    app.extensions["idlesession"].manager.close()
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"session", "ending"} <= tables
        assert "``session`` and ``ending``" in PAGE
        table = "session"
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        assert not [name for name in columns if f"``{name}``" not in PAGE]
        (data,) = connection.execute(f'SELECT data FROM "{table}"').fetchone()
        unpacker = msgpack.Unpacker()
        unpacker.feed(data[1:])
        assert "cart" in next(iter(unpacker))


def test_the_tables_of_sqlalchemy_are_those_of_the_page() -> None:
    from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore

    with closing(SQLAlchemyStore.from_url("sqlite://")) as store:
        made = set(re.findall(r"CREATE TABLE (\w+)", store.ddl()))
    assert set(re.findall(r"``(idlesession_\w+)``", PAGE)) <= made


def test_the_keys_in_redis_are_those_of_the_page(tmp_path: Path) -> None:
    import redis

    with one_server(redis_program()) as server:
        app = make_app(server.url, tmp_path)
        app.test_client().get("/")
        (info,) = app.extensions["idlesession"].manager.find()
        with redis.Redis.from_url(server.url) as client:
            keys = {key.decode() for key in client.scan_iter()}
            named = {
                name.replace("ID", str(info.sid)).replace("USER", "ada")
                for name in re.findall(r"^``(idlesession:\S+)``", PAGE, re.MULTILINE)
            }
            assert named <= keys
            assert set(client.hkeys(f"idlesession:session:{info.sid}")) == {b"cart", b"\xff", b"\xfe"}
        app.extensions["idlesession"].manager.close()
