"""The tables of a session database: their making, and their history."""

from pathlib import Path

from ...model.errors import ConfigError
from ..private_files import quoted
from .connection import Connection

#: "Idle", as the file's application id: what says that a database is one of ours.
_APPLICATION_ID = 0x49646C65

# due_at is when prune() is to look at a session, never after it expires: a touch leaves it where it is, so that
# it moves nothing in an index, and prune() moves it on when its turn comes.
_SCHEMA = (
    """CREATE TABLE "{0}session" (
        sid BLOB NOT NULL PRIMARY KEY,
        user_id TEXT,
        created_at REAL NOT NULL,
        last_seen_at REAL NOT NULL,
        idle_timeout REAL NOT NULL,
        lifetime_ends_at REAL NOT NULL,
        refresh_by REAL NOT NULL,
        labels BLOB NOT NULL,
        secret_digest BLOB NOT NULL,
        former_digest BLOB NOT NULL,
        former_ends_at REAL NOT NULL,
        due_at REAL NOT NULL,
        data BLOB NOT NULL
    )""",
    'CREATE INDEX "{0}session_due_at" ON "{0}session" (due_at)',
    'CREATE INDEX "{0}session_user_id" ON "{0}session" (user_id) WHERE user_id IS NOT NULL',
    """CREATE TABLE "{0}ending" (
        sid BLOB NOT NULL PRIMARY KEY,
        user_id TEXT,
        reason TEXT NOT NULL,
        ended_by TEXT,
        ended_at REAL NOT NULL,
        forget_at REAL NOT NULL
    ) WITHOUT ROWID""",
    'CREATE INDEX "{0}ending_forget_at" ON "{0}ending" (forget_at)',
)

#: The statements that lead from one version of the schema (PRAGMA user_version) to the next, beginning with none.
#: In the place of {0} stands what the names of an application's tables begin with.
MIGRATIONS: tuple[tuple[str, ...], ...] = (_SCHEMA,)


# The latest instant that any process has seen, within a minute. It is of no version: who does not know it needs it not.
_CLOCK = """CREATE TABLE IF NOT EXISTS "{0}clock" (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    latest REAL NOT NULL
)"""

# The counts of all processes, by minute and name. It is of no version either.
_TALLY = """CREATE TABLE IF NOT EXISTS "{0}tally" (
    minute INTEGER NOT NULL,
    name TEXT NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (minute, name)
) WITHOUT ROWID"""

# The tables of sessions in the file: one for each namespace.
_SESSIONS = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%session'"

# In one statement: another process may be making the tables just now.
_WHAT_IT_IS = """SELECT (SELECT application_id FROM pragma_application_id),
    (SELECT user_version FROM pragma_user_version), EXISTS (SELECT 1 FROM sqlite_master)"""


def check(connection: Connection, path: Path) -> int:
    """Return the version of the tables, 0 for an empty file, and change nothing.

    Raise :exc:`~flask_idlesession.ConfigError` for a database of something else, or of a version that is not known.
    """
    ((application, version, holds_something),) = connection.rows(_WHAT_IT_IS)
    if application != _APPLICATION_ID:
        if application or version or holds_something:
            raise ConfigError(f"{quoted(path)} is a database of something else; name another file. [ISE025]")
    elif version > len(MIGRATIONS):
        raise ConfigError(
            f"The session database {quoted(path)} was written by a newer flask_idlesession (its version is {version}, "
            f"this one knows {len(MIGRATIONS)}); install that one, or name another file."
            " [ISE025]"
        )
    return int(version)


def bring_up_to_date(connection: Connection, path: Path, *, prefix: str) -> None:
    """Create the tables whose names begin with ``prefix``, and bring those of an older version up to date, once over
    all processes. A version is the file's, so the tables of other applications in it are brought to it, too.
    """
    has_all = "SELECT count(*) = 3 FROM sqlite_master WHERE name IN (?, ?, ?)"
    names = (f"{prefix}session", f"{prefix}clock", f"{prefix}tally")
    is_current = check(connection, path) == len(MIGRATIONS)
    if is_current and connection.rows(has_all, names)[0][0]:
        return
    with connection.transaction():
        version = check(connection, path)
        steps = {name.removesuffix("session"): version for (name,) in connection.rows(_SESSIONS)}
        for each, done in {prefix: 0, **steps}.items():
            connection.plain.execute(_CLOCK.format(each))
            connection.plain.execute(_TALLY.format(each))
            for statement in (statement for statements in MIGRATIONS[done:] for statement in statements):
                connection.plain.execute(statement.format(each))
        connection.plain.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.plain.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
