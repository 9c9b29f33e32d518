"""The Redis store: the contract and the races on Redis, Valkey and a cluster, and what their servers do to it."""

import os
import signal
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from math import inf
from typing import Any
from uuid import uuid4

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_servers import a_cluster
from redis_servers import a_sentinel
from redis_servers import one_server
from redis_servers import redis_program
from redis_servers import RedisServer
from redis_servers import valkey_program
from redis_servers import wait_until
from store_contract import a_record
from store_contract import drain
from store_contract import HOLDER
from store_contract import IDLE
from store_contract import NOW
from store_contract import SECOND
from store_contract import sids
from store_contract import StoreContract
from store_races import StoreRaces

from flask_idlesession.errors import ConfigError
from flask_idlesession.errors import SessionExists
from flask_idlesession.errors import StoreError
from flask_idlesession.record import Change
from flask_idlesession.record import Outcome
from flask_idlesession.record import Rotation
from flask_idlesession.store import Store
from flask_idlesession.stores import redis_scripts
from flask_idlesession.stores.redis import RedisStore


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with one_server(redis_program()) as server:
        yield server


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[RedisServer]:
    with one_server(valkey_program()) as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    with a_cluster(redis_program()) as servers:
        yield servers


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with closing(server.client(socket_timeout=5)) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(client: redis.Redis) -> RedisStore:
    return RedisStore(client)


def cluster_client(servers: list[RedisServer]) -> redis.RedisCluster:
    return redis.RedisCluster(host="127.0.0.1", port=servers[0].port, socket_timeout=5)


def emptied(servers: list[RedisServer]) -> None:
    for server in servers:
        with closing(server.client()) as client:
            client.flushall()


def open_url(url: str) -> Store:
    scheme, plain = url.split("+")
    return RedisStore({"one": redis.Redis, "many": redis.RedisCluster}[scheme].from_url(plain, socket_timeout=5))


def sizes(*clients: redis.Redis) -> dict[str, int]:
    """Count the sessions there are, the entries of what is due, and those of all users."""
    count = {"session": 0, "due": 0, "user": 0}
    for client in clients:
        for key in client.scan_iter(count=1000):
            name = key.decode("utf-8", "replace").removeprefix("idlesession:").partition("}:")
            kind = (name[2] or name[0]).partition(":")[0]
            size = {"session": lambda key: 1, "due": client.zcard, "user": client.scard}[kind]
            count[kind] += size(key)  # type: ignore[operator]
    return count


class TestRedis(StoreContract):
    next_expiry_is_exact = False
    rounds = 15

    @pytest.fixture
    def make_store(self, client: redis.Redis) -> Callable[[], Store]:
        return lambda: RedisStore(client)


class TestRedisByRESP3(StoreContract):
    rounds = 3

    @pytest.fixture
    def make_store(self, server: RedisServer) -> Iterator[Callable[[], Store]]:
        with closing(server.client(socket_timeout=5, protocol=3, decode_responses=True)) as client:
            client.flushall()
            yield lambda: RedisStore(client, prefix="another app's: ")


class TestValkey(StoreContract):
    rounds = 5

    @pytest.fixture
    def make_store(self, valkey_server: RedisServer) -> Iterator[Callable[[], Store]]:
        valkey = pytest.importorskip("valkey")
        with closing(valkey.Valkey(port=valkey_server.port, socket_timeout=5)) as client:
            client.flushall()
            yield lambda: RedisStore(client)


class TestCluster(StoreContract):
    rounds = 5

    @pytest.fixture
    def make_store(self, cluster: list[RedisServer]) -> Iterator[Callable[[], Store]]:
        emptied(cluster)
        with closing(cluster_client(cluster)) as client:
            yield lambda: RedisStore(client)


class TestRacesOnOneServer(StoreRaces):
    opener = staticmethod(open_url)
    rounds = 1500

    @pytest.fixture
    def spec(self, server: RedisServer, client: redis.Redis) -> Iterator[str]:
        yield f"one+{server.url}"
        assert_no_ghosts(client)


class TestRacesOnACluster(StoreRaces):
    opener = staticmethod(open_url)
    rounds = 300

    @pytest.fixture
    def spec(self, cluster: list[RedisServer]) -> Iterator[str]:
        emptied(cluster)
        yield f"many+{cluster[0].url}"
        clients = [each.client() for each in cluster]
        assert_no_ghosts(*clients)
        for client in clients:
            client.close()


def assert_no_ghosts(*clients: redis.Redis) -> None:
    left = sizes(*clients)
    assert left["session"] == left["due"] and left["user"] <= left["session"]
