"""Behind PgBouncer, which lends a server's connection for one transaction, each answer is about its own session."""

import os
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from support.servers import pgbouncer

from flask_idlesession.model.errors import StoreUnavailable
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore
from flask_idlesession.stores.sqlalchemy.lines import Line
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import NOW

psycopg = pytest.importorskip("psycopg") if os.environ.get("CI") != "true" else __import__("psycopg")


@pytest.fixture
def workers(postgresql: Any) -> Iterator[list[SQLAlchemyStore]]:
    """Return the stores of two workers, by URL, on two connections of the server."""
    prefix = f"t{uuid4().hex[:8]}_"
    with pgbouncer(postgresql, default_pool_size=2, query_wait_timeout=10) as pooler:
        stores = [SQLAlchemyStore.from_url(pooler.url, timeout=5.0, table_prefix=prefix) for _ in range(2)]
        with closing(stores[0]), closing(stores[1]):
            yield stores


def test_workers_that_share_connections_read_write_and_end_their_own_sessions(workers: list[SQLAlchemyStore]) -> None:
    def live(number: int) -> None:
        store, record = workers[number % 2], a_record()
        sid = record.info.sid
        store.create(record)
        for turn in range(12):  # A driver prepares a statement at its sixth use.
            loaded = store.load(sid, now=NOW, touch=Touch(HOLDER))
            assert loaded is not None and loaded.info.sid == sid
            change = Change(holder=HOLDER, delta={"turn": b"%d" % turn})
            assert store.commit(sid, change, now=NOW) is Outcome.DONE
        assert store.delete(sid) is True
        assert store.load(sid, now=NOW) is None
        assert store.delete(sid) is False

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(live, range(24)))
    assert list(workers[0].find(now=NOW)) == []


def test_behind_a_pooler_nothing_is_prepared_by_name(workers: list[SQLAlchemyStore]) -> None:
    """The next client of a server's connection would run this one's statement by such a name."""
    record = a_record()
    workers[0].create(record)
    for _ in range(12):
        for store in workers:
            assert store.load(record.info.sid, now=NOW) is not None
    engine = workers[0]._connections.engine
    url = engine.url.render_as_string(hide_password=False).replace("postgresql+psycopg:", "postgresql:")
    with psycopg.connect(url, prepare_threshold=None) as one, psycopg.connect(url, prepare_threshold=None) as two:
        for connection in (one, two):  # Each in a transaction: so these are both of the server's connections.
            count = connection.execute("SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements)")
            assert [row[1] for row in count] == [0]


def test_an_answer_about_another_session_is_believed_by_no_verb(
    workers: list[SQLAlchemyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each statement is sent as if a pooler had given it to another client: with another session's id."""
    store, send = workers[0], Line._send
    record, other = a_record(), a_record()

    def crossed(self: Line, statement: Any, values: dict[str, Any], read: Any) -> Any:
        return send(self, statement, {**values, "sid_": other.info.sid} if "sid_" in values else values, read)

    sid = record.info.sid
    rotation = Rotation(secret_digest=b"n" * 32, user_id=None)
    acts: dict[str, Callable[[], object]] = {
        "load": lambda: store.load(sid, now=NOW),
        "touch": lambda: store.load(sid, now=NOW, touch=Touch(HOLDER)),
        "touch alone": lambda: store.commit(sid, Change(holder=HOLDER, last_seen_at=NOW), now=NOW),
        "write": lambda: store.commit(sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW),
        "rotate": lambda: store.commit(sid, Change(holder=HOLDER, rotation=rotation), now=NOW),
        "delete": lambda: store.delete(sid),
        "create": lambda: store.create(record),
    }
    for name, act in acts.items():
        monkeypatch.undo()
        for each in (record, other):
            store.delete(each.info.sid)
            if each is other or name != "create":
                store.create(each)
        if name == "create":
            store.delete(other.info.sid)
        monkeypatch.setattr(Line, "_send", crossed)
        with pytest.raises(StoreUnavailable, match="answered about another"):
            act()
