"""The triggers: found when missing or emptied, installed again by a migration."""

from datetime import datetime

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import TextField

from dashboard.models import AuditEntry
from dashboard.services import audit, audit_triggers
from tests.dashboard.services.trail import COLUMNS, write

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]


def test_a_migrated_database_has_all_of_them() -> None:
    assert audit_triggers.missing(connection) == []


def test_what_is_missing_is_named_and_migrate_installs_it() -> None:
    audit_triggers.remove(connection)
    assert audit_triggers.missing(connection) == sorted(audit_triggers.SQLITE)

    call_command("migrate", verbosity=0)

    assert audit_triggers.missing(connection) == []


@pytest.mark.django_db(transaction=True)
def test_a_table_that_a_migration_rebuilt_is_guarded_again(now: datetime) -> None:
    write(now, 2)
    reason = AuditEntry._meta.get_field("reason")
    other = TextField(blank=True, default="", db_default="")
    other.set_attributes_from_name("reason")
    with connection.schema_editor() as editor:
        editor.alter_field(AuditEntry, reason, other)
    assert audit_triggers.missing(connection) == sorted(audit_triggers.SQLITE)

    with connection.schema_editor() as editor:
        editor.alter_field(AuditEntry, other, reason)
    call_command("migrate", verbosity=0)

    assert audit_triggers.missing(connection) == []
    assert audit.verify().ok
    with pytest.raises(IntegrityError, match="never changed"):
        AuditEntry.objects.update(reason="nothing")


def test_what_is_missing_is_said_in_the_log(now: datetime, caplog: pytest.LogCaptureFixture) -> None:
    assert audit_triggers.watch(now=now) == 0
    audit_triggers.remove(connection)

    assert audit_triggers.watch(now=now) == 3
    assert "audit entries could be changed" in caplog.text
    assert "audit_refuses_delete" in caplog.text


def test_a_trigger_that_was_emptied_under_its_name_is_missing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER audit_refuses_delete")
        cursor.execute(
            "CREATE TRIGGER audit_refuses_delete BEFORE DELETE ON dashboard_auditentry BEGIN SELECT 1; END"
        )

    assert audit_triggers.missing(connection) == ["audit_refuses_delete"]
    audit_triggers.install(connection)
    assert audit_triggers.missing(connection) == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE dashboard_auditentry SET reason = 'nothing'",
        "UPDATE OR REPLACE dashboard_auditentry SET n = 2 WHERE n = 1",
        "DELETE FROM dashboard_auditentry",
        "DELETE FROM dashboard_auditentry WHERE n = 2",
        "INSERT OR REPLACE INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 2",
        "REPLACE INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 2",
        "UPDATE dashboard_auditentry SET canonical = canonical WHERE n = 1",
        "INSERT INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 2 "
        "ON CONFLICT (n) DO UPDATE SET reason = 'nothing'",
        "INSERT OR ROLLBACK INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 2",
        "INSERT OR IGNORE INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 2",
    ],
)
def test_the_database_refuses_to_change_entries(sql: str, now: datetime) -> None:
    write(now, 2)

    with (
        pytest.raises(IntegrityError, match="never changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)

    assert audit.verify().ok


def test_the_database_refuses_to_replace_an_entry_by_its_rowid(now: datetime) -> None:
    write(now, 2)
    sql = (
        f"INSERT OR REPLACE INTO dashboard_auditentry (rowid, n, {COLUMNS}) "
        f"SELECT rowid, 3, {COLUMNS} FROM dashboard_auditentry WHERE n = 2"
    )

    with (
        pytest.raises(IntegrityError, match="never changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)

    assert AuditEntry.objects.count() == 2
