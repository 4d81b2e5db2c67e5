"""One statement for any number of rows.

`bulk_create` cuts a batch into statements of at most 999 values on SQLite; `executemany` prepares one and
runs it for every row, so that a batch costs the same number of queries whatever its size, and less time.
Where rows are many and nothing can be there already, they come as tuples to a `Table`: PostgreSQL takes them
as a stream, COPY, which spares it to parse a statement for each.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, models

Row = tuple[Any, ...]
"""Values as the driver takes them: JSON as text, stamps by `stamp_adapter()`."""


class Table:
    """A model's table, to be filled with tuples of values in the order of `columns`.

    Raises ValueError when `columns` leaves one out that the database doesn't make itself, or has another.
    """

    def __init__(self, model: type[models.Model], columns: Sequence[str]) -> None:
        wanted = {str(field.column) for field in model._meta.concrete_fields if not _is_made_there(field)}
        if wanted != set(columns):
            raise ValueError(f"{model._meta.db_table}: {sorted(wanted ^ set(columns))} is missing or unknown")
        self._model = model
        self.columns = tuple(columns)

    def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows, in one statement; no row is no statement."""
        if not rows:
            return
        columns = ", ".join(map(_quoted, self.columns))
        if connection.vendor == "postgresql":
            _copy(f"COPY {_quoted(self._model._meta.db_table)} ({columns}) FROM STDIN", rows)
        else:
            with connection.cursor() as cursor:
                cursor.executemany(_insert(self._model, columns, len(self.columns)), rows)

    def put(self, rows: Sequence[Row], *, unique: Sequence[str], replacing: Sequence[str]) -> None:
        """Insert rows; one that is there already, by the fields `unique`, gets the values of `replacing`."""
        if not rows:
            return
        columns = ", ".join(map(_quoted, self.columns))
        insert = _insert(self._model, columns, len(self.columns))
        with connection.cursor() as cursor:
            cursor.executemany(insert + _instead(self._model, unique, replacing), rows)


def insert(
    rows: Sequence[models.Model],
    *,
    replacing: Iterable[str] = (),
    unique: Iterable[str] = (),
    where: str = "",
) -> None:
    """Insert rows of one model; ids that the database makes are not read back.

    With `unique` a row that is there already gets the values of `replacing` (names of fields) instead, if it
    fulfils `where`: SQL of ours, in which `excluded` has the new values.
    """
    if not rows:
        return
    fields = [field for field in rows[0]._meta.concrete_fields if not _is_unset(field, rows[0])]
    values = [
        [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields] for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_statement(type(rows[0]), fields, tuple(replacing), tuple(unique), where), values)


def _copy(statement: str, rows: Iterable[Row]) -> None:
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as stream:
        for row in rows:
            stream.write_row(row)


def _is_made_there(field: "models.Field[object, object]") -> bool:
    return isinstance(field, models.AutoField)


def _is_unset(field: "models.Field[object, object]", row: models.Model) -> bool:
    return _is_made_there(field) and row.pk is None


def _statement(
    model: type[models.Model],
    fields: "Sequence[models.Field[object, object]]",
    replacing: tuple[str, ...],
    unique: tuple[str, ...],
    where: str,
) -> str:
    insert = _insert(model, ", ".join(_column(model, field.name) for field in fields), len(fields))
    if not unique:
        return insert
    condition = f" WHERE {where}" if where else ""
    return insert + _instead(model, unique, replacing) + condition


def _instead(model: type[models.Model], unique: Sequence[str], replacing: Sequence[str]) -> str:
    target = ", ".join(_column(model, name) for name in unique)
    changes = ", ".join(f"{_column(model, name)} = excluded.{_column(model, name)}" for name in replacing)
    return f" ON CONFLICT ({target}) DO UPDATE SET {changes}"  # our names, as below


def _insert(model: type[models.Model], columns: str, count: int) -> str:
    places = ", ".join(["%s"] * count)
    return f"INSERT INTO {_quoted(model._meta.db_table)} ({columns}) VALUES ({places})"  # noqa: S608 - our names


def _column(model: type[models.Model], name: str) -> str:
    field = model._meta.get_field(name)
    return _quoted(str(getattr(field, "column", name)))


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
