"""Guards of views: only users who are logged in, or who proved who they are a short time ago."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import NoReturn
from typing import overload
from typing import ParamSpec
from typing import TypeVar
from urllib.parse import urlsplit

from flask import abort
from flask import current_app
from flask import jsonify
from flask import redirect
from flask import request
from flask import Response
from flask import url_for

from ..model.policy import MINUTE
from ..model.policy import seconds
from ..web.current import current_settings
from ..web.misplaced import note_guard
from ..web.paths import is_local
from ..web.paths import local_path
from .log_in import authentication_age
from .log_in import authentication_level
from .log_in import current_user_id
from .log_in import is_trusted
from .log_in import session_ending
from .saved_forms import forget_sent_form
from .saved_forms import keep_form

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: The page after the end, where an application has it (``IDLESESSION_PAGES``).
_ENDED = "idlesession.ended"


def login_required(view: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let only users who are logged in to a view. ::

        @app.get("/account")
        @login_required
        def account(): ...

    Others are led to ``IDLESESSION_LOGIN_VIEW``, with ``next`` to come back, or get 401 where there is none. A script
    always gets 401, with the reason in the header ``X-IdleSession``, and htmx the page to go to.
    """

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if not is_trusted():
            _ask_to_log_in()
        return _answer(view, *args, **kwargs)

    note_guard(guarded, view)
    return guarded


@overload
def fresh_login_required(view: Callable[_P, _T]) -> Callable[_P, _T]: ...
@overload
def fresh_login_required(
    *, max_age: float | timedelta = 5 * MINUTE, level: str | None = None
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]: ...
def fresh_login_required(
    view: Callable[_P, _T] | None = None, *, max_age: float | timedelta = 5 * MINUTE, level: str | None = None
) -> Callable[_P, _T] | Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Let only users to a view who proved who they are within ``max_age`` (seconds or a timedelta). With ``level``,
    they must have done it in that way (OWASP ASVS 5.0, 7.5.1 and 7.5.3).

    Others are asked to, as by :func:`login_required`; being active does not count. ::

        @app.post("/password")
        @fresh_login_required(max_age=300)
        def change_password(): ...

    Without brackets it is ``max_age=300``.
    """
    if view is not None and not callable(view):
        raise TypeError(f"fresh_login_required() was given {view!r}; write @fresh_login_required(max_age=…). [ISE059]")
    allowed = seconds(max_age, name="max_age")

    def guard(view: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(view)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            age = authentication_age()
            if age is None or age > allowed or (level is not None and authentication_level() != level):
                _ask_to_log_in()
            return _answer(view, *args, **kwargs)

        note_guard(guarded, view)
        return guarded

    return guard if view is None else guard(view)


def _ask_to_log_in() -> NoReturn:
    """Lead to the log-in page, or answer 401: a script is told, for it would take the log-in page for its answer."""
    keep_form()
    log_in_url = _log_in_url(current_settings().login_view)
    if _is_for_a_script():
        abort(_told(log_in_url))
    if log_in_url is None:
        abort(401)
    abort(redirect(log_in_url, 303))


def _log_in_url(view: str | None) -> str | None:
    if view is None or "/" in view:
        return view
    return url_for(view, next=_page_wanted())


def _page_wanted() -> str | None:
    """Return the page that the user was on the way to, or for a form the one that it stands on; None if unknown."""
    if request.method in ("GET", "HEAD") and not _is_for_a_script():
        return local_path()
    try:
        page = urlsplit(request.headers.get("HX-Current-URL") or request.referrer or "")
    except ValueError:  # Anybody can send anything.
        return None
    if not page.path or f"{page.scheme}://{page.netloc}" != request.host_url.rstrip("/"):
        return None
    if not is_local(page.path):
        return None
    return page.path + (f"?{page.query}" if page.query else "")


def _is_for_a_script() -> bool:
    """Whether a script will read the answer, and not a user: fetch(), htmx and XMLHttpRequest, but for Turbo's visits,
    which ask for a page.
    """
    headers = request.headers
    if headers.get("HX-Request") == "true" or headers.get("X-Requested-With") == "XMLHttpRequest":
        return True
    accept = headers.get("Accept", "")
    if "text/html" in accept:
        return False
    return headers.get("Sec-Fetch-Mode", "navigate") != "navigate" or "application/json" in accept


def _told(log_in_url: str | None) -> Response:
    """Return the answer for a script: 401, with how the session stands in the header X-IdleSession."""
    ending = session_ending()
    state = "live" if current_user_id() is not None else "none" if ending is None else "ended"
    reason = None if ending is None or state == "live" else ending.reason.value.replace(" ", "-")
    response = jsonify(state=state, reason=reason)
    response.status_code = 401
    response.headers["X-IdleSession"] = state if reason is None else f"{state}; reason={reason}"
    if request.headers.get("HX-Request") == "true":
        is_over = state != "live" and _ENDED in current_app.view_functions
        target = url_for(_ENDED, next=_page_wanted(), reason=reason) if is_over else log_in_url
        if target is not None:
            response.headers["HX-Redirect"] = target
    return response


def _answer(view: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what the view answers; it has taken the form then, if it was one that had been kept."""
    answer = current_app.ensure_sync(view)(*args, **kwargs)
    if current_settings().keep_forms:
        forget_sent_form()
    return answer  # type: ignore[no-any-return]
