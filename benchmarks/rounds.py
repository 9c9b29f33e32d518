"""Measures cells in turns: rounds in random order, a reference in each of them, and the medians of it all."""

import gc
import random
import time
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple
from typing import TypeVar

from .processes import processor_seconds

Name = TypeVar("Name", bound=Hashable)
#: A NamedTuple of times; each is the smaller the better.
Times = TypeVar("Times", bound=tuple[float, ...])

#: How often the reference is measured in each round: what is subtracted from every other cell must be the surest.
REFERENCES = 3

_MICRO = 1e6


class Sample(NamedTuple):
    """Seconds for each call: of this process's processor time, all its threads together, and on the wall."""

    cpu: float
    wall: float


class Cost(NamedTuple):
    """Seconds for each call: of this process's processor time, on the wall, and of a server's processor time."""

    cpu: float
    wall: float
    server: float


Cell = Callable[[], Sample]
Taken = dict[Name, list[Times]]


def timed(work: Callable[[], object], *, calls: int) -> Sample:
    """Return what each of the ``calls`` that ``work`` makes takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Sample(cpu / calls, wall / calls)


def timed_with(work: Callable[[], object], *, calls: int, pid: int | None) -> Cost:
    """Return what each call takes here, and in the server of this process id, if there is one."""
    before = 0.0 if pid is None else processor_seconds(pid)
    sample = timed(work, calls=calls)
    return Cost(*sample, 0.0 if pid is None else (processor_seconds(pid) - before) / calls)


def interleave(
    cells: Mapping[Name, Callable[[], Times]],
    *,
    rounds: int,
    reference: Name | None = None,
    references: int = REFERENCES,
) -> Taken[Name, Times]:
    """Return what each cell measured in each round; whatever else the machine does meets all of them."""
    settle()
    taken: Taken[Name, Times] = {name: [] for name in cells}
    more = [] if reference is None else [reference] * (references - 1)
    for _ in range(rounds):
        order = [*cells, *more]
        random.shuffle(order)
        found: Taken[Name, Times] = {name: [] for name in cells}
        for name in order:
            found[name].append(cells[name]())
        for name, samples in found.items():
            taken[name].append(middle(samples))
    gc.unfreeze()
    return taken


def warm_up(cells: Mapping[Name, Callable[[], Times]]) -> Mapping[Name, Callable[[], Times]]:
    """Measure each cell once, which counts for nothing; return them."""
    for cell in cells.values():
        cell()
    return cells


def settle() -> None:
    """Keep what is there already out of the collector's passes, so that no cell pays for what another one keeps."""
    gc.collect()
    gc.freeze()


def middle(samples: list[Times]) -> Times:
    """Return the medians of each of the times."""
    return type(samples[0])(*map(median, zip(*samples, strict=True)))


def micros(samples: list[Sample]) -> Sample:
    """Return the medians, in microseconds."""
    found = middle(samples)
    return Sample(found.cpu * _MICRO, found.wall * _MICRO)


def micros_over(samples: list[Sample], reference: list[Sample]) -> Sample:
    """Return the medians of what each round measured over the reference of the same round, in microseconds."""
    pairs = zip(samples, reference, strict=True)
    return micros([Sample(sample.cpu - floor.cpu, sample.wall - floor.wall) for sample, floor in pairs])


def calls_within(work: Callable[[int], object], *, seconds: float) -> int:
    """Return how many calls fill ``seconds``, at least 8; ``work`` makes as many as it is told."""
    calls = 8
    while True:
        began = time.perf_counter()
        work(calls)
        elapsed = time.perf_counter() - began
        if elapsed >= seconds / 8:
            return max(8, int(calls * seconds / elapsed))
        calls *= 4
