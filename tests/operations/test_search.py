"""A search finds what there is, looks at no more than it may, and says so."""

from dataclasses import replace
from uuid import UUID

import pytest
from support.many_infos import a_store
from support.many_infos import an_info
from support.many_infos import NOW

from flask_idlesession.model.networks import network_in
from flask_idlesession.model.record import SessionInfo
from flask_idlesession.operations import search
from flask_idlesession.stores.memory import MemoryStore


def with_address(info: SessionInfo, address: str) -> SessionInfo:
    return replace(info, labels={"address": address})


@pytest.fixture
def store() -> MemoryStore:
    infos = [with_address(an_info("ada", idle=number), f"192.0.2.{number}") for number in range(150)]
    return a_store([*infos, with_address(an_info("bob"), "198.51.100.0/24"), an_info("cleo")])


def test_a_user_s_sessions_are_found_the_last_seen_first(store: MemoryStore) -> None:
    found = search.by_user(store, "ada", now=NOW)
    assert (found.met, found.seen, len(found.infos), found.is_complete) == (150, 150, search.MOST_SHOWN, True)
    assert [info.last_seen_at for info in found.infos] == [NOW - number for number in range(100)]
    assert search.by_user(store, "nobody", now=NOW).infos == []


@pytest.mark.parametrize(
    ("wanted", "number"), [("192.0.2.7", 1), ("192.0.2.0/29", 8), ("198.51.100.9", 1), ("203.0.113.0/24", 0)]
)
def test_sessions_of_an_address_or_a_network_are_found(store: MemoryStore, wanted: str, number: int) -> None:
    network = network_in(wanted)
    assert network is not None
    found = search.by_address(store, network, now=NOW)
    assert (found.met, found.seen, found.is_complete) == (number, 152, True)


def test_a_search_that_takes_long_is_broken_off_and_says_so(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_MOST_SECONDS", 0.0)
    network = network_in("192.0.2.0/24")
    assert network is not None
    found = search.by_address(store, network, now=NOW)
    assert (found.seen, found.is_complete) == (128, False)


def test_only_some_of_very_many_are_looked_at_for_the_last_seen(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_MOST_OF_ONE", 128)
    assert search.latest(store, now=NOW).seen == 128


def test_an_id_finds_its_session_while_it_is_live() -> None:
    info = an_info("ada")
    assert search.by_id(info, now=NOW).infos == [info]
    assert search.by_id(info, now=NOW + 1800).infos == []
    assert search.by_id(None, now=NOW).infos == []


@pytest.mark.parametrize("text", ["", "ada", "192.0.2.1", "x" * 40])
def test_what_is_no_id_names_no_session(text: str) -> None:
    assert search.named_by(text) is None


def test_an_id_is_read_with_and_without_its_dashes() -> None:
    sid = UUID("57663252-c4ab-4fcd-b1aa-d90cc1f0f5a4")
    assert search.named_by(str(sid)) == search.named_by(sid.hex) == sid
