"""The database itself refuses to change audit entries.

SQLite fires no DELETE trigger for the row that INSERT OR REPLACE throws out, so an insert that would hit an
existing entry (by number or by rowid) is refused as well. A later rebuild of the table by a migration drops
SQLite's triggers without a word: they are installed again after every `migrate`.
"""

import logging
from datetime import datetime

from django.db import connection as default
from django.db.backends.base.base import BaseDatabaseWrapper

from dashboard.models import AuditEntry

logger = logging.getLogger(__name__)

TABLE = AuditEntry._meta.db_table
MESSAGE = "audit entries are never changed"

SQLITE = {
    "audit_refuses_update": (
        f"CREATE TRIGGER audit_refuses_update BEFORE UPDATE ON {TABLE} "
        f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
    ),
    "audit_refuses_delete": (
        f"CREATE TRIGGER audit_refuses_delete BEFORE DELETE ON {TABLE} "
        f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
    ),
    "audit_refuses_replace": (
        f"CREATE TRIGGER audit_refuses_replace BEFORE INSERT ON {TABLE} "  # noqa: S608 - constants
        f"WHEN EXISTS (SELECT 1 FROM {TABLE} WHERE n = NEW.n OR rowid = NEW.rowid) "
        f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
    ),
}

POSTGRESQL_BODY = f" BEGIN RAISE integrity_constraint_violation USING MESSAGE = '{MESSAGE}'; END "
POSTGRESQL_FUNCTION = (
    f"CREATE OR REPLACE FUNCTION audit_refuses() RETURNS trigger LANGUAGE plpgsql AS $${POSTGRESQL_BODY}$$"
)
POSTGRESQL = {
    "audit_refuses_change": (
        f"CREATE TRIGGER audit_refuses_change BEFORE UPDATE OR DELETE ON {TABLE} "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuses()"
    ),
    "audit_refuses_truncate": (
        f"CREATE TRIGGER audit_refuses_truncate BEFORE TRUNCATE ON {TABLE} "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses()"
    ),
}
# tgtype of each: 1 for each row, 2 before, 8 DELETE, 16 UPDATE, 32 TRUNCATE (pg_trigger.h)
POSTGRESQL_KINDS = {"audit_refuses_change": 1 + 2 + 8 + 16, "audit_refuses_truncate": 2 + 32}


def install(connection: BaseDatabaseWrapper) -> None:
    """Create what is missing or was changed; does nothing where all is well."""
    wanted = _wanted(connection)
    for name in missing(connection):
        _drop(connection, name)
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(POSTGRESQL_FUNCTION)
            cursor.execute(wanted[name])
            if connection.vendor == "postgresql":  # or a session in replica mode would not meet it
                cursor.execute(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER {name}")


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of triggers that aren't there as they should be; before the first migration, all."""
    if connection.vendor == "postgresql":
        present_kinds = _kinds_in_postgresql(connection)
        return sorted(name for name, kind in POSTGRESQL_KINDS.items() if present_kinds.get(name) != kind)
    present = _texts_in_sqlite(connection)
    return sorted(name for name, sql in SQLITE.items() if present.get(name) != sql)


def watch(*, now: datetime) -> int:
    """Say in the log when anything is missing; returns how many. To be called again and again."""
    lost = missing(default)
    if lost:
        logger.error("audit entries could be changed, `manage.py migrate` guards them: %s", ", ".join(lost))
    return len(lost)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop all of them: for a rotation, which installs them again in the same transaction, and for tests."""
    for name in _wanted(connection):
        _drop(connection, name)


def _wanted(connection: BaseDatabaseWrapper) -> dict[str, str]:
    return POSTGRESQL if connection.vendor == "postgresql" else SQLITE


def _texts_in_sqlite(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """SQLite keeps a trigger's text as it was given, so one that was emptied under its name is found."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s", [TABLE]
        )
        return dict(cursor.fetchall())


def _kinds_in_postgresql(connection: BaseDatabaseWrapper) -> dict[str, int]:
    """Return what the triggers that always fire, without condition, and refuse as ours do, are fired by."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname, tgtype FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
            "WHERE tgrelid = to_regclass(%s) AND tgenabled = 'A' AND tgqual IS NULL AND tgattr::text = '' "
            "AND prosrc = %s",
            [TABLE, POSTGRESQL_BODY],
        )
        return dict(cursor.fetchall())


def _drop(connection: BaseDatabaseWrapper, name: str) -> None:
    on_table = f" ON {TABLE}" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on_table}")
