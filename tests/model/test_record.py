"""A record, and what one change makes of it: judged and applied without a store."""

import copy
import pickle
from dataclasses import asdict
from dataclasses import FrozenInstanceError
from dataclasses import replace
from math import inf
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_idlesession.model.ids import digest
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import EndReason
from flask_idlesession.model.record import merged
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import PlainChange
from flask_idlesession.model.record import PlainInfo
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import Rotation
from flask_idlesession.model.record import SessionInfo

NOW = 1_700_000_000.0
HOLDER = digest(b"the first secret")
SECOND = digest(b"the second secret")
THIRD = digest(b"the third secret")


def an_info(**info: Any) -> SessionInfo:
    told = {"created_at": NOW, "last_seen_at": NOW, "idle_timeout": 60.0, "lifetime_ends_at": NOW + 3600}
    return SessionInfo(sid=UUID(int=1), **(told | info))


def a_record(*, values: dict[str, bytes] | None = None, **info: Any) -> Record:
    return Record(info=an_info(**info), secret_digest=HOLDER, values={"a": b"1"} if values is None else values)


# Ends.


def test_a_session_expires_at_the_first_of_its_three_ends() -> None:
    assert an_info().expires_at == NOW + 60
    assert an_info(lifetime_ends_at=NOW + 59).expires_at == NOW + 59
    assert an_info(refresh_by=NOW + 58).expires_at == NOW + 58
    assert an_info(idle_timeout=inf, lifetime_ends_at=inf).expires_at == inf


def test_a_session_is_over_at_the_instant_of_its_end() -> None:
    info = an_info()
    assert info.is_live(NOW + 59.999) and not info.is_live(NOW + 60) and not info.is_live(NOW + 61)


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({}, EndReason.IDLE),
        ({"lifetime_ends_at": NOW + 59}, EndReason.LIFETIME),
        ({"lifetime_ends_at": NOW + 60}, EndReason.LIFETIME),
        ({"refresh_by": NOW + 59}, EndReason.IDLE),
        ({"refresh_by": NOW + 59, "lifetime_ends_at": NOW + 59}, EndReason.LIFETIME),
    ],
)
def test_a_session_expires_for_the_reason_that_came_first(info: dict[str, float], reason: EndReason) -> None:
    assert an_info(**info).expiry_reason is reason


# Secrecy and immutability.


def test_no_text_of_a_record_or_change_shows_a_secrets_digest_or_a_value() -> None:
    record = replace(a_record(values={"card": b"4111"}), former_digest=SECOND, former_ends_at=NOW + 5)
    rotation = Rotation(secret_digest=THIRD, user_id="ada")
    change = Change(holder=HOLDER, rotation=rotation)
    for text in (repr(record), repr(rotation), repr(change), repr(record.info), str(record)):
        for hidden in (HOLDER, SECOND, THIRD, b"4111"):
            assert repr(hidden)[2:-1] not in text and hidden.hex() not in text


@pytest.mark.parametrize(
    "thing", [an_info(), a_record(), Change(holder=HOLDER), Rotation(secret_digest=SECOND, user_id=None)]
)
def test_values_do_not_change(thing: Any) -> None:
    name = next(iter(thing.__dataclass_fields__))
    with pytest.raises(FrozenInstanceError):
        setattr(thing, name, None)
    assert not hasattr(thing, "__dict__")
    with pytest.raises(TypeError):
        type(thing)(1, 2, 3)


def test_what_is_made_quickly_is_the_same_and_does_not_change_either() -> None:
    info = an_info(user_id="ada", labels={"level": "password"})
    times = (info.created_at, info.last_seen_at, info.idle_timeout, info.lifetime_ends_at, info.refresh_by)
    quick_info = PlainInfo(info.sid, info.user_id, *times, info.labels)
    change = Change(holder=HOLDER, last_seen_at=NOW, delta={"a": b"1"}, end_if_emptied=True)
    quick_change = PlainChange(HOLDER, {"a": b"1"}, NOW, True)
    for quick, plain in ((quick_info, info), (quick_change, change)):
        assert quick == plain and type(quick) is type(plain) and repr(quick) == repr(plain)
        assert pickle.loads(pickle.dumps(quick)) == copy.copy(quick) == plain
        test_values_do_not_change(quick)


def test_the_delta_that_is_not_given_is_nobodys_to_fill() -> None:
    for name in ("delta", "expect", "labels"):
        with pytest.raises(TypeError, match="empty for ever"):
            getattr(Change(holder=HOLDER), name)["a"] = b"1"
        with pytest.raises(TypeError, match="empty for ever"):
            getattr(Change(holder=HOLDER), name).update(a=b"1")
    assert Change(holder=HOLDER).delta == {} == Change(holder=HOLDER).expect


def test_a_change_with_nothing_in_it_equals_another() -> None:
    assert Change(holder=HOLDER) == Change(holder=HOLDER, delta={}) != Change(holder=HOLDER, last_seen_at=NOW)


@pytest.mark.parametrize(
    ("change", "is_touch"),
    [
        ({"last_seen_at": NOW}, True),
        ({"last_seen_at": NOW, "refresh_by": NOW + 5}, True),
        ({"delta": {"a": b"1"}}, False),
        ({"delta": {"a": None}}, False),
        ({"idle_timeout": 5.0}, False),
        ({"rotation": Rotation(secret_digest=SECOND, user_id=None)}, False),
    ],
)
def test_a_touch_is_what_nobody_misses(change: dict[str, Any], is_touch: bool) -> None:
    assert Change(holder=HOLDER, **change).is_touch is is_touch


# Who may.


def test_a_record_opens_to_its_holder_alone() -> None:
    record = a_record()
    assert record.opens_to(HOLDER, now=NOW)
    for other in (SECOND, b"", HOLDER[:-1], HOLDER + b"x", bytes(32)):
        assert not record.opens_to(other, now=NOW)


def test_no_former_secret_is_not_the_empty_one() -> None:
    assert not replace(a_record(), former_ends_at=NOW + 100).is_former(bytes(32), now=NOW)
    assert not a_record().opens_to(b"", now=0.0)


def test_the_former_secret_opens_until_its_grace_ends() -> None:
    record = replace(a_record(), former_digest=SECOND, former_ends_at=NOW + 10)
    assert record.opens_to(SECOND, now=NOW + 9.999) and not record.opens_to(SECOND, now=NOW + 10)
    assert record.is_former(SECOND, now=NOW) and not record.is_former(HOLDER, now=NOW)


# Judging.


def test_what_is_not_live_or_not_opened_is_gone_before_all_else() -> None:
    record = a_record()
    in_conflict = Change(holder=HOLDER, delta={"a": None}, expect={"a": b"2"}, end_if_emptied=True)
    assert record.judge(in_conflict, now=NOW) is Outcome.CONFLICT
    assert record.judge(in_conflict, now=NOW + 60) is Outcome.GONE
    assert record.judge(replace(in_conflict, holder=SECOND), now=NOW) is Outcome.GONE
    assert record.judge(replace(in_conflict, expect={}), now=NOW) is Outcome.EMPTIED
    assert record.judge(replace(in_conflict, expect={}, end_if_emptied=False), now=NOW) is Outcome.DONE


def test_a_former_holder_rotates_only_without_a_grace() -> None:
    record = replace(a_record(), former_digest=SECOND, former_ends_at=NOW + 10)
    graceful = Rotation(secret_digest=THIRD, user_id=None, grace_ends_at=NOW + 20)
    plain = Rotation(secret_digest=THIRD, user_id="ada")
    assert record.judge(Change(holder=SECOND, rotation=graceful), now=NOW) is Outcome.CONFLICT
    assert record.judge(Change(holder=SECOND, rotation=plain), now=NOW) is Outcome.DONE
    assert record.judge(Change(holder=HOLDER, rotation=graceful), now=NOW) is Outcome.DONE
    assert record.judge(Change(holder=SECOND, rotation=graceful), now=NOW + 10) is Outcome.GONE


def test_judging_and_applying_change_nothing_of_the_record() -> None:
    values = {"a": b"1"}
    record = a_record(values=values)
    change = Change(
        holder=HOLDER,
        last_seen_at=NOW + 5,
        delta={"a": None, "b": b"2"},
        rotation=Rotation(secret_digest=SECOND, user_id="ada"),
    )
    record.judge(change, now=NOW + 5)
    after = record.apply(change, now=NOW + 5)
    assert record == a_record() and values == {"a": b"1"}
    assert after.values == {"b": b"2"} and after.info.user_id == "ada" and after.secret_digest == SECOND


def test_an_info_and_a_record_can_be_copied_and_pickled_whatever_they_were_given() -> None:
    for each in (an_info(), an_info(labels={"from": "192.0.2.1"}), a_record()):
        assert pickle.loads(pickle.dumps(each)) == copy.deepcopy(each) == each
        assert asdict(each)


# Applying.


def test_of_two_touches_the_later_stands_and_none_is_from_the_future() -> None:
    record = a_record()
    assert record.apply(Change(holder=HOLDER, last_seen_at=NOW + 5), now=NOW + 9).info.last_seen_at == NOW + 5
    assert record.apply(Change(holder=HOLDER, last_seen_at=NOW - 5), now=NOW + 9).info.last_seen_at == NOW
    assert record.apply(Change(holder=HOLDER, last_seen_at=NOW + 99), now=NOW + 9).info.last_seen_at == NOW + 9
    assert record.apply(Change(holder=HOLDER), now=NOW + 9).info == record.info


def test_a_rotation_that_names_no_user_takes_the_user_away() -> None:
    record = a_record(user_id="ada")
    rotation = Rotation(secret_digest=SECOND, user_id=None)
    assert record.apply(Change(holder=HOLDER, rotation=rotation), now=NOW).info.user_id is None


def test_merging_sets_and_removes_and_leaves_the_rest() -> None:
    before = {"a": b"1", "b": b"2"}
    assert merged(before, {"a": None, "c": b"", "d": None}) == {"b": b"2", "c": b""}
    assert before == {"a": b"1", "b": b"2"}


keys = st.sampled_from("abcd")
data = st.binary(max_size=2)
deltas = st.dictionaries(keys, st.none() | data, max_size=4)


@given(st.dictionaries(keys, data, max_size=4), deltas, deltas, st.booleans())
def test_a_commit_is_done_exactly_when_what_it_expects_holds(
    values: dict[str, bytes], delta: dict[str, bytes | None], expect: dict[str, bytes | None], end: bool
) -> None:
    record = a_record(values=values)
    change = Change(holder=HOLDER, delta=delta, expect=expect, end_if_emptied=end)
    left = {key: delta.get(key, values.get(key)) for key in {*values, *delta}}
    left = {key: item for key, item in left.items() if item is not None}
    if any(values.get(key) != item for key, item in expect.items()):
        expected = Outcome.CONFLICT
    else:
        expected = Outcome.EMPTIED if end and not left else Outcome.DONE
    assert record.judge(change, now=NOW) is expected
    assert record.apply(change, now=NOW).values == left


seens = st.none() | st.floats(NOW - 100, NOW + 200)


@given(st.lists(st.tuples(seens, st.floats(0, 30)), max_size=10))
def test_no_order_of_touches_moves_a_session_back_or_beyond_now(touches: list[tuple[float | None, float]]) -> None:
    record, now = a_record(), NOW
    for seen, step in touches:
        now += step
        after = record.apply(Change(holder=HOLDER, last_seen_at=seen), now=now)
        assert record.info.last_seen_at <= after.info.last_seen_at <= now
        record = after
