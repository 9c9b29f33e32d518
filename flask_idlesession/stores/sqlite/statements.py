"""The SQL that the SQLite store runs. Each statement that changes sessions returns which ones it changed.

Placeholders are plain question marks: Python 3.12 deprecates numbered ones with a sequence, and names are found slowly.
"""

import sqlite3

from .. import columns as row

#: Since when SQLite returns rows that it changed.
HAS_RETURNING = sqlite3.sqlite_version_info >= (3, 35)

INFO = ", ".join(row.INFO)
RECORD = ", ".join(row.RECORD)
ENDING = ", ".join(row.ENDING)

#: When a session is over, as SessionInfo.expires_at says.
_EXPIRES_AT = "min(last_seen_at + idle_timeout, lifetime_ends_at, refresh_by)"

_RETURNING_SID = " RETURNING sid" if HAS_RETURNING else ""
_RETURNING_INFO = f" RETURNING {INFO}" if HAS_RETURNING else ""


def _marks(number: int) -> str:
    return ", ".join("?" * number)


INSERT = (
    f"INSERT INTO session ({RECORD}, due_at) VALUES ({_marks(len(row.RECORD) + 1)}) ON CONFLICT (sid) DO NOTHING"
    f"{_RETURNING_SID}"
)
LOAD = f"SELECT {RECORD}, due_at FROM session WHERE sid = ?"

# Whether the session is live, and the holder's is its present secret: the conditions are Record.judge's.
_OPENS = f"sid = ? AND secret_digest = ? AND ? < {_EXPIRES_AT}"

#: A touch, and what the session holds then. It does not mention due_at, so the index of due_at stays as it is.
VISIT = f"""UPDATE session SET last_seen_at = max(last_seen_at, ?),
    refresh_by = CASE WHEN refresh_by = 9e999 THEN refresh_by ELSE coalesce(?, refresh_by) END
    WHERE {_OPENS} AND (refresh_by = 9e999 OR due_at <= coalesce(?, refresh_by)) RETURNING {RECORD}"""

#: A touch alone, in the last step of a request.
TOUCH = f"UPDATE session SET last_seen_at = max(last_seen_at, ?) WHERE {_OPENS}{_RETURNING_SID}"

#: Other values, and a touch, if the session holds what it was taken to hold.
WRITE = f"UPDATE session SET last_seen_at = max(last_seen_at, ?), data = ? WHERE {_OPENS} AND data = ?{_RETURNING_SID}"

#: All that may change: if all but the last touch is as it was read, and whatever it is.
_CHANGING = row.RECORD[1:]
_CHANGED = ", ".join(f"{name} = ?" for name in _CHANGING) + ", due_at = min(due_at, ?)"
REPLACE = (
    f"UPDATE session SET {_CHANGED.replace('last_seen_at = ?', 'last_seen_at = max(last_seen_at, ?)')} WHERE sid = ? "
    f"AND {' AND '.join(f'{name} IS ?' for name in _CHANGING if name != 'last_seen_at')}{_RETURNING_SID}"
)
UPDATE = f"UPDATE session SET {_CHANGED} WHERE sid = ?{_RETURNING_SID}"
SAVE = f"UPDATE session SET last_seen_at = ?, data = ? WHERE sid = ?{_RETURNING_SID}"
DELETE = f"DELETE FROM session WHERE sid = ?{_RETURNING_SID}"

LIST_DUE = f"SELECT {INFO} FROM session WHERE due_at <= ? ORDER BY due_at LIMIT ?"
FIRST_DUE = "SELECT min(due_at) FROM session"
PAGE = f"SELECT {INFO} FROM session WHERE sid > ? ORDER BY sid LIMIT ?"
OF_USER = f"SELECT {INFO} FROM session WHERE user_id = ?"

# The endings of many sessions (Ending.is_of_many) are told by their ids: they are UUIDs of version 5.
OF_ONE, OF_MANY = "substr(sid, 7, 1) NOT BETWEEN x'50' AND x'5F'", "substr(sid, 7, 1) BETWEEN x'50' AND x'5F'"
EXHUME = f"SELECT {ENDING} FROM ending WHERE sid = ? AND forget_at > ?"
IS_FORGETTABLE = "SELECT 1 FROM ending WHERE forget_at <= ? LIMIT 1"
FORGET_DUE = "DELETE FROM ending WHERE sid IN (SELECT sid FROM ending WHERE forget_at <= ? ORDER BY forget_at LIMIT ?)"
COUNT_ENDINGS = {which: f"SELECT count(*) FROM ending WHERE {which}" for which in (OF_ONE, OF_MANY)}
FORGET_OLDEST = {
    which: f"DELETE FROM ending WHERE sid IN (SELECT sid FROM ending WHERE {which} ORDER BY forget_at LIMIT ?)"
    for which in (OF_ONE, OF_MANY)
}


# Traces of a clock that was ahead.
LATEST = "SELECT latest FROM clock"
NOTE_LATEST = "INSERT OR REPLACE INTO clock (id, latest) VALUES (1, ?)"
SEEN_NOW = """UPDATE session SET last_seen_at = ?, due_at = min(due_at, ? + idle_timeout, lifetime_ends_at, refresh_by)
    WHERE last_seen_at > ? AND rowid > ? AND rowid <= ?"""
LAST_ROW = "SELECT max(rowid) FROM session"


def list_some(number: int) -> str:
    """Return the statement that reads the infos of ``number`` sessions."""
    return f"SELECT {INFO} FROM session WHERE sid IN ({_marks(number)})"


def delete_some(number: int) -> str:
    """Return the statement that deletes ``number`` sessions, and returns the infos of those that were there."""
    return f"DELETE FROM session WHERE sid IN ({_marks(number)}){_RETURNING_INFO}"


def delete_expired(number: int) -> str:
    """Return the statement that deletes those of ``number`` sessions that have expired, and returns their infos."""
    return f"DELETE FROM session WHERE sid IN ({_marks(number)}) AND ? >= {_EXPIRES_AT}{_RETURNING_INFO}"


def postpone(number: int) -> str:
    """Return the statement that says of ``number`` sessions, which live on, when prune() is to look at them again."""
    return f"UPDATE session SET due_at = {_EXPIRES_AT} WHERE sid IN ({_marks(number)})"


def bury(number: int) -> str:
    """Return the statement that writes ``number`` endings, over those that are there of the same sessions."""
    return f"INSERT OR REPLACE INTO ending ({ENDING}) VALUES {', '.join([f'({_marks(len(row.ENDING))})'] * number)}"
