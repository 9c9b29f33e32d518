"""Writes tables that fit the terminal, and times as people say them."""

import shutil
import sys
import unicodedata
from collections.abc import Sequence
from math import inf

import click

#: Columns between two cells, and what a cell is not cut below.
_GAP, _LEAST = 2, 4

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """Return a duration by its largest unit, rounded down: 5400 is "1 h"."""
    rest = max(int(seconds), 0)
    for size, unit in _UNITS:
        if rest >= size:
            return f"{rest // size} {unit}"
    return "0 s"


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, whole: int = 1) -> None:
    """Print rows under their heads. The first ``whole`` columns are never cut; the widest others are, as far as the
    terminal needs it. In a file or a pipe nothing is cut.
    """
    lines = [list(heads), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(heads))]
    room = shutil.get_terminal_size().columns if is_terminal() else inf
    while sum(widths) + _GAP * (len(widths) - 1) > room:
        widest = max(range(whole, len(widths)), key=lambda column: widths[column], default=None)
        if widest is None or widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    for line in lines:
        cells = [_fit(cell, width) for cell, width in zip(line, widths, strict=True)]
        click.echo((" " * _GAP).join(cells).rstrip())


def is_terminal() -> bool:
    """Return whether a person reads the output, in lines of a certain length."""
    return sys.stdout.isatty()


def plain(text: str) -> str:
    """Return text without what moves a terminal's cursor or colours it: users choose some of what is shown."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _fit(text: str, width: int) -> str:
    if _width(text) > width:
        while text and _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return the columns that a text takes: an East Asian letter takes two, an accent none."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)
