"""Names types that a session refuses, and says what to store in place of their values."""

import builtins
from enum import Enum
from typing import Any


def named(kind: type) -> str:
    """Return the name of a type, with its package where another type is better known by it, as for ``numpy.bool``."""
    package, name = kind.__module__.partition(".")[0], kind.__name__
    is_known = package != "builtins" and (package == "numpy" or hasattr(builtins, name.rstrip("_")))
    return f"{package}.{name}" if is_known else name


def recipe_for(value: Any) -> str:
    """Return what to store in place of a value, as an order."""
    for fits, recipe in _RECIPES:
        if fits(value):
            return recipe
    return "store plain data in its place"


def _has(*names: str) -> Any:
    # By its class: an instance may answer to any name.
    return lambda value: all(hasattr(type(value), name) for name in names)


def _is_of(package: str) -> Any:
    return lambda value: any(base.__module__.partition(".")[0] == package for base in type(value).__mro__)


def _is_called(name: str) -> Any:
    return lambda value: any(base.__name__ == name for base in type(value).__mro__)


_RECIPES = (
    (lambda value: isinstance(value, Enum), "store its .value"),
    (lambda value: _is_of("numpy")(value) and getattr(value, "shape", None) == (), "store value.item()"),
    (_is_of("numpy"), "store value.tolist()"),
    (_has("model_dump", "model_fields"), 'store value.model_dump(mode="json")'),
    (_has("_sa_class_manager"), "store its primary key, and load the object in the view"),
    (_has("_meta", "pk"), "store its primary key, and load the object in the view"),
    (_has("save", "select", "get_by_id"), "store its primary key, and load the object in the view"),
    (_has("to_mongo"), "store its primary key, and load the object in the view"),
    (_has("__attrs_attrs__"), "store attrs.asdict(value)"),
    (_has("to_dict", "iterrows"), 'store value.to_dict("list")'),
    (_is_called("FileStorage"), "save the file, and store its path"),
    (_has("read", "close"), "store what it reads, or the path of the file"),
    (_is_of("flask_babel"), "store str(value)"),
    (_is_of("speaklater"), "store str(value)"),
    (lambda value: isinstance(value, complex), "store [value.real, value.imag]"),
    (lambda value: isinstance(value, type) or callable(value), "store its name, and find it by that in the view"),
    (_has("keys", "__getitem__"), "store dict(value)"),
    (_has("__iter__"), "store list(value)"),
)
