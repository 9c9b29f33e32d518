"""Who is no operator finds nothing; who is one gets in; and a guard may answer in place of both."""

from typing import Any

import pytest
from flask import Flask
from flask import redirect
from flask import Response
from werkzeug.exceptions import NotFound

from flask_idlesession.web.operators import refusal_by


def ask(guard: Any) -> Any:
    with Flask(__name__).test_request_context("/"):
        return refusal_by(guard)


@pytest.mark.parametrize("said", [True, 1])
def test_an_operator_gets_in(said: object) -> None:
    assert ask(lambda: said) is None


@pytest.mark.parametrize("said", [False, 0, None, "", ()])
def test_a_stranger_finds_nothing(said: object) -> None:
    with pytest.raises(NotFound):
        ask(lambda: said)


@pytest.mark.parametrize("said", [("Log in first.", 401), "yes", {"error": "no"}, Response("no", 403)])
def test_what_a_guard_answers_is_the_answer(said: object) -> None:
    assert ask(lambda: said) is said


def test_a_guard_may_lead_to_the_log_in_page() -> None:
    assert ask(lambda: redirect("/log-in")).status_code == 302


def test_a_guard_may_be_a_coroutine() -> None:
    async def guard() -> bool:
        return True

    assert ask(guard) is None
