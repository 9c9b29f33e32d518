"""One SQL statement for one kind of server: its text is made once, and sent as it is."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

#: Turns a value into what a driver takes, or back.
Convert = Callable[[Any], Any]


class Statement:
    """A text, the values that it is to be given by name, and the columns that it answers with."""

    __slots__ = ("text", "answers", "_order", "_names", "_fixed", "_converts", "_types", "_dialect", "_reads")

    def __init__(self, clause: ClauseElement, dialect: Dialect, *, answers: Sequence[Any] = ()) -> None:
        compiled: Any = clause.compile(dialect=dialect)
        self.text: str = compiled.string
        self._dialect = dialect
        self._order: Sequence[str] | None = compiled.positiontup
        binds = {name: bind for bind, name in compiled.bind_names.items()}  # One may be there twice.
        self._names = [name for name, bind in binds.items() if bind.required]
        self._fixed = {name: bind.value for name, bind in binds.items() if not bind.required}
        converts = ((name, _bind_processor(bind.type, dialect)) for name, bind in binds.items())
        self._converts = [(name, convert) for name, convert in converts if convert is not None]
        #: Whether it answers with rows.
        self.answers = bool(answers)
        self._types = [column.type for column in answers]
        self._reads: list[tuple[int, Convert]] | None = None

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return the values as the driver takes them: by name, or in the text's order."""
        bound = {name: values[name] for name in self._names}
        if self._fixed:
            bound |= self._fixed
        for name, convert in self._converts:
            bound[name] = convert(bound[name])
        return bound if self._order is None else tuple([bound[name] for name in self._order])

    def read(self, cursor: Any) -> list[Sequence[Any]]:
        """Return all rows of the answer."""
        rows: list[Sequence[Any]] = cursor.fetchall()
        if self._reads is None:
            self._reads = self._readers(cursor.description)
        if not self._reads:
            return rows
        return [self._row(row) for row in rows]

    def _row(self, row: Sequence[Any]) -> Sequence[Any]:
        values = list(row)
        for index, convert in self._reads or ():
            values[index] = convert(values[index])
        return values

    def _readers(self, description: Sequence[Sequence[Any]]) -> list[tuple[int, Convert]]:
        found = (
            (index, _result_processor(type_, self._dialect, told[1]))
            for index, (type_, told) in enumerate(zip(self._types, description, strict=True))
        )
        return [(index, convert) for index, convert in found if convert is not None]


def _bind_processor(type_: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    return type_.dialect_impl(dialect).bind_processor(dialect)


def _result_processor(type_: TypeEngine[Any], dialect: Dialect, told: object) -> Convert | None:
    return type_.dialect_impl(dialect).result_processor(dialect, told)
