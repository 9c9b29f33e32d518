"""A small pool of connections for the Redis store.

A client's own pool takes as long to lend a connection as a command takes to run.
"""

import os
from contextlib import suppress
from importlib import import_module
from types import FunctionType
from types import MethodType
from typing import Any

#: How many are kept while nobody asks: as many threads of one process hardly ask at once.
_MAX_IDLE = 64

#: Where redis-py and valkey-py have their clients, each in a package with its errors.
_CLIENT = ".client"

#: The pools that tell their connections nothing after they were made; one of Sentinel's does.
_PLAIN_POOLS = ("ConnectionPool", "BlockingConnectionPool")


class Connections:
    """Connections that are made as those of the client's pool, and not counted among them: an application that gave
    its pool a limit still has all of it. Their time-outs and retries are the client's.

    A connection on which anything went wrong is closed, so that no answer is left on it for the next command.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._library = type(client).__module__
        errors = import_module(f"{self._library.removesuffix(_CLIENT)}.exceptions")
        self._broken: type[Exception] = errors.ConnectionError
        self._faults: tuple[type[Exception], ...] = (errors.ConnectionError, errors.TimeoutError, OSError)
        self._no_script: type[Exception] = errors.NoScriptError
        self._idle: list[Any] = []
        self._process = os.getpid()

    def stand_in(self, client: Any) -> bool:
        """Return whether the client would do no more with a command than is done here. False if it was instrumented
        (OpenTelemetry replaces ``execute_command``), or was given another pool.
        """
        method = client.execute_command
        if type(method) is not MethodType or type(method.__func__) is not FunctionType:
            return False
        if client.connection_pool is not self._pool:
            return False
        return method.__func__.__module__ == self._library

    def ask(self, *command: str | bytes) -> Any:
        """Send one command, and return the answer, its texts as bytes."""
        if self._process != os.getpid():  # The others are the parent's.
            self._idle, self._process = [], os.getpid()
        idle = self._idle
        try:
            connection, is_used = idle.pop(), True
        except IndexError:
            connection, is_used = self._pool.connection_class(**self._pool.connection_kwargs), False
        try:
            try:
                connection.send_command(*command)
                answer = connection.read_response(disable_decoding=True)
            except self._faults as error:
                # Where the server had closed a connection, a pool would have seen that beforehand, and made another.
                first = None if is_used and isinstance(error, self._broken) else error
                answer = self._try_again(connection, command, first=first)
        except self._no_script:
            self._keep(connection, idle)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self._keep(connection, idle)
        return answer

    def _try_again(self, connection: Any, command: tuple[str | bytes, ...], *, first: Exception | None) -> Any:
        """Send once more, as often as the client would after a ``first`` try that failed so."""
        failed = [] if first is None else [first]

        def send() -> Any:
            if failed:
                raise failed.pop()
            connection.send_command(*command)
            return connection.read_response(disable_decoding=True)

        connection.disconnect()
        return connection.retry.call_with_retry(send, lambda _: connection.disconnect())

    def drop(self) -> None:
        """Close all connections; one that is in use is closed when its answer has come."""
        idle, self._idle = self._idle, []
        while idle:
            with suppress(IndexError):  # Another thread took the last one.
                idle.pop().disconnect()

    def _keep(self, connection: Any, idle: list[Any]) -> None:
        if idle is self._idle and len(idle) < _MAX_IDLE:
            idle.append(connection)
        else:
            connection.disconnect()


def connections_like(client: Any) -> Connections | None:
    """Return connections like the client's; None for a client that has more to do with a command than to send it: of
    a cluster, of Sentinel, with a cache, with one connection for all it does, or of an application's own class.
    """
    pool = getattr(client, "connection_pool", None)
    is_plain = type(pool).__name__ in _PLAIN_POOLS and getattr(pool, "cache", None) is None
    if not is_plain or not type(client).__module__.endswith(_CLIENT) or getattr(client, "connection", None) is not None:
        return None
    connections = Connections(client)
    return connections if connections.stand_in(client) else None
