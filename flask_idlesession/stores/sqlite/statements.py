"""The SQL that the SQLite store runs. Each statement that changes sessions returns which ones it changed.

Placeholders are plain question marks: Python 3.12 deprecates numbered ones with a sequence, and names are found slowly.
"""

import sqlite3

from ...model.record import EndReason
from .. import columns as row

#: Since when SQLite returns rows that it changed.
HAS_RETURNING = sqlite3.sqlite_version_info >= (3, 35)

INFO = ", ".join(row.INFO)
RECORD = ", ".join(row.RECORD)
ENDING = ", ".join(row.ENDING)

#: When a session is over, as SessionInfo.expires_at says.
_EXPIRES_AT = "min(last_seen_at + idle_timeout, lifetime_ends_at, refresh_by)"

_IDLE, _LIFETIME = EndReason.IDLE.value, EndReason.LIFETIME.value

_RETURNING_SID = " RETURNING sid" if HAS_RETURNING else ""
_RETURNING_INFO = f" RETURNING {INFO}" if HAS_RETURNING else ""

# Whether the session is live, and the holder's is its present secret: the conditions are Record.judge's.
_OPENS = f"sid = ? AND secret_digest = ? AND ? < {_EXPIRES_AT}"

#: All columns that may change.
_CHANGING = row.RECORD[1:]
_CHANGED = ", ".join(f"{name} = ?" for name in _CHANGING) + ", due_at = min(due_at, ?)"

# The endings of many sessions (Ending.is_of_many) are told by their ids: they are UUIDs of version 5.
OF_ONE, OF_MANY = "substr(sid, 7, 1) NOT BETWEEN x'50' AND x'5F'", "substr(sid, 7, 1) BETWEEN x'50' AND x'5F'"


def _marks(number: int) -> str:
    return ", ".join("?" * number)


class Statements:
    """The statements about the tables whose names begin with ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        session, ending, clock = f'"{prefix}session"', f'"{prefix}ending"', f'"{prefix}clock"'
        self._session, self._ending = session, ending
        self.probe = f"SELECT 1 FROM {session} LIMIT 1"
        self._write_about_one(session)
        self.list_due = f"SELECT {INFO} FROM {session} WHERE due_at <= ? ORDER BY due_at LIMIT ?"
        self.count = f"SELECT count(*) FROM {session}"
        self.first_due = f"SELECT min(due_at) FROM {session}"
        self.page = f"SELECT {INFO} FROM {session} WHERE sid > ? ORDER BY sid LIMIT ?"
        self.of_user = f"SELECT {INFO} FROM {session} WHERE user_id = ?"
        self._write_about_endings(ending)
        self._write_about_tallies(f'"{prefix}tally"')
        # Traces of a clock that was ahead.
        self.latest = f"SELECT latest FROM {clock}"
        self.note_latest = f"INSERT OR REPLACE INTO {clock} (id, latest) VALUES (1, ?)"
        self.seen_now = f"""UPDATE {session}
            SET last_seen_at = ?, created_at = min(created_at, ?), former_ends_at = min(former_ends_at, ?),
                lifetime_ends_at = lifetime_ends_at - max(created_at - ?, 0),
                due_at = min(due_at, ? + idle_timeout, lifetime_ends_at - max(created_at - ?, 0), refresh_by)
            WHERE last_seen_at > ? AND rowid > ? AND rowid <= ?"""
        self.last_row = f"SELECT max(rowid) FROM {session}"

    def _write_about_one(self, session: str) -> None:
        self.insert = (
            f"INSERT INTO {session} ({RECORD}, due_at) VALUES ({_marks(len(row.RECORD) + 1)}) "
            f"ON CONFLICT (sid) DO NOTHING{_RETURNING_SID}"
        )
        self.load = f"SELECT {RECORD}, due_at FROM {session} WHERE sid = ?"
        #: A touch, and what the session holds then. It does not mention due_at, so the index of due_at stays as it is.
        self.visit = f"""UPDATE {session} SET last_seen_at = max(last_seen_at, ?),
            refresh_by = CASE WHEN refresh_by = 9e999 THEN refresh_by ELSE coalesce(?, refresh_by) END
            WHERE {_OPENS} AND (refresh_by = 9e999 OR due_at <= coalesce(?, refresh_by)) RETURNING {RECORD}"""
        #: A touch alone, in the last step of a request.
        touched = f"UPDATE {session} SET last_seen_at = max(last_seen_at, ?)"
        self.touch = f"{touched} WHERE {_OPENS}{_RETURNING_SID}"
        #: Other values, and a touch, if the session holds what it was taken to hold.
        self.write = f"{touched}, data = ? WHERE {_OPENS} AND data = ?{_RETURNING_SID}"
        #: All that may change: if all but the last touch is as it was read, and whatever it is.
        changed = _CHANGED.replace("last_seen_at = ?", "last_seen_at = max(last_seen_at, ?)")
        as_read = " AND ".join(f"{name} IS ?" for name in _CHANGING if name != "last_seen_at")
        self.replace = f"UPDATE {session} SET {changed} WHERE sid = ? AND {as_read}{_RETURNING_SID}"
        self.update = f"UPDATE {session} SET {_CHANGED} WHERE sid = ?{_RETURNING_SID}"
        self.save = f"UPDATE {session} SET last_seen_at = ?, data = ? WHERE sid = ?{_RETURNING_SID}"
        self.delete = f"DELETE FROM {session} WHERE sid = ?{_RETURNING_SID}"

    def _write_about_endings(self, ending: str) -> None:
        self.exhume = f"SELECT {ENDING} FROM {ending} WHERE sid = ? AND forget_at > ?"
        self.is_forgettable = f"SELECT 1 FROM {ending} WHERE forget_at <= ? LIMIT 1"
        self.forget_due = (
            f"DELETE FROM {ending} WHERE sid IN "
            f"(SELECT sid FROM {ending} WHERE forget_at <= ? ORDER BY forget_at LIMIT ?)"
        )
        kinds = (OF_ONE, OF_MANY)
        self.count_endings = {which: f"SELECT count(*) FROM {ending} WHERE {which}" for which in kinds}
        self.forget_oldest = {
            which: f"DELETE FROM {ending} WHERE sid IN "
            f"(SELECT sid FROM {ending} WHERE {which} ORDER BY forget_at LIMIT ?)"
            for which in kinds
        }

    def _write_about_tallies(self, tally: str) -> None:
        known = f"SELECT amount FROM {tally} WHERE minute = ? AND name = ?"
        self.add_tally = (
            f"INSERT OR REPLACE INTO {tally} (minute, name, amount) VALUES (?, ?, ? + coalesce(({known}), 0))"
        )
        self.forget_tallies = f"DELETE FROM {tally} WHERE minute >= 0 AND minute < ?"
        self.tallies = f"SELECT minute, name, amount FROM {tally} WHERE minute >= ? ORDER BY minute"
        self.tally_totals = f"SELECT name, amount FROM {tally} WHERE minute = -1"

    def list_some(self, number: int) -> str:
        """Return the statement that reads the infos of ``number`` sessions."""
        return f"SELECT {INFO} FROM {self._session} WHERE sid IN ({_marks(number)})"

    def delete_some(self, number: int) -> str:
        """Return the statement that deletes ``number`` sessions, and returns the infos of those that were there."""
        return f"DELETE FROM {self._session} WHERE sid IN ({_marks(number)}){_RETURNING_INFO}"

    def delete_expired(self, number: int) -> str:
        """Return the statement that deletes those of ``number`` sessions that have expired, and returns their infos."""
        these = f"sid IN ({_marks(number)})"
        return f"DELETE FROM {self._session} WHERE {these} AND ? >= {_EXPIRES_AT}{_RETURNING_INFO}"

    def bury_expired(self, number: int) -> str:
        """Return the statement that notes how those of ``number`` sessions end that have expired."""
        reason = f"CASE WHEN lifetime_ends_at <= {_EXPIRES_AT} THEN '{_LIFETIME}' ELSE '{_IDLE}' END"
        return (
            f"INSERT OR REPLACE INTO {self._ending} ({ENDING}) "
            f"SELECT sid, user_id, {reason}, NULL, {_EXPIRES_AT}, ? FROM {self._session} "
            f"WHERE sid IN ({_marks(number)}) AND ? >= {_EXPIRES_AT}"
        )

    def postpone(self, number: int) -> str:
        """Return the statement that says of ``number`` sessions, which live on, when prune() is to look at them."""
        return f"UPDATE {self._session} SET due_at = {_EXPIRES_AT} WHERE sid IN ({_marks(number)})"

    def exhume_some(self, number: int) -> str:
        """Return the statement that reads how ``number`` sessions ended, as far as that is remembered."""
        return f"SELECT {ENDING} FROM {self._ending} WHERE sid IN ({_marks(number)}) AND forget_at > ?"

    def bury(self, number: int) -> str:
        """Return the statement that writes ``number`` endings, over those that are there of the same sessions."""
        rows = ", ".join([f"({_marks(len(row.ENDING))})"] * number)
        return f"INSERT OR REPLACE INTO {self._ending} ({ENDING}) VALUES {rows}"
