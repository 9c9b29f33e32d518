"""Behind PgBouncer, which lends a server's connection for one transaction, each answer is about its own session."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from support.servers import pgbouncer

from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Outcome
from flask_idlesession.stores.contract import Touch
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import NOW


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
