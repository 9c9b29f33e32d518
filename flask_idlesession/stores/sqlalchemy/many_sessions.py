"""The statements about many sessions: lists of them, and those that have expired."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from sqlalchemy import and_
from sqlalchemy import any_
from sqlalchemy import bindparam
from sqlalchemy import case
from sqlalchemy import ColumnElement
from sqlalchemy import CTE
from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import Integer
from sqlalchemy import literal_column
from sqlalchemy import null
from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy import Table
from sqlalchemy import update
from sqlalchemy.dialects import postgresql

from ...model.record import EndReason
from .. import columns as row
from .compiled import Statement
from .ended_sessions import EndedSessions
from .kinds import given
from .kinds import Kind
from .kinds import no_wait
from .kinds import numbered
from .tables import Instant
from .tables import Sid

#: How many sessions are listed in one step.
PAGE = 256


class ManySessions:
    """The statements about many sessions, for one kind of server. Each is compiled when it is first needed."""

    #: How many rows a statement names, where a server takes no list for one value: a text is made for each.
    SIZES = (1, 16, 256)

    def __init__(self, table: Table, kind: Kind, endings: EndedSessions) -> None:
        self._table = table
        self._endings = endings
        self._kind = kind
        self._info = [table.c[name] for name in row.INFO]
        self._made: dict[tuple[str, int], Statement] = {}

    @cached_property
    def delete_list(self) -> Statement:
        """PostgreSQL: deletes the sessions of a list, always in one order, and answers with what they were."""
        table = self._table
        listed = any_(bindparam("sids_", type_=postgresql.ARRAY(Sid())))
        locked = select(table.c.sid).where(table.c.sid == listed).order_by(table.c.sid).with_for_update()
        deleted = delete(table).where(table.c.sid.in_(locked)).returning(*self._info)
        return self._kind.made(deleted, answers=self._info)

    def lock(self, size: int) -> Statement:
        """Answers with these sessions, which nobody else changes until the transaction ends."""
        found = select(*self._info).where(self._is_one_of(size)).order_by(self._table.c.sid)
        return self._once("lock", size, lambda: self._kind.made(self._kind.locking(found), answers=self._info))

    def delete(self, size: int) -> Statement:
        """Deletes these sessions."""
        return self._once("delete", size, lambda: self._kind.made(delete(self._table).where(self._is_one_of(size))))

    def refile(self, size: int) -> Statement:
        """Has these sessions looked at when they expire."""
        refiled = update(self._table).where(self._is_one_of(size)).values(due_at=self._ends_at())
        return self._once("refile", size, lambda: self._kind.made(refiled))

    @cached_property
    def seen_now(self) -> Statement:
        """Takes the sessions that were seen later than now for seen now, as :meth:`Record.rewound` does.

        It is for a database whose UPDATE reads a row as it was, which MariaDB's does not.
        """
        table, kind, now = self._table.c, self._kind, given("now", Instant())
        ends_at = table.lifetime_ends_at - kind.greatest(table.created_at - now, literal_column("0.0", Instant()))
        earlier = update(self._table).where(table.last_seen_at > now)
        return kind.made(
            earlier.values(
                last_seen_at=now,
                created_at=kind.least(table.created_at, now),
                former_ends_at=kind.least(table.former_ends_at, now),
                lifetime_ends_at=ends_at,
                due_at=kind.least(table.due_at, now + table.idle_timeout, ends_at, table.refresh_by),
                version=table.version + literal_column("1"),
            )
        )

    @cached_property
    def first_page(self) -> Statement:
        """Answers with the first sessions by their ids."""
        return self._kind.made(self._page(), answers=self._info)

    @cached_property
    def next_page(self) -> Statement:
        """Answers with the sessions behind this id."""
        return self._kind.made(self._page().where(self._table.c.sid > given("sid", Sid())), answers=self._info)

    @cached_property
    def of_user(self) -> Statement:
        """Answers with the sessions of one user."""
        user_id = self._table.c.user_id
        found = select(*self._info).where(user_id == given("user_id", user_id.type))
        return self._kind.made(found, answers=self._info)

    # Those that have expired.

    @cached_property
    def due(self) -> Statement:
        """Answers with an id if there is a session to be looked at."""
        sid = self._table.c.sid
        return self._kind.made(select(sid).where(self._is_due()).limit(literal_column("1")), answers=[sid])

    @cached_property
    def lock_due(self) -> Statement:
        """Answers with those to be looked at that nobody else looks at, the one that is due longest first."""
        table = self._table.c
        columns = [*self._info, table.due_at]
        found = select(*columns).where(self._is_due()).order_by(table.due_at).limit(given("look", Integer()))
        return self._kind.made(self._kind.locking_free(found), answers=columns)

    @cached_property
    def prune(self) -> Statement:
        """PostgreSQL: looks at some, deletes those that have expired, and files the others by when they will.

        It notes until ``until_`` how those ended that it deletes.

        It answers with the latest instant at which one of them was due, or NULL if there is none. Beside that it
        answers with each that is deleted. It does not wait for the disk.
        """
        table, now = self._table, given("now", Instant())
        looked = select(table.c.sid, table.c.due_at, self._ends_at().label("ends_at")).where(self._is_due())
        looked = looked.order_by(table.c.due_at).limit(given("look", Integer()))
        due = self._kind.locking_free(looked).cte("due")
        over = select(due.c.sid).where(due.c.ends_at <= now).order_by(due.c.due_at).limit(given("most", Integer()))
        gone = delete(table).where(table.c.sid.in_(over)).returning(*self._info, table.c.due_at).cte("gone")
        kept = update(table).where(table.c.sid == due.c.sid, due.c.ends_at > now).values(due_at=due.c.ends_at)
        reached = select(func.max(due.c.due_at, type_=Instant())).scalar_subquery().label("reached")
        hasty = no_wait()
        answers = [reached, *gone.c]
        found = select(*answers).select_from(hasty.outerjoin(gone, literal_column("true")))
        parts = kept.cte("kept"), self._endings.bury_found(self._endings_of(gone)).cte("buried")
        return self._kind.made(found.add_cte(*parts), answers=answers)

    @cached_property
    def next_due(self) -> Statement:
        """Answers with the instant at which the next session is to be looked at."""
        least: ColumnElement[float] = func.min(self._table.c.due_at, type_=Instant())
        return self._kind.made(select(least), answers=[least])

    def _endings_of(self, gone: CTE) -> Select[Any]:
        """Return the query for how those ended that were deleted, in the order of an ending's columns."""
        ends_at = _ends_at(gone.c, self._kind)
        reason = case(
            (gone.c.lifetime_ends_at <= ends_at, literal_column(f"'{EndReason.LIFETIME.value}'")),
            else_=literal_column(f"'{EndReason.IDLE.value}'"),
        )
        until = given("until", Instant())
        found = select(gone.c.sid, gone.c.user_id, reason, null(), ends_at, until)
        return found.order_by(gone.c.sid)  # Always in one order, so that no two workers wait for each other.

    def _page(self) -> Select[tuple[object, ...]]:
        return select(*self._info).order_by(self._table.c.sid).limit(literal_column(str(PAGE)))

    def _is_due(self) -> ColumnElement[bool]:
        """Whether a session is to be looked at. ``since_``: those before that are known to be gone."""
        return and_(
            self._table.c.due_at <= given("now", Instant()),
            self._table.c.due_at >= given("since", Instant()),
        )

    def _ends_at(self) -> ColumnElement[float]:
        return _ends_at(self._table.c, self._kind)

    def _is_one_of(self, size: int) -> ColumnElement[bool]:
        return self._table.c.sid.in_(numbered("sid", size, Sid()))

    def _once(self, name: str, size: int, make: Callable[[], Statement]) -> Statement:
        key = name, size
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _ends_at(columns: Any, kind: Kind) -> ColumnElement[float]:
    """Return when a session expires that has these columns."""
    return kind.least(columns.last_seen_at + columns.idle_timeout, columns.lifetime_ends_at, columns.refresh_by)
