"""The arithmetic of timeouts."""

import math
from dataclasses import FrozenInstanceError
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from math import inf
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_idlesession.model.errors import ConfigError
from flask_idlesession.model.policy import DAY
from flask_idlesession.model.policy import Policy
from flask_idlesession.model.policy import seconds

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (0.001, 0.001),
        (1e300, 1e300),
        (timedelta(minutes=5), 300.0),
        (timedelta(microseconds=1), 1e-6),
        (timedelta.max, timedelta.max.total_seconds()),
    ],
)
def test_a_duration_is_an_int_a_float_or_a_timedelta(value: Any, expected: float) -> None:
    duration = seconds(value, name="idle_timeout")
    assert type(duration) is float and duration == expected


@pytest.mark.parametrize(
    "value",
    [0, 0.0, -0.0, -1, -0.5, math.nan, inf, -inf, 10**400, timedelta(), timedelta(seconds=-1), timedelta.min],
    ids=lambda value: repr(value)[:20],
)
def test_a_duration_is_finite_and_above_0(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds(value, name="idle_timeout")
    assert str(caught.value) == f"idle_timeout is {value!r}; it must be seconds above 0, and finite. [ISE020]"


@pytest.mark.parametrize(
    "value", ["1800", "30 minutes", b"1", None, True, False, [1800], 1j, Decimal("5"), Fraction(1, 2), object]
)
def test_a_duration_of_another_type_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds(value, name="idle_timeout")
    message = str(caught.value)
    assert message.startswith(f"idle_timeout is {value!r}; it must be seconds above 0, as a number or a timedelta, ")
    assert message.endswith(f"not {type(value).__name__}. [ISE020]")


@pytest.mark.parametrize("name", ["idle_timeout", "lifetime"])
@pytest.mark.parametrize("value", [0, -1, math.nan, inf, "1"])
def test_a_policy_refuses_impossible_timeouts(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is "):
        Policy(**{name: value})


def test_a_policy_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Policy().idle_timeout = 5  # type: ignore[misc]


def test_the_defaults_are_half_an_hour_idle_and_a_day() -> None:
    policy = Policy()
    assert (policy.idle_timeout, policy.lifetime, policy.permanent_lifetime) == (1800, DAY, 31 * DAY)


def test_a_session_begins_now_and_ends_by_the_policy() -> None:
    policy = Policy(idle_timeout=10, lifetime=60, permanent_lifetime=30)
    sid = uuid4()
    info = policy.begin(now=NOW, sid=sid, user_id="ada")
    assert (info.sid, info.user_id, info.created_at, info.last_seen_at) == (sid, "ada", NOW, NOW)
    assert (info.idle_timeout, info.lifetime_ends_at, info.refresh_by) == (10, NOW + 60, inf)
    assert info.expires_at == NOW + 10
    permanent = policy.begin(now=NOW, permanent=True)
    assert permanent.refresh_by == NOW + 30 and permanent.sid != policy.begin(now=NOW).sid


def test_the_shorter_of_the_three_clocks_rules() -> None:
    for ends in ((1, 2, 3), (3, 1, 2), (2, 3, 1)):
        idle, lifetime, permanent = ends
        policy = Policy(idle_timeout=idle, lifetime=lifetime, permanent_lifetime=permanent)
        assert policy.begin(now=NOW, permanent=True).expires_at == NOW + 1
        assert policy.begin(now=NOW).expires_at == NOW + min(idle, lifetime)


def test_activity_moves_the_idle_end_and_never_the_lifetime() -> None:
    policy = Policy(idle_timeout=10, lifetime=60)
    info = policy.begin(now=NOW)
    seen = policy.seen(info, now=NOW + 9)
    assert seen == replace(info, last_seen_at=NOW + 9) and seen.expires_at == NOW + 19
    assert policy.seen(seen, now=NOW + 59).expires_at == NOW + 60


def test_activity_never_moves_back() -> None:
    policy = Policy()
    info = policy.begin(now=NOW)
    assert policy.seen(info, now=NOW - 100).last_seen_at == NOW


def test_activity_refreshes_a_permanent_session_where_each_request_does() -> None:
    for refreshes in (True, False):
        policy = Policy(permanent_lifetime=100, refresh_each_request=refreshes)
        info = policy.seen(policy.begin(now=NOW, permanent=True), now=NOW + 5)
        assert info.refresh_by == NOW + (105 if refreshes else 100)
        assert policy.seen(policy.begin(now=NOW), now=NOW + 5).refresh_by == inf


def test_an_arrival_is_noted_at_once_when_less_than_half_of_the_idle_time_is_left() -> None:
    policy = Policy(idle_timeout=10, lifetime=60)
    info = policy.begin(now=NOW)
    assert not policy.touches_at_once(info, now=NOW)
    assert not policy.touches_at_once(info, now=NOW + 5)
    assert policy.touches_at_once(info, now=NOW + 5.01)
    assert policy.touches_at_once(replace(info, last_seen_at=NOW + 56), now=NOW + 56)


durations = st.floats(1e-3, 1e7)


@given(durations, durations, durations, st.booleans(), st.lists(st.floats(0, 1e7), max_size=8))
def test_no_activity_ends_a_session_earlier_or_prolongs_its_lifetime(
    idle: float, lifetime: float, permanent_lifetime: float, permanent: bool, steps: list[float]
) -> None:
    policy = Policy(idle_timeout=idle, lifetime=lifetime, permanent_lifetime=permanent_lifetime)
    info, now = policy.begin(now=NOW, permanent=permanent), NOW
    for step in steps:
        now += step
        seen = policy.seen(info, now=now)
        assert seen.expires_at >= info.expires_at
        assert seen.expires_at <= info.lifetime_ends_at == seen.lifetime_ends_at
        assert seen.expires_at <= now + idle
        info = seen
