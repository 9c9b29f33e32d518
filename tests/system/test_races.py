"""Requests of one browser meet at a barrier, through the whole of Flask: what each answer may say of the cookie."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from flask import request
from flask import session
from werkzeug.test import TestResponse

from flask_idlesession import EndReason
from flask_idlesession import IdleSession
from flask_idlesession import log_in
from flask_idlesession import log_out
from flask_idlesession import MemoryStore
from flask_idlesession import session_ended
from flask_idlesession import session_rotated

_ROUNDS = 150
_SOAK_ROUNDS = 10_000


class Browsers:
    """An application, and threads that ask it at the same time, each with a cookie of its choice."""

    def __init__(self, threads: int, pool: ThreadPoolExecutor) -> None:
        self.app = make_app()
        self._barrier = threading.Barrier(threads)
        self._pool = pool
        self.ended: Counter[str] = Counter()
        self.reasons: set[EndReason] = set()
        self.rotated: Counter[str] = Counter()
        self._receivers = (self._note_ended, self._note_rotated)
        session_ended.connect(self._receivers[0], self.app)
        session_rotated.connect(self._receivers[1], self.app)
        self.manager = self.app.extensions["idlesession"].manager

    def _note_ended(self, sender: object, info: Any, reason: EndReason) -> None:
        self.ended[str(info.sid)] += 1
        self.reasons.add(reason)

    def _note_rotated(self, sender: object, info: Any) -> None:
        self.rotated[str(info.sid)] += 1

    def ask(self, path: str, token: str | None) -> TestResponse:
        headers = {} if token is None else {"Cookie": f"session={token}"}
        return self.app.test_client(use_cookies=False).get(path, headers=headers)

    def begin(self) -> tuple[str, str]:
        """Start a session; return its token and its id."""
        answer = self.ask("/set/first/1", None)
        token = token_in(answer)
        assert token is not None
        return token, answer.headers["X-Sid"]

    def at_once(self, token: str, *paths: str) -> list[TestResponse]:
        """Ask for all the paths at the same time, with the same cookie."""

        def ask(path: str) -> TestResponse:
            self._barrier.wait(60)
            return self.ask(path, token)

        return list(self._pool.map(ask, paths))

    def holds(self, token: str) -> dict[str, Any]:
        """Return what the cookie opens."""
        answer = self.ask("/show", token).json
        assert isinstance(answer, dict)
        return answer


@contextmanager
def browsers(threads: int) -> Iterator[Browsers]:
    with ThreadPoolExecutor(threads) as pool:
        yield Browsers(threads, pool)


def make_app() -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="k" * 32)
    IdleSession(app, store=MemoryStore())
    met = threading.Barrier(2)

    def pause() -> None:
        """Let the other request that is told to pause come this far, too: both have read their session."""
        if "pause" in request.args:
            met.wait(60)

    @app.get("/set/<key>/<value>")
    def put(key: str, value: str) -> str:
        before = len(session)
        pause()
        session[key] = value
        return str(before)

    @app.get("/get/<key>")
    def read(key: str) -> str:
        found = session.get(key, "")
        pause()
        return str(found)

    @app.get("/count")
    def count() -> str:
        return str(session.modify("count", lambda n: n + 1, default=0))

    @app.get("/rotate")
    def rotate() -> str:
        session.rotate()
        pause()
        return "ok"

    @app.get("/in/<user>")
    def enter(user: str) -> str:
        log_in(user)
        pause()
        return user

    @app.get("/out")
    def leave() -> str:
        log_out()
        pause()
        return "bye"

    @app.get("/show")
    def show() -> dict[str, Any]:
        return dict(session)

    inner = app.session_interface.save_session

    def save_session(app: Flask, saved: Any, response: Any) -> None:
        inner(app, saved, response)
        if saved.sid is not None:
            response.headers["X-Sid"] = str(saved.sid)

    app.session_interface.save_session = save_session  # type: ignore[method-assign]
    return app


def token_in(answer: TestResponse) -> str | None:
    """Return the token that an answer sets; None if it sets none."""
    cookies = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith("session=")]
    assert len(cookies) <= 1
    value = cookies[0].partition(";")[0].partition("=")[2] if cookies else ""
    return value or None


def says_nothing_of_a_cookie(answer: TestResponse) -> bool:
    return not answer.headers.getlist("Set-Cookie")


# A log-out and everything else.

_OTHERS = ("/set/a/1", "/set/b/2", "/get/first", "/get/first", "/rotate", "/count")


def race_a_log_out(rounds: int) -> None:
    with browsers(1 + len(_OTHERS)) as crowd:
        begun = set()
        for number in range(rounds):
            token, sid = crowd.begin()
            begun.add(sid)
            # Who is first in the list is first out of the barrier rather often: each has a turn at that.
            turn = number % (1 + len(_OTHERS))
            paths = (*_OTHERS[:turn], "/out", *_OTHERS[turn:])
            answers = crowd.at_once(token, *paths)
            out = answers[turn]
            assert out.headers.getlist("Set-Cookie")[0].startswith("session=;"), "the log-out takes the cookie away"
            assert crowd.holds(token) == {}, "the old cookie is dead"
            for path, answer in zip(paths, answers, strict=True):
                if path == "/out":
                    continue
                given = token_in(answer)
                if path == "/count" and answer.status_code == 500:
                    continue  # modify() says that the session ended.
                assert answer.status_code == 200
                if given is None:
                    assert says_nothing_of_a_cookie(answer), f"{path} came too late to say anything of the cookie"
                elif path == "/rotate":
                    assert crowd.holds(given) == {}, "it rotated before; the new token is dead, too"
                else:
                    # It came with a dead token, and not only finished with it: then it is a new session.
                    assert answer.headers["X-Sid"] != sid
                    assert "first" not in crowd.holds(given)
        for sid in begun:
            assert crowd.ended[sid] == 1, "each ending is told once"
        assert not {str(info.sid) for info in crowd.manager.find()} & begun


def test_a_log_out_is_final_whatever_it_meets() -> None:
    race_a_log_out(_ROUNDS)


@pytest.mark.soak
def test_ten_thousand_log_outs_are_final_whatever_they_meet() -> None:
    race_a_log_out(_SOAK_ROUNDS)


@pytest.mark.parametrize("slow", ["/set/a/1?pause", "/get/first?pause", "/rotate?pause"])
def test_a_request_that_began_before_the_log_out_says_nothing_of_the_cookie_or_is_dead(slow: str) -> None:
    """Both have read the session before either is saved."""
    with browsers(2) as crowd:
        for _ in range(_ROUNDS // 3):
            token, sid = crowd.begin()
            late, out = crowd.at_once(token, slow, "/out?pause")
            assert late.status_code == 200
            given = token_in(late)
            assert (given is None and says_nothing_of_a_cookie(late)) or slow.startswith("/rotate")
            assert crowd.holds(token) == {} and (given is None or crowd.holds(given) == {})
            assert crowd.ended[sid] == 1
        assert list(crowd.manager.find()) == []
        assert crowd.reasons == {EndReason.LOGGED_OUT}


def test_two_log_outs_that_have_both_read_the_session_end_it_once() -> None:
    with browsers(2) as crowd:
        for _ in range(_ROUNDS // 3):
            token, sid = crowd.begin()
            answers = crowd.at_once(token, "/out?pause", "/out?pause")
            assert [answer.status_code for answer in answers] == [200, 200]
            said = [line for answer in answers for line in answer.headers.getlist("Set-Cookie")]
            assert len(said) == 1 and said[0].startswith("session=;"), "one takes the cookie away"
            assert crowd.holds(token) == {}
            assert crowd.ended[sid] == 1


# Rotations.


def test_of_twenty_rotations_at_once_one_wins_and_all_answers_agree() -> None:
    with browsers(20) as crowd:
        for _ in range(_ROUNDS // 5):
            token, sid = crowd.begin()
            answers = crowd.at_once(token, *["/rotate"] * 20)
            assert {answer.status_code for answer in answers} == {200}
            given = [one for answer in answers if (one := token_in(answer)) is not None]
            assert len(given) == 1 and crowd.rotated[sid] == 1
            assert sum(map(says_nothing_of_a_cookie, answers)) == 19
            assert crowd.holds(given[0]) == {"first": "1"}
            assert crowd.holds(token) == {"first": "1"}, "for the grace"
        assert not crowd.ended


def test_of_log_ins_at_once_one_wins_and_its_user_is_bound() -> None:
    with browsers(4) as crowd:
        for _ in range(_ROUNDS // 3):
            token, sid = crowd.begin()
            answers = crowd.at_once(token, *(f"/in/user{number}" for number in range(4)))
            winners = [
                (answer.text, given)
                for answer in answers
                if (given := token_in(answer)) is not None and answer.headers["X-Sid"] == sid
            ]
            assert len(winners) == 1 and crowd.rotated[sid] == 1
            ((user, given),) = winners
            assert crowd.holds(given) == {"first": "1"}
            assert crowd.holds(token) == {}, "no grace after a log-in"
            (info,) = [info for info in crowd.manager.find() if str(info.sid) == sid]
            assert info.user_id == user


def test_a_write_that_meets_a_log_in_is_kept_or_dropped_whole() -> None:
    with browsers(4) as crowd:
        met = Counter[bool]()
        for _ in range(_ROUNDS // 3):
            token, sid = crowd.begin()
            answers = crowd.at_once(token, "/set/a/1", "/in/ada", "/set/b/2", "/get/first")
            given = token_in(answers[1])
            assert given is not None
            held = crowd.holds(given)
            assert held.pop("first") == "1"
            for key, answer in (("a", answers[0]), ("b", answers[2])):
                is_kept = held.pop(key, None) is not None
                met[is_kept] += 1
                if is_kept:
                    assert says_nothing_of_a_cookie(answer)
                else:  # Dropped; or it came with a token that was dead by then, and began a session of its own.
                    assert says_nothing_of_a_cookie(answer) or answer.headers["X-Sid"] != sid
            assert held == {}
            assert crowd.holds(token) == {}
        assert met[True], "no write was first, in so many rounds"


def test_writes_that_meet_a_rotation_are_all_kept() -> None:
    with browsers(6) as crowd:
        for _ in range(_ROUNDS // 3):
            token, _sid = crowd.begin()
            answers = crowd.at_once(token, "/set/a/1", "/rotate", "/set/b/2", "/count", "/rotate", "/count")
            assert {answer.status_code for answer in answers} == {200}
            (given,) = [one for answer in answers if (one := token_in(answer)) is not None]
            assert crowd.holds(given) == {"first": "1", "a": "1", "b": "2", "count": 2}
