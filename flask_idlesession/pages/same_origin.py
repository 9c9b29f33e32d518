"""Lets only the application's own pages do something, by what the browser says of where a request comes from."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec
from typing import TypeVar

from flask import current_app
from flask import request

from ..model.errors import CsrfError
from ..web.csrf import check_csrf
from ..web.csrf import is_own_origin
from ..web.csrf import shown_csrf_token

_P = ParamSpec("_P")
_T = TypeVar("_T")


def same_origin_only(view: Callable[_P, _T]) -> Callable[_P, _T]:
    """Refuse what does not come from a page of this application with :exc:`~flask_idlesession.CsrfError` (403)."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if not _is_ours():
            raise CsrfError("The request was not sent by a page of this application.")
        return current_app.ensure_sync(view)(*args, **kwargs)  # type: ignore[no-any-return]

    return guarded


def _is_ours() -> bool:
    """Whether one of our own pages sent the request: Sec-Fetch-Site knows best, then Origin, then the token."""
    site = request.headers.get("Sec-Fetch-Site", "none").strip().lower()
    if site != "none":
        return site == "same-origin"
    origin = request.headers.get("Origin", "null")
    if origin != "null":
        return is_own_origin(origin)
    return check_csrf(shown_csrf_token())
