"""session.modify, session.exclusive, the decorator, rotation with grace, and what a failed view leaves."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask import session
from flask.testing import FlaskClient
from support.requests import requests_of

from flask_idlesession import Change
from flask_idlesession import ConflictError
from flask_idlesession import exclusive
from flask_idlesession import IdleSession
from flask_idlesession import LeaseTimeout
from flask_idlesession import log_in
from flask_idlesession import MemoryStore
from flask_idlesession import Policy
from flask_idlesession import Session
from flask_idlesession import session_created
from flask_idlesession import SessionExists
from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound
from flask_idlesession.model.ids import Credential
from flask_idlesession.sessions.facts import Saved
from flask_idlesession.sessions.locking import RESERVED
from flask_idlesession.testing import FakeClock


@pytest.fixture
def manager(clock: FakeClock):
    with SessionManager(clock=clock) as manager:
        yield manager


def begin(manager: SessionManager, **data: Any) -> Credential:
    """Start a session as a request would; return the credential to it."""
    fresh = requests_of(manager).open(None)
    fresh.update(data or {"kept": 1})
    assert requests_of(manager).save(fresh, active=True) is Saved.ISSUED
    assert fresh._facts.credential is not None
    return fresh._facts.credential


def held(manager: SessionManager, credential: Credential) -> dict[str, Any]:
    return manager.read(credential.sid)


def in_threads(count: int, fn: Callable[[int], Any]) -> list[Any]:
    """Call ``fn`` in so many threads that start together; return what they returned."""
    barrier = threading.Barrier(count)

    def start(number: int) -> Any:
        barrier.wait(30)
        return fn(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


# Writes by key.


def test_two_requests_that_write_different_keys_both_win(manager):
    credential = begin(manager)
    one, other = requests_of(manager).open(credential), requests_of(manager).open(credential)
    one["a"], other["b"] = 1, 2
    requests_of(manager).save(one, active=True)
    requests_of(manager).save(other, active=True)
    assert held(manager, credential) == {"kept": 1, "a": 1, "b": 2}


def test_of_two_writes_of_one_key_the_later_commit_stands_whole(manager):
    credential = begin(manager, cart={"a": 1})
    one, other = requests_of(manager).open(credential), requests_of(manager).open(credential)
    one["cart"]["b"] = 2
    other["cart"]["c"] = 3
    requests_of(manager).save(one, active=True)
    requests_of(manager).save(other, active=True)
    assert held(manager, credential) == {"cart": {"a": 1, "c": 3}}


def test_a_key_that_is_only_read_is_not_written_back(manager):
    credential = begin(manager, cart=[1])
    slow, quick = requests_of(manager).open(credential), requests_of(manager).open(credential)
    assert slow["cart"] == [1]
    quick["cart"].append(2)
    requests_of(manager).save(quick, active=True)
    requests_of(manager).save(slow, active=True)
    assert held(manager, credential) == {"cart": [1, 2]}


# modify()


def test_modify_counts_what_fifty_threads_count(manager):
    credential = begin(manager)
    counts = in_threads(
        50, lambda _: requests_of(manager).open(credential).modify("visits", lambda n: n + 1, default=0)
    )
    assert sorted(counts) == list(range(1, 51))
    assert held(manager, credential)["visits"] == 50


def test_modify_returns_the_new_value_and_the_dict_shows_it(manager):
    credential = begin(manager)
    view = requests_of(manager).open(credential)
    assert view.modify("visits", lambda n: n + 1, default=0) == 1
    assert view["visits"] == 1 and "visits" in view
    assert held(manager, credential)["visits"] == 1, "it is stored at once"
    assert requests_of(manager).save(view, active=True) is Saved.KEPT
    assert held(manager, credential)["visits"] == 1


def test_modify_takes_what_others_wrote_since_the_session_was_read(manager):
    credential = begin(manager, visits=1)
    slow = requests_of(manager).open(credential)
    assert slow["visits"] == 1
    requests_of(manager).open(credential).modify("visits", lambda n: n + 10)
    assert slow.modify("visits", lambda n: n + 1) == 12


def test_modify_of_a_mutable_value_may_change_it_in_place(manager):
    credential = begin(manager, cart=["tea"])
    views = [requests_of(manager).open(credential) for _ in range(3)]
    assert all(view["cart"] == ["tea"] for view in views)
    for number, view in enumerate(views):
        view.modify("cart", lambda cart, number=number: cart.append(number) or cart)
    assert held(manager, credential)["cart"] == ["tea", 0, 1, 2]
    views[0]["cart"].append("late")
    requests_of(manager).save(views[0], active=True)
    assert held(manager, credential)["cart"] == ["tea", 0, "late"], "a later change in place is a plain assignment"


@pytest.mark.parametrize("is_new", [True, False])
def test_a_function_that_changes_in_place_and_returns_nothing_is_refused(manager, is_new):
    credential = None if is_new else begin(manager, cart=["tea"], names={"ada": 1})
    view = requests_of(manager).open(credential)
    with pytest.raises(TypeError, match="a list in place and returns None; it must return the new value"):
        view.modify("cart", lambda cart: cart.append("milk"), default=[])
    with pytest.raises(TypeError, match="a dict in place"):
        view.modify("names", lambda names: names.clear(), default={"ada": 1})
    assert view.modify("names", lambda names: None) is None, "who changed nothing may put None in its place"


def test_what_modify_gave_is_not_written_again_by_the_save(manager):
    credential = begin(manager, cart=[])
    slow = requests_of(manager).open(credential)
    slow.modify("cart", lambda cart: [*cart, "slow"])
    requests_of(manager).open(credential).modify("cart", lambda cart: [*cart, "quick"])
    requests_of(manager).save(slow, active=True)
    assert held(manager, credential)["cart"] == ["slow", "quick"]


def test_modify_goes_on_from_what_the_request_assigned_before(manager):
    credential = begin(manager, visits=1)
    view = requests_of(manager).open(credential)
    view["visits"] = 100
    assert view.modify("visits", lambda n: n + 1) == 101
    del view["visits"]
    assert view.modify("visits", lambda n: n + 1, default=0) == 1


def test_modify_in_a_new_session_is_an_assignment(manager):
    fresh = requests_of(manager).open(None)
    assert fresh.modify("visits", lambda n: n + 1, default=0) == 1
    assert fresh.modify("visits", lambda n: n + 1, default=0) == 2
    assert requests_of(manager).save(fresh, active=True) is Saved.ISSUED
    assert held(manager, fresh._facts.credential) == {"visits": 2}


def test_modify_of_a_session_that_ended_says_so_and_brings_nothing_back(manager):
    credential = begin(manager, visits=1)
    view = requests_of(manager).open(credential)
    assert view["visits"] == 1
    manager.remove(credential.sid)
    with pytest.raises(SessionNotFound, match=str(credential.sid)):
        view.modify("visits", lambda n: n + 1)
    assert requests_of(manager).save(view, active=True) is Saved.GONE
    assert list(manager.find()) == []


def test_an_exception_in_modifys_function_writes_nothing(manager):
    credential = begin(manager, visits=1)
    view = requests_of(manager).open(credential)
    with pytest.raises(ZeroDivisionError):
        view.modify("visits", lambda n: n / 0)
    assert view["visits"] == 1 and held(manager, credential) == {"visits": 1}


def test_modify_gives_up_when_others_are_faster_for_good(manager, monkeypatch):
    monkeypatch.setattr("flask_idlesession.sessions.locking.time.sleep", lambda _: None)
    credential = begin(manager, visits=0)

    def overtaken(n):
        requests_of(manager).open(credential).modify("visits", lambda m: m + 1)
        return n + 1

    with pytest.raises(ConflictError, match=r"modify\('visits'\) was overtaken 200 times"):
        requests_of(manager).open(credential).modify("visits", overtaken)


# exclusive()


def test_exclusive_blocks_count_what_fifty_waiters_count(manager):
    credential = begin(manager, visits=0)

    def count(_: int) -> None:
        view = requests_of(manager).open(credential)
        with view.exclusive(timeout=60):
            view["visits"] = view["visits"] + 1
        requests_of(manager).save(view, active=True)

    in_threads(50, count)
    assert held(manager, credential)["visits"] == 50


def test_an_exclusive_block_reads_anew_and_saves_what_was_assigned_before(manager):
    credential = begin(manager, a=1)
    view = requests_of(manager).open(credential)
    assert view["a"] == 1
    view["b"] = 2
    requests_of(manager).open(credential).modify("a", lambda a: a + 10)
    with view.exclusive():
        assert view["a"] == 11 and view["b"] == 2
        assert held(manager, credential) == {"a": 11, "b": 2}
        view["a"] = 12
    assert held(manager, credential) == {"a": 12, "b": 2}


def test_a_block_within_a_block_is_the_same_block(manager):
    credential = begin(manager)
    view = requests_of(manager).open(credential)
    with view.exclusive():
        with view.exclusive(timeout=0.01):
            view["a"] = 1
        with pytest.raises(LeaseTimeout), requests_of(manager).open(credential).exclusive(timeout=0.01):
            pass
    with requests_of(manager).open(credential).exclusive(timeout=0.01):
        assert held(manager, credential)["a"] == 1


def test_whoever_waits_too_long_is_told_for_how_long_and_what_to_do(manager):
    credential = begin(manager)
    with requests_of(manager).open(credential).exclusive():
        waiting = requests_of(manager).open(credential)
        began = time.monotonic()
        with pytest.raises(LeaseTimeout) as caught, waiting.exclusive(timeout=0.1):
            pytest.fail("two were alone")
        assert 0.1 <= time.monotonic() - began < 5
    message = str(caught.value)
    assert "0.1 seconds" in message and str(credential.sid) in message and "shorten what is done" in message
    assert isinstance(caught.value, TimeoutError | ConflictError)


def test_requests_that_do_not_ask_go_on_meanwhile(manager):
    credential = begin(manager)
    with requests_of(manager).open(credential).exclusive() as alone:
        other = requests_of(manager).open(credential)
        other["b"] = 2
        assert requests_of(manager).save(other, active=True) is Saved.KEPT
        alone["a"] = 1
    assert held(manager, credential) == {"kept": 1, "a": 1, "b": 2}


def test_a_holder_that_died_loses_the_right_when_its_lease_ends(manager, clock):
    credential = begin(manager)
    dead = requests_of(manager).open(credential).exclusive(lease=30)
    dead.__enter__()
    with pytest.raises(LeaseTimeout), requests_of(manager).open(credential).exclusive(timeout=0.01):
        pass
    clock.advance(30)
    with requests_of(manager).open(credential).exclusive(timeout=0.01) as heir:
        heir["a"] = 1
    with pytest.raises(ConflictError, match="alone with session .* for 30 seconds only"):
        dead.__exit__(None, None, None)
    assert held(manager, credential) == {"kept": 1, "a": 1}


def test_a_lease_that_cannot_be_read_any_more_is_nobodys(manager):
    credential = begin(manager)
    requests_of(manager).commit(credential, Change(holder=credential.holder, delta={RESERVED + "lease": b"\xc1"}))
    with requests_of(manager).open(credential).exclusive(timeout=1) as alone:
        alone["a"] = 1
    assert held(manager, credential) == {"kept": 1, "a": 1}


def test_nothing_is_saved_of_a_block_that_took_longer_than_its_lease(manager, clock):
    credential = begin(manager)
    slow = requests_of(manager).open(credential)

    def block():
        with slow.exclusive(lease=5):
            slow["slow"] = 1
            clock.advance(6)
            with requests_of(manager).open(credential).exclusive(timeout=0.01) as quick:
                quick["quick"] = 1

    with pytest.raises(ConflictError, match="longer lease"):
        block()
    requests_of(manager).save(slow, active=True)
    assert held(manager, credential) == {"kept": 1, "quick": 1}


def fail_in_a_block(view):
    def block():
        with view.exclusive():
            view["a"] = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()


def test_an_exception_in_a_block_gives_the_right_back_and_keeps_what_was_done(manager):
    credential = begin(manager)
    view = requests_of(manager).open(credential)
    fail_in_a_block(view)
    assert held(manager, credential) == {"kept": 1, "a": 1}
    with requests_of(manager).open(credential).exclusive(timeout=0.01):
        pass


def test_an_exception_in_a_block_takes_it_back_where_that_is_the_rule(clock):
    with SessionManager(clock=clock, policy=Policy(save_on_error=False)) as manager:
        credential = begin(manager)
        view = requests_of(manager).open(credential)
        fail_in_a_block(view)
        assert held(manager, credential) == {"kept": 1}
        with requests_of(manager).open(credential).exclusive(timeout=0.01):
            pass


def test_a_value_that_cannot_be_kept_gives_the_right_back_all_the_same(manager):
    credential = begin(manager, cart=[])
    view = requests_of(manager).open(credential)
    with pytest.raises(TypeError, match="cart"), view.exclusive():
        view["cart"].append(object())
    with requests_of(manager).open(credential).exclusive(timeout=0.01):
        pass
    assert held(manager, credential) == {"cart": []}


def test_a_new_session_is_alone_anyway(manager):
    fresh = requests_of(manager).open(None)
    with fresh.exclusive() as same:
        assert same is fresh
        fresh["a"] = 1
    assert requests_of(manager).save(fresh, active=True) is Saved.ISSUED
    assert held(manager, fresh._facts.credential) == {"a": 1}


def test_a_log_in_within_a_block_rotates_as_ever(manager):
    credential = begin(manager)
    view = requests_of(manager).open(credential)
    with view.exclusive():
        view["a"] = 1
        view._log_in("ada")
    assert requests_of(manager).save(view, active=True) is Saved.ISSUED
    assert requests_of(manager).reload(credential) is None
    record = requests_of(manager).reload(view._facts.credential)
    assert record.info.user_id == "ada" and held(manager, view._facts.credential) == {"kept": 1, "a": 1}
    with requests_of(manager).open(view._facts.credential).exclusive(timeout=0.01):
        pass


def test_a_log_out_within_a_block_ends_the_session(manager):
    credential = begin(manager)
    view = requests_of(manager).open(credential)
    with view.exclusive():
        view["a"] = 1
        view.clear()
        view["flash"] = "bye"
    assert requests_of(manager).save(view, active=True) is Saved.ISSUED
    assert requests_of(manager).reload(credential) is None
    assert view._facts.credential.sid != credential.sid and held(manager, view._facts.credential) == {"flash": "bye"}


def test_a_log_out_beats_the_block_that_holds_the_session(manager):
    credential = begin(manager)
    view = requests_of(manager).open(credential)

    def block():
        with view.exclusive():
            view["a"] = 1
            manager.remove(credential.sid)

    with pytest.raises(SessionNotFound):
        block()
    assert requests_of(manager).save(view, active=True) is Saved.GONE
    assert list(manager.find()) == []


def test_modify_within_a_block_works(manager):
    credential = begin(manager, visits=1)
    view = requests_of(manager).open(credential)
    with view.exclusive():
        assert view.modify("visits", lambda n: n + 1) == 2
        view["visits"] += 1
    assert held(manager, credential) == {"visits": 3}


def test_a_reserved_key_is_never_seen_and_never_written(manager):
    credential = begin(manager)
    view = requests_of(manager).open(credential)
    with view.exclusive():
        other = requests_of(manager).open(credential)
        for seen in (view, other, held(manager, credential)):
            assert list(seen) == ["kept"] and len(seen) == 1
            assert not any(key.startswith(RESERVED) for key in dict(seen))
    for write in (
        lambda: view.__setitem__(RESERVED + "lease", 1),
        lambda: view.update({RESERVED + "x": 1}),
        lambda: view.setdefault(RESERVED + "x", 1),
        lambda: view.modify(RESERVED + "lease", lambda _: 1),
    ):
        with pytest.raises(ValueError, match="are reserved"):
            write()
    with pytest.raises(KeyError):
        view[RESERVED + "lease"]
    assert held(manager, credential) == {"kept": 1}


def test_the_lease_works_where_values_are_packed_by_plain_msgpack():
    code = """if True:
        import sys
        sys.modules["ormsgpack"] = None
        from flask_idlesession import SessionManager
        from flask_idlesession.sessions.requests import Requests
        with SessionManager() as manager:
            requests = Requests(manager.lifecycle, manager.revocation)
            fresh = requests.open(None)
            fresh["a"] = (1, 2)
            requests.save(fresh, active=True)
            view = requests.open(fresh._facts.credential)
            with view.exclusive():
                view["a"] = (*view["a"], 3)
            assert manager.read(fresh.sid) == {"a": (1, 2, 3)}
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Rotation.


@pytest.fixture
def rotating(clock: FakeClock):
    with SessionManager(clock=clock, policy=Policy(rotation_interval=60.0, rotation_grace=10.0)) as manager:
        yield manager


def rotate(manager: SessionManager, credential: Credential) -> Credential:
    view = requests_of(manager).open(credential)
    view.rotate()
    assert requests_of(manager).save(view, active=True) is Saved.ISSUED
    assert view._facts.credential is not None and view._facts.credential.sid == credential.sid
    return view._facts.credential


def test_the_token_before_a_rotation_opens_for_the_grace_and_no_longer(manager, clock):
    credential = begin(manager)
    after = rotate(manager, credential)
    clock.advance(9.9)
    late = requests_of(manager).open(credential)
    late["late"] = 1
    assert requests_of(manager).save(late, active=True) is Saved.KEPT
    assert held(manager, credential) == {"kept": 1, "late": 1}
    clock.advance(0.1)
    assert requests_of(manager).reload(credential) is None
    assert requests_of(manager).reload(after) is not None


def test_the_token_before_a_rotation_cannot_rotate(manager):
    credential = begin(manager)
    after = rotate(manager, credential)
    late = requests_of(manager).open(credential)
    late.rotate()
    assert requests_of(manager).save(late, active=True) is Saved.KEPT
    assert requests_of(manager).reload(after).secret_digest == after.holder


def test_of_twenty_simultaneous_rotations_one_wins(manager):
    credential = begin(manager)
    views = [requests_of(manager).open(credential) for _ in range(20)]
    for number, view in enumerate(views):
        view[f"key {number}"] = number
        view.rotate()
    answers = in_threads(20, lambda number: requests_of(manager).save(views[number], active=True))
    assert answers.count(Saved.ISSUED) == 1 and answers.count(Saved.KEPT) == 19
    assert len(held(manager, credential)) == 21
    assert requests_of(manager).reload(credential) is not None, "the grace"
    assert requests_of(manager).reload(views[answers.index(Saved.ISSUED)]._facts.credential) is not None


def test_a_log_in_ends_the_grace_of_a_rotation_before_it(manager):
    credential = begin(manager)
    after = rotate(manager, credential)
    view = requests_of(manager).open(after)
    view._log_in("ada")
    requests_of(manager).save(view, active=True)
    assert requests_of(manager).reload(credential) is None and requests_of(manager).reload(after) is None
    assert requests_of(manager).reload(view._facts.credential) is not None


def test_what_was_written_under_the_token_before_a_log_in_is_dropped_and_logged(manager, caplog):
    credential = begin(manager)
    slow, quick = requests_of(manager).open(credential), requests_of(manager).open(credential)
    slow["draft"] = "secret words"
    quick._log_in("ada")
    requests_of(manager).save(quick, active=True)
    assert requests_of(manager).save(slow, active=True) is Saved.GONE
    assert "draft" not in held(manager, quick._facts.credential)
    (line,) = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
    assert str(credential.sid) in line and "'draft'" in line and "secret words" not in line


def test_a_session_gets_a_new_token_after_each_interval(rotating, clock):
    credential = begin(rotating)
    tokens = [credential]
    for _ in range(3):
        clock.advance(59.9)
        view = requests_of(rotating).open(tokens[-1])
        assert requests_of(rotating).save(view, active=True) is Saved.KEPT
        clock.advance(0.1)
        view = requests_of(rotating).open(tokens[-1])
        assert requests_of(rotating).save(view, active=True) is Saved.ISSUED
        tokens.append(view._facts.credential)
    assert held(rotating, credential) == {"kept": 1}
    assert [requests_of(rotating).reload(token) is not None for token in tokens] == [False, False, True, True]


def test_a_passive_request_does_not_rotate_by_the_interval(rotating, clock):
    credential = begin(rotating)
    clock.advance(100)
    poll = requests_of(rotating).open(credential)
    assert poll["kept"] == 1
    assert requests_of(rotating).save(poll, active=False) is Saved.KEPT
    assert requests_of(rotating).save(requests_of(rotating).open(credential), active=True) is Saved.ISSUED


def test_of_twenty_requests_that_come_when_the_interval_is_over_one_rotates(rotating, clock):
    credential = begin(rotating)
    clock.advance(61)
    views = [requests_of(rotating).open(credential) for _ in range(20)]
    for view in views:
        view._load()
    answers = in_threads(20, lambda number: requests_of(rotating).save(views[number], active=True))
    assert answers.count(Saved.ISSUED) == 1 and answers.count(Saved.KEPT) == 19


# Creation.


def test_a_session_whose_id_is_taken_gets_another(manager, monkeypatch):
    taken = begin(manager, owner="first")
    monkeypatch.setattr(Credential, "new", classmethod(lambda cls: cls(taken.sid, b"s" * 32)))
    other = begin(manager, owner="second")
    assert other.sid != taken.sid
    assert held(manager, taken) == {"owner": "first"} and held(manager, other) == {"owner": "second"}
    assert requests_of(manager).reload(other) is not None and requests_of(manager).reload(taken) is not None


def test_two_creations_with_one_id_at_once_are_two_sessions(manager, monkeypatch):
    same = UUID(int=7)
    monkeypatch.setattr(Credential, "new", classmethod(lambda cls: cls(same, b"s" * 32)))
    created = []
    receiver = lambda sender, info: created.append(info.sid)  # noqa: E731
    with session_created.connected_to(receiver, manager):
        claims = in_threads(2, lambda number: begin(manager, owner=number))
    assert len({credential.sid for credential in claims}) == len(set(created)) == len(created) == 2
    assert sorted(held(manager, credential)["owner"] for credential in claims) == [0, 1]


def test_a_store_that_takes_no_id_at_all_is_an_error_and_no_endless_loop(manager, monkeypatch):
    def refuse(record):
        raise SessionExists("taken")

    monkeypatch.setattr(manager.store, "create", refuse)
    with pytest.raises(SessionExists):
        manager.create({"a": 1})


# In an application.


def make_app(clock: FakeClock, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="k" * 32, **config)
    IdleSession(app, clock=clock, store=MemoryStore())

    @app.get("/show")
    def show():
        return dict(session)

    @app.get("/set/<key>/<value>")
    def put(key, value):
        session[key] = value
        return "ok"

    @app.get("/rotate")
    def rotate():
        session.rotate()
        return "ok"

    @app.get("/keep")
    def keep():
        session.permanent = True
        return "ok"

    @app.get("/fail")
    def fail():
        session["before"] = "written"
        raise ZeroDivisionError

    @app.get("/count")
    @exclusive
    def count():
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    @app.get("/in")
    @exclusive(timeout=0.05)
    def enter():
        log_in("ada")
        return "ok"

    return app


def token_of(client: FlaskClient) -> str:
    cookie = client.get_cookie("session")
    assert cookie is not None
    return cookie.value


def bearer(app: Flask, token: str) -> FlaskClient:
    """A browser that holds this cookie."""
    client = app.test_client()
    client.set_cookie("session", token)
    return client


def test_a_view_that_is_exclusive_counts_every_request(clock):
    app = make_app(clock)
    client = app.test_client()
    client.get("/set/a/1")
    token = token_of(client)
    answers = in_threads(20, lambda _: bearer(app, token).get("/count").text)
    assert sorted(map(int, answers)) == list(range(1, 21))


def test_the_decorator_keeps_the_views_name_and_marks(clock):
    app = make_app(clock)
    assert app.view_functions["count"].__name__ == "count"
    assert app.test_client().get("/count").text == "1", "also for a new session"


def test_a_log_in_in_an_exclusive_view_works(clock):
    app = make_app(clock)
    client = app.test_client()
    client.get("/set/a/1")
    before = token_of(client)
    assert client.get("/in").status_code == 200
    assert token_of(client) != before
    assert bearer(app, before).get("/show").json == {}
    assert client.get("/show").json == {"a": "1"}


def test_an_async_view_may_be_exclusive(clock):
    pytest.importorskip("asgiref")
    app = make_app(clock)

    @app.get("/async")
    @exclusive
    async def count_slowly():
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    client = app.test_client()
    assert [client.get("/async").text for _ in range(3)] == ["1", "2", "3"]


def test_what_a_failed_view_wrote_is_saved_as_flask_does(clock):
    client = make_app(clock).test_client()
    client.get("/set/a/1")
    assert client.get("/fail").status_code == 500
    assert client.get("/show").json == {"a": "1", "before": "written"}


def test_what_a_failed_view_wrote_is_dropped_if_the_setting_says_so(clock):
    client = make_app(clock, IDLESESSION_SAVE_ON_ERROR=False).test_client()
    client.get("/set/a/1")
    assert client.get("/fail").status_code == 500
    assert client.get("/show").json == {"a": "1"}
    fresh = make_app(clock, IDLESESSION_SAVE_ON_ERROR=False).test_client()
    assert "Set-Cookie" not in fresh.get("/fail").headers


def test_a_failed_view_is_activity_all_the_same(clock):
    client = make_app(clock, IDLESESSION_SAVE_ON_ERROR=False, IDLESESSION_IDLE_TIMEOUT=100).test_client()
    client.get("/set/a/1")
    for _ in range(3):
        clock.advance(99)
        client.get("/fail")
    assert client.get("/show").json == {"a": "1"}


def test_the_answer_to_the_token_before_a_rotation_does_not_put_it_back(clock):
    app = make_app(clock)
    client = app.test_client()
    client.get("/keep")
    before = token_of(client)
    client.get("/rotate")
    clock.advance(1)
    late = bearer(app, before)
    for path in ("/show", "/set/a/1"):
        answer = late.get(path)
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers, "the browser has a newer token by now"
    assert client.get("/show").json == {"_permanent": True, "a": "1"}


def test_a_token_before_a_rotation_is_not_signed_anew_with_a_new_key(clock):
    app = make_app(clock)
    client = app.test_client()
    client.get("/set/a/1")
    before = token_of(client)
    app.config.update(SECRET_KEY="new" * 8, SECRET_KEY_FALLBACKS=["k" * 32])
    client.get("/rotate")
    late = bearer(app, before).get("/show")
    assert late.json == {"a": "1"} and "Set-Cookie" not in late.headers


def test_a_cookie_that_expires_is_prolonged_by_the_rotation(clock):
    app = make_app(clock, IDLESESSION_ROTATION_INTERVAL=60)
    client = app.test_client()
    client.get("/keep")
    clock.advance(61)
    answer = client.get("/show")
    assert len(answer.headers.getlist("Set-Cookie")) == 1 and "Expires=" in answer.headers["Set-Cookie"]


def test_session_is_a_session_of_this_package(clock):
    app = make_app(clock)
    with app.test_request_context():
        assert isinstance(session._get_current_object(), Session)
