"""Arbitrary input to all that reads what others wrote: never another error than the stated ones, never a hang, never
a wrong acceptance. A plain run tries a little; ``FUZZ_SECONDS=3600 pytest -m soak tests/system/test_fuzz.py`` tries
for an hour in total.
"""

import math
import os
import random
import shutil
import signal
import string
import tempfile
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from datetime import date
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from decimal import Decimal
from functools import cache
from functools import partial
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import UUID
from uuid import uuid4

import pytest
from flask import Flask
from flask import Request
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import seed
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.control import note
from markupsafe import Markup
from werkzeug.test import create_environ

from flask_idlesession import Change
from flask_idlesession import Codec
from flask_idlesession import ConfigError
from flask_idlesession import DecodeError
from flask_idlesession import device_of
from flask_idlesession import EncodeError
from flask_idlesession import IdleSession
from flask_idlesession import Record
from flask_idlesession import Rotation
from flask_idlesession import SessionInfo
from flask_idlesession import StoreError
from flask_idlesession.accounts.client import address_in
from flask_idlesession.accounts.client import browser_in
from flask_idlesession.model.ids import Credential
from flask_idlesession.model.ids import digest
from flask_idlesession.settings.keys import KEYS
from flask_idlesession.settings.keys import read_settings
from flask_idlesession.settings.keys import Settings
from flask_idlesession.stores import columns as row
from flask_idlesession.stores.journal import file as journal_file
from flask_idlesession.stores.journal import JournalStore
from flask_idlesession.stores.journal.frames import GUARD_AT
from flask_idlesession.stores.journal.frames import PREAMBLE
from flask_idlesession.stores.redis import format as redis_form
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import SECOND
from flask_idlesession.web.tokens import Tokens

pytest.importorskip("fcntl")

KEY = "of the tests that try anything"
NAME = "session"

#: Seconds that a soak run takes for all of it.
SECONDS = float(os.environ.get("FUZZ_SECONDS", 3600))

#: Seconds that one input may take. The longest ones take milliseconds.
PATIENCE = 10

TARGETS: list[tuple[Callable[..., None], dict[str, st.SearchStrategy[Any]]]] = []


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise where the block hangs: after so many seconds of processor time, for others may want it too, or many more
    of doing nothing.
    """

    def give_up(*_: object) -> None:
        raise AssertionError(f"It hung for {seconds} seconds.")

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, seconds),
        signal.SIGALRM: (signal.ITIMER_REAL, 30 * seconds),
    }
    before = {number: signal.signal(number, give_up) for number in timers}
    try:
        for timer, limit in timers.values():
            signal.setitimer(timer, limit)
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def tried_with(**strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Make a test of a function that takes any of this, short here and as long as one likes in a soak run."""

    def make(target: Callable[..., None]) -> Callable[[], None]:
        @wraps(target)
        def bounded(**what: Any) -> None:
            with within(PATIENCE):
                target(**what)

        TARGETS.append((bounded, strategies))
        return given(**strategies)(bounded)

    return make


@pytest.mark.soak
def test_anything_for_a_long_time() -> None:
    quiet = settings(max_examples=300, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    give_up_at = time.monotonic() + SECONDS
    while time.monotonic() < give_up_at:
        for bounded, strategies in TARGETS:
            number = random.getrandbits(64)
            try:
                seed(number)(quiet(given(**strategies)(bounded)))()
            except BaseException:
                print(f"{bounded.__name__}, seed {number}")
                raise


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Return what becomes of bytes that were cut, changed, doubled, moved and mixed with others."""
    place = st.integers(0, max(len(data), 1))
    edit = st.tuples(
        st.sampled_from(["flip", "cut", "put", "double", "end", "zero"]), place, place, st.binary(max_size=24)
    )

    def apply(edits: list[tuple[str, int, int, bytes]]) -> bytes:
        changed = bytearray(data)
        for kind, one, other, more in edits:
            start, stop = sorted((one, other))
            if kind == "flip" and changed:
                changed[one % len(changed)] ^= 1 << other % 8
            elif kind == "cut":
                del changed[start : min(stop, start + 300)]
            elif kind == "put":
                changed[start:start] = more
            elif kind == "double":
                changed[stop:stop] = changed[start : min(stop, start + 300)]
            elif kind == "end":
                del changed[one:]
            elif kind == "zero":
                changed[start : min(stop, start + 64)] = bytes(len(changed[start : min(stop, start + 64)]))
        return bytes(changed)

    return st.lists(edit, min_size=1, max_size=4).map(apply)


# Tokens and the cookies that carry them.

CLAIM, FOREIGN = Credential(UUID(int=7), b"s" * 32), Credential(UUID(int=8), b"t" * 32)
TOKEN, FOREIGN_TOKEN = Tokens([KEY]).issue(CLAIM), Tokens(["another key, which is not ours"]).issue(FOREIGN)
OLD_TOKEN = Tokens(["the key of before, long"]).issue(CLAIM)

near_tokens = damaged(TOKEN.encode()).map(lambda data: data.decode("latin-1")) | st.builds(
    lambda place, letter: TOKEN[:place] + letter + TOKEN[place + 1 :],
    st.sampled_from([0, 20, 63, 64, 65, len(TOKEN) - 1, len(TOKEN) - 1]),
    st.sampled_from(string.ascii_letters + string.digits + "-_.=+/"),
)
texts = st.text(st.characters(), max_size=200)


@tried_with(token=texts | near_tokens | st.sampled_from([FOREIGN_TOKEN, OLD_TOKEN]))
def test_no_text_but_the_token_that_was_issued_is_taken_for_one(token: str) -> None:
    tokens = Tokens([KEY])
    credential = tokens.read(token)
    assert (credential is not None) == (token == TOKEN)
    assert tokens.is_well_formed(token) or credential is None
    if credential is not None:
        assert (credential.sid, credential.secret) == (CLAIM.sid, CLAIM.secret)


@tried_with(sid=st.binary(min_size=16, max_size=16), secret=st.binary(min_size=32, max_size=32), other=st.text())
def test_a_token_says_what_was_put_in_under_its_own_keys_alone(sid: bytes, secret: bytes, other: str) -> None:
    credential = Credential(UUID(bytes=sid), secret)
    token = Tokens([KEY]).issue(credential)
    read = Tokens(["x", KEY]).read(token)
    assert read is not None and (read.sid, read.secret, read.holder) == (credential.sid, secret, digest(secret))
    assert urlsafe_b64decode(token.partition(".")[0]) == sid + secret
    assert other == KEY or Tokens([other]).read(token) is None


@cache
def an_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY=KEY, SESSION_COOKIE_NAME=NAME, **config)
    IdleSession(app, clock=FakeClock())
    return app


pieces = st.sampled_from(
    [
        NAME,
        TOKEN,
        FOREIGN_TOKEN,
        "=",
        ";",
        "; ",
        " ",
        '"',
        "\\",
        ",",
        "\t",
        "a=b",
        "x",
        "Session",
        "session2",
        "xsession",
    ]
    + [
        f"{NAME}={TOKEN}",
        f'{NAME}="{TOKEN}"',
        f"{NAME}=x",
        f"; {NAME}={TOKEN}; ",
        "\xe9",
        "\x00",
        "\n",
        "$Path=/",
        "%3B",
    ]
)
cookies = st.lists(
    st.sampled_from(
        [
            f"{NAME}={TOKEN}",
            f'{NAME}="{TOKEN}"',
            f"{NAME} = {TOKEN}",
            f"{NAME}=x",
            f"{NAME}=",
            NAME,
            "a=b",
            f"a={TOKEN}",
        ]
        + [
            f"x{NAME}={TOKEN}",
            f"{NAME}x={TOKEN}",
            f"={NAME}={TOKEN}",
            f'a="; {NAME}={TOKEN}',
            f"a={NAME}",
            "",
            "Session=y",
        ]
    ),
    max_size=4,
)
headers = st.lists(pieces | st.text(st.characters(max_codepoint=255), max_size=4), max_size=12).map(
    "".join
) | st.builds(str.join, st.sampled_from(["; ", ";", " ;", ";; ", ", ", "&", " "]), cookies)


@tried_with(header=headers)
def test_the_cookie_that_is_found_is_the_one_that_werkzeug_finds(header: str) -> None:
    app = an_app()
    interface = app.session_interface
    environ = create_environ("/") | {"HTTP_COOKIE": header}
    reference = Request({**environ}).cookies.getlist(NAME)
    expected = TOKEN in reference  # What our keys did not sign is no candidate, and the same token twice is one.
    for _ in range(2):  # The second time it may be one that is known.
        ours: Any = interface.open_session(app, app.request_class({**environ}))
        assert (ours._facts.credential is not None) == expected
        if expected:
            assert ours._facts.credential.secret == CLAIM.secret


@tried_with(
    value=texts | near_tokens | pieces, scheme=st.sampled_from(["", "Bearer ", "bearer  ", "Basic ", "Bearer\t"])
)
def test_no_header_but_the_one_with_the_token_opens_anything(value: str, scheme: str) -> None:
    for name in ("Authorization", "X-Session"):
        app = an_app(IDLESESSION_TOKEN_HEADER=name)
        key = "HTTP_" + name.upper().replace("-", "_")
        environ = create_environ("/") | {key: scheme + value}
        ours: Any = app.session_interface.open_session(app, app.request_class(environ))
        if TOKEN not in value:
            assert ours._facts.credential is None


@tried_with(header=headers, cookie=st.sampled_from(["", f"{NAME}={TOKEN}"]))
def test_a_whole_request_with_any_cookie_is_answered(header: str, cookie: str) -> None:
    app = an_app()
    environ = create_environ("/nowhere") | {"HTTP_COOKIE": header + cookie}
    told: list[Any] = []
    b"".join(app.wsgi_app(environ, lambda status, headers, _=None: told.append((status, headers))))  # type: ignore[arg-type, misc]
    ((status, sent),) = told
    assert status.startswith("404") and "Set-Cookie" not in dict(sent)


# The codec.

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None), max_size=20)
    | st.binary(max_size=20)
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.text(max_size=8).map(Markup)
)
hashable = st.recursive(atoms, lambda each: st.tuples(each, each) | st.frozensets(each, max_size=3), max_leaves=5)
values = st.recursive(
    atoms | hashable,
    lambda each: (
        st.lists(each, max_size=4)
        | st.dictionaries(st.text(max_size=6), each, max_size=4)
        | st.dictionaries(hashable, each, max_size=3)
        | st.tuples(each)
        | st.sets(hashable, max_size=3)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(map(same, one.items(), other.items()))
    if isinstance(one, float | Decimal):
        return repr(one) == repr(other)
    if isinstance(one, datetime):
        return one == other and one.tzinfo == other.tzinfo and one.fold == other.fold
    return bool(one == other)


@tried_with(value=values)
def test_each_value_comes_back_as_it_was(value: Any) -> None:
    codec = Codec()
    data = codec.encode(value)
    back = codec.decode(data)
    assert same(back, value)
    assert codec.encode(back) == data or contains_set(value)


def contains_set(value: Any) -> bool:
    """Return whether there is a set in it, whose order is its own."""
    if isinstance(value, set | frozenset):
        return True
    if isinstance(value, dict):
        return any(contains_set(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(map(contains_set, value))


near_values = st.deferred(lambda: values.map(Codec().encode).flatmap(damaged))
nested = st.builds(
    lambda code, depth, inner: inner if not depth else b"\xc7\x01" + bytes([code]) + inner * depth,
    st.integers(0, 20),
    st.integers(0, 60),
    st.binary(max_size=3),
) | st.builds(
    lambda opening, count: opening * count,
    st.sampled_from([b"\x91", b"\x81", b"\xdc\x00\x01", b"\xd5\x01\x91"]),
    st.integers(0, 3000),
)


@tried_with(data=st.binary(max_size=300) | near_values | nested)
def test_whatever_is_decoded_is_a_value_or_a_decode_error(data: bytes) -> None:
    codec = Codec()
    try:
        value = codec.decode(data)
    except DecodeError:
        return
    try:
        again = codec.encode(value)
    except EncodeError:
        return  # It is deeper than what is ever written.
    assert repr(codec.decode(again)) == repr(value) or contains_set(value)


# The journal.


@cache
def a_journal() -> tuple[bytes, frozenset[UUID], frozenset[UUID], frozenset[UUID]]:
    """Return a journal, and which sessions live, which ended, and which got a new secret."""
    folder = Path(tempfile.mkdtemp(prefix="idlesession-fuzz-"))
    store = JournalStore(folder / "journal", now=NOW, durability="always")
    live, ended, turned = set(), set(), set()
    for number in range(12):
        record = a_record(user_id=f"u{number}" if number % 2 else None, values={"v": bytes(range(number))})
        store.create(record)
        sid = record.info.sid
        store.commit(sid, Change(holder=HOLDER, delta={"w": b"%d" % number}), now=NOW)
        if number % 3 == 0:
            rotation = Rotation(secret_digest=SECOND, user_id="x")
            store.commit(sid, Change(holder=HOLDER, rotation=rotation), now=NOW)
            turned.add(sid)
        if number % 4 == 1:
            store.delete(sid)
            ended.add(sid)
        else:
            live.add(sid)
    store.close()
    data = (folder / "journal").read_bytes()
    shutil.rmtree(folder)
    return data, frozenset(live), frozenset(ended), frozenset(turned)


def is_older_copy(data: bytes) -> bool:
    """Return whether it lost its last frames, and the guard that would betray it: nothing tells that from a copy of
    an earlier time, as docs/journal.rst says.
    """
    whole = a_journal()[0]
    has_guard = any(data[at : at + 32] == whole[at : at + 32] for at in (GUARD_AT, (GUARD_AT + PREAMBLE) // 2))
    return not has_guard and whole[-16:] not in data  # The end of the last frame, with its checksum.


def no_sync(*_: object, **__: object) -> None:
    """What becomes of the bytes is what is tried here, not the disk."""


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_file, "_sync", no_sync)
        patch.setattr(journal_file, "sync_folder", no_sync)
        yield


@tried_with(data=st.deferred(lambda: damaged(a_journal()[0])) | st.binary(max_size=400))
def test_no_damage_to_a_journal_brings_back_what_had_ended(data: bytes) -> None:
    _, live, ended, turned = a_journal()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "journal"
        path.write_bytes(data)
        path.chmod(0o600)
        try:
            store = JournalStore(path, now=NOW)
        except ConfigError:
            assert path.read_bytes() == data  # It is none of ours, and left alone.
            return
        with closing(store):
            found = {info.sid: store.load(info.sid, now=NOW) for info in store.find(now=NOW)}
    if is_older_copy(data):
        return
    note(f"{len(found)} of {len(live)} came back")
    assert not found.keys() - live, "What ended, or never was, is back."
    for sid in found.keys() & turned:
        record = found[sid]
        assert record is not None and record.secret_digest == SECOND, "An old secret opens it again."


# What other stores hold.

INFO = SessionInfo(sid=UUID(int=3), created_at=1.0, last_seen_at=2.0, idle_timeout=3.0, lifetime_ends_at=4.0)
RECORD = Record(info=INFO, secret_digest=HOLDER, values={"a": b"1", "b": b"22"})
COLUMNS = row.to_row(RECORD)
HEAD = redis_form.to_head(RECORD, mark=b"m" * 8)
LABELS = redis_form.to_labels({"address": "192.0.2.1", "authenticated_at": 1.5})


@tried_with(
    data=st.binary(max_size=80) | damaged(COLUMNS["data"]),
    labels=st.binary(max_size=80) | damaged(b"\x81\xa1a\xa1b"),
)
def test_any_row_of_a_database_is_a_record_or_a_store_error(data: bytes, labels: bytes) -> None:
    columns = {**COLUMNS, "data": data, "labels": labels}
    told = [columns[name] for name in row.RECORD]
    assert row.to_info(INFO.sid, told).sid == INFO.sid
    try:
        record = row.to_record(INFO.sid, told)
    except StoreError:
        return
    assert all(type(value) is bytes for value in record.values.values())


@tried_with(
    head=st.binary(max_size=200) | damaged(HEAD),
    labels=st.binary(max_size=80) | damaged(LABELS) | st.just(b""),
    field=st.binary(max_size=20),
)
def test_any_hash_of_a_session_server_is_a_record_or_a_store_error(head: bytes, labels: bytes, field: bytes) -> None:
    for read in (
        partial(redis_form.to_record, INFO.sid, {redis_form.HEAD: head, redis_form.LABELS: labels, field: b"v"}),
        partial(redis_form.to_infos, [head, labels]),
    ):
        try:
            read()
        except StoreError:
            continue


# Settings.

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.timedeltas()
    | st.dates()
    | st.just(object())
    | st.just(int)
    | st.just(timedelta.max)
    | st.builds(Path, st.just("x"))
    | st.sampled_from(
        ["all", "navigation", "evict oldest", "refuse", "off", "log", "end", "nist-aal3", "truncated", "a" * 64]
    )
    | st.sampled_from([math.inf, math.nan, -0.0, 1e308, 2**1024, 10**400, Decimal("NaN"), Decimal(5), date.max]),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=2) | st.tuples(each),
    max_leaves=4,
)
OTHER_KEYS = ("PERMANENT_SESSION_LIFETIME", "SESSION_COOKIE_SECURE", "SESSION_COOKIE_SAMESITE", "SESSION_COOKIE_PATH")
keys = st.sampled_from([*KEYS, *OTHER_KEYS]) | st.text(max_size=8).map("IDLESESSION_".__add__)


@tried_with(config=st.dictionaries(keys, anything, max_size=4))
def test_any_config_is_settings_or_a_config_error(config: dict[str, Any]) -> None:
    refusal = None
    try:
        got = read_settings(config)
    except ConfigError as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal
        return
    assert isinstance(got, Settings)
    assert 0 < got.policy.idle_timeout <= got.policy.lifetime <= 400 * 86400
    assert 0 < got.cleanup_interval <= 1 and 0 <= got.policy.touch_interval <= got.policy.idle_timeout / 2
    assert all(len(key) >= 32 for key in got.encryption_keys)


# Where clients say that they come from.


@tried_with(agent=texts, address=texts | st.ip_addresses().map(str))
def test_any_address_and_user_agent_is_read(agent: str, address: str) -> None:
    found = address_in(address)
    assert found is None or address_in(str(found)) == found
    assert len(str(browser_in(agent))) < 200
    info = SessionInfo(
        sid=uuid4(), created_at=0, last_seen_at=0, idle_timeout=1, lifetime_ends_at=1, labels={"agent": agent}
    )
    assert device_of(info)
