"""A record of which the info is made late is a record like any other."""

import copy
import pickle
from dataclasses import replace
from math import inf
from typing import Any
from uuid import UUID

import pytest

from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Record
from flask_idlesession.model.record import Rotation
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.stores import columns
from flask_idlesession.stores.contract import UnreadableRecord
from flask_idlesession.stores.row_record import RowRecord

SID = UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
HOLDER = b"h" * 32


def plain(**facts: Any) -> Record:
    facts = {"created_at": 5.0, "last_seen_at": 10.0, "idle_timeout": 20.0, "lifetime_ends_at": 100.0, **facts}
    info = SessionInfo(sid=SID, **facts)
    return Record(info=info, secret_digest=HOLDER, values={"a": b"1"}, former_digest=b"f" * 32, former_ends_at=15.0)


def as_read(record: Record) -> Record:
    return columns.to_record(SID, list(columns.to_row(record).values()))


@pytest.mark.parametrize(
    "facts",
    [{}, {"user_id": "ada", "labels": {"place": "here"}}, {"refresh_by": 25.0}, {"lifetime_ends_at": 12.0}],
)
def test_it_is_what_was_stored(facts: dict[str, Any]) -> None:
    record = plain(**facts)
    found = as_read(record)
    assert type(found) is RowRecord
    assert found == record and record == found and found == as_read(record)
    assert found != plain(**facts, user_id="eve") if "user_id" not in facts else found != plain()
    assert repr(found) == repr(record) and "h" * 32 not in repr(found)
    for name in ("info", "expires_at", "size", "is_permanent", "has_user", "is_plain", "values", "former_ends_at"):
        assert getattr(found, name) == getattr(record, name), name
    assert found.opens_to(HOLDER, now=11.0) and found.opens_to(b"f" * 32, now=14.0)
    assert not found.opens_to(b"f" * 32, now=15.0)


def test_it_can_be_copied_pickled_and_changed() -> None:
    record = plain(user_id="ada")
    found = as_read(record)
    assert copy.copy(found) == copy.deepcopy(found) == pickle.loads(pickle.dumps(found)) == record
    assert type(replace(found, former_ends_at=1.0)) is Record
    assert replace(found, former_ends_at=1.0) == replace(record, former_ends_at=1.0)
    assert found.holding({}) == record.holding({})
    rotation = Rotation(secret_digest=b"n" * 32, user_id="bob")
    for change in (
        Change(holder=HOLDER, last_seen_at=12.0, delta={"a": None, "b": b"2"}),
        Change(holder=HOLDER, rotation=rotation, labels={"place": "there"}, idle_timeout=7.0, refresh_by=inf),
    ):
        assert found.judge(change, now=12.0) is Outcome.DONE
        assert found.apply(change, now=12.0) == record.apply(change, now=12.0)


def test_it_cannot_be_hashed_as_no_record_can_whose_values_are_a_dict() -> None:
    with pytest.raises(TypeError):
        hash(as_read(plain()))


def test_bytes_of_another_kind_are_bytes() -> None:
    row = list(columns.to_row(plain(labels={"place": "here"})).values())
    for at in (7, 8, 9, 11):
        row[at] = memoryview(row[at])
    assert columns.to_record(SID, row) == plain(labels={"place": "here"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", 7),
        ("created_at", "5"),
        ("last_seen_at", None),
        ("refresh_by", b""),
        ("labels", "here"),
        ("labels", b"\x01"),
        ("secret_digest", 7),
        ("former_digest", None),
        ("former_ends_at", "0"),
        ("data", "x"),
        ("data", b""),
    ],
)
def test_a_column_of_another_kind_is_told_each_time(name: str, value: object) -> None:
    for _ in range(2):
        with pytest.raises(UnreadableRecord, match=str(SID)):
            columns.to_record(SID, list({**columns.to_row(plain()), name: value}.values()))
