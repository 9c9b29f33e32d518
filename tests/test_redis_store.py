"""The Redis store: the contract and the races on Redis, Valkey and a cluster, and what their servers do to it."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing

import pytest
from redis_servers import one_server
from redis_servers import redis_program
from redis_servers import RedisServer
from store_contract import StoreContract

from flask_idlesession.store import Store
from flask_idlesession.stores.redis import RedisStore


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with one_server(redis_program()) as server:
        yield server


class TestRedis(StoreContract):
    rounds = 15

    @pytest.fixture
    def make_store(self, server: RedisServer) -> Iterator[Callable[[], Store]]:
        with closing(server.client(socket_timeout=5)) as client:
            client.flushall()
            yield lambda: RedisStore(client)
