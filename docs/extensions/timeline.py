"""Draws what several requests do at the same time, as a picture that follows the colours of the page.

::

    .. timeline:: Two requests write different keys

       A      0 read    3 a = 1    9 save {a}
       B      1 read    4 b = 2    7 save {b}
       store  0 {}                 7 {b}       9 {a, b}

A line is a lane; two spaces or more part its events, each of which begins with its instant, from 0 to 10.
"""

import re
from dataclasses import dataclass
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_WIDTH, _LEFT, _RIGHT = 780, 70, 90
_LANE, _TOP = 58, 34


@dataclass(frozen=True, slots=True)
class Event:
    """A point on a lane."""

    at: float
    label: str

    @property
    def x(self) -> float:
        """Return where it is drawn."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * self.at / 10


def read(lines: list[str]) -> dict[str, list[Event]]:
    """Return the events of each lane. Raise :exc:`ValueError` for a line that is none."""
    lanes: dict[str, list[Event]] = {}
    for line in filter(str.strip, lines):
        name, *events = re.split(r"\s{2,}", line.strip())
        for event in events:
            found = re.fullmatch(r"(\d+(?:\.\d+)?) (.+)", event)
            if found is None or float(found[1]) > 10:
                raise ValueError(f"{event!r} is no event; write an instant from 0 to 10, a space, and some words.")
            lanes.setdefault(name, []).append(Event(float(found[1]), found[2]))
    return lanes


def draw(title: str, lanes: dict[str, list[Event]]) -> str:
    """Return the picture as SVG, with the same in words for those who do not see it."""
    words = "; ".join(f"{name}: {', then '.join(event.label for event in events)}" for name, events in lanes.items())
    height = _TOP + _LANE * len(lanes)
    parts = [
        f'<svg class="timeline" role="img" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f"<title>{escape(title)}</title><desc>{escape(words)}</desc>",
    ]
    for index, (name, events) in enumerate(lanes.items()):
        parts += _lane(name, events, y=_TOP + _LANE * index)
    return "\n".join([*parts, "</svg>"])


def _lane(name: str, events: list[Event], *, y: float) -> list[str]:
    kind = "request" if len(name) == 1 else "kept"
    parts = [
        f'<text class="lane" x="0" y="{y + 5:g}">{escape(name)}</text>',
        f'<line class="{kind}" x1="{events[0].x:g}" y1="{y}" x2="{_end(events, kind):g}" y2="{y}"/>',
    ]
    for event in events:
        mark = "lost" if "✗" in event.label else "done"
        parts.append(f'<circle class="{mark}" cx="{event.x:g}" cy="{y}" r="4.5"/>')
        parts.append(f'<text class="{mark}" x="{event.x:g}" y="{y + 22:g}">{escape(event.label)}</text>')
    return parts


def _end(events: list[Event], kind: str) -> float:
    """A request's line ends with it; what is kept goes on."""
    return events[-1].x if kind == "request" else _WIDTH - _RIGHT / 2


class TimelineDirective(SphinxDirective):
    """``.. timeline:: TITLE`` with its lanes below."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the picture, or its lines where the page is not HTML."""
        try:
            lanes = read(list(self.content))
        except ValueError as error:
            raise self.error(str(error)) from error
        picture = nodes.raw("", f'<div class="timeline">{draw(self.arguments[0], lanes)}</div>', format="html")
        return [picture]


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    app.add_directive("timeline", TimelineDirective)
    return {"parallel_read_safe": True}
