"""Simulates visitors: people who read, reload and double-click, and pages that ask again by themselves."""

import random
from collections.abc import Callable
from collections.abc import Iterator
from uuid import UUID

from flask_idlesession.operations.beats import Beats
from flask_idlesession.operations.polling import Poller
from flask_idlesession.operations.polling import pollers_in

#: An endpoint, a session's id, and the instants at which it asks.
Visits = Iterator[tuple[str, UUID, list[float]]]
Pause = Callable[[random.Random], float]

#: How people pause between two looks at a page, by the mean.
PAUSES: dict[str, Callable[[random.Random, float], float]] = {
    "any": lambda chance, mean: chance.expovariate(1 / mean),
    "similar": lambda chance, mean: max(chance.gauss(mean, mean / 5), 1.0),
    "within bounds": lambda chance, mean: chance.uniform(0.75 * mean, 1.25 * mean),
    "long-tailed": lambda chance, mean: chance.lognormvariate(0, 0.5) * mean,
    "in whole seconds": lambda chance, mean: chance.randint(2, int(2 * mean)),
}


def an_id(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)


def of_a_person(chance: random.Random, seconds: float, *, mean: float, pauses: str) -> list[float]:
    """Return when a person opens a page, with reloads and double clicks."""
    at, times = chance.uniform(0, mean), []
    while at < seconds:
        times.append(at)
        if chance.random() < 0.2:
            times.append(at + chance.uniform(0.05, 0.4))
        if chance.random() < 0.2:
            times.append(at + chance.uniform(1, 3))
        at += PAUSES[pauses](chance, mean)
    return times


def of_a_poll(chance: random.Random, seconds: float, *, period: float, jitter: float, tabs: int = 1) -> list[float]:
    """Return when a page asks by itself, from as many tabs."""
    times = []
    for _ in range(tabs):
        at = chance.uniform(0, period)
        while at < seconds:
            times.append(max(at + chance.uniform(-jitter, jitter), 0.0))
            at += period
    return sorted(times)


def people(chance: random.Random, seconds: float, *, sessions: int, endpoints: int = 50) -> Visits:
    """Yield the visits of people, each of whom uses a third of the endpoints."""
    for _ in range(sessions):
        sid = an_id(chance)
        for number in range(endpoints):
            if chance.random() < 0.3:
                pauses, mean = list(PAUSES)[number % len(PAUSES)], 20.0 * (1 + number % 4)
                yield f"page_{number}", sid, of_a_person(chance, seconds, mean=mean, pauses=pauses)


def found_in(visits: Visits, chance: random.Random, *, minutes: int, processes: int = 1) -> dict[str, Poller]:
    """Have the visits go to the processes by chance; return what is found when the last minute is over."""
    events = sorted((at, endpoint, sid) for endpoint, sid, times in visits for at in times if at < 60 * minutes)
    watching = [Beats() for _ in range(processes)]
    by_minute: dict[int, dict[str, int]] = {}

    def judge(now: float) -> None:
        amounts = by_minute.setdefault(int(now // 60), {})
        for beats in watching:
            for name, amount in beats.judge_if_due(now=now):
                amounts[name] = amounts.get(name, 0) + amount

    judge(0.0)
    minute = 1
    for at, endpoint, sid in events:
        while at >= 60 * minute:
            judge(60.0 * minute)
            minute += 1
        chance.choice(watching).note(endpoint, sid, at=at, is_opened=False)
    judge(60.0 * minutes)
    return {poller.endpoint: poller for poller in pollers_in(by_minute)}
