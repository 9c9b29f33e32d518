"""Keeps records in Redis or Valkey, alone, in a cluster, or watched over by Sentinel: the store of many hosts."""

import os
import re
from binascii import crc_hqx
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from inspect import iscoroutinefunction
from ipaddress import ip_address
from itertools import count
from math import inf
from socket import getaddrinfo
from typing import Any

from ...model.errors import ConfigError
from ...model.errors import RecordRejected
from ...model.errors import SessionExists
from ...model.errors import StoreError
from ...model.errors import StoreUnavailable
from ...model.ids import is_of_many
from ...model.ids import SessionId
from ...model.record import Change
from ...model.record import Ending
from ...model.record import only_live
from ...model.record import Outcome
from ...model.record import Record
from ...model.record import SessionInfo
from .. import news
from ..contract import Count
from ..contract import oldest_tallied
from ..contract import REMEMBERED
from ..contract import Touch
from ..contract import Traits
from . import format as form
from . import scripts
from . import tallies
from .connections import connections_like
from .hearing import Hearing
from .scripts import Script

#: The number of slots that sessions use in a cluster, evenly over all of them. A session and its lists share a slot.
_SHARDS = 16
_SLOTS = 16384

#: How many of the newest endings are remembered at least; at most about twice as many are.
_MAX_BURIED = 50_000

#: How many minutes of tallies are read in one step: few enough that nobody else waits long.
_MINUTES_AT_ONCE = 60

#: The policy of a server that forgets nothing by itself.
_KEEPS_ALL = b"noeviction"

#: The characters that have a meaning in a pattern of Redis's.
_SPECIAL = re.compile(rb"[*?\[\]\\^]")

#: A server's words about one command's data. Any other error is about all of them, or a probe will tell.
_REJECTIONS = (
    "string exceeds maximum allowed size",
    "invalid bulk length",
    "too big bulk count",
    "too big mbulk count",
)

_OUTCOMES = (Outcome.DONE, Outcome.GONE, Outcome.CONFLICT, Outcome.EMPTIED)


class RedisStore:
    """The store of many hosts, in the Redis (from 6.2) or Valkey that ``client`` asks.

    ``client`` is a ready client in the shape of redis-py's: ``Redis``, ``RedisCluster``, what ``Sentinel.master_for``
    returns, or valkey-py's. Its time-outs and retries are its own. Every key begins with ``prefix``; two applications
    that share a server take two. Every verb is one script and one round trip. In a cluster, a verb about more than one
    session takes one for each of 16 slots.
    """

    traits = Traits(
        has_clock=True,
        chunked=True,
        recalls=True,
        buries=True,
        evicts=True,
        advises=True,
        has_facts=True,
        tells_ends=True,
        counts=True,
        keeps_tallies=True,
    )

    def __init__(self, client: Any, *, prefix: str = "idlesession:") -> None:
        _check(client, prefix)
        self._client = client
        self._prefix = prefix
        self._is_cluster = hasattr(client, "keyslot")
        self._bases = [each.encode() for each in (_spread(prefix) if self._is_cluster else [prefix])]
        self._no_script, self._errors = _errors_of(client)
        self._connections = connections_like(client)
        self._turns = count()

    def __repr__(self) -> str:
        return f"<RedisStore {self._prefix!r}>"

    def create(self, record: Record) -> None:
        """Keep a new record. Raise :exc:`~flask_idlesession.SessionExists` if its id is taken."""
        mark = os.urandom(8)
        arguments = [form.to_head(record, mark=mark), mark]
        if record.info.labels:
            arguments += (form.LABELS, form.to_labels(record.info.labels))
        for key, value in record.values.items():
            arguments += (form.to_field(key), value)
        if not self._run(scripts.CREATE, self._keys(record.info.sid), *arguments):
            raise SessionExists(f"There is a session {record.info.sid} already.")

    def load(self, sid: SessionId, *, now: float, touch: Touch | None = None) -> Record | None:
        """Return the record if it is live at ``now``, else None; with ``touch``, note activity in the same step.

        Raise :exc:`UnreadableRecord` if what the server holds is no record.
        """
        if touch is not None:
            return self._touched(sid, touch, now)
        fields = self._fields(sid)
        if not fields:
            return None
        if form.sid_in(fields.get(form.HEAD, b"")) != sid.bytes:
            self._check_not_crossed(sid)
            raise form.unreadable(sid)
        record = form.to_record(sid, fields)
        return record if record.info.is_live(now) else None

    def _touched(self, sid: SessionId, touch: Touch, now: float) -> Record | None:
        keys = self._keys(sid)
        told = form.to_visit(touch.holder, now=now, refresh_by=touch.refresh_by)
        answer = self._run(scripts.VISIT, keys, told)
        if type(answer) is not bytes or not answer.startswith(keys[1]):
            raise self._crossed()
        try:
            fields = form.to_fields(answer, at=len(keys[1]))
        except ValueError as error:
            raise self._crossed() from error
        return form.to_record(sid, fields) if fields else None

    def commit(self, sid: SessionId, change: Change, *, now: float) -> Outcome:
        """Apply the change in one step, if the session is live and opens to the change's holder; return the outcome."""
        # A touch may be made twice; anything else has a mark by which it is told that it was made.
        mark = b"" if change.is_touch and not change.expect and change.refresh_by is None else os.urandom(8)
        arguments = form.to_arguments(change, now=now, mark=mark)
        return _OUTCOMES[self._run(scripts.COMMIT, self._keys(sid), *arguments)]

    def delete(self, sid: SessionId) -> bool:
        """Forget the session; return whether there was one."""
        return bool(self._run(scripts.DELETE, self._keys(sid)))

    def delete_many(self, sids: Sequence[SessionId]) -> list[SessionInfo]:
        """Forget these sessions, in one step for each hash slot; return the infos of those that were there."""
        shares: dict[bytes, list[SessionId]] = {}
        for sid in sids:
            shares.setdefault(self._base(sid), []).append(sid)
        gone: list[SessionInfo] = []
        for base, share in shares.items():
            told = self._run(scripts.DELETE_MANY, (base + b"due",), *(str(sid).encode() for sid in share))
            gone += form.to_infos(told)
        return gone

    def find(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the infos of the sessions that are live at ``now``, in no order; with ``user_id``, only that user's."""
        yield from only_live(self._infos() if user_id is None else self._infos_of(user_id), now=now)

    def prune(self, *, now: float, limit: int) -> list[SessionInfo]:
        """Forget up to ``limit`` sessions that have expired; return their infos, each once over all processes."""
        gone: list[SessionInfo] = []
        turn = next(self._turns)  # Each time another slot is the first, so that a small limit comes to all of them.
        for number in range(len(self._bases)):
            if len(gone) >= limit:
                break
            base = self._bases[(turn + number) % len(self._bases)]
            gone += self._prune(base, now, limit - len(gone))
        return gone

    def next_expiry(self) -> float | None:
        """Return an instant before which :meth:`prune` has nothing to do; None if there is nothing to wait for."""
        first = min(_due_at(self._run(scripts.NEXT_EXPIRY, (base + b"due",))) for base in self._bases)
        return None if first == inf else first

    def bury(self, endings: Sequence[Ending], *, until: float) -> None:
        """Remember until the instant ``until`` how these sessions ended."""
        shares: dict[tuple[bytes, ...], list[Ending]] = {}
        for ending in endings:
            shares.setdefault(self._keys_of_endings(ending.sid), []).append(ending)
        for keys, share in shares.items():
            arguments = [form.to_keep(share, until=until), self._most_buried]
            for ending in share:
                arguments += (ending.sid.bytes, form.to_grave(ending, until=until))
            self._run(scripts.BURY, keys, *arguments)

    def ending(self, sid: SessionId, *, now: float) -> Ending | None:
        """Return how the session ended, or None if that is not remembered at ``now``."""
        return next(iter(self.endings([sid], now=now)), None)

    def endings(self, sids: Sequence[SessionId], *, now: float) -> list[Ending]:
        """Return how these sessions ended, as far as that is remembered at ``now``."""
        shares: dict[tuple[bytes, ...], list[SessionId]] = {}
        for sid in sids:
            shares.setdefault(self._keys_of_endings(sid), []).append(sid)
        found: list[Ending] = []
        for keys, share in shares.items():
            graves = self._run(scripts.ENDINGS, keys, *(sid.bytes for sid in share))
            for sid, grave in zip(share, graves, strict=True):
                told = form.to_ending(grave) if grave else None
                if told is not None and told[0].sid != sid:
                    raise self._crossed()
                if told is not None and now < told[1]:
                    found.append(told[0])
        return found

    def tell_ends(self, endings: Sequence[Ending]) -> None:
        """Tell all processes that subscribed how these sessions ended."""
        try:
            for text in news.to_texts(endings):
                self._ask("PUBLISH", self._channel, text.encode())
        except self._errors as error:
            raise self._failure(error) from error

    def hear_ends(self) -> Hearing | None:
        """Return a subscription on a connection of its own; None for a client that can have none."""
        if not hasattr(self._client, "pubsub"):
            return None
        try:
            pubsub = self._client.pubsub()
        except self._errors as error:
            raise self._failure(error) from error
        return Hearing(pubsub, self._channel, errors=self._errors)

    def find_unlisted(self, *, now: float, user_id: str | None = None) -> Iterator[SessionInfo]:
        """Yield the live sessions as :meth:`find` does, also those that no list names any more."""
        if self._policies() == {_KEEPS_ALL}:
            return
        owner = b"all" if user_id is None else form.to_owner(user_id)
        for base in self._bases:
            pattern = _SPECIAL.sub(rb"\\\g<0>", base) + b"session:*"
            for info in self._pages(scripts.FIND_UNLISTED, (base + b"due",), pattern, owner):
                if info.is_live(now):
                    yield info

    def advice(self) -> list[str]:
        """Return how the server should be set up and is not: one text for each fault."""
        return [_advice(policy) for policy in sorted(self._policies() - {_KEEPS_ALL})]

    def add_tally(self, minute: int, amounts: Mapping[str, int], *, now: float) -> None:
        """Add these amounts to those of the minute and to the totals, in one step."""
        told = [b"%d" % minute, b"%d" % oldest_tallied(now), os.urandom(8)]
        for name, amount in amounts.items():
            told += (name.encode(), b"%d" % amount)
        self._run(tallies.ADD, self._key_of_tallies, *told)

    def tallies(self, *, since: int) -> dict[int, dict[str, int]]:
        """Return the amounts of each minute from ``since`` on."""
        minutes: list[bytes] = self._run(tallies.MINUTES, self._key_of_tallies, b"%d" % since)
        found: dict[int, dict[str, int]] = {}
        for at in range(0, len(minutes), _MINUTES_AT_ONCE):
            asked = minutes[at : at + _MINUTES_AT_ONCE]
            told = self._run(tallies.READ, self._key_of_tallies, *asked)
            found |= {int(minute): form.to_amounts(each) for minute, each in zip(asked, told, strict=True) if each}
        return found

    def tally_totals(self) -> dict[str, int]:
        """Return the sums of all amounts."""
        return form.to_amounts(self._run(tallies.TOTALS, self._key_of_tallies))

    def count(self) -> Count:
        """Return how many records there are."""
        try:
            return Count(sum(int(self._ask("ZCARD", base + b"due")) for base in self._bases), is_exact=True)
        except self._errors as error:
            raise self._failure(error) from error

    def stored_bytes(self) -> int | None:
        """Return how many bytes the server has in use, for all that is on it. A cluster does not tell."""
        if self._is_cluster:
            return None
        try:
            used = self._client.info("memory").get("used_memory")
        except self._errors:  # Its user may not ask, or the service has no such command.
            return None
        return None if used is None else int(used)

    def clock_skew(self, now: float) -> float:
        """Return by how many seconds ``now`` is ahead of the server's clock, give or take the way there and back."""
        seconds, microseconds = self._run(scripts.TIME, (self._bases[0] + b"due",))
        return now - int(seconds) - int(microseconds) / 1e6

    def facts(self) -> dict[str, object]:
        """Return the server's ``maxmemory_policy`` and ``redis_version``, whether it ``is_persistent``, and the host
        ``open_at`` which it lets everybody in; without what it does not tell.

        A cluster tells nothing: its nodes may differ.
        """
        if self._is_cluster:
            return {}
        return {**self._options_told(), **self._version_told(), **_open_host_of(self._client)}

    def _options_told(self) -> dict[str, object]:
        told: dict[str, str] = {}
        for option in ("maxmemory-policy", "save", "appendonly"):
            try:
                answer = self._client.execute_command("CONFIG GET", option)
            except self._errors:  # Its user may not ask, or the service has no such command.
                return {}
            pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
            told |= {_text(name): _text(value) for name, value in pairs}
        if not told:
            return {}
        is_persistent = bool(told.get("save")) or told.get("appendonly") == "yes"
        return {"maxmemory_policy": told.get("maxmemory-policy"), "is_persistent": is_persistent}

    def _version_told(self) -> dict[str, object]:
        try:
            said = self._client.info("server")
        except self._errors:
            return {}
        is_valkey = said.get("server_name") == "valkey"
        return {} if is_valkey or "redis_version" not in said else {"redis_version": str(said["redis_version"])}

    def close(self) -> None:
        """Let go of the connections that are idle. The client may be used on."""
        self._drop_connections(in_use=False)

    # The steps of the above.

    @property
    def _channel(self) -> bytes:
        return self._prefix.encode() + b"ends"

    @property
    def _key_of_tallies(self) -> tuple[bytes]:
        return (self._bases[0] + b"due",)

    @property
    def _most_buried(self) -> bytes:
        return b"%d" % (_MAX_BURIED // len(self._bases))

    def _policies(self) -> set[bytes]:
        """Return what the servers do when they are short of memory; b"" for one that does not say."""
        return {self._run(scripts.POLICY, (base + b"due",)) for base in self._bases}

    def _base(self, sid: SessionId) -> bytes:
        return self._bases[sid.int % len(self._bases)]

    def _keys(self, sid: SessionId) -> tuple[bytes, bytes]:
        base = self._base(sid)
        return base + b"due", base + b"session:" + str(sid).encode()

    def _keys_of_user(self, owner: bytes) -> list[tuple[bytes, bytes]]:
        return [(base + b"due", base + b"user:" + owner[1:]) for base in self._bases]

    def _keys_of_endings(self, sid: SessionId) -> tuple[bytes, ...]:
        """Return where it is kept how the session ended. A revocation of many sessions has a place of its own, so that
        no flood of ends pushes it out.
        """
        if is_of_many(sid):
            base = self._bases[0]
            return base + b"due", base + b"revoked", base + b"revoked before"
        base = self._base(sid)
        return base + b"due", base + b"ended", base + b"ended before"

    def _fields(self, sid: SessionId) -> dict[bytes, bytes]:
        try:
            fields = self._ask("HGETALL", self._keys(sid)[1])
            if type(fields) is list:
                fields = dict(zip(fields[::2], fields[1::2], strict=True))
        except self._errors as error:
            if "WRONGTYPE" in str(error):
                raise form.unreadable(sid) from error
            raise self._failure(error) from error
        except (TypeError, ValueError) as error:  # It cannot be made a dict, as redis-py would or as is done here.
            self._drop_connections()
            raise StoreUnavailable("The answer was no session; the connection is dropped.") from error
        return fields  # type: ignore[no-any-return]

    def _check_not_crossed(self, sid: SessionId) -> None:
        """Raise if what came as the answer is not what is stored as session ``sid``."""
        keys = self._keys(sid)
        told = self._run(scripts.HEAD_OF, keys)
        if type(told) is not bytes or not told.startswith(keys[1]) or form.sid_in(told[len(keys[1]) :]) == sid.bytes:
            raise self._crossed()

    def _infos(self) -> Iterator[SessionInfo]:
        for base in self._bases:
            yield from self._pages(scripts.FIND, (base + b"due",))

    def _infos_of(self, user_id: str) -> Iterator[SessionInfo]:
        owner = form.to_owner(user_id)
        for keys in self._keys_of_user(owner):
            yield from self._pages(scripts.FIND_USER, keys, owner)

    def _pages(self, script: Script, keys: tuple[bytes, ...], *arguments: bytes) -> Iterator[SessionInfo]:
        """Yield the infos that a script lists piece by piece, each of them once."""
        seen: set[SessionId] = set()
        cursor = b"0"
        while True:
            cursor, *told = self._run(script, keys, *arguments, cursor)
            for info in form.to_infos(told):
                if info.sid not in seen:
                    seen.add(info.sid)
                    yield info
            if cursor == b"0":
                return

    def _prune(self, base: bytes, now: float, limit: int) -> list[SessionInfo]:
        keys = base + b"due", base + b"ended", base + b"ended before"
        told = form.DOUBLE.pack(now), b"%d" % limit, b"%d" % REMEMBERED, self._most_buried
        while True:
            reply: list[bytes] = self._run(scripts.PRUNE, keys, *told)
            if len(reply) > 1 or _due_at(reply[0]) > now:
                return form.to_infos(reply[1:])

    # The connection.

    def _run(self, script: Script, keys: tuple[bytes, ...], *arguments: bytes) -> Any:
        told = (b"%d" % len(keys), *keys, *arguments)
        try:
            try:
                return self._ask("EVALSHA", script.sha, *told)
            except self._no_script:
                return self._ask("EVAL", script.text, *told)
        except self._errors as error:
            raise self._failure(error) from error

    def _ask(self, verb: str, *told: bytes) -> Any:
        connections = self._connections
        if connections is not None and connections.stand_in(self._client):
            return connections.ask(verb, *told)
        return self._client.execute_command(verb, *told, NEVER_DECODE=True)

    def _failure(self, error: BaseException) -> StoreError:
        if type(error).__name__ == "ReadOnlyError":
            # It was demoted. New connections find the server that took its place.
            self._drop_connections(in_use=False)
        if any(said in str(error) for said in _REJECTIONS):
            return RecordRejected(f"The session server did not take a session's data: {error}")
        return StoreUnavailable(f"The session server failed: {error}")

    def _crossed(self) -> StoreError:
        self._drop_connections()
        return StoreUnavailable(
            "The answer was about another session than the one asked for; the connection is dropped."
        )

    def _drop_connections(self, *, in_use: bool = True) -> None:
        if self._connections is not None:
            self._connections.drop()
        nodes = self._client.get_nodes() if self._is_cluster else ()
        clients = [node.redis_connection for node in nodes] if self._is_cluster else [self._client]
        for client in clients:
            with suppress(*self._errors, AttributeError):
                client.connection_pool.disconnect(inuse_connections=in_use)


def _text(told: object) -> str:
    return told.decode() if isinstance(told, bytes) else str(told)


def _advice(policy: bytes) -> str:
    if not policy:
        return (
            "The session server does not tell this user its maxmemory-policy. So a revocation looks at all sessions. "
            "Allow the user +info and +scan. [ISW025]"
        )
    return (
        f"The session server's maxmemory-policy is {policy.decode()}: when it is short of memory it forgets sessions, "
        "and their users are logged out. Set maxmemory-policy noeviction, on a server that only the sessions use. "
        "[ISE106]"
    )


def _due_at(data: bytes) -> float:
    return form.DOUBLE.unpack(data)[0] if data else inf


def _spread(prefix: str) -> list[str]:
    """Return beginnings of keys, one in each sixteenth of a cluster's slots."""
    bases: dict[int, str] = {}
    for number in count():
        shard = crc_hqx(b"%d" % number, 0) % _SLOTS * _SHARDS // _SLOTS
        bases.setdefault(shard, f"{prefix}{{{number}}}:")
        if len(bases) == _SHARDS:
            return [bases[shard] for shard in range(_SHARDS)]
    raise AssertionError("There are numbers for every slot.")


def _check(client: Any, prefix: str) -> None:
    said = f"The session store was given {type(client).__module__}.{type(client).__qualname__}"
    if not hasattr(client, "evalsha") or not hasattr(client, "execute_command"):
        mend = "pass what its master_for() returns" if hasattr(client, "master_for") else "pass a redis.Redis"
        raise ConfigError(f"{said}, which is no Redis client; {mend}. [ISE029]")
    if iscoroutinefunction(client.execute_command):
        raise ConfigError(f"{said}, which is asynchronous; pass a redis.Redis. [ISE029]")
    if hasattr(client, "command_stack"):
        raise ConfigError(f"{said}, which is a pipeline; pass the client that it was made by. [ISE029]")
    if getattr(client, "read_from_replicas", False) or getattr(client, "load_balancing_strategy", None) is not None:
        raise ConfigError(
            f"{said}, which reads from replicas: a session that ended would be read there still. [ISE029]"
        )
    if "{" in prefix and hasattr(client, "keyslot"):
        raise ConfigError(
            f"The prefix of a session store in a cluster is {prefix!r}; it must not contain a brace. [ISE029]"
        )


def _errors_of(client: Any) -> tuple[type[Exception], tuple[type[Exception], ...]]:
    """Return what the client raises for a script that is not known, and for anything."""
    for kind in type(client).__mro__:
        with suppress(ImportError, AttributeError):
            errors = import_module(f"{kind.__module__.partition('.')[0]}.exceptions")
            root = errors.NoScriptError.__mro__[-4:-3]  # Exception, BaseException and object come after it.
            others = [getattr(errors, name) for name in vars(errors) if name.endswith("ClusterException")]
            return errors.NoScriptError, (*root, *others, OSError)
    raise ConfigError(f"{type(client).__qualname__} raises no errors that are known; pass a redis.Redis. [ISE029]")


def _open_host_of(client: Any) -> dict[str, object]:
    """Return the host under ``open_at`` if it is another one, and the client was let in without a password."""
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    shown = ("password", "credential_provider", "path", "ssl_certfile")
    host = options.get("host")
    return {} if host is None or any(options.get(name) for name in shown) or _is_here(host) else {"open_at": host}


def _is_here(host: str) -> bool:
    """Return whether a name or an address is one of this host's own, which no other host can reach."""
    try:
        found = getaddrinfo(host, None)
    except OSError:
        return False
    return all(ip_address(address[0]).is_loopback for *_, address in found)
