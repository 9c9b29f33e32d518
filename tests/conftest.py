"""What the tests share: the markers, over how many processes they run, hypothesis's settings, and servers."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings

pytest.register_assert_rewrite(
    "flask_idlesession.testing.store_contract", "support.store_races", "support.linearizability"
)

settings.register_profile("plain", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
settings.register_profile("soak", parent=settings.get_profile("plain"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "plain"))

# The programs that tests start would compile the package anew each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A whole run takes one process more than there are processors, since many tests wait: for the end of a session,
    a server, a browser. What is picked out by hand, or soaks, runs as it would without pytest-xdist.
    """
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and "soak" not in config.option.markexpr
    return len(os.sched_getaffinity(0)) + 1 if is_whole and hasattr(os, "sched_getaffinity") else 0


def pytest_configure(config: pytest.Config) -> None:
    memory = Path("/dev/shm")
    if config.option.basetemp is None and memory.is_dir() and shutil.disk_usage(memory).free > 2**30:
        # Thousands of files are synced, which a busy disk takes its time for. To keep them, give --basetemp.
        config.option.basetemp = tempfile.mkdtemp(prefix="idlesession-tests-", dir=memory)
        config.add_cleanup(partial(shutil.rmtree, config.option.basetemp, ignore_errors=True))
    config.addinivalue_line("markers", "alone: measures time, so no other test runs meanwhile")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "soak" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason='This takes minutes; run it with "-m soak".'))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with _room(item.config, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _room(config: pytest.Config, *, alone: bool) -> Iterator[None]:
    """Hold the room in which the tests of all processes run: with the others, or alone.

    Who waits for the others to leave stands in the door, so that no more of them come in.
    """
    if not hasattr(config, "workerinput"):
        yield
        return
    import fcntl

    shared = Path(config.option.basetemp).parent
    with (shared / "door").open("w") as door, (shared / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # A child that was forked meanwhile has the file open, too.


@pytest.fixture
def clock() -> Any:
    """A clock that a test moves."""
    from flask_idlesession.testing import FakeClock

    return FakeClock()


@pytest.fixture
def app(request: pytest.FixtureRequest, clock: Any) -> Any:
    """The application that the ``make_app`` of the test's file makes."""
    return request.module.make_app(clock)


# A test that uses one of these servers leaves it running, and minds nothing that others left in it.


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    from support import servers

    with servers.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Any]:
    from support import servers

    with servers.mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Any]:
    from support import redis_servers

    with redis_servers.one_server(redis_servers.redis_program()) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Any]:
    from support import redis_servers

    with redis_servers.one_server(redis_servers.valkey_program()) as server:
        yield server
