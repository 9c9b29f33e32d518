"""Checked by mypy, and never run: an application that uses the package, and the types that it is told."""

from datetime import timedelta
from typing import Any
from typing import assert_type
from typing import cast

from flask import Flask
from flask import session

from flask_idlesession import authentication_age
from flask_idlesession import authentication_level
from flask_idlesession import Change
from flask_idlesession import current_user_id
from flask_idlesession import Ending
from flask_idlesession import EndReason
from flask_idlesession import exclusive
from flask_idlesession import fresh_login_required
from flask_idlesession import IdleSession
from flask_idlesession import kept_form
from flask_idlesession import KeptForm
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import login_required
from flask_idlesession import MemoryStore
from flask_idlesession import Outcome
from flask_idlesession import passive
from flask_idlesession import Record
from flask_idlesession import revoke_user
from flask_idlesession import Session
from flask_idlesession import session_ended
from flask_idlesession import session_ending
from flask_idlesession import session_info
from flask_idlesession import SessionId
from flask_idlesession import SessionInfo
from flask_idlesession import SessionManager
from flask_idlesession import sessions_of
from flask_idlesession import Store
from flask_idlesession.testing import FakeClock


def create_app() -> Flask:
    app = Flask(__name__)
    IdleSession(app)
    later = IdleSession(clock=FakeClock(), store=MemoryStore())
    later.init_app(app)
    return app


# Decorators keep the types of a view.


@login_required
def account(page: int) -> str:
    return f"{current_user_id()} {page}"


@fresh_login_required(max_age=timedelta(minutes=5), level="second factor")
def change_password(word: str) -> tuple[str, int]:
    return word, 200


@passive
def poll() -> dict[str, float | None]:
    return {"age": authentication_age()}


@exclusive
def buy(article: int, *, count: int = 1) -> str:
    return str(article * count)


assert_type(account(1), str)
assert_type(change_password("word"), tuple[str, int])
assert_type(poll(), dict[str, float | None])
assert_type(buy(1, count=2), str)


# Functions of a request.


def in_a_request() -> None:
    assert_type(current_user_id(), str | None)
    assert_type(authentication_level(), str | None)
    assert_type(session_info(), SessionInfo | None)
    assert_type(session_ending(), Ending | None)
    assert_type(kept_form(), KeptForm | None)
    log_in("ada")
    log_in(7, remember=True)
    log_out()
    ours = cast(Session, session)
    assert_type(ours.sid, SessionId | None)
    assert_type(ours.seconds_left, float)
    assert_type(ours["cart"], Any)
    with ours.exclusive(timeout=1.0) as alone:
        alone["cart"] = []
    ours.rotate()


# Receivers of signals.


def note(sender: object, info: SessionInfo, reason: EndReason, **more: Any) -> None:
    assert_type(info.user_id, str | None)


session_ended.connect(note)


# A manager and a store.


def manage(manager: SessionManager, store: Store, sid: SessionId) -> None:
    assert_type(manager.store.load(sid, now=0.0), Record | None)
    assert_type(store.commit(sid, Change(holder=b"", delta={"a": None}), now=0.0), Outcome)
    assert_type(list(store.find(now=0.0, user_id="ada")), list[SessionInfo])
    assert_type(store.next_expiry(), float | None)


def operate() -> None:
    assert_type(sessions_of("ada"), list[SessionInfo])
    revoke_user("ada")
