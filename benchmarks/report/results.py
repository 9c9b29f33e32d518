"""Finds figures among those that a part measured, which are rows of plain data, fit for a JSON file."""

from typing import Any

Row = dict[str, Any]
#: The results of a part: ``rows``, and perhaps ``missing``: why some of it could not be measured.
Results = dict[str, Any]


def pick(results: Results | None, key: str, **which: object) -> float | None:
    """Return what the one row of these properties has under ``key``; None if nobody measured that."""
    rows = [] if results is None else [row for row in results["rows"] if which.items() <= row.items()]
    if len(rows) > 1:
        raise ValueError(f"{which} are {len(rows)} rows")
    return rows[0].get(key) if rows else None


def values(results: Results, key: str) -> list[Any]:
    """Return the different values that the rows have under ``key``, in the order in which they come."""
    return list(dict.fromkeys(row[key] for row in results["rows"] if key in row))


def ratio(one: float | None, other: float | None) -> float | None:
    """Return how many times the other the one is; None if either was not measured."""
    return one / other if one is not None and other else None


def over(one: float | None, other: float | None) -> float | None:
    """Return by how much the one is more than the other; None if either was not measured."""
    return one - other if one is not None and other is not None else None


def missing_note(results: Results) -> str:
    """Return a sentence about what could not be measured; empty if all was."""
    reasons = results.get("missing") or []
    return f"Not measured: {'; '.join(reasons)}." if reasons else ""
