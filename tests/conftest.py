"""What the tests share: the markers, hypothesis's settings, and servers that are started once a run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings

pytest.register_assert_rewrite("store_contract", "store_races", "linearizability")

settings.register_profile("plain", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
settings.register_profile("soak", parent=settings.get_profile("plain"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "plain"))

# The programs that tests start would compile the package anew each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_configure(config: pytest.Config) -> None:
    memory = Path("/dev/shm")
    if config.option.basetemp is None and memory.is_dir() and shutil.disk_usage(memory).free > 2**30:
        # Thousands of files are synced, which a busy disk takes its time for. To keep them, give --basetemp.
        config.option.basetemp = tempfile.mkdtemp(prefix="idlesession-tests-", dir=memory)
        config.add_cleanup(partial(shutil.rmtree, config.option.basetemp, ignore_errors=True))
    config.addinivalue_line("markers", "needs(*flags): what a store must be able to do for this test of the contract")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "soak" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason='This takes minutes; run it with "-m soak".'))


# Who uses one of these leaves it running, and minds nothing that others left in it.


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    import servers

    with servers.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Any]:
    import servers

    with servers.mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Any]:
    import redis_servers

    with redis_servers.one_server(redis_servers.redis_program()) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Any]:
    import redis_servers

    with redis_servers.one_server(redis_servers.valkey_program()) as server:
        yield server
