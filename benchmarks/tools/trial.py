"""Keeps sessions with as little as can be done for each request: the bound that any sessions on the server have.

A trial knows an idle timeout, a lifetime, a secret's digest, touches under one lock, and values that are decoded one by
one. It has one store, no users and no log-out, forgets nothing, rotates nothing, knows no passive requests and no
change of a key, and does not see that a value was changed in place.
"""

import hashlib
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from hmac import compare_digest
from typing import Any

import ormsgpack
from flask import Flask
from flask import Request
from flask import Response
from flask.sessions import SessionInterface
from flask.sessions import SessionMixin

#: When it was last seen, the end of its lifetime, its idle timeout, its secret's digest; the values come after them.
_HEAD, _SEEN = struct.Struct("<ddf32s"), struct.Struct("<d")
_IDLE_TIMEOUT, _LIFETIME = 1800.0, 86400.0
_SHARDS = 192

Credential = tuple[int, bytes]


class TrialSession(SessionMixin):
    """A mapping of str to what msgpack has; ``claim`` is the key and the digest of who may look."""

    __slots__ = ("claim", "accessed", "modified", "delta", "_trial", "_values")

    def __init__(self, trial: "Trial", claim: Credential | None) -> None:
        self._trial = trial
        self.claim = claim
        self.accessed = self.modified = False
        self.delta: dict[str, bytes] = {}
        self._values: dict[str, bytes] | None = None

    def __getitem__(self, key: str) -> Any:
        return ormsgpack.unpackb(self._look()[key])

    def __setitem__(self, key: str, value: Any) -> None:
        self._look()[key] = self.delta[key] = ormsgpack.packb(value)
        self.modified = True

    def __delitem__(self, key: str) -> None:
        raise NotImplementedError

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())

    def _look(self) -> dict[str, bytes]:
        self.accessed = True
        if self._values is None:
            self._values = {} if self.claim is None else self._trial.look(*self.claim)
        return self._values


class Trial(SessionInterface):
    """Sessions in this process's memory, whose cookies are known again or not."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self._take, self._give = lock.acquire, lock.release
        self._shards: list[dict[int, bytes]] = [{} for _ in range(_SHARDS)]
        self._claims: dict[str, Credential] = {}

    def open_session(self, app: Flask, request: Request) -> TrialSession:
        """Return the session that the cookie opens, or an empty one."""
        return TrialSession(self, self._claims.get(request.environ.get("HTTP_COOKIE", "")))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Keep what the view wrote, and note the activity."""
        assert isinstance(session, TrialSession)
        if session.accessed:
            response.headers.add("Vary", "Cookie")
        if session.claim is None and session.delta:
            response.headers.add("Set-Cookie", self._begin(session.delta))
        elif session.claim is not None and (session.modified or not session.accessed):
            self._change(*session.claim, session.delta)

    def look(self, key: int, holder: bytes) -> dict[str, bytes]:
        """Return what the session holds, touched."""
        packed = self._change(key, holder, {})
        return {} if packed is None else ormsgpack.unpackb(packed[_HEAD.size :])

    def _change(self, key: int, holder: bytes, delta: dict[str, bytes]) -> bytes | None:
        """Touch the session, and write what changed; return what there is then, or None if it does not open."""
        now, shard = time.time(), self._shards[key % _SHARDS]
        self._take()
        try:
            packed = shard[key]
            seen, ends_at, idle_timeout, digest = _HEAD.unpack_from(packed)
            if now >= ends_at or now >= seen + idle_timeout or not compare_digest(digest, holder):
                return None
            packed = _SEEN.pack(now) + packed[_SEEN.size :]
            if delta:
                values = ormsgpack.unpackb(packed[_HEAD.size :])
                values.update(delta)
                packed = packed[: _HEAD.size] + ormsgpack.packb(values)
            shard[key] = packed
            return packed
        finally:
            self._give()

    def _begin(self, values: dict[str, bytes]) -> str:
        """Store a session; return the cookie by which it is known, which is as long as a real one."""
        key, secret, now = secrets.randbits(128), secrets.token_bytes(80), time.time()
        holder = hashlib.sha256(secret).digest()
        self._shards[key % _SHARDS][key] = _HEAD.pack(now, now + _LIFETIME, _IDLE_TIMEOUT, holder) + ormsgpack.packb(
            values
        )
        cookie = f"session={secrets.token_urlsafe(80)}"
        self._claims[cookie] = key, holder
        return cookie
