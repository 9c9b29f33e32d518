"""A decorator for views that must be alone with their session."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from typing import overload

from flask import current_app

from .current import current_session

_View = Callable[..., Any]


@overload
def exclusive(view: _View) -> _View: ...
@overload
def exclusive(*, timeout: float = 10.0, lease: float = 30.0) -> Callable[[_View], _View]: ...
def exclusive(
    view: _View | None = None, *, timeout: float = 10.0, lease: float = 30.0
) -> _View | Callable[[_View], _View]:
    """Run a view in :meth:`Session.exclusive`: of all the requests of one session for views so marked, one
    runs at a time. ::

        @app.post("/pay")
        @exclusive
        def pay(): ...

    ``timeout`` and ``lease`` (seconds) are as there. Another browser's requests do not wait.
    """

    def decorate(view: _View) -> _View:
        @wraps(view)
        def alone(*args: Any, **kwargs: Any) -> Any:
            with current_session().exclusive(timeout=timeout, lease=lease):
                return current_app.ensure_sync(view)(*args, **kwargs)

        return alone

    return decorate if view is None else decorate(view)
