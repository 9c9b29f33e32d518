"""Guards of views: only users who are logged in, or who proved who they are a short time ago."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import ParamSpec
from typing import TypeVar

from flask import abort
from flask import current_app
from flask import redirect
from flask import request
from flask import url_for

from ..model.policy import MINUTE
from ..model.policy import seconds
from ..web.current import current_settings
from .log_in import authentication_age
from .log_in import authentication_level
from .log_in import current_user_id
from .log_in import is_suspect
from .saved_forms import forget_sent_form
from .saved_forms import keep_form

_P = ParamSpec("_P")
_T = TypeVar("_T")


def login_required(view: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let only users who are logged in to a view. ::

        @app.get("/account")
        @login_required
        def account(): ...

    Others are led to ``IDLESESSION_LOGIN_VIEW``, with ``next`` to come back, or get 401 where there is none.
    """

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if current_user_id() is None or is_suspect():
            _ask_to_log_in()
        return _answer(view, *args, **kwargs)

    return guarded


def fresh_login_required(
    *, max_age: float | timedelta = 5 * MINUTE, level: str | None = None
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Let only users to a view who proved who they are within ``max_age`` (seconds or a timedelta), and, with
    ``level``, did it in that way (OWASP ASVS 5.0, 7.5.1 and 7.5.3).

    Others are asked to, as by :func:`login_required`; being active does not count. ::

        @app.post("/password")
        @fresh_login_required(max_age=300)
        def change_password(): ...
    """
    allowed = seconds(max_age, name="max_age")

    def guard(view: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(view)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            age = authentication_age()
            if age is None or age > allowed or (level is not None and authentication_level() != level):
                _ask_to_log_in()
            return _answer(view, *args, **kwargs)

        return guarded

    return guard


def _ask_to_log_in() -> None:
    """Lead to the log-in page, or answer 401."""
    keep_form()
    view = current_settings().login_view
    if view is None:
        abort(401)
    target = view if "/" in view else url_for(view)
    if request.method in ("GET", "HEAD"):
        wanted = "/" + request.full_path.rstrip("?").lstrip("/")
        target = target if "/" in view else url_for(view, next=wanted)
    abort(redirect(target, 303))


def _answer(view: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what the view answers; it has taken the form then, if it was one that had been kept."""
    answer = current_app.ensure_sync(view)(*args, **kwargs)
    if current_settings().keep_forms:
        forget_sent_form()
    return answer  # type: ignore[no-any-return]
