"""Keeps sessions as one writes it by hand on a driver, with one statement or command for a look and one for a write.

A session is found by its id and opened by the digest of its secret, ends when it is idle, and is touched exactly. There
are no users, no log-outs, no lifetime and no merging; two requests of one session overwrite each other, and nothing
tells how a session ended. Each store does what its driver makes easy, and all of it well.
"""

import secrets
import sqlite3
import threading
import time
from base64 import urlsafe_b64decode
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any
from typing import Protocol

import ormsgpack
from flask import Flask
from flask import Request
from flask import Response
from flask.sessions import SessionInterface
from flask.sessions import SessionMixin
from werkzeug.datastructures import CallbackDict

_IDLE_TIMEOUT = 1800


class Keeper(Protocol):
    """The place where the sessions are kept. ``sid`` is 16 bytes, ``holder`` the digest of the secret."""

    def begin(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep a new session."""

    def look(self, sid: bytes, holder: bytes, now: float) -> bytes | None:
        """Touch the session if it lives and is the holder's; return its data."""

    def write(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep this data in the place of what was there."""


class HandSession(CallbackDict[str, Any], SessionMixin):
    """The values, which were read when the request came."""

    def __init__(self, values: dict[str, Any], sid: bytes | None, holder: bytes) -> None:
        super().__init__(values, HandSession._note)
        self.sid = sid
        self.holder = holder
        self.modified = False

    def _note(self) -> None:
        self.modified = True


class ByHand(SessionInterface):
    """Sessions by hand in a keeper; the cookie's value is the id and the secret."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def open_session(self, app: Flask, request: Request) -> HandSession:
        """Return the session that the cookie opens, or an empty one."""
        cookie = request.cookies.get("session")
        if cookie is not None:
            token = urlsafe_b64decode(cookie)
            sid, holder = token[:16], sha256(token[16:]).digest()
            data = self._keeper.look(sid, holder, time.time())
            if data is not None:
                return HandSession(ormsgpack.unpackb(data), sid, holder)
        return HandSession({}, None, b"")

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Keep what the view wrote; set a cookie for a new session."""
        assert isinstance(session, HandSession)
        response.headers.add("Vary", "Cookie")
        if not session.modified:
            return
        data, now = ormsgpack.packb(dict(session)), time.time()
        if session.sid is not None:
            self._keeper.write(session.sid, session.holder, data, now)
            return
        sid, secret = secrets.token_bytes(16), secrets.token_bytes(32)
        self._keeper.begin(sid, sha256(secret).digest(), data, now)
        response.set_cookie("session", urlsafe_b64encode(sid + secret).decode(), httponly=True, samesite="Lax")


class InSQLite:
    """One file in WAL mode. The threads of a process share a connection, and queue for it under a lock."""

    def __init__(self, path: Path) -> None:
        self._connection = connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS by_hand (sid BLOB PRIMARY KEY, holder BLOB, seen REAL, data BLOB) WITHOUT ROWID"
        )
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def begin(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep a new session."""
        with self._lock:
            self._connection.execute("INSERT INTO by_hand VALUES (?, ?, ?, ?)", (sid, holder, now, data))

    def look(self, sid: bytes, holder: bytes, now: float) -> bytes | None:
        """Touch the session if it lives and is the holder's; return its data."""
        statement = "UPDATE by_hand SET seen = ? WHERE sid = ? AND holder = ? AND seen > ? RETURNING data"
        with self._lock:
            found = self._connection.execute(statement, (now, sid, holder, now - _IDLE_TIMEOUT)).fetchall()
        return found[0][0] if found else None

    def write(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep this data in the place of what was there."""
        statement = "UPDATE by_hand SET seen = ?, data = ? WHERE sid = ? AND holder = ?"
        with self._lock:
            self._connection.execute(statement, (now, data, sid, holder))


class InRedis:
    """One string for each session: the digest, then the data. The server forgets it when it is idle."""

    def __init__(self, url: str) -> None:
        import redis

        self._client = redis.Redis.from_url(url)

    def begin(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep a new session."""
        self._client.set(b"by hand:" + sid, holder + data, ex=_IDLE_TIMEOUT)

    def look(self, sid: bytes, holder: bytes, now: float) -> bytes | None:
        """Touch the session if it lives and is the holder's; return its data."""
        found: Any = self._client.getex(b"by hand:" + sid, ex=_IDLE_TIMEOUT)
        return found[32:] if found is not None and compare_digest(found[:32], holder) else None

    write = begin


class InPostgreSQL:
    """One table; each thread has two connections, of which one does not wait for the disk: it makes the touches."""

    def __init__(self, url: str) -> None:
        import psycopg

        plain = url.replace("+psycopg", "")
        self._for_touches = _of_thread(
            lambda: psycopg.connect(plain, autocommit=True, options="-c synchronous_commit=off")
        )
        self._for_writes = _of_thread(lambda: psycopg.connect(plain, autocommit=True))
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(1)")  # Workers that start at once would both create it.
            connection.execute(
                "CREATE TABLE IF NOT EXISTS by_hand (sid bytea PRIMARY KEY, holder bytea, seen double precision, "
                "data bytea) WITH (fillfactor = 80)"
            )

    def begin(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep a new session."""
        self._for_writes().execute("INSERT INTO by_hand VALUES (%s, %s, %s, %s)", (sid, holder, now, data))

    def look(self, sid: bytes, holder: bytes, now: float) -> bytes | None:
        """Touch the session if it lives and is the holder's; return its data."""
        statement = "UPDATE by_hand SET seen = %s WHERE sid = %s AND holder = %s AND seen > %s RETURNING data"
        found = self._for_touches().execute(statement, (now, sid, holder, now - _IDLE_TIMEOUT)).fetchone()
        return None if found is None else found[0]

    def write(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep this data in the place of what was there."""
        statement = "UPDATE by_hand SET seen = %s, data = %s WHERE sid = %s AND holder = %s"
        self._for_writes().execute(statement, (now, data, sid, holder))


class InMariaDB:
    """One table; a look is two statements, because MariaDB's UPDATE returns nothing."""

    def __init__(self, url: str) -> None:
        import pymysql
        from sqlalchemy import make_url

        at = make_url(url)
        self._connection = _of_thread(
            lambda: pymysql.connect(
                host=at.host, port=at.port or 3306, user=at.username, database=at.database, autocommit=True
            )
        )
        self._execute(
            "CREATE TABLE IF NOT EXISTS by_hand "
            "(sid BINARY(16) PRIMARY KEY, holder BINARY(32), seen DOUBLE, data LONGBLOB) ENGINE = InnoDB"
        )

    def begin(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep a new session."""
        self._execute("INSERT INTO by_hand VALUES (%s, %s, %s, %s)", sid, holder, now, data)

    def look(self, sid: bytes, holder: bytes, now: float) -> bytes | None:
        """Touch the session if it lives and is the holder's; return its data."""
        whose, least = (sid, holder), now - _IDLE_TIMEOUT
        self._execute("UPDATE by_hand SET seen = %s WHERE sid = %s AND holder = %s AND seen > %s", now, *whose, least)
        found = self._execute("SELECT data FROM by_hand WHERE sid = %s AND holder = %s AND seen > %s", *whose, least)
        return found[0] if found else None

    def write(self, sid: bytes, holder: bytes, data: bytes, now: float) -> None:
        """Keep this data in the place of what was there."""
        self._execute("UPDATE by_hand SET seen = %s, data = %s WHERE sid = %s AND holder = %s", now, data, sid, holder)

    def _execute(self, statement: str, *values: object) -> Any:
        with self._connection().cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()


def _of_thread(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return what gives each thread a thing of its own, made when it first asks."""
    local = threading.local()

    def get() -> Any:
        try:
            return local.thing
        except AttributeError:
            local.thing = make()
            return local.thing

    return get
