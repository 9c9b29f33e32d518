"""The servers of the tests of the Redis store: one of a file's own, a cluster, and a client that begins with no key."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from support.redis_servers import a_cluster
from support.redis_servers import one_server
from support.redis_servers import redis_program
from support.redis_servers import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with one_server(redis_program()) as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    with a_cluster(redis_program()) as servers:
        yield servers


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    with closing(server.client(socket_timeout=5)) as client:
        client.flushall()
        client.config_set("maxmemory-policy", "noeviction")
        yield client
