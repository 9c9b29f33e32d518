"""Finds the types that an application has taught to its serializers: to that of the sessions that it had before, and
to that for JSON.
"""

from collections.abc import Iterator
from typing import Any

from flask import current_app
from flask.json.provider import DefaultJSONProvider
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionInterface

#: The tags that Flask's serializer has by itself. The types behind them are known here, too.
_BUILT_IN = frozenset(TaggedJSONSerializer.default_tags)


def tags_of(interface: SessionInterface) -> Iterator[tuple[type, bool]]:
    """Yield the JSONTag classes that were registered, in their order, and whether each is asked before one of Flask's
    own: then it is asked for dicts, lists and texts, too.
    """
    order = getattr(getattr(interface, "serializer", None), "order", None)
    kinds = [type(tag) for tag in order] if isinstance(order, list) else []
    last = max((place for place, kind in enumerate(kinds) if kind in _BUILT_IN), default=-1)
    for place, kind in enumerate(kinds):
        if kind not in _BUILT_IN:
            yield kind, place < last


def by_json_provider(value: Any) -> Any:
    """Return what the application's own JSON provider makes of a value, as Flask's session keeps it.

    Raise TypeError for what it refuses, and where the provider is Flask's.
    """
    default = getattr(current_app.json, "default", None) if current_app else None
    if default is None or default is DefaultJSONProvider.default:
        raise TypeError
    return default(value)
