"""Writes tables: as reStructuredText that a terminal shows as well as Sphinx does."""

from collections.abc import Sequence
from dataclasses import dataclass

#: The sign for a figure that there is none of.
NONE = "–"

#: The text of an empty head in reStructuredText.
_BLANK = ".."


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A title, the heads of its columns, and rows of cells; the first cell of a row says what it is about."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def to_rst(self) -> str:
        """Return the table as reStructuredText, its title in bold above it and its note below."""
        heads = [head or _BLANK for head in self.heads]
        rows = [[cell or NONE for cell in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        rule = "  ".join("=" * width for width in widths)
        lines = [f"**{self.title}**", "", rule, _line(heads, widths), rule]
        lines += [*(_line(row, widths) for row in rows), rule, ""]
        return "\n".join([*lines, self.note, ""] if self.note else lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()


def figure(value: float | None, unit: str = "") -> str:
    """Return the value with as many digits as it is worth; empty if there is none."""
    if value is None:
        return ""
    size = abs(value)
    digits = 0 if size >= 99.5 else 1 if size >= 9.95 else 2
    text = f"{value:,.{digits}f}"
    return f"{text} {unit}" if unit else text
