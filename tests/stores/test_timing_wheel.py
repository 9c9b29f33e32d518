"""The timing wheel, beside a naive model that looks through everything each time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from hypothesis.stateful import invariant
from hypothesis.stateful import rule
from hypothesis.stateful import RuleBasedStateMachine

from flask_idlesession.stores.memory.timing_wheel import TimingWheel

NOW = 1_700_000_000.0
MUCH = 1_000_000

#: Few instants near each other, so that slots are shared, and their edges are met.
instants = st.one_of(
    st.integers(0, 64).map(lambda step: NOW + step / 32), st.floats(NOW, NOW + 10), st.floats(NOW, NOW + 1e6)
)


class Truth:
    """What truly belongs to each key, and the wheel that was told of it."""

    def __init__(self) -> None:
        self.wheel = TimingWheel()
        self.instants: dict[int, float] = {}

    def file(self, key: int, instant: float) -> None:
        self.instants[key] = instant
        self.wheel.file(key, instant)

    def due(self, now: float, *, limit: int = MUCH, budget: int = MUCH) -> list[int]:
        """Take what is due off the wheel, and forget it, as a store does."""
        due = self.wheel.due(now, truth=self.instants.get, limit=limit, budget=budget)
        for key in due:
            assert self.instants.pop(key) <= now
        return due

    def first(self) -> tuple[int, float] | None:
        first = self.wheel.first(truth=self.instants.get, budget=MUCH)
        if first is None:
            return None
        key, instant = first
        assert instant is not None
        return key, instant


@pytest.fixture
def truth() -> Truth:
    return Truth()


def test_an_empty_wheel_has_nothing(truth: Truth) -> None:
    assert len(truth.wheel) == 0
    assert truth.first() is None
    assert truth.due(NOW) == []
    truth.wheel.settle(truth=truth.instants.get, budget=10)


def test_a_key_is_due_at_its_instant_and_not_before(truth: Truth) -> None:
    truth.file(1, NOW + 0.03)
    assert truth.due(NOW + 0.0299) == []
    assert truth.first() == (1, NOW + 0.03)
    assert truth.due(NOW + 0.03) == [1]
    assert truth.due(NOW + 100) == []
    assert len(truth.wheel) == 0


def test_a_key_whose_instant_moved_later_is_due_then(truth: Truth) -> None:
    truth.file(1, NOW + 1)
    truth.instants[1] = NOW + 5
    assert truth.due(NOW + 1) == []
    assert truth.due(NOW + 4.99) == []
    assert truth.due(NOW + 5) == [1]


def test_a_key_whose_instant_moved_earlier_is_filed_again_and_due_once(truth: Truth) -> None:
    truth.file(1, NOW + 5)
    truth.file(1, NOW + 1)
    assert truth.first() == (1, NOW + 1)
    assert truth.due(NOW + 1) == [1]
    assert truth.due(NOW + 10) == []
    assert len(truth.wheel) == 0


def test_a_key_that_was_filed_twice_in_one_slot_is_due_once(truth: Truth) -> None:
    truth.file(1, NOW + 1)
    truth.file(1, NOW + 1)
    assert truth.due(NOW + 1) == [1]


def test_a_forgotten_key_is_never_due(truth: Truth) -> None:
    truth.file(1, NOW + 1)
    truth.file(2, NOW + 2)
    del truth.instants[1]
    assert truth.first() == (2, NOW + 2)
    assert truth.due(NOW + 9) == [2]


def test_no_more_than_the_limit_is_due_at_once_and_the_rest_stays(truth: Truth) -> None:
    for key in range(100):
        truth.file(key, NOW + key % 3)
    assert len(truth.due(NOW + 9, limit=70)) == 70
    assert len(truth.due(NOW + 9, limit=70)) == 30
    assert truth.due(NOW + 9) == []


def test_the_limit_is_reached_over_many_slots(truth: Truth) -> None:
    for key in range(64):
        truth.file(key, NOW + key)
    assert len(truth.due(NOW + 100, limit=64, budget=4 * 64 + 64)) == 64


def test_keys_come_in_the_order_of_their_slots(truth: Truth) -> None:
    order = random.Random(0).sample(range(500), 500)
    for key in order:
        truth.file(key, NOW + key)
    assert truth.due(NOW + 1000) == sorted(order)


def test_the_first_is_the_earliest_of_its_slot(truth: Truth) -> None:
    for key in range(60):
        truth.file(key, NOW + (60 - key) / 1000)
    assert truth.first() == (59, NOW + 0.001)


def test_a_key_that_moved_later_is_not_the_first(truth: Truth) -> None:
    truth.file(1, NOW + 1)
    truth.file(2, NOW + 5)
    truth.instants[1] = NOW + 9
    assert truth.first() == (2, NOW + 5)
    assert truth.due(NOW + 6) == [2]
    assert truth.first() == (1, NOW + 9)


def test_a_first_that_is_not_found_within_the_budget_is_named_without_its_instant(truth: Truth) -> None:
    for key in range(1000):
        truth.file(key, NOW + key / 100)
        truth.instants[key] = NOW + 100 + key
    first = truth.wheel.first(truth=truth.instants.get, budget=100)
    assert first is not None and first[0] in truth.instants and first[1] is None
    for _ in range(20):
        truth.wheel.first(truth=truth.instants.get, budget=100)
    assert truth.wheel.first(truth=truth.instants.get, budget=100) == (0, NOW + 100)


def test_a_key_without_an_end_is_never_due(truth: Truth) -> None:
    truth.file(1, float("inf"))
    truth.file(2, NOW + 1)
    truth.instants[2] = float("inf")
    assert truth.due(NOW + 1e9) == []
    assert truth.due(NOW + 1e9) == []


@pytest.mark.parametrize("instant", [0.0, -1.0, -1e9, 1e15])
def test_any_finite_instant_has_a_slot(truth: Truth, instant: float) -> None:
    truth.file(1, instant)
    assert truth.first() == (1, instant)
    assert truth.due(instant) == [1]


def test_slots_keep_their_order_while_others_are_settled_away(truth: Truth) -> None:
    """A heap from whose middle one is taken must remain a heap."""
    for trial in range(30):
        chance = random.Random(trial)
        truth = Truth()
        for key in range(60):
            truth.file(key, NOW + chance.randrange(100))
        for key in chance.sample(range(60), 40):
            del truth.instants[key]
        for _ in range(20):
            truth.wheel.settle(truth=truth.instants.get, budget=4)
        expected = sorted(truth.instants.values())
        came = []
        while (first := truth.first()) is not None:
            came.append(first[1])
            assert truth.due(first[1], limit=1) != []
        assert came == expected


def test_entries_of_forgotten_keys_are_settled_away(truth: Truth) -> None:
    for key in range(1000):
        truth.file(key, NOW + key % 100)
    for key in range(900):
        del truth.instants[key]
    for _ in range(500):
        truth.wheel.settle(truth=truth.instants.get, budget=8)
    assert len(truth.wheel) == 100
    assert sorted(truth.due(NOW + 1000)) == list(range(900, 1000))


@given(st.lists(st.tuples(st.integers(0, 20), instants), max_size=60), st.lists(instants, max_size=20))
def test_each_key_is_due_once_and_in_time(filed: list[tuple[int, float]], times: list[float]) -> None:
    truth = Truth()
    for key, instant in filed:
        if key not in truth.instants or instant < truth.instants[key]:
            truth.file(key, instant)
        else:
            truth.instants[key] = instant
    left = dict(truth.instants)
    for now in sorted(times):
        due = truth.due(now)
        assert sorted(due) == sorted(key for key, instant in left.items() if instant <= now)
        for key in due:
            del left[key]


class WheelMachine(RuleBasedStateMachine):
    """File, move, forget, take and settle in any order."""

    keys = st.integers(0, 40)

    @initialize()
    def begin(self) -> None:
        self.truth = Truth()
        self.now = NOW

    @rule(key=keys, instant=instants)
    def file_or_move(self, key: int, instant: float) -> None:
        known = self.truth.instants.get(key)
        if known is None or instant < known:
            self.truth.file(key, instant)
        else:
            self.truth.instants[key] = instant

    @rule(key=keys)
    def forget(self, key: int) -> None:
        self.truth.instants.pop(key, None)

    @rule(by=st.floats(0, 2), limit=st.integers(1, 5))
    def take_some(self, by: float, limit: int) -> None:
        self.now += by
        expected = sum(instant <= self.now for instant in self.truth.instants.values())
        assert len(self.truth.due(self.now, limit=limit)) == min(limit, expected)

    @rule(budget=st.integers(1, 200))
    def take_on_a_budget(self, budget: int) -> None:
        self.truth.due(self.now, budget=budget)

    @rule(budget=st.integers(1, 20))
    def settle(self, budget: int) -> None:
        self.truth.wheel.settle(truth=self.truth.instants.get, budget=budget)

    @rule()
    def first_is_the_earliest(self) -> None:
        first = self.truth.first()
        if not self.truth.instants:
            assert first is None
        else:
            assert first is not None
            key, instant = first
            assert instant == min(self.truth.instants.values()) == self.truth.instants[key]

    @invariant()
    def no_entry_is_lost(self) -> None:
        assert len(self.truth.wheel) >= len(self.truth.instants)

    def teardown(self) -> None:
        due = self.truth.due(NOW + 1e9)
        assert not self.truth.instants, "Some key is never due."
        assert len(due) == len(set(due))
        assert self.truth.first() is None and len(self.truth.wheel) == 0


TestWheelMachine = WheelMachine.TestCase
