"""The clock of production, and the one of tests."""

import importlib
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from flask_idlesession.model import clock as clock_module
from flask_idlesession.model.clock import system_clock
from flask_idlesession.testing import FakeClock


@pytest.fixture
def anew() -> Iterator[ModuleType]:
    """The clock's module, to be read anew; afterwards it is as it was."""
    kept = dict(vars(clock_module))
    yield clock_module
    vars(clock_module).update(kept)


def test_the_system_clock_tells_wall_time() -> None:
    assert abs(system_clock() - time.time()) < 5


def test_the_system_clock_never_steps_back() -> None:
    told = [system_clock() for _ in range(10_000)]
    assert told == sorted(told)


def test_a_step_of_the_wall_clock_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = system_clock()
    for step in (-3600.0, 86400.0 * 365):
        monkeypatch.setattr(time, "time", lambda step=step: before + step)
        assert 0 <= system_clock() - before < 5


def test_time_that_the_machine_slept_through_counts(monkeypatch: pytest.MonkeyPatch, anew: ModuleType) -> None:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("This system has no clock that counts through a suspend.")
    real = time.clock_gettime
    slept = 0.0

    def clock_gettime(which: int) -> float:
        return real(which) + (slept if which == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    importlib.reload(anew)
    before = anew.system_clock()
    slept = 7200.0
    assert 7200 <= anew.system_clock() - before < 7205


def test_a_system_without_a_boot_clock_counts_on_the_monotonic_one(
    monkeypatch: pytest.MonkeyPatch, anew: ModuleType
) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "monotonic", lambda: 123.0)
    importlib.reload(anew)
    assert anew.since_boot() == 123.0
    assert abs(anew.system_clock() - time.time()) < 5
    before = anew.system_clock()
    monkeypatch.setattr(time, "time", lambda: before + 86400)
    assert 0 <= anew.system_clock() - before < 5


def test_a_fake_clock_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(100.0)
    assert clock() == clock() == 100.0
    assert clock.advance(1.5) == 101.5 == clock()
    assert clock.advance(-10) == 91.5 == clock()
