"""flask.session beside a plain dict, and the manager beside a simple model, whatever is done to them."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import cast
from uuid import UUID
from uuid import uuid4

import pytest
from flask import Flask
from flask import session
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle
from hypothesis.stateful import initialize
from hypothesis.stateful import invariant
from hypothesis.stateful import rule
from hypothesis.stateful import RuleBasedStateMachine

from flask_idlesession import current_user_id
from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import passive
from flask_idlesession import Session
from flask_idlesession import SessionInfo
from flask_idlesession import SessionManager
from flask_idlesession import SessionNotFound
from flask_idlesession.model.signals import session_created
from flask_idlesession.model.signals import session_ended
from flask_idlesession.testing import FakeClock

IDLE, LIFETIME = 100.0, 1000.0

# So many lives a run: 30 of a plain one's 100 examples, 1,500 where HYPOTHESIS_PROFILE is soak.
_EXAMPLES = settings().max_examples * 3 // 10

keys = st.sampled_from(["a", "b", "c", "", "名前", "_permanent"])
atoms = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=3), st.binary(max_size=3), st.uuids()
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(atoms, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=2), st.integers(0, 3)), inner, max_size=3),
    ),
    max_leaves=5,
)

#: What a view does to the session; it returns what it saw, or the type of what was raised.
Step = Callable[[Any], Any]


def copied(value: Any) -> Any:
    """Return a copy that shares nothing, so that neither side sees the other's changes."""
    kind = type(value)
    if kind is dict:
        return {copied(key): copied(item) for key, item in value.items()}
    return kind(map(copied, value)) if kind in (list, tuple, set) else value


def mutate(value: Any, item: Any) -> None:
    """Change a value in place, as deep as it goes, if it can be changed at all."""
    if isinstance(value, list | tuple):
        for inner in value:
            if isinstance(inner, list | dict | tuple):
                mutate(inner, item)
                return
        if isinstance(value, list):
            value.append(item)
    elif isinstance(value, dict):
        for inner in value.values():
            if isinstance(inner, list | dict):
                mutate(inner, item)
                return
        value["new"] = item
    elif isinstance(value, set):
        value.add("new")


def attempt(step: Step, mapping: Any) -> Any:
    try:
        return step(mapping)
    except (KeyError, TypeError) as error:
        return KeyError if isinstance(error, KeyError) else TypeError


def set_item(key: str, value: Any) -> Step:
    return lambda it: it.__setitem__(key, copied(value))


def delete(key: str) -> Step:
    return lambda it: it.__delitem__(key)


def pop(key: str, *default: Any) -> Step:
    return lambda it: copied(it.pop(key, *default))


def get(key: str) -> Step:
    return lambda it: (copied(it.get(key, "nothing")), key in it, len(it), sorted(it))


def change_in_place(key: str, value: Any) -> Step:
    return lambda it: mutate(it[key], copied(value))


def put_default(key: str, value: Any) -> Step:
    return lambda it: copied(it.setdefault(key, copied(value)))


def append_to_default(key: str, value: Any) -> Step:
    return lambda it: mutate(it.setdefault(key, []), copied(value))


def update(items: dict[str, Any]) -> Step:
    return lambda it: it.update(copied(items))


def join(items: dict[str, Any]) -> Step:
    def step(it: Any) -> None:
        it |= copied(items)

    return step


def move(key: str, to: str) -> Step:
    """Have one object under two keys: each is stored for itself."""
    return lambda it: it.__setitem__(to, copied(it[key]))


def delete_all(it: Any) -> None:
    for key in list(it):
        del it[key]


def refuse(key: str) -> Step:
    """Try to keep what cannot be kept, which changes nothing."""

    def step(it: Any) -> Any:
        if isinstance(it, Session):
            it[key] = [object()]
        raise TypeError

    return step


steps = st.one_of(
    st.builds(set_item, keys, values),
    st.builds(set_item, keys, values),
    st.builds(change_in_place, keys, values),
    st.builds(change_in_place, keys, values),
    st.builds(delete, keys),
    st.builds(pop, keys),
    st.builds(pop, keys, values),
    st.builds(get, keys),
    st.builds(put_default, keys, values),
    st.builds(append_to_default, keys, values),
    st.builds(update, st.dictionaries(keys, values, max_size=3)),
    st.builds(join, st.dictionaries(keys, values, max_size=3)),
    st.builds(move, keys, keys),
    st.builds(refuse, keys),
    st.just(delete_all),
)


@dataclass
class Expected:
    """A browser's session as it should be."""

    data: dict[str, Any] = field(default_factory=dict)
    user_id: str | None = None
    exists: bool = False
    seen_at: float = 0.0
    ends_at: float = 0.0

    def expire(self, now: float) -> None:
        if self.exists and now >= min(self.seen_at + IDLE, self.ends_at):
            self.end()

    def end(self) -> None:
        self.data, self.user_id, self.exists = {}, None, False


class SessionMachine(RuleBasedStateMachine):
    """Requests of one browser: some steps each, now and then a log-in, a log-out, a pause."""

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock()
        self.expected = Expected()
        self.view: Callable[[], None] = lambda: None
        self.old_cookies: list[str] = []
        app = Flask("model")
        app.logger.disabled = True
        app.config.update(
            SECRET_KEY="k" * 32, TESTING=True, IDLESESSION_IDLE_TIMEOUT=IDLE, IDLESESSION_LIFETIME=LIFETIME
        )
        IdleSession(app, clock=self.clock)
        self.manager: SessionManager = app.extensions["idlesession"].manager
        self.manager.lifecycle.pruner.close()
        self.created: list[UUID] = []
        self.ended: list[UUID] = []
        session_created.connect(self.hear_creation, app)
        session_ended.connect(self.hear_end, app)

        @app.get("/")
        def index() -> str:
            self.view()
            return "done"

        @app.get("/passive")
        @passive
        def look() -> str:
            self.view()
            return "done"

        self.app, self.client = app, app.test_client()

    def hear_creation(self, sender: object, info: SessionInfo) -> None:
        self.created.append(info.sid)

    def hear_end(self, sender: object, info: SessionInfo, reason: EndReason) -> None:
        self.ended.append(info.sid)

    def request(self, view: Callable[[], None], path: str = "/") -> None:
        self.expected.expire(self.clock())
        was = self.cookie()
        self.view = view
        response = self.client.get(path)
        assert response.status_code == 200
        if was is not None and self.cookie() != was:
            self.old_cookies.append(was)

    def cookie(self) -> str | None:
        cookie = self.client.get_cookie("session")
        return None if cookie is None else cookie.value

    def settle(self, *, existed: bool, begins: bool = False, changed: bool = True) -> None:
        """Work out what is left of the session at the end of an active request."""
        expected, now = self.expected, self.clock()
        if not expected.data and expected.user_id is None and (changed or not existed):
            expected.end()
            return
        if not existed or begins:
            expected.ends_at = now + LIFETIME
        expected.exists, expected.seen_at = True, now

    @rule(some=st.lists(steps, min_size=1, max_size=5))
    def work(self, some: list[Step]) -> None:
        def view() -> None:
            for step in some:
                assert attempt(step, session) == attempt(step, self.expected.data)
            assert dict(session) == self.expected.data

        self.expected.expire(self.clock())
        existed = self.expected.exists
        self.request(view)
        self.settle(existed=existed)

    @rule(some=st.lists(steps, min_size=1, max_size=3), user_id=st.sampled_from(["ada", "bob"]))
    def log_in(self, some: list[Step], user_id: str) -> None:
        def view() -> None:
            for step in some:
                assert attempt(step, session) == attempt(step, self.expected.data)
            log_in(user_id)
            if self.expected.user_id not in (None, user_id):
                self.expected.end()  # What one user's session holds is no other's to see.
                assert not session

        self.expected.expire(self.clock())
        existed = self.expected.exists and self.expected.user_id in (None, user_id)
        self.request(view)
        self.expected.user_id = user_id
        self.settle(existed=existed, begins=True)

    @rule(some=st.lists(steps, max_size=3))
    def clear_and_go_on(self, some: list[Step]) -> None:
        def view() -> None:
            session.clear()
            self.expected.end()
            assert not session and session.new
            for step in some:
                assert attempt(step, session) == attempt(step, self.expected.data)

        self.expected.expire(self.clock())
        existed, before = self.expected.exists, self.cookie()
        self.request(view)
        self.settle(existed=False)
        assert not existed or self.cookie() != before

    @rule()
    def rotate(self) -> None:
        self.expected.expire(self.clock())
        existed = self.expected.exists
        self.request(lambda: cast(Session, session).rotate())
        self.settle(existed=existed, changed=False)

    @rule(key=keys, value=values)
    def transact(self, key: str, value: Any) -> None:
        self.expected.expire(self.clock())
        existed = self.expected.exists
        was = self.cookie()
        with self.client.session_transaction() as transaction:
            assert dict(transaction) == self.expected.data
            transaction[key] = copied(value)
        self.expected.data[key] = copied(value)
        if was is not None and self.cookie() != was:
            self.old_cookies.append(was)
        self.settle(existed=existed)

    @rule()
    def fail(self) -> None:
        """A view that raises: what it wrote is saved, as Flask does."""

        def view() -> None:
            session["failed"] = True
            self.expected.data["failed"] = True
            raise ZeroDivisionError

        self.app.config["PROPAGATE_EXCEPTIONS"] = False
        self.expected.expire(self.clock())
        existed = self.expected.exists
        self.view = view
        was = self.cookie()
        assert self.client.get("/").status_code == 500
        self.app.config["PROPAGATE_EXCEPTIONS"] = None
        if was is not None and self.cookie() != was:
            self.old_cookies.append(was)
        self.settle(existed=existed)

    @rule(by=st.sampled_from([0.0, 1.0, IDLE / 3, IDLE - 0.01, IDLE, LIFETIME]))
    def wait(self, by: float) -> None:
        self.clock.advance(by)

    @rule()
    def prune(self) -> None:
        self.manager.prune()

    @rule()
    def poll(self) -> None:
        """A passive request may write, and does not prolong."""

        def view() -> None:
            if self.expected.exists:
                session["polled"] = True
                self.expected.data["polled"] = True

        self.request(view, "/passive")

    @invariant()
    def the_session_is_as_expected(self) -> None:
        def view() -> None:
            assert dict(session) == self.expected.data
            assert [type(session[key]) for key in sorted(session)] == [
                type(self.expected.data[key]) for key in sorted(self.expected.data)
            ]
            assert current_user_id() == self.expected.user_id
            assert session.new is not self.expected.exists

        self.request(view, "/passive")

    @invariant()
    def the_store_holds_this_session_and_no_other(self) -> None:
        self.expected.expire(self.clock())
        assert len(list(self.manager.find())) == self.expected.exists
        self.manager.prune()
        assert len(self.ended) == len(set(self.ended)) and set(self.ended) <= set(self.created)
        assert len(self.created) - len(self.ended) == self.expected.exists

    @invariant()
    def no_cookie_of_before_opens_another_session(self) -> None:
        for cookie in self.old_cookies[-3:]:
            other = self.app.test_client()
            other.set_cookie("session", cookie)
            seen: list[dict[str, Any]] = []
            self.view = lambda seen=seen: seen.append(dict(session))  # type: ignore[misc]
            assert other.get("/passive").status_code == 200
            # One from before a rotation opens the same session in its grace.
            assert seen[0] in ({}, self.expected.data)


@dataclass
class Kept:
    """A session as the manager should know it."""

    data: dict[str, Any]
    user_id: str | None
    seen_at: float
    ends_at: float

    @property
    def expires_at(self) -> float:
        return min(self.seen_at + IDLE, self.ends_at)


class ManagerMachine(RuleBasedStateMachine):
    """Many sessions by id, and a clock that also steps back."""

    made = Bundle("made")

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock()
        self.manager = SessionManager(idle_timeout=IDLE, lifetime=LIFETIME, clock=self.clock)
        self.manager.lifecycle.pruner.close()
        self.kept: dict[UUID, Kept] = {}
        self.created: list[UUID] = []
        self.ended: dict[UUID, EndReason] = {}
        self.latest = self.clock()
        session_created.connect(self.hear_creation, self.manager)
        session_ended.connect(self.hear_end, self.manager)

    def hear_creation(self, sender: object, info: SessionInfo) -> None:
        self.created.append(info.sid)

    def hear_end(self, sender: object, info: SessionInfo, reason: EndReason) -> None:
        assert info.sid not in self.ended, "An end was told twice."
        self.ended[info.sid] = reason

    def live(self, sid: UUID) -> Kept | None:
        kept = self.kept.get(sid)
        return kept if kept is not None and self.clock() < kept.expires_at else None

    @rule(target=made, data=st.dictionaries(keys, values, max_size=3), user_id=st.sampled_from([None, "ada", "bob"]))
    def create(self, data: dict[str, Any], user_id: str | None) -> UUID:
        now = self.clock()
        sid = self.manager.create(copied(data), user_id=user_id)
        assert sid not in self.kept
        self.kept[sid] = Kept(data, user_id, now, now + LIFETIME)
        self.forget_ended()
        return sid

    @rule(sid=made)
    def read(self, sid: UUID) -> None:
        kept = self.live(sid)
        if kept is None:
            with pytest.raises(SessionNotFound):
                self.manager.read(sid)
        else:
            assert self.manager.read(sid) == kept.data

    @rule(sid=made, data=st.dictionaries(keys, values, max_size=3))
    def replace(self, sid: UUID, data: dict[str, Any]) -> None:
        kept = self.live(sid)
        if kept is None:
            with pytest.raises(SessionNotFound):
                self.manager.replace(sid, data)
        else:
            self.manager.replace(sid, copied(data))
            kept.data, kept.seen_at = data, max(kept.seen_at, self.clock())

    @rule(sid=made)
    def remove(self, sid: UUID) -> None:
        if self.live(sid) is None:
            with pytest.raises(SessionNotFound):
                self.manager.remove(sid)
        else:
            self.manager.remove(sid)
            assert self.ended[sid] is EndReason.REVOKED
            del self.kept[sid]

    @rule()
    def ask_for_one_that_never_was(self) -> None:
        with pytest.raises(SessionNotFound):
            self.manager.read(uuid4())

    @rule(by=st.sampled_from([0.0, 0.01, 1.0, IDLE / 3, IDLE - 0.01, IDLE, LIFETIME, -5.0, -IDLE]))
    def wait(self, by: float) -> None:
        self.clock.advance(by)

    @rule()
    def prune(self) -> None:
        expired = {sid: kept for sid, kept in self.kept.items() if self.clock() >= kept.expires_at}
        assert self.manager.prune() == len(expired)
        assert expired.keys() <= self.ended.keys()
        self.forget_ended()

    def forget_ended(self) -> None:
        """Of those that have expired some are forgotten in passing, when others are created."""
        for sid in self.kept.keys() & self.ended.keys():
            kept = self.kept.pop(sid)
            assert self.clock() >= kept.expires_at
            by_lifetime = kept.ends_at <= kept.seen_at + IDLE
            assert self.ended[sid] is (EndReason.LIFETIME if by_lifetime else EndReason.IDLE)

    @invariant()
    def exactly_the_live_sessions_are_found(self) -> None:
        live = {sid: kept for sid in self.kept if (kept := self.live(sid)) is not None}
        found = {info.sid: info for info in self.manager.find()}
        assert found.keys() == live.keys()
        for sid, info in found.items():
            assert (info.user_id, info.expires_at) == (live[sid].user_id, live[sid].expires_at)
        for user_id in ("ada", "bob"):
            hers = {info.sid for info in self.manager.find(user_id=user_id)}
            assert hers == {sid for sid, kept in live.items() if kept.user_id == user_id}

    @invariant()
    def each_creation_was_told_once_and_no_live_session_as_ended(self) -> None:
        assert len(self.created) == len(set(self.created))
        assert set(self.created) == self.kept.keys() | self.ended.keys()
        assert not self.kept.keys() & self.ended.keys()

    def teardown(self) -> None:
        if hasattr(self, "kept"):
            self.clock.advance(10 * LIFETIME)
            self.manager.prune()
            assert self.ended.keys() == set(self.created), "Some end was never told."
            self.manager.close()


TestSession = SessionMachine.TestCase
TestSession.settings = settings(max_examples=_EXAMPLES, stateful_step_count=25, deadline=None)
TestManager = ManagerMachine.TestCase
TestManager.settings = settings(max_examples=_EXAMPLES, stateful_step_count=30, deadline=None)
