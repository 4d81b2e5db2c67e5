"""The triggers: found when missing or emptied, installed again by a migration."""

import pytest
from django.core.management import call_command
from django.db import connection

from dashboard.services import audit_triggers

pytestmark = pytest.mark.django_db


def test_a_migrated_database_has_all_of_them() -> None:
    assert audit_triggers.missing(connection) == []


def test_what_is_missing_is_named_and_migrate_installs_it() -> None:
    audit_triggers.remove(connection)
    assert audit_triggers.missing(connection) == sorted(audit_triggers.SQLITE)

    call_command("migrate", verbosity=0)

    assert audit_triggers.missing(connection) == []


def test_a_trigger_that_was_emptied_under_its_name_is_missing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER audit_refuses_delete")
        cursor.execute(
            "CREATE TRIGGER audit_refuses_delete BEFORE DELETE ON dashboard_auditentry BEGIN SELECT 1; END"
        )

    assert audit_triggers.missing(connection) == ["audit_refuses_delete"]
    audit_triggers.install(connection)
    assert audit_triggers.missing(connection) == []
