"""One statement for any number of rows.

`bulk_create` cuts a batch into statements of at most 999 values on SQLite; `executemany` prepares one and
runs it for every row, so that a batch costs the same number of queries whatever its size, and less time.
"""

from collections.abc import Iterable, Sequence

from django.db import connection, models


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
    fields = [field for field in rows[0]._meta.concrete_fields if not _made_by_database(field, rows[0])]
    values = [
        [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields] for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_statement(type(rows[0]), fields, tuple(replacing), tuple(unique), where), values)


def _made_by_database(field: "models.Field[object, object]", row: models.Model) -> bool:
    return isinstance(field, models.AutoField) and row.pk is None


def _statement(
    model: type[models.Model],
    fields: "Sequence[models.Field[object, object]]",
    replacing: tuple[str, ...],
    unique: tuple[str, ...],
    where: str,
) -> str:
    columns = ", ".join(_column(model, field.name) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    insert = f"INSERT INTO {_quoted(model._meta.db_table)} ({columns}) VALUES ({places})"  # noqa: S608 - our names
    if not unique:
        return insert
    target = ", ".join(_column(model, name) for name in unique)
    changes = ", ".join(f"{_column(model, name)} = excluded.{_column(model, name)}" for name in replacing)
    condition = f" WHERE {where}" if where else ""
    return f"{insert} ON CONFLICT ({target}) DO UPDATE SET {changes}{condition}"


def _column(model: type[models.Model], name: str) -> str:
    field = model._meta.get_field(name)
    return _quoted(str(getattr(field, "column", name)))


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
