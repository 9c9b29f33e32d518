"""Encryption at rest: no store sees a value, keys change without a log-out, and what does not open is no session."""

import logging
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import session
from test_circuit_breaker import FailingStore

from flask_idlesession import ConfigError
from flask_idlesession import current_user_id
from flask_idlesession import DecodeError
from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import session_ending
from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound
from flask_idlesession import StoreError
from flask_idlesession import Touch
from flask_idlesession.model.encryption import Cipher
from flask_idlesession.model.record import Change
from flask_idlesession.model.record import Outcome
from flask_idlesession.model.record import Record
from flask_idlesession.operations.health import examine
from flask_idlesession.settings.keys import read_settings
from flask_idlesession.stores.circuit_breaker import CircuitBreaker
from flask_idlesession.stores.contract import Store
from flask_idlesession.stores.contract import UnreadableRecord
from flask_idlesession.stores.encrypted import EncryptedStore
from flask_idlesession.stores.memory import MemoryStore
from flask_idlesession.stores.redis import RedisStore
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock
from flask_idlesession.testing.store_contract import a_record
from flask_idlesession.testing.store_contract import at_once
from flask_idlesession.testing.store_contract import HOLDER
from flask_idlesession.testing.store_contract import NOW
from flask_idlesession.testing.store_contract import StoreContract

OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
PLAIN = "the-plain-text-that-nobody-may-read"


def test_facts_of_the_store_inside_are_told(tmp_path: Path) -> None:
    inner = SQLiteStore(tmp_path / "sessions.db")
    store = CircuitBreaker(EncryptedStore(inner, [NEW]))
    assert store.traits.has_facts and store.facts() == inner.facts()


class TestContractInMemory(StoreContract):
    crowd = 50
    rounds = 5

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return lambda: EncryptedStore(MemoryStore(), [NEW])


class TestContractInMemoryWithTwoKeys(StoreContract):
    crowd = 50
    rounds = 5

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return lambda: EncryptedStore(MemoryStore(), [NEW, OLD])


class TestContractInSQLite(StoreContract):
    crowd = 50
    rounds = 3

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: EncryptedStore(SQLiteStore(tmp_path / "sessions.db"), [NEW])


@pytest.mark.soak  # It shows of Redis what memory shows too: that what is compared there are bytes.
class TestContractInRedis(StoreContract):
    rounds = 5

    @pytest.fixture
    def make_store(self, redis_server: Any) -> Iterator[Callable[[], Store]]:
        with closing(redis_server.client(socket_timeout=5)) as client:
            client.flushall()
            yield lambda: EncryptedStore(RedisStore(client), [NEW, OLD])


class Turning:
    """A store that is a different one each time it is asked: workers in the middle of a change of keys."""

    def __init__(self, *stores: Store) -> None:
        self._stores = list(stores)

    def __getattr__(self, name: str) -> Any:
        self._stores.append(self._stores.pop(0))
        return getattr(self._stores[0], name)


class TestContractWhileKeysChange(StoreContract):
    """Two workers on one store: one encrypts with the old key still, the other with the new one already."""

    crowd = 50
    rounds = 10

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        def make() -> Store:
            inner = MemoryStore()
            return Turning(EncryptedStore(inner, [NEW, OLD]), EncryptedStore(inner, [OLD, NEW]))

        return make


# What the other store sees.


@pytest.fixture
def inner() -> MemoryStore:
    return MemoryStore()


def stored(inner: Store, record: Record) -> Record:
    found = inner.load(record.info.sid, now=NOW)
    assert found is not None
    return found


def a_sealed_record(inner: Store, *keys: bytes, **info: Any) -> Record:
    record = a_record(values={"a": b"1", "b": PLAIN.encode()}, **info)
    EncryptedStore(inner, keys).create(record)
    return record


def test_the_other_store_holds_neither_values_nor_texts(inner: MemoryStore) -> None:
    record = a_sealed_record(inner, NEW, labels={"address": PLAIN, "authenticated_at": NOW})
    EncryptedStore(inner, [NEW]).commit(
        record.info.sid, Change(holder=HOLDER, delta={"c": PLAIN.encode()}, labels={"agent": PLAIN}), now=NOW
    )
    held = stored(inner, record)
    assert held.values.keys() == {"a", "b", "c"} and held.info.labels.keys() == {"address", "authenticated_at", "agent"}
    assert PLAIN not in repr(held.info) and not any(PLAIN.encode() in data for data in held.values.values())
    assert held.info.labels["authenticated_at"] == NOW


def test_the_same_value_is_other_bytes_in_another_session_and_under_another_key(inner: MemoryStore) -> None:
    one, two = (
        stored(inner, record)
        for record in (a_record(values={"a": b"1", "b": b"1"}), a_record(values={"a": b"1"}))
        if EncryptedStore(inner, [NEW]).create(record) is None
    )
    assert len({one.values["a"], one.values["b"], two.values["a"]}) == 3


def test_labels_are_listed_as_they_were(inner: MemoryStore) -> None:
    labels = {"address": "192.0.2.0/24", "agent": "Chrome on macOS 名前", "authenticated_at": NOW}
    record = a_sealed_record(inner, NEW, user_id="ada", labels=labels)
    store = EncryptedStore(inner, [NEW])
    assert [info.labels for info in store.find(now=NOW, user_id="ada")] == [labels]
    assert [info.labels for info in store.find(now=NOW)] == [labels]
    assert [info.labels for info in store.prune(now=NOW + 1e9, limit=5)] == [labels]
    assert record.info.labels == labels


def test_a_file_holds_no_plain_text(tmp_path: Path) -> None:
    with closing(EncryptedStore(SQLiteStore(tmp_path / "sessions.db"), [NEW])) as store:
        store.create(a_record(values={"a": PLAIN.encode()}, labels={"agent": PLAIN}))
    assert PLAIN.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


# Keys.


def test_all_keys_decrypt_and_the_first_encrypts(inner: MemoryStore) -> None:
    record = a_sealed_record(inner, OLD, labels={"agent": "x"})
    turned = EncryptedStore(inner, [NEW, OLD])
    assert stored(turned, record) == record
    turned.commit(record.info.sid, Change(holder=HOLDER, delta={"a": b"2"}), now=NOW)
    assert stored(turned, record).values == {**record.values, "a": b"2"}
    before, after = (stored(inner, record).values[key] for key in ("b", "a"))
    assert before[:6] != after[:6]
    assert Cipher([NEW], purpose="values").open(after, record.info.sid.bytes, b"a") == b"2"


def test_a_key_that_is_there_twice_is_there_once() -> None:
    assert len(Cipher([NEW, NEW], purpose="values")) == 1


@pytest.mark.parametrize("keys", [(NEW, OLD), (OLD, NEW), (NEW, OTHER, OLD)])
def test_an_expected_value_may_have_been_encrypted_with_any_key(inner: MemoryStore, keys: tuple[bytes, ...]) -> None:
    record = a_sealed_record(inner, OLD)
    store = EncryptedStore(inner, keys)
    expecting = Change(holder=HOLDER, delta={"a": b"2"}, expect={"a": b"1", "b": PLAIN.encode(), "c": None})
    wrong = [
        replace(expecting, expect={**expecting.expect, **other}) for other in ({"a": b"0"}, {"b": None}, {"c": b"1"})
    ]
    for change in wrong:
        assert store.commit(record.info.sid, change, now=NOW) is Outcome.CONFLICT
    assert stored(store, record) == record
    assert store.commit(record.info.sid, replace(expecting, holder=b"x" * 32), now=NOW) is Outcome.GONE
    assert store.commit(record.info.sid, expecting, now=NOW) is Outcome.DONE
    assert store.commit(record.info.sid, expecting, now=NOW) is Outcome.CONFLICT
    mixed = Change(
        holder=HOLDER, delta={"a": None, "b": None}, expect={"a": b"2", "b": PLAIN.encode()}, end_if_emptied=True
    )
    assert store.commit(record.info.sid, mixed, now=NOW) is Outcome.EMPTIED


def test_a_session_that_ends_between_two_tries_is_gone(inner: MemoryStore) -> None:
    record = a_sealed_record(inner, OLD)
    store = EncryptedStore(inner, [NEW, OLD])
    load = inner.load
    inner.load = lambda sid, *, now: inner.delete(sid) and None or load(sid, now=now)  # type: ignore[method-assign]
    change = Change(holder=HOLDER, delta={"a": b"2"}, expect={"a": b"1"})
    assert store.commit(record.info.sid, change, now=NOW) is Outcome.GONE


def test_of_two_workers_with_keys_in_another_order_one_takes_a_lock(inner: MemoryStore) -> None:
    workers = [EncryptedStore(inner, [NEW, OLD]), EncryptedStore(inner, [OLD, NEW])] * 3
    for _ in range(30):
        record = a_sealed_record(inner, OLD)
        changes = [
            Change(holder=HOLDER, delta={"a": str(number).encode() + b"!"}, expect={"a": b"1"})
            for number in range(len(workers))
        ]
        outcomes = at_once(
            *(
                lambda store=store, change=change, sid=record.info.sid: store.commit(sid, change, now=NOW)
                for store, change in zip(workers, changes, strict=True)
            )
        )
        assert sorted(outcome.name for outcome in outcomes) == ["CONFLICT"] * 5 + ["DONE"]
        assert stored(workers[0], record).values["a"] == str(outcomes.index(Outcome.DONE)).encode() + b"!"


# What does not open.


def moved(values: dict[str, bytes]) -> dict[str, bytes]:
    return {**values, "a": values["b"]}


def flipped(values: dict[str, bytes]) -> dict[str, bytes]:
    return {**values, "a": values["a"][:-1] + bytes([values["a"][-1] ^ 1])}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (moved, "moved here from another place"),
        (flipped, "it was changed"),
        (lambda values: {**values, "a": values["a"][:8]}, "it was changed"),
        (lambda values: {**values, "a": values["a"][:1]}, "it is not encrypted"),
        (lambda values: {**values, "a": values["a"][:3]}, "a key that is not there"),
        (lambda values: {**values, "a": b""}, "it is not encrypted"),
        (lambda values: {**values, "a": b"\xa5plain"}, "it is not encrypted"),
        (
            lambda values: {**values, "a": b"\xc1\x02" + values["a"][2:]},
            r"by a newer flask_idlesession \(in its version 2, this one knows 1\); install that one",
        ),
    ],
)
def test_what_was_changed_or_moved_does_not_open(inner: MemoryStore, spoil: Any, told: str) -> None:
    record = a_sealed_record(inner, NEW)
    sealed = stored(inner, record).values
    inner.commit(record.info.sid, Change(holder=HOLDER, delta=spoil(dict(sealed))), now=NOW)
    with pytest.raises(UnreadableRecord, match=told) as caught:
        EncryptedStore(inner, [NEW]).load(record.info.sid, now=NOW)
    assert caught.value.info.sid == record.info.sid and isinstance(caught.value, StoreError)


def test_a_value_of_another_session_does_not_open(inner: MemoryStore) -> None:
    one, two = a_sealed_record(inner, NEW), a_sealed_record(inner, NEW)
    theirs = stored(inner, two).values["a"]
    inner.commit(one.info.sid, Change(holder=HOLDER, delta={"a": theirs}), now=NOW)
    store = EncryptedStore(inner, [NEW])
    with pytest.raises(UnreadableRecord, match="moved"):
        store.load(one.info.sid, now=NOW)
    assert stored(store, two) == two


def test_a_label_does_not_open_as_a_value_nor_under_another_name(inner: MemoryStore) -> None:
    record = a_sealed_record(inner, NEW, labels={"address": "a", "agent": "b"})
    held = stored(inner, record).info.labels
    inner.commit(record.info.sid, Change(holder=HOLDER, labels={"agent": held["address"]}), now=NOW)
    store = EncryptedStore(inner, [NEW])
    with pytest.raises(UnreadableRecord, match="the label 'agent'"):
        store.load(record.info.sid, now=NOW)
    assert [info.labels for info in store.find(now=NOW)] == [{"address": "a"}]


@pytest.mark.parametrize("label", ["plain text", "", "äöü", "wQE="])
def test_a_label_that_is_not_encrypted_is_not_shown(inner: MemoryStore, label: str) -> None:
    inner.create(a_record(values={}, labels={"agent": label}))
    assert [info.labels for info in EncryptedStore(inner, [NEW]).find(now=NOW)] == [{}]


def test_an_expected_value_that_does_not_open_is_a_conflict(inner: MemoryStore) -> None:
    record = a_sealed_record(inner, OTHER)
    change = Change(holder=HOLDER, delta={"a": b"2"}, expect={"a": b"1"})
    assert EncryptedStore(inner, [NEW, OLD]).commit(record.info.sid, change, now=NOW) is Outcome.CONFLICT


def test_an_expected_value_that_is_plain_text_is_a_conflict(inner: MemoryStore) -> None:
    record = a_record(values={"a": b"1"})
    inner.create(record)
    change = Change(holder=HOLDER, delta={"a": b"2"}, expect={"a": b"1"})
    assert EncryptedStore(inner, [NEW, OLD]).commit(record.info.sid, change, now=NOW) is Outcome.CONFLICT


def test_what_is_encrypted_never_reads_as_a_value_without_keys() -> None:
    sealed = Cipher([NEW], purpose="values").seal(b"\xa5plain", b"")
    with pytest.raises(DecodeError):
        SessionManager(MemoryStore()).codec.decode(sealed)


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 100_000])
def test_a_keyring_opens_what_it_sealed_in_the_same_context_alone(data: bytes) -> None:
    one, two = Cipher([NEW], purpose="values"), Cipher([NEW], purpose="labels")
    sealed = one.seal(data, b"a", b"bc")
    assert one.open(sealed, b"a", b"bc") == data and one.seal(data, b"a", b"bc") == sealed
    for ring, context in [(one, (b"ab", b"c")), (one, (b"a",)), (one, (b"a", b"bc", b"")), (two, (b"a", b"bc"))]:
        with pytest.raises(DecodeError):
            ring.open(sealed, *context)


# In an application.


class Workers:
    """Applications one after the other, on one store, with the keys that each is given."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock = store, clock

    def start(self, keys: Any, **config: Any) -> Flask:
        app = Flask(__name__)
        app.config.update(TESTING=True, SECRET_KEY="k" * 32, IDLESESSION_ENCRYPTION_KEYS=keys, **config)
        IdleSession(app, store=self.store, clock=self.clock)
        views: dict[str, Any] = {
            "/in/<user>": lambda user: log_in(user) or "in",
            "/put/<value>": lambda value: session.__setitem__("v", value) or "put",
            "/": lambda: str((current_user_id(), session.get("v"))),
            "/count": lambda: str(session.modify("n", lambda n: n + 1, default=0)),
            "/ended": lambda: str(session_ending() and session_ending().reason.value),
        }
        for path, view in views.items():
            app.add_url_rule(path, path.replace(".", ""), view)
        return app


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with closing(SQLiteStore(tmp_path / "sessions.db")) as store:
        yield Workers(store, FakeClock())


def hand_on(client: Any, app: Flask) -> Any:
    """Return a client of another application with the same cookie."""
    other = app.test_client()
    cookie = client.get_cookie("session")
    other.set_cookie("session", cookie.value)
    return other


def test_keys_are_changed_without_a_log_out(workers: Workers) -> None:
    client = workers.start([OLD]).test_client()
    client.get("/in/ada", headers={"User-Agent": "Mozilla/5.0 Firefox/130.0"})
    client.get("/put/kept")
    assert client.get("/count").text == "1"
    for number, keys in enumerate([[OLD, NEW], [NEW, OLD], [NEW, OLD]], 2):
        client = hand_on(client, workers.start(keys))
        assert client.get("/").text == "('ada', 'kept')"
        assert client.get("/count").text == str(number)
    client.get("/put/written%20anew")
    client.get("/in/ada", headers={"User-Agent": "Mozilla/5.0 Firefox/131.0"})
    assert client.get("/").text == "('ada', 'written anew')"


def test_a_session_whose_key_was_removed_is_ended_and_logged_by_its_id(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    client = workers.start([OLD]).test_client()
    client.get("/put/lost")
    app = workers.start([NEW])
    survivor = app.test_client()
    survivor.get("/put/kept")
    client = hand_on(client, app)
    with caplog.at_level(logging.ERROR):
        assert client.get("/").text == "(None, None)"
    (line,) = caplog.messages
    assert "the value of 'v'" in line and "not there any more" in line and "lost" not in line
    assert client.get("/ended").text == EndReason.REVOKED.value
    assert survivor.get("/").text == "(None, 'kept')"
    assert len(list(app.extensions["idlesession"].manager.find())) == 1


@pytest.mark.parametrize(("before", "after"), [(None, [NEW]), ([NEW], None)])
def test_sessions_from_before_encryption_or_after_it_end(workers: Workers, before: Any, after: Any) -> None:
    client = workers.start(before, IDLESESSION_ROTATION_INTERVAL=5).test_client()
    client.get("/put/lost")
    workers.clock.advance(6)
    client.get("/")
    client = hand_on(client, workers.start(after, IDLESESSION_ROTATION_INTERVAL=5))
    assert client.get("/").text == "(None, None)"
    assert client.get("/put/anew").status_code == 200
    assert client.get("/").text == "(None, 'anew')"


def test_a_session_that_cannot_be_read_can_be_revoked_and_found_and_not_read(workers: Workers) -> None:
    workers.start([OLD]).test_client().get("/in/ada", headers={"User-Agent": "Mozilla/5.0 Firefox/130.0"})
    app = workers.start([NEW])
    manager = app.extensions["idlesession"].manager
    (info,) = manager.sessions_of("ada")
    assert "agent" not in info.labels and info.authenticated_at == workers.clock()
    assert manager.revoke(info.sid)
    workers.start([OLD]).test_client().get("/put/lost")
    (info,) = manager.find()
    with pytest.raises(SessionNotFound):
        manager.read(info.sid)
    assert list(manager.find()) == []


def test_a_journal_holds_no_plain_text_and_gives_sessions_back(tmp_path: Path) -> None:
    def start() -> Flask:
        app = Flask(__name__)
        app.config.update(TESTING=True, SECRET_KEY="k" * 32, IDLESESSION_ENCRYPTION_KEYS=[NEW])
        app.config["IDLESESSION_JOURNAL"] = tmp_path / "journal"
        IdleSession(app)
        app.add_url_rule("/put/<value>", "put", lambda value: session.__setitem__("v", value) or "put")
        app.add_url_rule("/", "get", lambda: str(session.get("v")))
        return app

    app = start()
    client = app.test_client()
    client.get(f"/put/{PLAIN}")
    app.extensions["idlesession"].manager.close()
    assert (tmp_path / "journal").stat().st_size > 0 and PLAIN.encode() not in (tmp_path / "journal").read_bytes()
    app = start()
    assert hand_on(client, app).get("/").text == PLAIN
    app.extensions["idlesession"].manager.close()


def test_an_outage_is_one_with_encryption_too() -> None:
    store = FailingStore()
    app = Workers(store, FakeClock()).start([NEW])
    client = app.test_client()
    client.get("/put/x")
    store.switch_off()
    assert client.get("/").status_code == 503
    store.switch_on()
    assert client.get("/").text == "(None, 'x')"


def test_what_others_ask_of_a_store_is_handed_on() -> None:
    inner = MemoryStore(max_sessions=1)
    store = EncryptedStore(inner, [NEW])
    assert store and store.traits == inner.traits and len(store) == 0
    store.create(a_record())
    store.create(a_record())
    assert len(store) == 1 and examine(store, now=NOW).kind == "MemoryStore"
    assert not EncryptedStore(MemoryStore(max_sessions=None, max_bytes=None), [NEW]).traits.bounded


def test_a_load_with_a_touch_decrypts_what_it_returns() -> None:
    inner = MemoryStore()
    record = a_sealed_record(inner, NEW, labels={"agent": "x"})
    touch = Touch(HOLDER, NOW)
    visited = CircuitBreaker(EncryptedStore(inner, [NEW])).load(record.info.sid, now=NOW + 1, touch=touch)
    assert visited is not None
    assert visited.values == record.values and visited.info == replace(record.info, last_seen_at=NOW + 1)
    with pytest.raises(UnreadableRecord):
        EncryptedStore(inner, [OLD]).load(record.info.sid, now=NOW + 1, touch=touch)


def test_a_failing_store_is_a_store_error_still() -> None:
    store = FailingStore()
    store.switch_off()
    with pytest.raises(StoreError):
        EncryptedStore(store, [NEW]).load(a_record().info.sid, now=NOW)


def test_without_the_package_the_message_says_what_to_install() -> None:
    code = """
import sys
sys.modules["cryptography"] = None
from flask import Flask
from flask_idlesession import ConfigError, IdleSession
app = Flask(__name__)
app.config.update(SECRET_KEY="k" * 32, TESTING=True, IDLESESSION_ENCRYPTION_KEYS=["x" * 32])
IdleSession(app)
try:
    app.extensions["idlesession"].manager
except ConfigError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "pip install 'flask_idlesession[encryption]'" in told


def test_without_the_setting_the_package_is_not_imported() -> None:
    code = "import sys, flask_idlesession.extension; print('cryptography' in sys.modules, 'jwt' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert told.split() == ["False", "False"]


def test_no_key_is_shown() -> None:
    store = EncryptedStore(MemoryStore(), [b"K" * 32])
    settings = read_settings({"IDLESESSION_ENCRYPTION_KEYS": ["K" * 32], "IDLESESSION_CLAIMS_KEY": "K" * 32})
    assert "KKKK" not in repr(settings) + repr(store) + repr(vars(store)) + repr(vars(store._values))
    with pytest.raises(ConfigError) as caught:
        Workers(MemoryStore(), FakeClock()).start(["K" * 31])
    assert "KKKK" not in str(caught.value)
