"""Puts the store's parts together for one kind of server."""

from sqlalchemy import Table

from ..clock_witness import ClockWitness
from .commits import Commits
from .connections import Connections
from .ended_sessions import EndedSessions
from .endings import Endings
from .kinds import Kind
from .latest import Latest
from .lists import Lists
from .many_sessions import ManySessions
from .one_session import OneSession
from .pruning import Pruning
from .rows import Rows
from .server_clock import has_server
from .tallies import Tallies
from .turns import Turns


class Parts:
    """The parts that do the store's work, each with its statements, on a server that has been connected to once."""

    def __init__(self, connections: Connections, sessions: Table, ended: Table, tallied: Table) -> None:
        kind = Kind(connections.engine.dialect)
        endings = EndedSessions(ended, kind)
        one, many = OneSession(sessions, kind), ManySessions(sessions, kind, endings)
        turns = Turns(connections, one, kind)
        self.rows = Rows(connections, one, kind, turns)
        self.commits = Commits(connections, one, kind, rows=self.rows, turns=turns)
        self.lists = Lists(connections, many, kind)
        self.endings = Endings(connections, endings, kind)
        #: Notes the time where no server does.
        self.witness: ClockWitness | None = None
        if not has_server(kind.dialect):
            self.witness = ClockWitness(Latest(connections, many, self.endings))
        self.pruning = Pruning(connections, many, kind, self.endings)
        self.tallies = Tallies(connections, tallied, kind)
