"""Writes the reference of the settings: from the code what they are, from ``docs/settings.toml`` an example of each."""

import json
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask_idlesession.settings.keys import KEYS

SOURCE = Path(__file__).parents[1] / "settings.toml"
GROUPS: list[dict[str, Any]] = tomllib.loads(SOURCE.read_text(encoding="utf-8"))["group"]


def lines_of(group: dict[str, Any]) -> Iterator[str]:
    """Yield the reStructuredText of a group's settings."""
    for key, example in group["examples"].items():
        default, meaning = KEYS[key]
        yield f".. confval:: {key}"
        yield f"   :default: ``{default!r}``"
        yield ""
        yield f"   {meaning}"
        yield ""
        yield "   .. code-block:: text"
        yield ""
        yield f"      app.config[{json.dumps(key)}] = {_in_python(example)}"
        yield f"      {_in_environment(key, example)}"
        yield ""


def _in_python(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value).replace("'", '"')


def _in_environment(key: str, value: Any) -> str:
    """Return a setting as a shell exports it for ``app.config.from_prefixed_env()``."""
    return f"FLASK_{key}={shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
