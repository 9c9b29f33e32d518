"""The pytest plugin: write ``pytest_plugins = ["flask_idlesession.testing.plugin"]`` in ``conftest.py``."""

from collections.abc import Callable
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from . import clients
from .clock import IdleClock


@pytest.fixture
def idle_clock() -> Iterator[IdleClock]:
    """The clock of all sessions, which stands still: ``idle_clock.advance(30 * 60)`` lets half an hour pass."""
    with IdleClock() as clock:
        yield clock


@pytest.fixture
def logged_in() -> Callable[..., FlaskClient]:
    """The function :func:`flask_idlesession.testing.logged_in`, for tests that import nothing."""
    return clients.logged_in


@pytest.fixture(autouse=True)
def _open_transactions() -> Iterator[None]:
    """Let ``logged_in`` find the ``session_transaction()`` that a test calls it in."""
    with clients.noted_transactions():
        yield
