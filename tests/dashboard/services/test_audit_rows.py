"""Any byte of any column that differs from what was written is found, whatever its type."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.models import Action, AuditEntry, Outcome
from dashboard.services import audit, audit_rows, audit_triggers
from dashboard.services.audit import Fault
from dashboard.services.audit_rows import ENDS, KEPT, NULL, PostgreSQL, Row, Sqlite
from tests.dashboard.services.trail import ALICE, write

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]  # tests/engines has PostgreSQL

ENTRIES = 3


@pytest.fixture
def trail(now: datetime) -> Iterator[dict[int, Row]]:
    """Three entries that use all columns, as they are stored, and nothing that guards them."""
    facts: dict[str, Any] = {
        "before": {"ü": [1.5, None, True, 7], "a": "x"},
        "after": {},
        "generation": 4,
        "cause_n": 1,
    }
    write(now + timedelta(microseconds=40), **facts)
    write(now, before=None, after={"force": True}, reason="", generation=None)
    with transaction.atomic():
        told = {**facts, "after": {"b": {"c": []}, "a": 0}, "target": "node:a", "reason": "", "count": 12}
        head = audit.locked_head()
        audit.record(head=head, actor=ALICE, action=Action.DRAIN, outcome=Outcome.REFUSED, now=now, **told)
    audit_triggers.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
    yield stored()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = OFF")


def stored() -> dict[int, Row]:
    return {row.n or 0: row for row in audit_rows.read(connection, up_to=ENTRIES)}


@contextmanager
def written(column: str, n: int, sql: str, *values: Any) -> Iterator[None]:
    """Put something else into one column of one entry for a while."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f'UPDATE dashboard_auditentry SET "{column}" = {sql} WHERE n = %s', [*values, n])
        yield
        transaction.set_rollback(True)


def byte_changed(text: bytes, position: int, byte: int) -> bytes:
    return text[:position] + bytes([byte]) + text[position + 1 :]


def test_any_byte_of_any_text_of_any_entry_is_named(trail: dict[int, Row]) -> None:
    chance = random.Random(4)
    tried = 0

    for n, row in trail.items():
        for column, (kind, text) in row.cells.items():
            for position in range(len(text) if kind == "text" else 0):
                byte = (text[position] + chance.randrange(1, 256)) % 256
                with written(column, n, "CAST(%s AS TEXT)", byte_changed(text, position, byte)):
                    verdict = audit.verify()
                assert (verdict.fault, verdict.n) in {(Fault.CHANGED, n), *renumbered(column, n)}, (column, n)
                tried += 1

    assert tried > 1400


def renumbered(column: str, n: int) -> set[tuple[Fault, int]]:
    """A text that claims another number looks moved, not changed."""
    return {(Fault.REORDERED, n), (Fault.INSERTED, n)} if column == "canonical" else set()


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    n=st.integers(1, ENTRIES),
    column=st.sampled_from([column for column in KEPT if column != "n"]),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.binary(max_size=20),
        st.sampled_from(["", "null", "{}", "[]", "0", "1", "true", "2026-01-01", "2026-01-01T12:00:00"]),
    ),
)
def test_any_value_of_any_type_is_named_unless_it_is_the_one_that_was_stored(
    trail: dict[int, Row], n: int, column: str, value: Any
) -> None:
    if value is None and not AuditEntry._meta.get_field(column).null:
        value = ""  # no database keeps NULL there

    with written(column, n, "%s", value):
        same = stored()[n] == trail[n]
        verdict = audit.verify()

    assert (verdict.n, verdict.ok) == (None, False) if same else (n, False)
    assert verdict.fault is (Fault.UNGUARDED if same else Fault.CHANGED)


@pytest.mark.parametrize(
    ("column", "n", "sql"),
    [
        ("before", 1, "json_set(before, '$.a', json('true'))"),
        ("before", 1, "replace(before, 'true', '1')"),
        ("before", 1, "replace(before, '1.5', '1.50')"),
        ("before", 1, "replace(before, ': ', ':' || char(9))"),
        ("before", 1, "CAST(before AS BLOB)"),
        ("before", 1, 'substr(before, 1, length(before) - 1) || \', "a": "x"}\''),
        ("before", 2, "'null'"),
        ("before", 2, "''"),
        ("after", 1, "NULL"),
        ("after", 3, "replace(after, '0', '0.0')"),
        ("after", 3, "replace(after, '0', '-0')"),
        ("reason", 2, "CAST('' AS BLOB)"),
        ("generation", 2, "0"),
        ("generation", 1, "4.5"),
        ("generation", 1, "NULL"),
        ("count", 3, "CAST('12' AS BLOB)"),
        ("at", 1, "replace(at, ' ', 'T')"),
        ("at", 1, "at || '0'"),
        ("at", 2, "at || '.000000'"),
        ("at", 2, "at || '+00:00'"),
        ("at", 2, "1767268800"),
        ("at", 2, "'no time at all'"),
        ("at", 2, "'2026-99-01 12:00:00'"),
        ("canonical", 3, "canonical || ' '"),
        ("canonical", 3, "NULLIF(CAST(canonical AS BLOB), '')"),
        ("hash", 3, "upper(hash)"),
        ("hash", 3, "hash || char(0)"),
    ],
)
def test_what_means_the_same_but_is_stored_otherwise_is_named(
    trail: dict[int, Row], column: str, n: int, sql: str
) -> None:
    with written(column, n, sql):
        assert stored()[n] != trail[n]
        verdict = audit.verify()

    assert (verdict.fault, verdict.n) == (Fault.CHANGED, n)


@pytest.mark.parametrize("number", ["1.5", "'two'", "x'32'", "-2", "0", "7"])
def test_a_number_that_is_none_or_another_is_named(trail: dict[int, Row], number: str) -> None:
    with written("n", 2, number):
        verdict = audit.verify()

    assert verdict.fault in {Fault.CHANGED, Fault.REMOVED, Fault.INSERTED}
    assert verdict.n in {2, int(float(number)) if number[0] in "-0" else 2}


@pytest.mark.parametrize("number", ["4", "'two'", "x'32'", "4.5"])
def test_a_number_behind_the_last_is_named(trail: dict[int, Row], number: str, now: datetime) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        columns = ", ".join(f'"{column}"' for column in KEPT if column != "n")
        cursor.execute(
            f"INSERT INTO dashboard_auditentry (n, {columns}) SELECT {number}, {columns} "
            "FROM dashboard_auditentry WHERE n = 3"
        )
        verdict = audit.verify()
        transaction.set_rollback(True)

    assert (verdict.fault, verdict.n) == (Fault.INSERTED, 4)


@pytest.mark.parametrize("column", ENDS)
@pytest.mark.parametrize("value", [1, 99, "x", "", "f" * 64, b"\xff", 1.5, True])
def test_a_changed_head_is_found(trail: dict[int, Row], column: str, value: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f'UPDATE dashboard_controlhead SET "{column}" = %s', [value])
        verdict = audit.verify()
        transaction.set_rollback(True)

    assert verdict.fault not in {None, Fault.UNGUARDED}


def test_a_trail_without_its_head_is_found(trail: dict[int, Row]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM dashboard_controlhead")
        verdict = audit.verify()
        transaction.set_rollback(True)

    assert (verdict.fault, verdict.n) == (Fault.INSERTED, 1)


def test_sqlite_takes_json_only_as_django_writes_it() -> None:
    document = {"b": [1, 1.5], "a": "ü"}
    keeps = Sqlite()

    assert keeps.holds(("text", b'{"b": [1, 1.5], "a": "\\u00fc"}'), document)
    assert keeps.holds(("text", b'{"a": "\\u00fc", "b": [1, 1.5]}'), document)
    for other in (b'{"b": [1, 1.5], "a": "\\u00FC"}', b'{"b":[1,1.5],"a":"\\u00fc"}', '{"a": "ü"}'.encode()):
        assert not keeps.holds(("text", other), document)
    assert not keeps.holds(("blob", b'{"b": [1, 1.5], "a": "\\u00fc"}'), document)


def test_postgresql_tells_json_and_moments_its_own_way(now: datetime) -> None:
    keeps = PostgreSQL()

    assert keeps.holds(("text", '{"a": "ü", "b": [1, 1.5]}'.encode()), {"b": [1, 1.5], "a": "ü"})
    assert keeps.holds(("text", b'{"a": 0.0000001}'), {"a": 1e-7})
    assert not keeps.holds(("text", b'{"a": 1.50}'), {"a": 1.5})
    assert not keeps.holds(("text", b'{"a": 1}'), {"a": True})
    assert keeps.moment(now) == "2026-01-01T12:00:00.000000+00:00 AD"
    assert "to_char" in keeps.selected("at")
    assert list(keeps.cells(("n", "reason", "cause_n"), ["7", "", None])) == [
        ("integer", b"7"),
        ("text", b""),
        NULL,
    ]
