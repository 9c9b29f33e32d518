"""The SQLAlchemy store on PostgreSQL, MariaDB and an SQLite engine: the contract, races, and servers that fail."""

import gc
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from functools import partial
from math import inf
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.linearizability import check_store
from support.store_races import a_record
from support.store_races import add_up
from support.store_races import HOLDER
from support.store_races import in_processes
from support.store_races import in_threads
from support.store_races import NOW
from support.store_races import StoreRaces
from support.store_races import write_keys

from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.errors import RecordRejected
from flask_idlesession.model.errors import SessionExists
from flask_idlesession.model.errors import StoreError
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Ending
from flask_idlesession.model.record import EndReason
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Rotation
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.contract import Touch
from flask_idlesession.testing.store_contract import delete_all
from flask_idlesession.testing.store_contract import StoreContract

sqlalchemy = pytest.importorskip("sqlalchemy") if os.environ.get("CI") != "true" else __import__("sqlalchemy")

from support import servers  # noqa: E402

from flask_idlesession.stores import columns as row  # noqa: E402
from flask_idlesession.stores.sqlalchemy import SQLAlchemyStore  # noqa: E402
from flask_idlesession.stores.sqlalchemy.commits import Commits  # noqa: E402
from flask_idlesession.stores.sqlalchemy.lines import Line  # noqa: E402


# SQLite by SQLAlchemy is slow, and has a store of its own: a plain run leaves it out.
@pytest.fixture(params=["postgresql", "mariadb", pytest.param("sqlite", marks=pytest.mark.soak)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/engine.db"
    server: servers.Server = request.getfixturevalue(request.param)
    return server.url


@pytest.fixture
def server(request: pytest.FixtureRequest) -> servers.Server:
    server: servers.Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def store(url: str) -> Iterator[SQLAlchemyStore]:
    with fresh_store(url) as store:
        yield store


@contextmanager
def fresh_store(url: str) -> Iterator[SQLAlchemyStore]:
    """Lend a store whose tables are empty."""
    with closing(open_store(url)) as store:
        empty(store)
        yield store


def empty(store: SQLAlchemyStore) -> None:
    store.next_expiry()
    store.tally_totals()
    with store._connections.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM idlesession_session")
        connection.exec_driver_sql("DELETE FROM idlesession_ending")
        connection.exec_driver_sql("DELETE FROM idlesession_tally")


def open_store(url: str) -> SQLAlchemyStore:
    return SQLAlchemyStore.from_url(url, timeout=20)


def is_mariadb(store: SQLAlchemyStore) -> bool:
    return store._connections.engine.dialect.name == "mariadb"


def sent_by(act: Callable[[], object]) -> list[str]:
    """Return the first words of the statements that ``act`` sends."""
    sent: list[str] = []
    send, say = Line._send, Line.say

    def note_statement(line: Line, statement: Any, *rest: Any) -> Any:
        sent.append(statement.text.split()[0])
        return send(line, statement, *rest)

    def note_text(line: Line, text: str) -> None:
        sent.append(text.split()[0])
        say(line, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Line, "_send", note_statement)
        patch.setattr(Line, "say", note_text)
        act()
    return sent


servers_only = pytest.mark.parametrize("server", ["postgresql", "mariadb"], indirect=True)


@pytest.fixture(scope="module")
def engine_of() -> Iterator[Callable[[str], sqlalchemy.Engine]]:
    """Lend an engine for each URL: to connect, and to compile each statement anew, takes longer than most tests."""
    with ExitStack() as stores:
        yield cache(lambda url: stores.enter_context(closing(open_store(url)))._connections.engine)


class TestContract(StoreContract):
    rounds = 3

    @pytest.fixture
    def make_store(self, url: str, engine_of: Callable[[str], sqlalchemy.Engine]) -> Callable[[], Store]:
        def make() -> Store:
            store = SQLAlchemyStore(engine_of(url), timeout=20)
            empty(store)
            return store

        return make

    @pytest.fixture
    def store(self, make_store: Callable[[], Store]) -> Store:
        return make_store()


class TestRaces(StoreRaces):
    opener = open_store
    rounds = 100
    writes = 8
    additions = 8

    @pytest.fixture
    def spec(self, url: str) -> str:
        return url

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        with fresh_store(url) as store:
            yield store

    def test_processes_may_start_at_the_same_time(self, url: str) -> None:
        for attempt in range(2):
            assert in_processes(None, url, [(_start, (f"start{attempt}_",))] * 8) == [True] * 8
            with closing(open_store(url)) as store, store._connections.engine.begin() as connection:
                assert connection.exec_driver_sql(f"SELECT count(*) FROM start{attempt}_session").scalar() == 8
                connection.exec_driver_sql(f"DROP TABLE start{attempt}_session")
                connection.exec_driver_sql(f"DROP TABLE start{attempt}_ending")


@pytest.mark.soak
class TestManyRaces(TestRaces):
    rounds, writes, additions = 1000, 50, 50


def _start(url: str, number: int, prefix: str) -> bool:
    store, record = SQLAlchemyStore.from_url(url, timeout=10, table_prefix=prefix), a_record()
    store.create(record)
    kept = store.load(record.info.sid, now=NOW) == record
    store.close()
    return kept


class TestAtomicSteps:
    @pytest.mark.parametrize(("threads", "processes"), [pytest.param(4, 0, marks=pytest.mark.soak), (1, 2)])
    def test_every_call_is_one_atomic_step(self, url: str, threads: int, processes: int) -> None:
        with fresh_store(url):
            pass
        seed = os.environ.get("LINEARIZABILITY_SEED", os.urandom(4).hex())
        check_store(partial(open_store, url), histories=30, threads=threads, processes=processes, seed=seed)


class TestColumns:
    def test_every_instant_and_byte_comes_back_as_it_went_in(self, store: SQLAlchemyStore) -> None:
        record = a_record(
            user_id="Ünï\\'\"%s;-- ",
            created_at=1_700_000_000.1234567,
            last_seen_at=NOW + 1 / 3,
            idle_timeout=0.1 + 0.2,
            lifetime_ends_at=inf,
            refresh_by=NOW + 1e-6 * 7e12,
        )
        store.create(record)
        data = bytes(range(256)) * 400
        store.commit(record.info.sid, Change(holder=HOLDER, delta={"all bytes \\ ' % :x": data}), now=NOW)
        found = store.load(record.info.sid, now=NOW)
        assert found is not None
        assert found.info == record.info
        assert found.values == {"kept": b"k", "all bytes \\ ' % :x": data}
        assert list(store.find(now=NOW, user_id=record.info.user_id)) == [record.info]

    def test_users_whose_ids_differ_in_case_accents_or_spaces_are_not_one(self, store: SQLAlchemyStore) -> None:
        names = ["bob", "Bob", "bob ", "böb", "b\u0308ob", "bob\t", "ｂob"]
        for name in names:
            store.create(a_record(user_id=name))
        for name in names:
            assert [info.user_id for info in store.find(now=NOW, user_id=name)] == [name]
        assert delete_all(store, "Bob") == 1
        assert {info.user_id for info in store.find(now=NOW)} == {*names} - {"Bob"}

    def test_a_user_id_too_long_for_an_index_is_refused_and_never_cut(self, store: SQLAlchemyStore) -> None:
        store.create(a_record(user_id="ü" * 512))
        with pytest.raises(RecordRejected, match="more than 1024 bytes"):
            store.create(a_record(user_id="ü" * 513))
        anonymous = a_record()
        store.create(anonymous)
        log_in = Rotation(secret_digest=b"n" * 32, user_id="ü" * 513)
        with pytest.raises(RecordRejected):
            store.commit(anonymous.info.sid, Change(holder=HOLDER, rotation=log_in), now=NOW)
        assert store.load(anonymous.info.sid, now=NOW) == anonymous

    def test_an_error_shows_no_value_that_was_sent(self, store: SQLAlchemyStore) -> None:
        record = a_record(user_id="anna")
        bare = SQLAlchemyStore(store._connections.engine, table_prefix="none_", create_table=False)
        with pytest.raises(StoreError) as caught:
            bare.create(record)
        shown = "".join(traceback.format_exception(caught.value))
        assert "anna" not in shown and "hhhhhhhh" not in shown

    def test_a_session_that_never_ends_is_never_due(self, store: SQLAlchemyStore) -> None:
        store.create(a_record(idle_timeout=inf, lifetime_ends_at=inf))
        assert store.next_expiry() is None
        assert store.prune(now=1e12, limit=9) == []

    def test_the_ddl_is_printed_without_a_server_and_makes_the_tables(self, url: str) -> None:
        store = SQLAlchemyStore.from_url(url, table_prefix="printed_")
        statements = [each for each in store.ddl().split(";") if each.strip()]
        assert len(statements) == (7 if store._connections.engine.dialect.name == "postgresql" else 6)
        with store._connections.engine.connect() as connection:
            for each in statements:
                connection.exec_driver_sql(each)
        given = SQLAlchemyStore(store._connections.engine, table_prefix="printed_", create_table=False)
        record = a_record(user_id="anna")
        given.create(record)
        assert given.load(record.info.sid, now=NOW) == record
        ending = an_ending()
        given.bury([ending], until=NOW + 60)
        assert given.ending(ending.sid, now=NOW) == ending
        store.metadata.drop_all(store._connections.engine)
        store.close()

    def test_postgresql_leaves_room_in_its_pages_for_touched_rows(self, store: SQLAlchemyStore) -> None:
        if store._connections.engine.dialect.name != "postgresql":
            pytest.skip("Only PostgreSQL has a fill factor.")
        store.create(a_record())
        with store._connections.engine.connect() as connection:
            options = connection.exec_driver_sql(
                f"SELECT reloptions FROM pg_class WHERE relname = '{store._sessions.name}'"
            )
            assert options.scalar() == ["fillfactor=80"]

    def test_without_leave_to_create_it_a_missing_table_is_a_store_error(self, url: str) -> None:
        store = SQLAlchemyStore(sqlalchemy.create_engine(url), table_prefix="none_", create_table=False)
        with pytest.raises(StoreError):
            store.load(a_record().info.sid, now=NOW)
        store.close()

    def test_one_that_is_closed_in_the_middle_of_a_call_closes_the_connection_after_it(self, url: str) -> None:
        store, closed = SQLAlchemyStore.from_url(url), []
        sqlalchemy.event.listen(store._connections.engine, "close", lambda connection, record: closed.append(1))
        store._connections.ask(lambda line: store.close())
        assert len(closed) == 1

    def test_one_that_is_closed_while_it_makes_its_tables_closes_the_connection_after_that(self, url: str) -> None:
        store, closed = SQLAlchemyStore.from_url(url), []
        sqlalchemy.event.listen(store._connections.engine, "close", lambda connection, record: closed.append(1))
        store._connections.open(lambda connection: store.close())
        assert len(closed) == 1

    def test_one_that_is_used_after_it_was_closed_keeps_no_connection(self, url: str) -> None:
        store, opened, closed = SQLAlchemyStore.from_url(url), [], []
        sqlalchemy.event.listen(store._connections.engine, "connect", lambda connection, record: opened.append(1))
        sqlalchemy.event.listen(store._connections.engine, "close", lambda connection, record: closed.append(1))
        store.close()
        list(store.find(now=NOW))
        assert opened and len(opened) == len(closed)

    def test_one_that_is_dropped_closes_the_connections_that_it_opened(self, url: str) -> None:
        store, closed = SQLAlchemyStore.from_url(url), []
        sqlalchemy.event.listen(
            store._connections.engine, "close", lambda connection, record: closed.append(connection)
        )
        list(store.find(now=NOW))
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            del store
            gc.collect()
        assert closed and not warned

    def test_two_prefixes_are_two_stores(self, store: SQLAlchemyStore) -> None:
        other, record = SQLAlchemyStore(store._connections.engine, table_prefix="other_"), a_record()
        store.create(record)
        assert other.load(record.info.sid, now=NOW) is None
        other.metadata.drop_all(store._connections.engine)

    def test_another_kind_of_server_is_refused(self) -> None:
        class Engine:
            class dialect:
                name = "oracle"

        with pytest.raises(ConfigError, match="this engine is for oracle"):
            SQLAlchemyStore(Engine())  # type: ignore[arg-type]

    def test_no_password_is_shown(self) -> None:
        pytest.importorskip("psycopg")
        shown = repr(SQLAlchemyStore.from_url("postgresql+psycopg://me:hidden@127.0.0.1/x"))
        assert "hidden" not in shown and "127.0.0.1" in shown


class TestStatements:
    @pytest.fixture(autouse=True)
    def note_no_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count no note of the time, which is written once a minute."""
        monkeypatch.setattr("flask_idlesession.stores.clock_witness.ClockWitness.note", lambda self, now: None)

    def test_a_look_that_touches_is_one_statement_and_two_where_an_update_returns_nothing(
        self, store: SQLAlchemyStore
    ) -> None:
        record = a_record(user_id="anna")
        store.create(record)
        sent = sent_by(lambda: store.load(record.info.sid, now=NOW + 1, touch=Touch(HOLDER, None)))
        assert sent == (["SELECT", "UPDATE"] if is_mariadb(store) else ["UPDATE"])
        assert sent_by(lambda: store.load(record.info.sid, now=NOW)) == ["SELECT"]

    def test_what_ends_begins_or_lists_sessions_is_one_statement(self, store: SQLAlchemyStore) -> None:
        record = a_record(user_id="anna")
        sid = record.info.sid
        assert sent_by(lambda: store.create(record)) == ["INSERT"]
        assert sent_by(lambda: list(store.find(now=NOW, user_id="anna"))) == ["SELECT"]
        assert sent_by(lambda: store.ending(sid, now=NOW)) == ["SELECT"]
        assert len(sent_by(lambda: store.next_expiry())) == 1
        assert sent_by(lambda: store.delete(sid)) == ["DELETE"]

    def test_a_touch_is_one_statement(self, store: SQLAlchemyStore) -> None:
        record = a_record()
        store.create(record)
        touch = Change(holder=HOLDER, last_seen_at=NOW + 1, refresh_by=NOW + 9)
        assert sent_by(lambda: store.commit(record.info.sid, touch, now=NOW + 1)) == ["UPDATE"]
        assert store.next_expiry() == NOW + 9

    def test_a_write_is_one_statement_whoever_wrote_before(self, store: SQLAlchemyStore, url: str) -> None:
        record = a_record()
        sid = record.info.sid
        store.create(record)
        with closing(open_store(url)) as other:
            other.next_expiry()
            for number, writer in enumerate([store, store, other, store, other, other]):
                change = Change(holder=HOLDER, delta={f"{number}": b"%d" % number}, last_seen_at=NOW + number)
                assert sent_by(lambda: writer.commit(sid, change, now=NOW + number)) == ["UPDATE"]  # noqa: B023
            left = other.load(sid, now=NOW)
        assert left is not None and left.values == {"kept": b"k"} | {f"{n}": b"%d" % n for n in range(6)}

    @pytest.mark.parametrize(
        "change",
        [
            Change(holder=HOLDER, labels={"address": "192.0.2.1"}),
            Change(holder=HOLDER, delta={"a": b"1"}, expect={"kept": b"k"}),
            Change(holder=HOLDER, rotation=Rotation(secret_digest=b"n" * 32, user_id="anna")),
            Change(holder=HOLDER, idle_timeout=5.0),
        ],
        ids=["labels", "expect", "log-in", "idle timeout"],
    )
    def test_any_change_after_a_look_is_one_statement_and_two_without(
        self, store: SQLAlchemyStore, url: str, change: Change
    ) -> None:
        seen, unseen = a_record(), a_record()
        with closing(open_store(url)) as other:
            other.create(seen)
            other.create(unseen)
        store.load(seen.info.sid, now=NOW + 1, touch=Touch(HOLDER, None))
        assert sent_by(lambda: store.commit(seen.info.sid, change, now=NOW)) == ["UPDATE"]
        expected = ["UPDATE"] if change.idle_timeout is not None else ["SELECT", "UPDATE"]
        assert sent_by(lambda: store.commit(unseen.info.sid, change, now=NOW)) == expected
        assert store.load(seen.info.sid, now=NOW + 1) is not None

    def test_many_sessions_end_and_expire_in_few_statements(
        self, store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "flask_idlesession.stores.columns.is_time_to_trim", lambda number: False
        )  # It is not time to trim.
        records = [a_record() for _ in range(300)]
        for record in records:
            store.create(record)
        half = [record.info.sid for record in records[:150]]
        assert len(sent_by(lambda: store.delete_many(half))) <= 5
        endings = [an_ending() for _ in range(256)]
        assert len(sent_by(lambda: store.bury(endings, until=NOW + 60))) <= 9
        # How they ended is noted with it, and some endings are forgotten.
        assert len(sent_by(lambda: store.prune(now=NOW + 999, limit=256))) <= 10
        assert list(store.find(now=NOW)) == []

    def test_a_commit_that_others_overtake_takes_a_lock_in_the_end(
        self, store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = a_record()
        store.create(record)
        change_row = Commits._change

        def overtake(commits: Commits, values: dict[str, Any]) -> bool:
            with store._connections.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE idlesession_session SET version = version + 1")
            return change_row(commits, values)

        monkeypatch.setattr(Commits, "_change", overtake)
        change = Change(holder=HOLDER, delta={"a": b"1"}, expect={"a": None})
        outcomes: list[Outcome] = []
        sent = sent_by(lambda: outcomes.append(store.commit(record.info.sid, change, now=NOW)))
        assert outcomes == [Outcome.DONE]
        assert sent[-1] == "COMMIT" and any(word in ("BEGIN", "START") for word in sent)
        left = store.load(record.info.sid, now=NOW)
        assert left is not None and left.values == {"kept": b"k", "a": b"1"}

    def test_a_touch_and_a_refresh_that_come_between_are_not_undone(
        self, store: SQLAlchemyStore, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = a_record(refresh_by=NOW + 1000)
        store.create(record)
        change_row, later = Commits._change, Change(holder=HOLDER, last_seen_at=NOW + 50, refresh_by=NOW + 2000)
        with closing(open_store(url)) as other:

            def come_between(commits: Commits, values: dict[str, Any]) -> bool:
                assert other.commit(record.info.sid, later, now=NOW + 50) is Outcome.DONE
                return change_row(commits, values)

            monkeypatch.setattr(Commits, "_change", come_between)
            change = Change(holder=HOLDER, last_seen_at=NOW + 1, labels={"a": "1"})
            assert store.commit(record.info.sid, change, now=NOW + 1) is Outcome.DONE
        left = store.load(record.info.sid, now=NOW)
        assert left is not None and left.info.labels == {"a": "1"}
        assert (left.info.last_seen_at, left.info.refresh_by) == (NOW + 50, NOW + 2000)

    def test_what_a_thread_saw_last_is_never_written_over_what_is_there(self, store: SQLAlchemyStore, url: str) -> None:
        record = a_record()
        sid = record.info.sid
        with closing(open_store(url)) as other:
            for end in (other.delete, lambda sid: other.prune(now=NOW + 999, limit=9)):
                store.create(record)
                assert store.load(sid, now=NOW) == record
                end(sid)
                for change in (Change(holder=HOLDER, delta={"a": b"1"}), Change(holder=HOLDER, labels={"a": "1"})):
                    assert store.commit(sid, change, now=NOW) is Outcome.GONE
            store.create(record)
            store.load(sid, now=NOW)
            other.delete(sid)
            again = replace(record, values={"new": b"n"})
            other.create(again)
            assert store.commit(sid, Change(holder=HOLDER, delta={"a": b"1"}), now=NOW) is Outcome.DONE
            left = other.load(sid, now=NOW)
        assert left is not None and left.values == {"new": b"n", "a": b"1"}

    def test_large_values_that_meet_are_merged_and_not_put_behind_one_another(
        self, store: SQLAlchemyStore, url: str
    ) -> None:
        record = replace(a_record(), values={"big": b"b" * 100_000})
        sid = record.info.sid
        store.create(record)
        with closing(open_store(url)) as other:
            for number in range(6):
                writer, delta = (store, other)[number % 2], {f"{number % 3}": bytes([number]) * 40_000}
                assert writer.commit(sid, Change(holder=HOLDER, delta=delta), now=NOW) is Outcome.DONE
        with store._connections.engine.connect() as connection:
            size = connection.exec_driver_sql("SELECT length(data) FROM idlesession_session").scalar_one()
        assert size < 221_000
        left = store.load(sid, now=NOW)
        assert left is not None
        assert left.values == record.values | {f"{n % 3}": bytes([n]) * 40_000 for n in (3, 4, 5)}

    def test_small_deltas_are_put_behind_each_other_within_a_bound(self, store: SQLAlchemyStore, url: str) -> None:
        record = replace(a_record(), values={})
        store.create(record)
        sid = record.info.sid
        with closing(open_store(url)) as other:
            for number in range(40):
                change = Change(holder=HOLDER, delta={"n": bytes([number]) * 5000})
                assert (store, other)[number % 2].commit(sid, change, now=NOW) is Outcome.DONE
        with store._connections.engine.connect() as connection:
            size = connection.exec_driver_sql("SELECT length(data) FROM idlesession_session").scalar_one()
        assert size < 72_000
        left = store.load(sid, now=NOW)
        assert left is not None and left.values == {"n": bytes([39]) * 5000}

    @pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
    @servers_only
    def test_an_engine_of_the_application_s_own_serves_at_any_isolation(
        self, server: servers.Server, level: str
    ) -> None:
        with fresh_store(server.url):
            pass
        engine = sqlalchemy.create_engine(server.url, isolation_level=level, pool_size=4)
        store, record = SQLAlchemyStore(engine), a_record()
        store.create(record)
        sid = record.info.sid
        in_threads([lambda: add_up(store, 0, sid, 10)] * 4 + [lambda: write_keys(store, 1, sid, 10)])
        left = store.load(sid, now=NOW)
        assert left is not None and left.values["sum"] == b"40" and len(left.values) == 12
        assert len(store.prune(now=NOW + 999, limit=5)) == 1
        store.close()


class TestEndings:
    def test_those_whose_time_has_come_go_some_at_each_burial(
        self, store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row, "FORGOTTEN_AT_ONCE", 30)
        store.bury([an_ending() for _ in range(50)], until=NOW + 60)
        store.bury([an_ending(ended_at=NOW + 59.9)], until=NOW + 600)
        assert _endings(store) == 51
        for left in (22, 3, 4):
            store.bury([an_ending(ended_at=NOW + 60)], until=NOW + 600)
            assert _endings(store) == left

    def test_no_more_go_than_are_to_go_where_the_server_believes_that_there_is_one(
        self, postgresql: servers.Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row, "FORGOTTEN_AT_ONCE", 30)
        with fresh_store(f"{postgresql.url}?options=-c%20enable_hashjoin%3Doff") as store:
            store.bury([an_ending()], until=NOW + 60)
            with store._connections.engine.connect() as connection:
                connection.exec_driver_sql("VACUUM ANALYZE idlesession_ending")
            store.bury([an_ending() for _ in range(99)], until=NOW + 60)
            store.bury([an_ending(ended_at=NOW + 60)], until=NOW + 600)
            assert _endings(store) == 71

    def test_how_a_session_ended_that_is_pruned_is_noted_in_the_statement_or_transaction_that_forgets_it(
        self, store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = a_record()
        store.create(record)
        monkeypatch.setattr(store, "bury", None)
        assert [info.sid for info in store.prune(now=NOW + 61, limit=10)] == [record.info.sid]
        assert store.ending(record.info.sid, now=NOW + 61) == Ending(record.info.sid, EndReason.IDLE, NOW + 60)

    def test_of_a_flood_the_newest_are_remembered(
        self, store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row, "MOST_ENDINGS", 200)
        monkeypatch.setattr(row, "TRIMMED_EVERY", 1)
        for number in range(8):
            last = [an_ending(ended_at=NOW + number) for _ in range(200)]
            store.bury(last, until=NOW + number + 600)
        assert _endings(store) == 200
        assert [store.ending(ending.sid, now=NOW) for ending in last[::20]] == last[::20]

    def test_of_one_batch_the_last_word_on_a_session_stands(self, store: SQLAlchemyStore) -> None:
        first = an_ending()
        last = Ending(sid=first.sid, reason=EndReason.REVOKED, ended_at=NOW + 1, by="ü" * 2000)
        store.bury([first, last], until=NOW + 60)
        assert store.ending(first.sid, now=NOW) == last

    @pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
    def test_an_end_that_arrives_with_another_answer_of_the_server_is_heard(
        self, postgresql: servers.Server, driver: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip(driver)
        _, rest = postgresql.url.split("://", 1)
        with closing(open_store(f"postgresql+{driver}://{rest}")) as store:
            news = store.hear_ends()
            assert news is not None
            with closing(news):
                for number in range(3):
                    monkeypatch.setattr(news, "_asked_at", -inf)  # The next wait asks whether the server is there.
                    ending = an_ending(ended_at=NOW + number)
                    store.tell_ends([ending])
                    time.sleep(0.05)  # It is to be there before the question.
                    assert news.wait(0.0) == [ending]
                    assert news.wait(0.0) == []

    def test_threads_that_bury_the_same_sessions_at_once_all_succeed(
        self, store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(row, "MOST_ENDINGS", 50)
        monkeypatch.setattr(row, "TRIMMED_EVERY", 1)
        endings = [an_ending() for _ in range(100)]

        def bury(number: int) -> None:
            for step in range(5):
                turned = endings[20 * number :] + endings[: 20 * number]
                store.bury(turned, until=NOW + 60 + step)

        in_threads([lambda number=number: bury(number) for number in range(4)])
        store.bury([an_ending()], until=NOW + 100)
        assert _endings(store) <= 50


class TestFork:
    def test_a_child_opens_connections_of_its_own_and_leaves_its_parent_s_alone(self, store: SQLAlchemyStore) -> None:
        record = a_record()
        store.create(record)
        child = os.fork()
        if not child:
            status = 1
            try:
                signal.alarm(30)
                write_keys(store, 1, record.info.sid, 5)
                status = 0
            finally:
                os._exit(status)
        write_keys(store, 0, record.info.sid, 5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        left = store.load(record.info.sid, now=NOW)
        assert left is not None and len(left.values) == 11


@servers_only
class TestFailingServer:
    def test_a_restarted_server_is_met_without_an_error(self, server: servers.Server) -> None:
        with fresh_store(server.url) as store:
            record = a_record()
            store.create(record)
            server.stop(signal.SIGTERM if "mariadb" in server.url else signal.SIGINT)
            with pytest.raises(StoreError) as caught:
                store.load(record.info.sid, now=NOW)
            assert caught.value.__cause__ is not None
            server.start()
            _until_it_answers(store)
            assert store.load(record.info.sid, now=NOW) == record
            server.stop(signal.SIGTERM if "mariadb" in server.url else signal.SIGINT)
            server.start()
            with closing(open_store(server.url)) as other:
                _until_it_answers(other)
            # The connections of the pool are stale, which a first statement finds out and mends.
            touch = Change(holder=HOLDER, last_seen_at=NOW + 1)
            assert store.commit(record.info.sid, touch, now=NOW + 1) is Outcome.DONE

    @pytest.mark.parametrize("verb", ["create", "delta", "rotation", "delete"])
    def test_a_connection_that_was_lost_while_idle_is_mended(self, server: servers.Server, verb: str) -> None:
        with fresh_store(server.url) as store:
            record, other = a_record(), a_record()
            store.create(record)
            _kill_connections(store)
            rotation = Rotation(secret_digest=b"n" * 32, user_id=None)
            if verb == "create":
                store.create(other)
            elif verb == "delete":
                assert store.delete(record.info.sid)
            elif verb == "delta":
                change = Change(holder=HOLDER, delta={"a": b"1"})
                assert store.commit(record.info.sid, change, now=NOW) is Outcome.DONE
            else:
                assert store.commit(record.info.sid, Change(holder=HOLDER, rotation=rotation), now=NOW) is Outcome.DONE

    def test_an_id_that_is_taken_is_told_from_one_s_own(self, server: servers.Server) -> None:
        with fresh_store(server.url) as store:
            record = a_record()
            store.create(record)
            with pytest.raises(SessionExists):
                store.create(a_record(record.info.sid, user_id="anna"))

    def test_a_hanging_server_is_a_store_error_in_time_and_comes_back(self, server: servers.Server) -> None:
        with fresh_store(server.url) as calm:
            record = a_record()
            calm.create(record)
            store = SQLAlchemyStore.from_url(server.url, timeout=1.0)
            store.load(record.info.sid, now=NOW)
            _pause(server)
            began = time.monotonic()
            try:
                with pytest.raises(StoreError):
                    store.load(record.info.sid, now=NOW)
                took = time.monotonic() - began
            finally:
                _go_on(server)
            assert took < 4, "One second, and two for a new connection, which libpq never cuts shorter."
            _until_it_answers(store)
            assert store.load(record.info.sid, now=NOW) == record
            store.close()


def an_ending(*, ended_at: float = NOW) -> Ending:
    return Ending(sid=uuid4(), reason=EndReason.IDLE, ended_at=ended_at, user_id="ada")


def _endings(store: SQLAlchemyStore) -> int:
    with store._connections.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM idlesession_ending").scalar_one()


def _until_it_answers(store: SQLAlchemyStore) -> None:
    give_up_at = time.monotonic() + 20
    while True:
        try:
            store.next_expiry()
            return
        except StoreError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


def _kill_connections(store: SQLAlchemyStore) -> None:
    """Let the server end every connection but the one that asks for it."""
    other = sqlalchemy.create_engine(store._connections.engine.url, isolation_level="AUTOCOMMIT")
    with other.connect() as connection:
        if other.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND backend_type = 'client backend'"
            )
        else:
            ids = connection.exec_driver_sql(
                "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND command = 'Sleep'"
            )
            for (number,) in ids.all():
                connection.exec_driver_sql(f"KILL {number}")
    other.dispose()
    time.sleep(0.1)


def _pause(server: servers.Server) -> None:
    """Stop the server; return when each of its threads stands still, which on a busy machine takes a moment."""
    for pid in _family(server):
        os.kill(pid, signal.SIGSTOP)
    while not all(_stands_still(task) for pid in _family(server) for task in Path(f"/proc/{pid}/task").iterdir()):
        time.sleep(0.001)


def _stands_still(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):  # It has ended.
        return True


def _go_on(server: servers.Server) -> None:
    for pid in _family(server):
        os.kill(pid, signal.SIGCONT)


def _family(server: servers.Server) -> list[int]:
    """Return the ids of the server's process and its children, which are PostgreSQL's connections."""
    assert server.process is not None
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [server.process.pid, *map(int, children)]


@pytest.mark.parametrize("ahead", [300.0, 3600.0, 1e6])
def test_sessions_in_an_sqlite_engine_that_were_seen_while_the_clock_was_ahead_end_in_time_once_it_is_right(
    tmp_path: Path, ahead: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there is a server, its clock is the witness."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    future = a_record(created_at=NOW + ahead, last_seen_at=NOW + ahead, lifetime_ends_at=NOW + ahead + 900)
    touched, other = a_record(idle_timeout=1e7), a_record(idle_timeout=900.0)
    with closing(SQLAlchemyStore.from_url(url)) as before:
        for record in (touched, other, future):
            before.create(record)
        assert before.load(touched.info.sid, now=NOW + ahead, touch=Touch(HOLDER)) is not None
    with closing(SQLAlchemyStore.from_url(url)) as store:
        for record in (future, touched):
            loaded = store.load(record.info.sid, now=NOW + 10)
            rewound = replace(record.rewound(now=NOW + 10).info, last_seen_at=NOW + 10)
            assert loaded is not None and loaded.info == rewound
        assert store.load(future.info.sid, now=NOW + 10 + 60) is None
        unchanged = store.load(other.info.sid, now=NOW + 10)
        assert unchanged is not None and unchanged.info.last_seen_at == NOW
        due = store.next_expiry()
        assert due is not None and due <= NOW + 10 + 60
        assert [info.sid for info in store.prune(now=NOW + 100, limit=10)] == [future.info.sid]
    assert [f"ahead by {ahead - 10:.0f} s" in record.getMessage() for record in caplog.records] == [True]
