"""The trail on its way out: whole and as it was written, and safe in a spreadsheet."""

import csv
import json
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import AuditEntry
from dashboard.selectors.audit import AuditFilter
from dashboard.services import audit, audit_chain, audit_export
from dashboard.services.audit_export import Export, Form
from tests.dashboard.services.trail import ALICE, forge, write

pytestmark = pytest.mark.django_db
ALL = AuditFilter()


def exported(now: datetime, wanted: AuditFilter = ALL) -> list[Any]:
    export = audit_export.begin(wanted=wanted, form=Form.JSON_LINES, actor=ALICE, now=now)
    return [json.loads(line) for line in "".join(audit_export.pieces(export, Form.JSON_LINES)).splitlines()]


def table(now: datetime, wanted: AuditFilter = ALL) -> list[dict[str, str]]:
    export = audit_export.begin(wanted=wanted, form=Form.CSV, actor=ALICE, now=now)
    text = "".join(audit_export.pieces(export, Form.CSV))
    return list(csv.DictReader(text.splitlines(keepends=True)))


def test_the_lines_are_the_trail_and_anybody_can_check_it(now: datetime) -> None:
    write(now, 3, before={"ü": 1.5})

    first, *entries, last = exported(now)

    hash = first["start"]["hash"]
    for line in entries:
        hash = audit_chain.link(hash, audit_chain.canonical(line["entry"]))
        assert line["hash"] == hash
    assert [line["entry"]["n"] for line in entries] == [1, 2, 3, 4]
    assert (first["meshboard_audit"], first["by"], first["filter"]) == (1, "alice", {})
    assert first["head"] == last["head"] == {"n": 4, "hash": hash}
    assert (last["end"], last["entries"]) == (True, 4)


def test_to_export_is_the_last_thing_in_the_export(now: datetime) -> None:
    write(now)

    *_, line, _ = exported(now, AuditFilter(action="audit.export", since=now))

    entry = AuditEntry.objects.latest("n")
    assert line["hash"] == entry.hash
    assert (entry.actor_name, entry.action, entry.target) == ("alice", "audit.export", "audit")
    asked = {"action": "audit.export", "since": "2026-01-01T12:00:00+00:00"}
    assert entry.after == {"form": "jsonl", "filter": asked}


def test_what_is_written_meanwhile_is_left_to_the_next_export(now: datetime) -> None:
    write(now, 3)
    export = audit_export.begin(wanted=ALL, form=Form.JSON_LINES, actor=ALICE, now=now)
    with patch.object(audit_export, "PIECE_ROWS", 1):
        pieces = audit_export.pieces(export, Form.JSON_LINES)
        next(pieces)
        write(now, 5)

        assert len("".join(pieces).splitlines()) == 4 + 1


def test_it_comes_in_bounded_pieces_by_one_query_each(
    now: datetime, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    write(now, 4)
    export = audit_export.begin(wanted=ALL, form=Form.JSON_LINES, actor=ALICE, now=now)

    with patch.object(audit_export, "PIECE_ROWS", 2), django_assert_num_queries(4):
        pieces = list(audit_export.pieces(export, Form.JSON_LINES))

    assert [len(piece.splitlines()) for piece in pieces] == [1, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (AuditFilter(actor="alice", target="node-a"), ["1", "2"]),
        (AuditFilter(text="UPDATE"), ["1"]),
        (AuditFilter(outcome="refused"), []),
        (AuditFilter(since=datetime.fromisoformat("2026-01-01T12:00:30Z")), ["2", "3"]),
        (AuditFilter(until=datetime.fromisoformat("2026-01-01T12:00:30Z")), ["1"]),
    ],
)
def test_filters_hold(now: datetime, wanted: AuditFilter, found: list[str]) -> None:
    write(now)
    write(now + timedelta(minutes=1), reason="disk")

    rows = table(now + timedelta(minutes=2), wanted)

    assert [row["n"] for row in rows] == found


def test_no_cell_is_taken_for_a_formula(now: datetime) -> None:
    dangerous = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]
    for reason in [*dangerous, "1 = 1", 'plain, with "quotes"\nand a line']:
        write(now, reason=reason)

    rows = table(now)

    assert [row["reason"] for row in rows[:7]] == [f"'{reason}" for reason in dangerous]
    assert [row["reason"] for row in rows[7:9]] == ["1 = 1", 'plain, with "quotes"\nand a line']
    assert [row["n"] for row in rows] == [str(n) for n in range(1, 11)]


def test_documents_and_nothing_are_told_in_cells(now: datetime) -> None:
    write(now, before={"force": True}, after={}, generation=4)

    row = table(now)[0]

    assert (row["before"], row["after"], row["generation"], row["cause_n"]) == (
        '{"force": true}',
        "{}",
        "4",
        "",
    )
    assert list(row) == [*audit_chain.COLUMNS, "hash"]


def test_an_entry_that_somebody_spoilt_stops_no_export(now: datetime) -> None:
    write(now, 2)
    forge("UPDATE dashboard_auditentry SET canonical = 'spoilt' WHERE n = 2")

    assert exported(now)[2] == {"text": "spoilt", "hash": AuditEntry.objects.get(n=2).hash}
    assert table(now)[1]["reason"] == audit_export.UNREADABLE
    assert not audit.verify().ok


def test_what_is_told_is_what_was_written_whatever_became_of_the_columns(now: datetime) -> None:
    write(now)
    forge("UPDATE dashboard_auditentry SET actor_name = 'mallory'")

    assert exported(now)[1]["entry"]["actor_name"] == "alice"


def test_counting_stops_above_the_bound(now: datetime) -> None:
    write(now, 5)

    assert [audit_export.fitting(ALL, at_most=most) for most in (3, 5, 9)] == [4, 5, 5]
    assert audit_export.fitting(AuditFilter(actor="nobody"), at_most=3) == 0


def test_an_export_begins_where_a_rotation_ended(now: datetime) -> None:
    write(now)
    head = audit.verify().head
    export = Export(wanted=ALL, start=head, head=head, by="alice", at=now)

    assert json.loads(audit_export.first_line(export))["start"] == {"n": 1, "hash": head.hash}
    assert len(list(audit_export.pieces(export, Form.JSON_LINES))) == 2
