"""Lets only operators see what is about everybody's sessions: a function of the application tells who is one."""

from collections.abc import Callable
from typing import cast

from flask import abort
from flask import current_app
from flask.typing import ResponseReturnValue

#: Returns True for an operator, False for a stranger, or what to answer in place of what operators see.
Guard = Callable[[], ResponseReturnValue | bool]


def refusal_by(guard: Guard) -> ResponseReturnValue | None:
    """Ask the guard in the present request; return what to answer in place of what operators see, None for an operator.

    A stranger is answered 404, as where there is nothing. Only True, or another number than 0, lets in: a text or an
    object that happens to be true is an answer, as from a view.
    """
    said = current_app.ensure_sync(guard)()
    if isinstance(said, bool | int):
        if said:
            return None
        abort(404)
    if not said:
        abort(404)
    return cast(ResponseReturnValue, said)
