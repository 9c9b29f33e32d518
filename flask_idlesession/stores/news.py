"""The text in which a server tells other processes how sessions ended."""

import json
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..model.ids import SessionId
from ..model.record import Ending
from ..model.record import EndReason

#: How many bytes one text has at most. PostgreSQL takes 7999.
_LONGEST = 7900


def to_texts(endings: Sequence[Ending]) -> Iterator[str]:
    """Yield texts that tell of these endings. The user is left out where that is too long for one text."""
    lines: list[str] = []
    size = 2
    for ending in endings:
        line = _to_line(ending)
        if lines and size + len(line) + 1 > _LONGEST:
            yield f"[{','.join(lines)}]"
            lines, size = [], 2
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield f"[{','.join(lines)}]"


def to_endings(text: str | bytes) -> list[Ending]:
    """Return the endings that a text tells of; none for a text that is not of this kind."""
    with suppress(ValueError, TypeError, RecursionError):
        return [_to_ending(*line) for line in json.loads(text)]
    return []


def _to_line(ending: Ending) -> str:
    told: list[Any] = [str(ending.sid), ending.reason.value, ending.ended_at, ending.user_id, ending.by]
    line = json.dumps(told)
    return line if len(line) <= _LONGEST - 2 else json.dumps([*told[:3], None, None])


def _to_ending(sid: str, reason: str, ended_at: float, user_id: str | None, by: str | None) -> Ending:
    return Ending(SessionId(sid), EndReason(reason), float(ended_at), user_id, by)
