"""Finds guards that stand above a route, where Flask does not call them, and puts them in the view's place."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from weakref import ref

from flask import Flask

from ..model.messages import Notices

_View = Callable[..., Any]

#: Where a function notes its guards.
_NOTE = "_idlesession_guards"

#: How many guards of one function are noted: somebody may make one with each request.
_MOST = 16


class _Guards:
    """The guards of one function. Decorators copy what a function has of its own, so they know whose they are."""

    def __init__(self, owner: _View) -> None:
        self.owner = ref(owner)
        self.guards: list[_View] = []


def note_guard(guard: _View, view: _View) -> None:
    """Note that ``guard`` stands around ``view``, and around what that stands around."""
    for inner in _within(view):
        guards = _guards_of(inner)
        if guards is None:
            guards = _Guards(inner)
            with suppress(AttributeError):  # A method takes no notes; it is no route's view either.
                setattr(inner, _NOTE, guards)
        if len(guards.guards) < _MOST:
            guards.guards.append(guard)


def place_guards(app: Flask, notices: Notices) -> None:
    """Have each view that was registered below its guards called through them, and say so."""
    called = {id(each) for view in app.view_functions.values() for each in _within(view)}
    for endpoint, view in app.view_functions.items():
        guards = _guards_of(view)
        if guards is None or any(id(guard) in called for guard in guards.guards):
            continue
        app.view_functions[endpoint] = guards.guards[-1]
        notices.warn(
            ("misplaced guard", endpoint),
            "The view %r of %r is guarded by a decorator that stands above its route, so Flask did not call it. The "
            "guard is put in its place; write it below @app.route(). [ISW010]",
            endpoint,
            app.name,
        )


def _within(view: _View) -> Iterator[_View]:
    """Yield the function, and those that it wraps."""
    seen: set[int] = set()
    each: Any = view
    while callable(each) and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = getattr(each, "__wrapped__", None)


def _guards_of(view: _View) -> _Guards | None:
    guards = getattr(view, _NOTE, None)
    return guards if isinstance(guards, _Guards) and guards.owner() is view else None
