"""What one request does to its session is one change, or none."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from flask_idlesession.model.ids import Credential
from flask_idlesession.model.labels import AUTHENTICATED_AT
from flask_idlesession.model.policy import Policy
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.sessions.changes import change_of
from flask_idlesession.sessions.changes import NOTHING
from flask_idlesession.sessions.changes import plain_change
from flask_idlesession.sessions.changes import ROTATED_AT
from flask_idlesession.sessions.changes import rotates
from flask_idlesession.sessions.session import Intents

NOW = 1_700_000_000.0
HOLDER, NEXT = b"h" * 32, b"n" * 32
POLICY = Policy()


def info(user_id: str | None = None, *, permanent: bool = False) -> SessionInfo:
    return POLICY.begin(now=NOW - 60, user_id=user_id, permanent=permanent)


def record(of: SessionInfo) -> Record:
    return Record(info=of, secret_digest=HOLDER, values={"a": b"1"})


def change(of: SessionInfo, *, policy: Policy = POLICY, **done: Any) -> Change | None:
    facts: dict[str, Any] = {"active": True, "is_touched": False, "delta": {}}
    return change_of(record(of), holder=HOLDER, policy=policy, now=NOW, **(facts | done))


VISITOR, USER = info(), info("ada")
PERMANENT = info(permanent=True)
LAZY = replace(POLICY, touch_interval=300.0)
PATIENT = replace(POLICY, refresh_each_request=False)


@pytest.mark.parametrize(
    ("of", "done"),
    [
        pytest.param(VISITOR, {"active": False}, id="a passive request that wrote nothing"),
        pytest.param(VISITOR, {"is_touched": True}, id="one whose activity is stored already"),
        pytest.param(VISITOR, {"policy": LAZY}, id="one whose activity may be written later"),
        pytest.param(USER, {"is_touched": True}, id="a user's, stored already"),
    ],
)
def test_where_nothing_is_to_be_stored_there_is_no_change(of: SessionInfo, done: dict[str, Any]) -> None:
    assert change(of, **done) is None


@pytest.mark.parametrize(
    ("of", "done", "expected"),
    [
        pytest.param(VISITOR, {}, {"last_seen_at": NOW}, id="a touch"),
        pytest.param(VISITOR, {"delta": {"b": b"2"}}, {"last_seen_at": NOW, "delta": {"b": b"2"}}, id="a write"),
        pytest.param(VISITOR, {"delta": {"b": b"2"}, "active": False}, {"delta": {"b": b"2"}}, id="a passive write"),
        pytest.param(
            VISITOR,
            {"delta": {"a": None}, "empties": True},
            {"last_seen_at": NOW, "delta": {"a": None, ROTATED_AT: None}, "end_if_emptied": True},
            id="the last key goes",
        ),
        pytest.param(
            PERMANENT, {}, {"last_seen_at": NOW, "refresh_by": POLICY.refreshed(NOW)}, id="a permanent one is refreshed"
        ),
        pytest.param(PERMANENT, {"policy": PATIENT}, {"last_seen_at": NOW}, id="or not, if the setting says so"),
        pytest.param(
            VISITOR,
            {"delta": {"_permanent": b"1"}, "permanent": True, "wrote": True},
            {"last_seen_at": NOW, "delta": {"_permanent": b"1"}, "refresh_by": POLICY.refreshed(NOW)},
            id="one becomes permanent",
        ),
        pytest.param(
            PERMANENT,
            {"permanent": False, "wrote": True},
            {"last_seen_at": NOW, "refresh_by": inf},
            id="one is permanent no more",
        ),
        pytest.param(
            USER,
            {"client": {"agent": "Firefox"}},
            {"last_seen_at": NOW, "labels": {"agent": "Firefox", "first_agent": "Firefox"}},
            id="where a user's request came from",
        ),
        pytest.param(VISITOR, {"client": {"agent": "Firefox"}}, {"last_seen_at": NOW}, id="a visitor's is not noted"),
        pytest.param(
            VISITOR,
            {"intents": Intents(idle_timeout=60.0)},
            {"last_seen_at": NOW, "idle_timeout": 60.0},
            id="a timeout",
        ),
    ],
)
def test_a_request_is_one_change(of: SessionInfo, done: dict[str, Any], expected: dict[str, Any]) -> None:
    assert change(of, **done) == Change(holder=HOLDER, **expected)


def test_a_log_in_is_one_change_with_the_new_secret_the_user_and_a_new_lifetime() -> None:
    found = change(VISITOR, intents=Intents(user_id="ada"), rotated=NEXT)
    assert found is not None and found.rotation is not None
    assert (found.rotation.secret_digest, found.rotation.user_id) == (NEXT, "ada")
    assert found.rotation.lifetime_ends_at == NOW + POLICY.lifetime
    assert found.rotation.grace_ends_at is None
    assert found.labels == {AUTHENTICATED_AT: NOW} and found.last_seen_at == NOW


@pytest.mark.parametrize("no_grace", [True, False])
def test_a_rotation_leaves_the_user_and_the_lifetime_and_the_old_secret_a_grace(no_grace: bool) -> None:
    found = change(USER, intents=Intents(rotate=True, no_grace=no_grace), rotated=NEXT)
    assert found is not None and found.rotation is not None
    assert found.rotation.user_id == "ada" and found.rotation.lifetime_ends_at is None
    assert found.rotation.grace_ends_at == (None if no_grace else NOW + POLICY.rotation_grace)


@pytest.mark.parametrize(
    ("intents", "policy", "active", "expected"),
    [
        (NOTHING, POLICY, True, False),
        (Intents(rotate=True), POLICY, True, True),
        (Intents(user_id="ada"), POLICY, False, True),
        (NOTHING, replace(POLICY, rotation_interval=30.0), True, True),
        (NOTHING, replace(POLICY, rotation_interval=30.0), False, False),
        (NOTHING, replace(POLICY, rotation_interval=90.0), True, False),
    ],
)
def test_a_session_gets_a_new_secret_when_it_must(
    intents: Intents, policy: Policy, active: bool, expected: bool
) -> None:
    told: dict[str, Any] = {"policy": policy, "now": NOW, "active": active, "rotated_at": NOW - 60}
    assert rotates(record(VISITOR), intents, holder=HOLDER, **told) is expected


def test_who_shows_the_secret_of_before_does_not_rotate_again_unless_it_is_to_be_dead_at_once() -> None:
    rotated = replace(
        record(USER), secret_digest=NEXT, former_digest=HOLDER, former_ends_at=NOW + POLICY.rotation_grace
    )
    told: dict[str, Any] = {"holder": HOLDER, "policy": POLICY, "now": NOW, "active": True, "rotated_at": NOW}
    assert rotates(rotated, Intents(rotate=True), **told) is False
    assert rotates(rotated, Intents(rotate=True, no_grace=True), **told) is True


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("is_touched", [True, False])
@pytest.mark.parametrize(("delta", "empties"), [({}, False), ({"b": b"2"}, False), ({"a": None}, True)])
def test_the_short_way_says_the_same(
    active: bool, is_touched: bool, delta: dict[str, bytes | None], empties: bool
) -> None:
    short = plain_change(HOLDER, delta, NOW if active and not is_touched else None, empties)
    long = change(VISITOR, delta=delta, active=active, is_touched=is_touched, empties=empties)
    if is_touched and short is not None and long is not None:
        assert short == replace(long, last_seen_at=None)  # What is stored already need not be written again.
    else:
        assert short == long


def test_a_change_is_of_the_holder_that_the_request_showed() -> None:
    holder = Credential.new().holder
    assert plain_change(holder, {"b": b"2"}, None, False) == Change(holder=holder, delta={"b": b"2"})
