"""A decorator for views that must be alone with their session."""

from collections.abc import Callable
from functools import wraps
from typing import overload
from typing import ParamSpec
from typing import TypeVar

from flask import current_app

from .current import current_session
from .misplaced import note_guard

_P = ParamSpec("_P")
_T = TypeVar("_T")


@overload
def exclusive(view: Callable[_P, _T]) -> Callable[_P, _T]: ...
@overload
def exclusive(*, timeout: float = 10.0, lease: float = 30.0) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]: ...
def exclusive(
    view: Callable[_P, _T] | None = None, *, timeout: float = 10.0, lease: float = 30.0
) -> Callable[_P, _T] | Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Run a view in :meth:`Session.exclusive`: of all the requests of one session for views so marked, one
    runs at a time. ::

        @app.post("/pay")
        @exclusive
        def pay(): ...

    ``timeout`` and ``lease`` (seconds) are as there. Another browser's requests do not wait.
    """

    def decorate(view: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(view)
        def alone(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with current_session().exclusive(timeout=timeout, lease=lease):
                return current_app.ensure_sync(view)(*args, **kwargs)  # type: ignore[no-any-return]

        note_guard(alone, view)
        return alone

    return decorate if view is None else decorate(view)
