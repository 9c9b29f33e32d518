"""Sessions are ended from outside, a user is kept to a number of them, and each end is told to who shows the token."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID
from uuid import uuid4

import pytest
from flask import Flask
from flask import session
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from support.requests import requests_of

from flask_idlesession import current_user_id
from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import on_session_end
from flask_idlesession import Policy
from flask_idlesession import revoke
from flask_idlesession import revoke_all
from flask_idlesession import revoke_others
from flask_idlesession import revoke_own
from flask_idlesession import revoke_user
from flask_idlesession import revoke_where
from flask_idlesession import session_ended
from flask_idlesession import session_ending
from flask_idlesession import SessionManager
from flask_idlesession import sessions_of
from flask_idlesession import TooManySessions
from flask_idlesession.model.ids import Credential
from flask_idlesession.sessions.facts import Saved
from flask_idlesession.stores.sqlite import SQLiteStore
from flask_idlesession.testing import FakeClock

#: How each function is given a session's id, on the face and of the manager.
WITH_ID: dict[str, Callable[[SessionManager, Any], object]] = {
    "revoke": lambda _, sid: revoke(sid),
    "revoke_own": lambda _, sid: revoke_own(sid),
    "revoke_user keep": lambda _, sid: revoke_user("ada", keep=sid),
    "revoke_all keep": lambda _, sid: revoke_all(keep=sid),
    "revoke_where keep": lambda _, sid: revoke_where(user_id="ada", keep=sid),
    "on_session_end": lambda _, sid: on_session_end(print, sid=sid),
    "manager.revoke": lambda manager, sid: manager.revoke(sid),
    "manager.revoke_user keep": lambda manager, sid: manager.revoke_user("ada", keep=sid),
    "manager.revoke_all keep": lambda manager, sid: manager.revoke_all(keep=sid),
    "manager.revoke_where keep": lambda manager, sid: manager.revoke_where(user_id="ada", keep=sid),
    "manager.read": lambda manager, sid: manager.read(sid),
    "manager.replace": lambda manager, sid: manager.replace(sid, {}),
    "manager.remove": lambda manager, sid: manager.remove(sid),
    "manager.set_timeouts": lambda manager, sid: manager.set_timeouts(sid, idle_timeout=60),
    "manager.on_session_end": lambda manager, sid: manager.on_session_end(print, sid=sid),
}

NOW = 1_700_000_000.0
STORES = ["memory", "sqlite"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


def open_store(kind: str, folder: Path) -> Any:
    return MemoryStore() if kind == "memory" else SQLiteStore(folder / f"{uuid4()}.sqlite")


def make_app(clock: Callable[[], float] | None = None, store: Any = None, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(TESTING=True, SECRET_KEY="of the revocation tests", **config)
    IdleSession(app, **({} if clock is None else {"clock": clock}), store=store)
    app.hook = lambda: None  # type: ignore[attr-defined]

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        app.hook()  # type: ignore[attr-defined]
        try:
            log_in(user)
        except TooManySessions:
            return "refused"
        return "in"

    @app.get("/out")
    def leave() -> str:
        log_out()
        return "out"

    @app.get("/who")
    def who() -> str:
        return str(current_user_id())

    @app.get("/set/<key>/<value>")
    def put(key: str, value: str) -> str:
        session[key] = value
        app.hook()  # type: ignore[attr-defined]
        return "set"

    @app.get("/why")
    def why() -> dict[str, Any]:
        ended = session_ending()  # type: ignore[attr-defined]
        return {} if ended is None else {"reason": ended.reason.value, "by": ended.by, "user": ended.user_id}

    @app.get("/todo")
    def do() -> str:
        app.todo()  # type: ignore[attr-defined]
        return "done"

    @app.get("/rotate")
    def rotate() -> str:
        session.rotate()  # type: ignore[attr-defined]
        return "rotated"

    return app


@pytest.fixture
def app(clock: FakeClock) -> Flask:
    return make_app(clock, IDLESESSION_IDLE_TIMEOUT=100, IDLESESSION_LIFETIME=250)


def manager_of(app: Flask) -> SessionManager:
    manager = app.extensions["idlesession"].manager
    assert isinstance(manager, SessionManager)
    return manager


def browser(app: Flask, user: str | None = None) -> Any:
    client = app.test_client()
    if user is not None:
        assert client.get(f"/in/{user}").text == "in"
    return client


def sid_of(client: Any) -> UUID:
    with client.session_transaction() as opened:
        assert opened.sid is not None
        return UUID(str(opened.sid))


def who(*clients: Any) -> list[str]:
    return [client.get("/who").text for client in clients]


def call(app: Flask, client: Any, fn: Callable[[], Any]) -> Any:
    """Call ``fn`` in a view, with the client's session."""
    told: list[Any] = []
    app.todo = lambda: told.append(fn())  # type: ignore[attr-defined]
    assert client.get("/todo").status_code == 200
    return told[0]


# See and end.


def test_a_users_sessions_are_listed_the_last_seen_first(app: Flask, clock: FakeClock) -> None:
    phone = browser(app, "ada")
    clock.advance(10)
    laptop = browser(app, "ada")
    browser(app, "grace")
    clock.advance(10)
    with app.app_context():
        assert [info.sid for info in sessions_of("ada")] == [sid_of(laptop), sid_of(phone)]
    phone.get("/who")
    with app.app_context():
        assert [info.sid for info in sessions_of("ada")] == [sid_of(phone), sid_of(laptop)]
        assert sessions_of("nobody") == []
    clock.advance(100)
    with app.app_context():
        assert sessions_of("ada") == []


def test_an_id_of_any_kind_names_the_same_user(app: Flask) -> None:
    browser(app, "7")
    with app.app_context():
        assert len(sessions_of(7)) == len(sessions_of("7")) == 1
        assert revoke_user(7) == 1


def test_a_session_is_revoked_once_by_its_id(app: Flask) -> None:
    client = browser(app, "ada")
    sid = sid_of(client)
    with app.app_context():
        assert revoke(sid, by="the operator") is True
        assert revoke(sid) is False
        assert revoke(uuid4()) is False
    assert who(client) == ["None"]
    assert client.get("/why").json == {"reason": "revoked", "by": "the operator", "user": "ada"}


def test_who_revokes_is_told_by_default(app: Flask) -> None:
    admin, client = browser(app, "root"), browser(app, "ada")
    sid = sid_of(client)
    told: list[Any] = []

    def note(sender: object, info: Any, reason: EndReason) -> None:
        told.append((info.sid, reason, info.labels["ended_by"]))

    with session_ended.connected_to(note, app):
        assert call(app, admin, lambda: revoke(sid)) is True
    assert told == [(sid, EndReason.REVOKED, "root")]
    assert client.get("/why").json["by"] == "root"


def test_a_user_revokes_sessions_of_their_own_alone(app: Flask) -> None:
    ada, other, grace = browser(app, "ada"), browser(app, "ada"), browser(app, "grace")
    guest = browser(app)
    guest.get("/set/a/1")
    sids = {name: sid_of(client) for name, client in (("other", other), ("grace", grace), ("guest", guest))}
    assert call(app, ada, lambda: [revoke_own(sids[name]) for name in ("grace", "guest")]) == [False, False]
    assert call(app, guest, lambda: [revoke_own(sid) for sid in sids.values()]) == [False] * 3
    assert call(app, ada, lambda: revoke_own(uuid4())) is False
    assert who(ada, other, grace) == ["ada", "ada", "grace"]
    assert call(app, ada, lambda: revoke_own(sids["other"])) is True
    assert call(app, ada, lambda: revoke_own(sids["other"])) is False
    assert who(ada, other, grace) == ["ada", "None", "grace"]


def test_revoking_a_user_keeps_the_session_that_is_to_be_kept_and_those_of_others(app: Flask) -> None:
    clients = [browser(app, "ada") for _ in range(4)]
    grace = browser(app, "grace")
    kept = sid_of(clients[0])
    with app.app_context():
        assert revoke_user("ada", keep=kept) == 3
    assert who(*clients, grace) == ["ada", "None", "None", "None", "grace"]
    with app.app_context():
        assert revoke_user("ada") == 1
        assert revoke_user("ada") == 0
    assert who(*clients, grace) == ["None"] * 4 + ["grace"]


def test_revoking_the_others_rotates_the_present_one(app: Flask, clock: FakeClock) -> None:
    ada, other, copied = browser(app, "ada"), browser(app, "ada"), app.test_client()
    sid, old = sid_of(ada), ada.get_cookie("session").value
    copied.set_cookie("session", old)
    assert call(app, ada, revoke_others) == 1
    clock.advance(10)  # Requests that were on their way had their grace.
    assert ada.get_cookie("session").value != old and sid_of(ada) == sid
    assert who(ada, other, copied) == ["ada", "None", "None"]
    assert other.get("/why").json == {"reason": "revoked", "by": "ada", "user": "ada"}
    assert call(app, browser(app), revoke_others) == 0


def test_revoking_all_spares_but_what_is_kept(app: Flask) -> None:
    ada, grace, guest = browser(app, "ada"), browser(app, "grace"), browser(app)
    guest.get("/set/a/1")
    kept = sid_of(ada)
    assert call(app, ada, lambda: revoke_all(keep=kept)) == 2
    assert who(ada, grace) == ["ada", "None"]
    assert guest.get("/why").json["reason"] == "revoked"
    with app.app_context():
        assert revoke_all() == 1
    assert list(manager_of(app).find()) == []


def test_sessions_are_revoked_by_how_long_they_are_idle(app: Flask, clock: FakeClock) -> None:
    old = browser(app, "ada")
    clock.advance(50)
    young = browser(app, "grace")
    with app.app_context():
        assert revoke_where(idle_for=51) == 0
        assert revoke_where(idle_for=50) == 1
    assert who(old, young) == ["None", "grace"]


@pytest.mark.parametrize("kept", ["full", "truncated"])
def test_sessions_are_revoked_by_address_and_network(clock: FakeClock, kept: str) -> None:
    app = make_app(clock, IDLESESSION_CLIENT_INFO=kept)
    addresses = ["192.0.2.7", "::ffff:192.0.2.8", "192.0.3.7", "2001:db8:1::1", "2001:db8:2::1", ""]
    for number, address in enumerate(addresses):
        app.test_client().get(f"/in/{number}", environ_overrides={"REMOTE_ADDR": address})

    def left() -> set[str]:
        return {str(info.user_id) for info in manager_of(app).find()}

    with app.app_context():
        assert revoke_where(address="10.0.0.0/8") == revoke_where(address="2001:db8:9::/48") == 0
        # Of one that was truncated nobody knows more than the network: it may be the one that is meant.
        assert revoke_where(address="192.0.2.7") == (1 if kept == "full" else 2)
        assert left() == ({"1", "2", "3", "4", "5"} if kept == "full" else {"2", "3", "4", "5"})
        revoke_where(address="192.0.2.0/24")
        assert left() == {"2", "3", "4", "5"}
        assert revoke_where(address="2001:db8:1::/48") == 1
        assert revoke_where(address="0.0.0.0/0") == 1
        assert left() == {"4", "5"}
        assert revoke_where(address="::/0") == 1
        assert left() == {"5"}


def test_sessions_are_revoked_by_their_labels_and_all_criteria_must_hold(app: Flask, clock: FakeClock) -> None:
    clients = {}
    for user, idp_sid in (("ada", "x"), ("ada", "y"), ("grace", "x")):
        client = browser(app)
        call(app, client, lambda user=user, idp_sid=idp_sid: log_in(user, labels={"idp_sid": idp_sid}))
        clients[user, idp_sid] = client
    with app.app_context():
        assert revoke_where(idp_sid="z") == 0
        assert revoke_where(idp_sid="x", idle_for=10) == 0
        assert revoke_where(idp_sid="x", user_id="ada") == 1
        assert revoke_where(idp_sid="x", by="the identity provider") == 1
    assert who(*clients.values()) == ["None", "ada", "None"]
    assert clients["grace", "x"].get("/why").json["by"] == "the identity provider"
    with app.app_context():
        assert revoke_where(user_id="ada") == 1


def test_without_a_criterion_nothing_is_revoked(app: Flask) -> None:
    client = browser(app, "ada")
    with app.app_context(), pytest.raises(TypeError, match="needs a criterion"):
        revoke_where()
    with app.app_context(), pytest.raises(ValueError, match="not-an-address"):
        revoke_where(address="not-an-address")
    assert who(client) == ["ada"]


# Revoking beats what is under way.


@pytest.mark.parametrize("revocation", ["user", "all"])
@pytest.mark.parametrize("kind", STORES)
def test_a_request_that_came_before_a_revocation_logs_nobody_in_after_it(
    clock: FakeClock, kind: str, revocation: str, tmp_path: Path
) -> None:
    app = make_app(clock, open_store(kind, tmp_path))
    manager = manager_of(app)
    app.hook = lambda: manager.revoke_user("ada") if revocation == "user" else manager.revoke_all()  # type: ignore
    for client in (browser(app), browser(app, "grace")):
        client.get("/set/a/1")
        client.get("/in/ada")
        assert who(client) == ["None"]
        assert list(manager.find(user_id="ada")) == []
    app.hook = lambda: manager.revoke_user("grace")  # type: ignore[attr-defined]
    assert who(browser(app, "ada")) == ["ada"], "Another user's revocation is nothing to her."
    manager.close()


def test_a_request_that_came_after_a_revocation_logs_in(app: Flask, clock: FakeClock) -> None:
    manager = manager_of(app)
    manager.revoke_user("ada")
    manager.revoke_all()
    assert who(browser(app, "ada")) == ["ada"], "The clock stands still, and it came later all the same."


@pytest.mark.parametrize("revocation", [lambda: revoke_user("ada"), revoke_all])
def test_a_request_that_revokes_may_log_in_after_it(app: Flask, revocation: Callable[[], Any]) -> None:
    old, client = browser(app, "ada"), browser(app)
    call(app, client, lambda: (revocation(), log_in("ada")))
    assert who(old, client) == ["None", "ada"]


def test_a_revocation_ends_what_logged_in_without_any_write_after_it(app: Flask) -> None:
    client = browser(app, "ada")
    app.hook = lambda: manager_of(app).revoke_user("ada")  # type: ignore[attr-defined]
    answer = client.get("/set/a/1")
    assert answer.status_code == 200 and "Set-Cookie" not in answer.headers
    assert list(manager_of(app).find()) == [] and who(client) == ["None"]


def race_revocations(store: Any, rounds: int) -> None:
    """Requests of a user, log-ins among them, meet a revocation; what began before its end is over then."""
    app = make_app(store=store)
    manager = manager_of(app)
    paths = ["/set/a/1", "/who", "/rotate", "/in/ada", "/in/ada"]
    barrier = threading.Barrier(len(paths) + 1)

    def ask(path: str, client: Any) -> None:
        barrier.wait(60)
        client.get(path)

    with ThreadPoolExecutor(len(paths) + 1) as pool:
        for _ in range(rounds):
            clients = [browser(app, "ada") for _ in paths[:-1]] + [browser(app)]
            begun = [pool.submit(ask, path, client) for path, client in zip(paths, clients, strict=True)]
            barrier.wait(60)
            # All of them came before this instant, or may have: a log-in that came later is to live.
            arrived = manager.now()
            manager.revoke_user("ada")
            for done in begun:
                done.result(60)
            for info in manager.find(user_id="ada"):
                assert info.authenticated_at is not None and info.authenticated_at > arrived
            manager.revoke_user("ada")
            assert list(manager.find(user_id="ada")) == []
            assert set(who(*clients)) == {"None"}
    manager.close()


@pytest.mark.parametrize("kind", STORES)
def test_no_request_saves_a_session_from_its_revocation(kind: str, tmp_path: Path) -> None:
    race_revocations(open_store(kind, tmp_path), 40 if kind == "memory" else 10)


@pytest.mark.soak
@pytest.mark.parametrize("kind", STORES)
def test_for_long_no_request_saves_a_session_from_its_revocation(kind: str, tmp_path: Path) -> None:
    race_revocations(open_store(kind, tmp_path), 3000 if kind == "memory" else 300)


def race_log_ins_with_a_revocation(store: Any, rounds: int) -> None:
    """Every log-in has checked its password when the revocation begins: none of them may live."""
    app = make_app(store=store)
    manager = manager_of(app)
    crowd = 6
    checked, barrier = threading.Barrier(crowd + 1), threading.Barrier(crowd + 1)

    def check_password() -> None:
        checked.wait(60)
        barrier.wait(60)

    app.hook = check_password  # type: ignore[attr-defined]
    with ThreadPoolExecutor(crowd) as pool:
        for _ in range(rounds):
            clients = [app.test_client() for _ in range(crowd)]
            begun = [pool.submit(client.get, "/in/ada") for client in clients]
            checked.wait(60)
            barrier.wait(60)
            manager.revoke_user("ada")
            for done in begun:
                done.result(60)
            assert list(manager.find(user_id="ada")) == []
            assert set(who(*clients)) == {"None"}
    manager.close()


@pytest.mark.parametrize("kind", STORES)
def test_no_log_in_that_is_under_way_outlives_a_revocation(kind: str, tmp_path: Path) -> None:
    race_log_ins_with_a_revocation(open_store(kind, tmp_path), 50 if kind == "memory" else 15)


@pytest.mark.soak
@pytest.mark.parametrize("kind", STORES)
def test_for_long_no_log_in_that_is_under_way_outlives_a_revocation(kind: str, tmp_path: Path) -> None:
    race_log_ins_with_a_revocation(open_store(kind, tmp_path), 3000 if kind == "memory" else 300)


# A user has so many sessions.


def race_log_ins(store: Any, at_limit: str, rounds: int) -> None:
    app = make_app(store=store, IDLESESSION_MAX_SESSIONS_PER_USER=3, IDLESESSION_AT_MAX_SESSIONS_PER_USER=at_limit)
    manager = manager_of(app)
    barrier = threading.Barrier(20)

    def enter(client: Any, user: str) -> str:
        barrier.wait(60)
        return str(client.get(f"/in/{user}").text)

    with ThreadPoolExecutor(20) as pool:
        for number in range(rounds):
            user = f"user {number}"
            clients = [app.test_client() for _ in range(20)]
            told = list(pool.map(enter, clients, [user] * 20))
            assert sorted(told) == ["in"] * 20 if at_limit != "refuse" else ["in"] * 3 + ["refused"] * 17
            assert len(list(manager.find(user_id=user))) == 3
            assert sorted(who(*clients)) == ["None"] * 17 + [user] * 3
    assert {info.user_id for info in manager.find()} == {f"user {number}" for number in range(rounds)}
    manager.close()


@pytest.mark.parametrize("at_limit", ["evict oldest", "refuse"])
@pytest.mark.parametrize("kind", STORES)
def test_of_twenty_log_ins_at_once_three_have_a_session(kind: str, at_limit: str, tmp_path: Path) -> None:
    race_log_ins(open_store(kind, tmp_path), at_limit, 3)


@pytest.mark.soak
@pytest.mark.parametrize("at_limit", ["evict oldest", "refuse"])
@pytest.mark.parametrize("kind", STORES)
def test_fifty_times_of_twenty_log_ins_at_once_three_have_a_session(kind: str, at_limit: str, tmp_path: Path) -> None:
    race_log_ins(open_store(kind, tmp_path), at_limit, 50)


def test_the_session_in_which_the_user_logged_in_first_is_evicted(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=2)
    first = browser(app, "ada")
    clock.advance(1)
    second = browser(app, "ada")
    clock.advance(1)
    first.get("/who")
    third = browser(app, "ada")
    assert who(first, second, third) == ["None", "ada", "ada"]
    assert first.get("/why").json == {"reason": "evicted", "by": None, "user": "ada"}


def test_logging_in_anew_in_the_same_session_takes_no_second_place(clock: FakeClock) -> None:
    for at_limit in ("evict oldest", "refuse"):
        app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1, IDLESESSION_AT_MAX_SESSIONS_PER_USER=at_limit)
        client = browser(app, "ada")
        assert client.get("/in/ada").text == "in" and who(client) == ["ada"]
        client.get("/out")
        assert client.get("/in/ada").text == "in"
        clock.advance(2000)
        assert browser(app, "ada") and len(list(manager_of(app).find())) == 1


def test_who_is_refused_stays_what_they_were(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1, IDLESESSION_AT_MAX_SESSIONS_PER_USER="refuse")
    ada, guest, grace = browser(app, "ada"), browser(app), browser(app, "grace")
    guest.get("/set/cart/tea")
    sid = sid_of(guest)
    assert guest.get("/in/ada").text == "refused"
    assert who(ada, guest) == ["ada", "None"] and sid_of(guest) == sid
    assert grace.get("/in/ada").text == "refused"
    assert who(ada, grace) == ["ada", "grace"]
    assert browser(app).get("/in/ada").headers.get("Set-Cookie") is None


def test_a_turn_is_no_session(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1)
    told: list[UUID] = []

    def note(sender: object, info: Any, reason: EndReason) -> None:
        told.append(info.sid)

    with session_ended.connected_to(note, app):
        client = browser(app, "ada")
        with app.app_context():
            assert revoke_where(idle_for=0) == 1
        assert call_all(app) == 0
    assert len(told) == 1 and who(client) == ["None"]


def turn_of(manager: SessionManager) -> Any:
    """Return the turn that somebody has to log in as ada."""
    (info,) = manager.store.find(now=manager.now())
    return info


def die_in_a_turn(manager: SessionManager) -> None:
    """Leave ada's turn to log in taken, as a process does that dies in the middle."""

    def turn() -> None:
        with manager.revocation.admission("ada", None):
            manager.store.delete = lambda sid: False  # type: ignore[method-assign]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        turn()
    del manager.store.delete


def test_a_dead_turn_is_forgotten_and_the_backlog_is_left_to_the_cleaner(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_IDLE_TIMEOUT=100, IDLESESSION_MAX_SESSIONS_PER_USER=1)
    manager = manager_of(app)
    die_in_a_turn(manager)
    turn = turn_of(manager)
    for _ in range(500):
        manager.create({})
    clock.advance(101)
    manager.store.prune = lambda **when: []  # type: ignore[method-assign]
    assert browser(app, "ada").get("/who").text == "ada"
    assert manager.store.load(turn.sid, now=0.0) is None
    assert len(manager.store) == 501  # type: ignore[arg-type]


def test_a_turn_that_was_taken_while_a_clock_was_ahead_holds_nobody_up(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_MAX_SESSIONS_PER_USER=1)
    manager = manager_of(app)
    clock.advance(3600)
    die_in_a_turn(manager)
    clock.advance(-3600)
    assert browser(app, "ada").get("/who").text == "ada"


def test_only_the_turn_that_is_dead_is_forgotten(clock: FakeClock) -> None:
    manager = SessionManager(clock=clock, policy=Policy(max_sessions_per_user=1))
    revocation, store = manager.revocation, manager.store
    with revocation.admission("ada", None):
        dead = turn_of(manager)
        clock.advance(6)
        load, taken = store.load, []

        def load_and_be_overtaken(sid: Any, **how: Any) -> Any:
            found = load(sid, **how)
            if not taken:  # Another worker forgets it, and takes the next turn.
                store.delete(sid)
                taken.append(revocation.turns.take(sid))
            return found

        store.load = load_and_be_overtaken  # type: ignore[method-assign]
        assert revocation.turns.take(dead.sid) is False
        assert taken == [True]
        assert turn_of(manager).created_at == clock()
    manager.close()


def call_all(app: Flask) -> int:
    with app.app_context():
        return revoke_all()


# Why it ended.


def test_the_next_request_is_told_why_the_session_ended(app: Flask, clock: FakeClock) -> None:
    idle, lifelong = browser(app, "ada"), browser(app, "ada")
    for _ in range(4):
        clock.advance(60)
        assert who(lifelong) == ["ada"]
    clock.advance(10)
    left, copied = browser(app, "ada"), app.test_client()
    copied.set_cookie("session", left.get_cookie("session").value)
    left.get("/out")
    told = [client.get("/why").json.get("reason") for client in (idle, lifelong, copied, left)]
    assert told == ["idle", "lifetime", "logged out", None], "Who logged out here has no token to ask with."


def test_it_is_told_before_and_after_what_ended_was_forgotten(app: Flask, clock: FakeClock) -> None:
    client = browser(app, "ada")
    clock.advance(100)
    assert client.get("/why").json == {"reason": "idle", "by": None, "user": "ada"}
    manager_of(app).prune()
    assert client.get("/why").json == {"reason": "idle", "by": None, "user": "ada"}
    clock.advance(3599)
    assert client.get("/why").json["reason"] == "idle"


@pytest.mark.parametrize("kind", STORES)
def test_why_it_ended_is_forgotten_after_an_hour(kind: str, clock: FakeClock, tmp_path: Path) -> None:
    app = make_app(clock, open_store(kind, tmp_path))
    client = browser(app, "ada")
    with app.app_context():
        revoke_user("ada", by="me")
    for _ in range(3):
        clock.advance(1199)
        manager_of(app).prune()
        assert client.get("/why").json["by"] == "me"
    clock.advance(4)
    assert client.get("/why").json == {}
    manager_of(app).close()


def test_a_session_that_lives_or_never_was_did_not_end(app: Flask) -> None:
    client, stranger = browser(app, "ada"), browser(app)
    assert client.get("/why").json == {} and stranger.get("/why").json == {}
    stranger.set_cookie("session", "no token")
    assert stranger.get("/why").json == {}


def test_a_new_session_in_the_place_of_one_that_ended_has_nothing_to_tell(app: Flask, clock: FakeClock) -> None:
    client = browser(app, "ada")
    clock.advance(100)
    client.get("/in/ada")
    assert client.get("/why").json == {}


# Activity that is written down late.


def interval_manager(clock: FakeClock, idle: float, interval: float, lifetime: float) -> SessionManager:
    return SessionManager(clock=clock, policy=Policy(idle_timeout=idle, lifetime=lifetime, touch_interval=interval))


@given(
    st.sampled_from([60.0, 600.0]),
    st.sampled_from([0.05, 0.25, 0.5]),
    st.lists(
        st.tuples(st.integers(0, 30).map(lambda n: n / 20), st.sampled_from(["look", "passive", "write"])), max_size=25
    ),
)
@example(60.0, 0.5, [(step, "look") for step in (0.5, 1.1, *[1.45] * 5, 0.45)])  # Near its lifetime's end.
def test_a_session_never_ends_early_and_ends_an_interval_late_at_most(
    idle: float, share: float, schedule: list[tuple[float, str]]
) -> None:
    interval, clock = idle * share, FakeClock(NOW)
    with interval_manager(clock, idle, interval, 10 * idle) as manager:
        commits: list[float] = []
        commit = manager.store.commit

        def counted(sid: Any, change: Any, *, now: float) -> Any:
            if change.is_touch:
                commits.append(now)
            return commit(sid, change, now=now)

        manager.store.commit = counted  # type: ignore[method-assign]
        opened = requests_of(manager).open(None)
        opened["a"] = 1
        assert requests_of(manager).save(opened, active=True) is Saved.ISSUED
        credential, seen, ends_at = opened._facts.credential, NOW, NOW + 10 * idle
        for step, what in schedule:
            now = clock.advance(step * idle)
            is_live = ask(manager, credential, what)
            if now < min(seen + idle, ends_at):
                assert is_live, "It ended early."
            if now >= min(seen + idle + interval, ends_at):
                assert not is_live, "It ended more than an interval late."
            if not is_live:
                break
            if what != "passive":
                seen = now
        gaps = [after - before for before, after in zip(commits, commits[1:], strict=False)]
        assert all(gap >= interval for gap in gaps), "Activity was written twice in an interval."


def ask(manager: SessionManager, credential: Credential | None, what: str) -> bool:
    """Make a request; return whether its session was live."""
    opened = requests_of(manager).open(credential)
    if what != "passive":
        requests_of(manager).note_arrival(opened)
    is_live = not opened.new
    if is_live and what == "write":
        opened["a"] = opened["a"] + 1
    requests_of(manager).save(opened, active=what != "passive")
    return is_live


def test_a_hundred_requests_in_an_interval_write_once(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_IDLE_TIMEOUT=600, IDLESESSION_TOUCH_INTERVAL=60)
    client = browser(app, "ada")
    store = manager_of(app).store
    commit, commits = store.commit, []
    store.commit = lambda sid, change, *, now: commits.append(now) or commit(sid, change, now=now)  # type: ignore
    for _ in range(100):
        clock.advance(1.2)
        client.get("/who")
    assert len(commits) == 2
    assert commits[1] - commits[0] >= 60


def test_a_user_is_shown_the_timeout_that_was_set(clock: FakeClock) -> None:
    app = make_app(clock, IDLESESSION_IDLE_TIMEOUT=600, IDLESESSION_TOUCH_INTERVAL=60)
    client = browser(app, "ada")
    left = call(app, client, lambda: (session.idle_timeout, session.seconds_left))  # type: ignore[attr-defined]
    assert left == (600, 600)


# A clock that was ahead.


@pytest.mark.parametrize("end", ["/revoke", "/revoke_all"])
@pytest.mark.parametrize("kind", STORES)
def test_a_revocation_by_a_clock_that_was_ahead_refuses_no_log_in_once_it_is_right(
    kind: str, end: str, tmp_path: Path
) -> None:
    right, ahead, store = FakeClock(NOW), FakeClock(NOW + 86400), open_store(kind, tmp_path)
    manager = manager_of(make_app(ahead, store))
    manager.lifecycle.pruner.close()  # By its clock everything has expired.
    manager.revocation.revoke_user("ada") if end == "/revoke" else manager.revocation.revoke_all()
    app = make_app(right, store)
    for _ in range(2):
        client = app.test_client()
        client.get("/in/ada")
        assert client.get("/who").text == "ada"
        right.advance(100)


@pytest.mark.parametrize("kind", STORES)
def test_a_log_out_by_a_clock_that_was_ahead_keeps_no_visitor_from_a_session_once_it_is_right(
    kind: str, tmp_path: Path
) -> None:
    right, ahead, store = FakeClock(NOW), FakeClock(NOW + 86400), open_store(kind, tmp_path)
    was_ahead = make_app(ahead, store)
    manager_of(was_ahead).lifecycle.pruner.close()  # By its clock everything has expired.
    client = browser(was_ahead, "ada")
    token = client.get_cookie("session").value
    client.get("/out")
    visitor = make_app(right, store).test_client()
    visitor.set_cookie("session", token)
    visitor.get("/set/a/1")
    assert visitor.get_cookie("session").value != token
    assert len(list(store.find(now=NOW))) == 1


@pytest.mark.parametrize("name", WITH_ID)
def test_a_text_in_place_of_a_session_id_is_refused_unshown_and_ends_nothing(name: str) -> None:
    """A text that is kept would keep nothing: no id equals it."""
    app = make_app()
    manager = app.extensions["idlesession"].manager
    sid = manager.create({"n": 1}, user_id="ada")
    for wrong in (str(sid), sid.bytes, sid.int):
        with app.test_request_context(), pytest.raises(TypeError) as raised:
            WITH_ID[name](manager, wrong)
        assert "uuid.UUID(text)" in str(raised.value) and str(raised.value).endswith("[ISE054]")
        assert str(sid) not in str(raised.value)
    assert manager.read(sid) == {"n": 1}
