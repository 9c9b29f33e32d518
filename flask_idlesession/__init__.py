"""Flask sessions that live on the server and end when their user goes idle."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

#: The module that defines each public name, as ``__init__.pyi`` lists them for type checkers. A module is imported
#: when one of its names is asked for: importing all of them takes twice as long as what one application uses.
_HOMES = {
    name: home
    for home, name in re.findall(
        r"^from (\S+) import (\w+)", Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"), re.MULTILINE
    )
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "session":  # Flask's own proxy; __init__.pyi tells type checkers what is behind it.
        return import_module("flask").session
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
