"""The audit trail on PostgreSQL: refused to change, verified as stored, one chain whoever writes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from dashboard.models import AuditEntry, ControlHead, Outcome
from dashboard.services import audit, audit_archive, audit_chain, audit_rotate, audit_triggers
from dashboard.services.audit import Fault
from dashboard.services.audit_rows import ENDS, KEPT
from dashboard.services.audit_verify import Verdict
from tests.dashboard.services.test_audit_processes import ENTRIES, WRITE, WRITERS
from tests.dashboard.services.trail import ALICE, write
from tests.engines.servers import Engines

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = "dashboard_auditentry"
COPY = f"INSERT INTO {TABLE} SELECT * FROM {TABLE} WHERE n = 2"
REFUSED = {
    "update": f"UPDATE {TABLE} SET reason = 'nothing'",
    "update of nothing": f"UPDATE {TABLE} SET reason = reason",
    "delete": f"DELETE FROM {TABLE} WHERE n = 2",
    "truncate": f"TRUNCATE {TABLE}",
    "truncate with others": f"TRUNCATE dashboard_change, {TABLE} CASCADE",
    "upsert": f"{COPY} ON CONFLICT (n) DO UPDATE SET reason = 'nothing'",
    "merge": f"MERGE INTO {TABLE} a USING {TABLE} b ON a.n = b.n WHEN MATCHED THEN DELETE",
    "as a replica": f"SET LOCAL session_replication_role = replica; DELETE FROM {TABLE}",
}


def run(sql: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


def refuses(statement: str) -> bool:
    with pytest.raises(IntegrityError, match="audit entries are never changed"):
        run(statement)
    return True


@pytest.mark.parametrize("what", REFUSED)
def test_the_database_refuses_to_change_entries(what: str, now: datetime) -> None:
    write(now, 2)

    assert refuses(REFUSED[what])
    assert audit.verify().ok


def test_it_refuses_also_after_migrating_a_step_back_and_forth(now: datetime) -> None:
    steps = sorted(path.stem for path in (settings.BASE_DIR / "dashboard" / "migrations").glob("0*.py"))
    write(now, 2)

    call_command("migrate", "dashboard", steps[-2], verbosity=0)
    assert all(refuses(statement) for statement in REFUSED.values())
    call_command("migrate", verbosity=0)

    assert all(refuses(statement) for statement in REFUSED.values())
    assert audit.verify().ok


def instead(events: str, when: str = "") -> str:
    """Return SQL for a trigger of the same name that refuses less."""
    return (
        f"DROP TRIGGER audit_refuses_change ON {TABLE}; CREATE TRIGGER audit_refuses_change BEFORE {events} "
        f"ON {TABLE} FOR EACH ROW {when} EXECUTE FUNCTION audit_refuses(); "
        f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER audit_refuses_change"
    )


@pytest.mark.parametrize(
    "sql",
    [
        f"DROP TRIGGER audit_refuses_change ON {TABLE}",
        f"ALTER TABLE {TABLE} DISABLE TRIGGER audit_refuses_change",
        f"ALTER TABLE {TABLE} ENABLE REPLICA TRIGGER audit_refuses_change",
        f"ALTER TABLE {TABLE} ENABLE TRIGGER audit_refuses_change",
        instead("UPDATE"),
        instead("UPDATE OF n OR DELETE"),
        instead("UPDATE OR DELETE", "WHEN (OLD.n < 0)"),
    ],
)
def test_a_trigger_that_refuses_less_is_missing_until_it_is_installed_again(sql: str, now: datetime) -> None:
    write(now, 2)
    run(sql)

    assert audit_triggers.missing(connection) == ["audit_refuses_change"]
    assert audit.verify().fault is Fault.UNGUARDED
    call_command("migrate", verbosity=0)

    assert audit_triggers.missing(connection) == []
    assert all(refuses(statement) for statement in REFUSED.values())


def test_a_function_that_was_emptied_under_its_name_is_found(now: datetime) -> None:
    write(now, 2)
    run(
        "CREATE OR REPLACE FUNCTION audit_refuses() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN COALESCE(NEW, OLD); END $$"
    )

    assert audit_triggers.missing(connection) == sorted(audit_triggers.POSTGRESQL)
    audit_triggers.install(connection)
    assert refuses(REFUSED["delete"])


@pytest.fixture
def trail(now: datetime) -> None:
    """Three entries that use all columns, and nothing that guards them."""
    facts: dict[str, Any] = {"before": {"ü": [1.5, None, True, 7, 1e16, -0.0], "a": "x"}, "generation": 4}
    write(now + timedelta(microseconds=40), after={}, cause_n=1, **facts)
    write(now, before=None, after={"force": True, "b": {"c": [], "aa": 1}}, reason="")
    write(now, outcome=Outcome.REFUSED, **facts)
    audit_triggers.remove(connection)


@contextmanager
def forged(sql: str, *values: Any) -> Iterator[Verdict]:
    """Change something for a while; gives what verification says of it."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
        yield audit.verify()
        transaction.set_rollback(True)


def test_an_untouched_trail_reads_as_it_was_hashed(trail: None) -> None:
    assert audit.verify().fault is Fault.UNGUARDED

    audit_triggers.install(connection)

    assert audit.verify().ok
    assert [entry.canonical for entry in AuditEntry.objects.order_by("n")] == [
        audit_chain.text_of(entry) for entry in AuditEntry.objects.order_by("n")
    ]
    assert (
        '"before":{"a":"x","\\u00fc":[1.5,null,true,7,10000000000000000,0]}'
        in AuditEntry.objects.get(n=1).canonical
    )


CHANGED = [
    ("at", "at + interval '1 microsecond'"),
    ("at", "at + interval '1 day'"),
    ("at", "(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00 BC')::timestamptz"),
    ("at", "'infinity'"),
    ("at", "'-infinity'"),
    ("before", "NULL"),
    ("before", "'null'"),
    ("before", "'{}'"),
    ("before", "'\"\"'"),
    ("before", "before - 'a'"),
    ("before", "before || '{\"b\": 1}'"),
    ("before", "jsonb_set(before, '{a}', '\"y\"')"),
    ("before", "jsonb_set(before, '{ü,0}', '1.50')"),
    ("before", "jsonb_set(before, '{ü,1}', '\"\"')"),
    ("before", "jsonb_set(before, '{ü,2}', '1')"),
    ("before", "jsonb_set(before, '{ü,3}', '7.0')"),
    ("after", "NULL"),
    ("after", "'null'"),
    ("after", "'{\"x\": 1}'"),
    ("generation", "NULL"),
    ("generation", "0"),
    ("generation", "generation + 1"),
    ("cause_n", "NULL"),
    ("cause_n", "0"),
    ("cause_n", "cause_n + 1"),
    ("count", "count + 1"),
    ("count", "0"),
]


@pytest.mark.parametrize(("column", "value"), CHANGED)
def test_any_value_of_any_entry_that_was_changed_is_named(trail: None, column: str, value: str) -> None:
    with forged(f'UPDATE {TABLE} SET "{column}" = {value} WHERE n = 1') as verdict:
        assert (verdict.fault, verdict.n) == (Fault.CHANGED, 1)


def test_any_character_of_any_text_that_was_changed_is_named(trail: None) -> None:
    texts = [column for column in KEPT if column not in {"n", *(column for column, _ in CHANGED)}]

    for n in (1, 2, 3):
        for column in texts:
            stored = str(AuditEntry.objects.values_list(column, flat=True).get(n=n))
            width = AuditEntry._meta.get_field(column).max_length or len(stored) + 1
            step = max(1, len(stored) // 40)
            others = [
                stored[:at] + ("~" if stored[at] != "~" else "!") + stored[at + 1 :]
                for at in range(0, len(stored), step)
            ]
            for other in [*others, "" if stored else " ", f"{stored} "[:width]]:
                if other == stored:
                    continue
                with forged(f'UPDATE {TABLE} SET "{column}" = %s WHERE n = %s', other, n) as verdict:
                    assert (verdict.fault, verdict.n) in {(Fault.CHANGED, n), *moved(column, n)}, (
                        column,
                        other,
                    )


def moved(column: str, n: int) -> set[tuple[Fault, int]]:
    """A text that claims another number looks moved, not changed."""
    return {(Fault.REORDERED, n), (Fault.INSERTED, n)} if column == "canonical" else set()


@pytest.mark.parametrize(
    ("sql", "fault", "n"),
    [
        (f"DELETE FROM {TABLE} WHERE n = 2", Fault.REMOVED, 2),
        (f"DELETE FROM {TABLE} WHERE n = 3", Fault.REMOVED, 3),
        (f"TRUNCATE {TABLE}", Fault.REMOVED, 1),
        (f"UPDATE {TABLE} SET n = 0 WHERE n = 1", Fault.INSERTED, 0),
        (f"UPDATE {TABLE} SET n = 9 WHERE n = 1", Fault.REMOVED, 1),
        (f"DELETE FROM {TABLE} WHERE n = 1; UPDATE {TABLE} SET n = n - 1", Fault.REORDERED, 1),
    ],
)
def test_entries_that_are_gone_or_moved_are_named(trail: None, sql: str, fault: Fault, n: int) -> None:
    with forged(sql) as verdict:
        assert (verdict.fault, verdict.n) == (fault, n)


@pytest.mark.parametrize("column", ENDS)
def test_a_changed_head_is_found(trail: None, column: str) -> None:
    for value in ("99", "1") if column.endswith("_n") else ("x", "", "f" * 64):
        with forged(f'UPDATE dashboard_controlhead SET "{column}" = %s', value) as verdict:
            assert verdict.fault not in {None, Fault.UNGUARDED}


def test_eight_processes_that_write_at_once_make_one_chain(engines: Engines) -> None:
    url = urlsplit(engines.postgres_url)._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    environment = {**os.environ, "DATABASE_URL": url}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, f"node:{n}"], cwd=settings.BASE_DIR, env=environment, **pipes
        )  # type: ignore[call-overload]
        for n in range(WRITERS)
    ]
    for writer in writers:
        writer.stdout.readline()

    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()

    assert [writer.communicate(timeout=120) and writer.returncode for writer in writers] == [0] * WRITERS
    verdict = audit.verify()
    assert verdict.ok
    assert verdict.entries == AuditEntry.objects.count() == WRITERS * ENTRIES


def test_a_rotation_takes_all_away_and_the_chain_goes_on(tmp_path: Path, now: datetime) -> None:
    write(now, 3, before={"a": 1.5})

    done = audit_rotate.rotate(path=tmp_path / "1.jsonl", actor=ALICE, now=now)

    write(now, 2)
    assert audit_archive.verify(tmp_path / "1.jsonl").head == done.head
    assert audit.verify().ok
    assert (audit.verify().start, audit.verify().entries) == (done.head, 3)
    assert all(refuses(REFUSED[what]) for what in ("update", "truncate", "as a replica"))


def test_a_rotation_that_fails_leaves_the_trail_and_its_guards(
    tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(now, 3)

    def fail(*arguments: Any, **facts: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(audit, "record", fail)
    with pytest.raises(OSError, match="disk is full"):
        audit_rotate.rotate(path=tmp_path / "1.jsonl", actor=ALICE, now=now)

    assert audit.verify().ok
    assert (AuditEntry.objects.count(), ControlHead.objects.get().start_n) == (3, 0)
    assert refuses(REFUSED["truncate"])
