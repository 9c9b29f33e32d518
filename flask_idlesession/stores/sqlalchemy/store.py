"""Keeps records in a table of an SQL server: PostgreSQL, MariaDB or MySQL, or an SQLite engine, by SQLAlchemy."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from weakref import finalize

from sqlalchemy import Engine
from sqlalchemy import MetaData

from ...model.errors import ConfigError
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Ending
from ...model.record import Outcome
from ...model.record import Record
from ...model.record import SessionInfo
from ...process.forks import ForkAware
from ...process.forks import register
from ...process.forks import Stage
from .. import columns as row
from ..contract import Count
from ..contract import Touch
from ..contract import Traits
from .connections import Connections
from .counting import count
from .counting import stored_bytes
from .creating import create_tables
from .engines import make_engine
from .facts import facts_of
from .hearing import Hearing
from .kinds import BEGIN
from .parts import Parts
from .server_clock import has_server
from .server_clock import ServerClock
from .tables import make_endings
from .tables import make_sessions
from .tables import make_tallies
from .tables import print_ddl
from .tallies import Tallies


class SQLAlchemyStore(ForkAware):
    """The store of many hosts that share an SQL server, in the tables ``idlesession_session`` and ``…_ending``, and the
    tallies in ``…_tally``.

    Of ``engine`` the pool is used, each connection in autocommit mode and for no longer than one call. Nothing is
    sent before the first call, which creates the tables unless ``create_table`` is false; :meth:`ddl` prints them,
    and ``metadata`` is for Alembic. Statements are sent by the driver's own cursor, so SQLAlchemy's events of
    statements do not see them.

    With PostgreSQL a call that takes longer than ``timeout`` seconds is broken off; PyMySQL does that by itself.
    """

    def __init__(
        self, engine: Engine, *, table_prefix: str = "idlesession_", create_table: bool = True, timeout: float = 2.0
    ) -> None:
        if engine.dialect.name not in BEGIN:
            raise ConfigError(
                f"An SQLAlchemy store works on {', '.join(BEGIN)}; this engine is for {engine.dialect.name}. [ISE029]"
            )
        self.metadata = MetaData()
        self._sessions = make_sessions(self.metadata, table_prefix)
        self._ended = make_endings(self.metadata, table_prefix)
        self._tallied = make_tallies(self.metadata, table_prefix)
        self._connections = Connections(engine, timeout=timeout)
        self._creates = create_table
        self._channel = f"{table_prefix}ends"
        self._made: Parts | None = None
        self._has_tallies = not create_table
        register(self, stage=Stage.STORES)

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 1.0, table_prefix: str = "idlesession_") -> "SQLAlchemyStore":
        """Return a store with an engine of its own, set up to answer or fail within about ``timeout`` seconds."""
        engine = make_engine(url, timeout=timeout)
        store = cls(engine, table_prefix=table_prefix, timeout=timeout)
        store._connections.own()
        finalize(store, store._connections.close)  # Drivers warn of a connection that nobody closed.
        return store

    @property
    def traits(self) -> Traits:
        """Return what the store can do: PostgreSQL tells other processes how sessions ended."""
        has_clock = has_server(self._connections.engine.dialect)
        tells_ends = self._connections.can_hear
        return Traits(
            chunked=True,
            recalls=True,
            buries=True,
            has_clock=has_clock,
            has_facts=True,
            tells_ends=tells_ends,
            counts=True,
            keeps_tallies=True,
        )

    def __repr__(self) -> str:
        return f"<SQLAlchemyStore {self._connections.engine.url.render_as_string()}>"

    def ddl(self) -> str:
        """Return the statements that create the tables, for this engine's kind of server."""
        return print_ddl(self.metadata, self._connections.engine.dialect)

    def create(self, record: Record) -> None:
        """Keep a new record. Raise :exc:`~flask_idlesession.SessionExists` if its id is taken."""
        self._parts_at(record.info.last_seen_at).commits.create(record)

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return the record if it is live at ``now``, else None; with ``touch``, note activity in the same step.

        Raise :exc:`UnreadableRecord` if what the database holds is no record.
        """
        rows = self._parts_at(now).rows
        return rows.load(sid, now=now) if touch is None else rows.visit(sid, touch, now=now)

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change in one step, if the session is live and opens to the change's holder; return the outcome."""
        return self._parts_at(now).commits.commit(sid, change, now=now)

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""
        return self._parts().commits.delete(sid)

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        """Forget these sessions in one step; return the infos of those that were there."""
        return self._parts().lists.delete(sids)

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos of the sessions that are live at ``now``, in no order; with ``user_id``, only that user's."""
        lists = self._parts_at(now).lists
        for found in lists.all() if user_id is None else lists.of_user(user_id):
            info = row.to_info(found[0], found)
            if info.is_live(now):
                yield info

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired; return their infos, each once over all processes."""
        return self._parts_at(now).pruning.prune(now=now, limit=limit)

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do; None if there is nothing to wait for."""
        return self._parts().pruning.next_due()

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        self._parts().endings.bury(endings, until=until)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        return self._parts().endings.load(sid, now=now)

    def endings(self, sids: Sequence[SessionId], *, now: float) -> list[Ending]:
        """Return how these sessions ended, as far as that is remembered."""
        return self._parts().endings.load_some(sids, now=now)

    def tell_ends(self, endings: Sequence[Ending]) -> None:
        """Tell all processes that subscribed how these sessions ended."""
        self._parts().endings.tell(endings, channel=self._channel)

    def hear_ends(self) -> Hearing | None:
        """Return a subscription on a connection of its own; None behind a pooler, which lends one for a call alone."""
        return self._connections.hear(self._channel)

    def clock_skew(self, now: float) -> float:
        """Return by how many seconds ``now`` is ahead of the server's clock."""
        return ServerClock(self._connections).skew(now)

    def facts(self) -> dict[str, object]:
        """Return what :func:`facts_of` says of the server."""
        return self._connections.open(facts_of)

    def count(self) -> Count:
        """Return how many records there are. More than some tens of thousands are estimated."""
        self._parts()
        return self._connections.open(lambda connection: count(connection, self._sessions))

    def stored_bytes(self) -> int | None:
        """Return how many bytes the table of the sessions has with its indexes; of SQLite, the file."""
        self._parts()
        return self._connections.open(lambda connection: stored_bytes(connection, self._sessions))

    def add_tally(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Add these amounts to those of the minute and to the totals, in one step."""
        self._tallies().add(minute, amounts, now=now)

    def tallies(self, *, since: int) -> dict[int, dict[str, int]]:
        """Return the amounts of each minute from ``since`` on."""
        return self._tallies().since(since)

    def tally_totals(self) -> dict[str, int]:
        """Return the sums of all amounts."""
        return self._tallies().totals()

    def close(self) -> None:
        """Close the connections that are not in use, in this process. The next call opens one again."""
        self._connections.close()

    def after_fork_in_child(self) -> None:
        """Leave the parent's connections to the parent."""
        self._connections.leave_to_parent()

    def _parts(self) -> Parts:
        """Return what does the work, which knows the server: the first call connects, and creates the tables."""
        if self._made is None:
            if self._creates:
                create_tables(self.metadata, self._connections, needed=[self._sessions, self._ended])
            else:
                self._connections.open(lambda connection: None)
            self._made = Parts(self._connections, self._sessions, self._ended, self._tallied)
        return self._made

    def _parts_at(self, now: float) -> Parts:
        """Return what does the work of a call that says what time it is."""
        parts = self._parts()
        if parts.witness is not None and now >= parts.witness.due:
            parts.witness.note(now)
        return parts

    def _tallies(self) -> Tallies:
        """Return what keeps the tallies, in a table that is created when it is first needed."""
        tallies = self._parts().tallies
        if not self._has_tallies:
            create_tables(self.metadata, self._connections, needed=[self._tallied])
            self._has_tallies = True
        return tallies
