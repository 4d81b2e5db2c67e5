"""The audit as a page."""

import json
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Action, AuditEntry, ControlHead, Node
from dashboard.selectors import keyset
from dashboard.services import audit_refusals, audit_rotate, drain
from dashboard.services.actor import SYSTEM, of_user
from dashboard.web import audit as web_audit
from meshcore.frames import DrainStepItem
from tests.dashboard.services.trail import forge, write
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def drained(alice: User) -> Node:
    """node-a: asked to drain by alice, and acknowledged by itself."""
    node, _ = (factory.seen_node(f"node-{name}", now=NOW) for name in "ab")
    drain.request(node=node, actor=of_user(alice, address="192.0.2.7"), reason="kernel update", now=NOW)
    item = DrainStepItem(seq=1, at=NOW, generation=1, step="gate_closed")
    drain.record_node_step(node=node, item=item, received_at=NOW)
    return node


def read(browser: Client, path: str, status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status
    return " ".join(response.content.decode().split())


def test_it_says_who_what_why_and_from_where(operator: Client, drained: Node) -> None:
    page = read(operator, "/audit/")

    for words in (
        "<b>alice</b>",
        "node:node-a",
        "generation 1",
        "kernel update",
        "192.0.2.7",
        "</svg>done</span>",
    ):
        assert words in page


def test_effect_and_cause_lead_to_each_other(operator: Client, drained: Node) -> None:
    page = read(operator, "/audit/")

    assert '#n2">gate closed</a>' in page
    assert '#n1">came of 1</a>' in page


def test_the_chain_is_shown_joined_or_not(operator: Client, drained: Node) -> None:
    assert "chain ends as its head says" in read(operator, "/audit/")

    ControlHead.objects.update(audit_n=9)

    assert "the newest entry is not the one the head names" in read(operator, "/audit/")


@pytest.mark.parametrize(
    "query", ["", "?actor=alice&action=drain&target=node-a&outcome=done&text=e&from=2026-01-01"]
)
def test_a_page_has_a_fixed_number_of_queries(
    operator: Client, drained: Node, query: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(10):  # 3 for who asks, 1 cursor, 2 chain, 3 rows, 1 for a time
        assert operator.get(f"/audit/{query}").status_code == 200


def test_the_filter_stands_in_the_address_and_in_the_form(operator: Client, drained: Node) -> None:
    page = read(
        operator,
        "/audit/?actor=alice&outcome=done&text=KERNEL&from=2026-03-05T14:00&to=2026-03-05T16:00%2B01:00",
    )

    assert 'name="actor" value="alice"' in page
    assert "<option selected>done</option>" in page
    assert 'name="from" value="2026-03-05T14:00:00"' in page
    assert 'name="to" value="2026-03-05T15:00:00"' in page
    assert "Showing entry 1" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("outcome=refused", ""),
        ("outcome=done", "entries 1–2, newest first"),
        ("text=kernel", "entry 1"),
        ("text=nothing", ""),
        ("from=2026-03-05T14:21:07", "entries 1–2, newest first"),
        ("from=2026-03-05T14:21:08", ""),
        ("to=2026-03-05T14:21:07Z", ""),
        ("to=2026-03-06", "entries 1–2, newest first"),
    ],
)
def test_each_filter_narrows_the_list(operator: Client, drained: Node, query: str, found: str) -> None:
    page = read(operator, f"/audit/?{query}")

    assert f"Showing {found}<" in page if found else "Showing" not in page


def test_filters_that_fit_nothing_and_filters_that_cannot_be(operator: Client, drained: Node) -> None:
    assert "No entry fits the filter" in read(operator, "/audit/?actor=nobody")
    for query, words in (
        ("action=dance", "action=&#x27;dance&#x27;"),
        ("from=yesterday", "from=&#x27;yesterday&#x27;: expected a moment"),
        ("to=0001-01-01T00:00%2B14:00", "to=&#x27;0001-01-01T00:00+14:00&#x27;: expected a moment"),
        ("text=%00", "text: has a NUL"),
    ):
        assert words in read(operator, f"/audit/?{query}", 400)


def test_an_empty_audit_says_what_will_be_in_it(operator: Client) -> None:
    assert "Nothing has been done yet" in read(operator, "/audit/")


def test_a_search_that_stopped_says_how_far_it_came(
    operator: Client, drained: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "WALK_ROWS", 1)

    page = read(operator, "/audit/?target=node-a&actor=nobody")

    assert "Searched back to entry 2." in page


def test_the_rows_come_alone(operator: Client, drained: Node) -> None:
    assert operator.get("/audit/", headers=HTMX).content.decode().strip().startswith('<div id="rows"')


def test_an_entry_opens_to_what_it_changed(operator: Client, drained: Node, alice: User) -> None:
    drain.request(node=drained, actor=of_user(alice), reason="kernel update", deadline_seconds=900, now=NOW)

    page = read(operator, "/audit/")

    assert '<dt>deadline_at</dt><dd class="changed"><del>none</del> → <ins>2026-03-05T14:36:07' in page
    assert '<dt>force</dt><dd class="same">false' in page
    assert '<dt>step</dt><dd class="added"><ins>gate_closed</ins>' in page
    assert "2026-03-05 14:21:07.000000 UTC" in page


def test_refusals_that_were_counted_say_how_often(operator: Client) -> None:
    for _ in range(12):
        Client().post("/login/", {"username": "alice", "password": "wrong"})
    audit_refusals.flush_all(now=NOW)

    page = read(operator, "/audit/?outcome=refused")

    assert "<b>12 ×</b>" in page
    assert '<b>127.0.0.0/24</b> <span class="age">stranger</span>' in page


def test_a_cause_that_went_into_a_file_is_no_link(operator: Client, drained: Node, tmp_path: Path) -> None:
    audit_rotate.rotate(path=tmp_path / "1.jsonl", actor=SYSTEM, now=NOW)
    write(NOW, action=Action.DRAIN_EFFECT, cause_n=1)

    page = read(operator, "/audit/")

    assert "came of 1, in a file" in page
    assert "entries up to 2 went into files" in page
    assert "chain ends as its head says" in page


def test_verifying_says_how_much_was_looked_at_and_the_head_to_keep(operator: Client, drained: Node) -> None:
    answer = operator.post("/audit/?actor=alice", {"do": "verify"})
    page = " ".join(answer.content.decode().split())

    assert answer.status_code == 200
    assert "2 entries, 1 to 2: none was changed, removed, inserted or moved." in page
    assert f"2:{ControlHead.objects.get().audit_hash}" in page
    assert 'name="actor" value="alice"' in page
    assert AuditEntry.objects.count() == 2


def test_a_trail_too_long_to_wait_for_is_left_to_the_command(
    operator: Client, drained: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_audit, "VERIFY_ENTRIES_MAX", 1)

    answer = operator.post("/audit/", {"do": "verify"})

    assert answer.status_code == 422
    assert (
        "There are 2 entries; at most 1 are verified here: run manage.py verify_audit."
        in answer.content.decode()
    )


def test_verifying_names_the_entry_that_was_changed(operator: Client, drained: Node) -> None:
    forge("UPDATE dashboard_auditentry SET reason = 'x' WHERE n = 1")

    page = " ".join(operator.post("/audit/", {"do": "verify"}).content.decode().split())

    assert "The trail is not what was written: entry <a" in page
    assert "reason is not what was written" in page


def sent(answer: Any) -> str:
    async def all_of(pieces: Any) -> str:
        return b"".join([piece async for piece in pieces]).decode()

    return str(async_to_sync(all_of)(answer.streaming_content))


def test_an_export_holds_what_fits_the_filter_and_is_itself_an_entry(operator: Client, drained: Node) -> None:
    answer = operator.post("/audit/?target=node-a", {"do": "export-jsonl"}, REMOTE_ADDR="192.0.2.7")

    lines = [json.loads(line) for line in sent(answer).splitlines()]
    assert [line["entry"]["n"] for line in lines[1:-1]] == [1, 2]
    assert lines[0]["filter"] == {"target": "node-a"}
    assert answer["Content-Disposition"] == 'attachment; filename="audit-20260305T142107Z.jsonl"'
    entry = AuditEntry.objects.latest("n")
    assert (entry.actor_name, entry.action, entry.address) == ("alice", "audit.export", "192.0.2.7")
    assert entry.after == {"form": "jsonl", "filter": {"target": "node-a"}}
    assert lines[-1]["head"] == {"n": entry.n, "hash": entry.hash}


def test_a_table_can_be_taken_out_too(operator: Client, drained: Node) -> None:
    answer = operator.post("/audit/", {"do": "export-csv"})

    rows = sent(answer).split("\r\n")
    assert rows[0].startswith("n,at,actor_kind,")
    assert len(rows) == 5
    assert answer["Content-Type"].startswith("text/csv")


@pytest.mark.parametrize(
    ("query", "do", "words"),
    [
        ("?action=dance", "export-csv", "expected one of"),
        ("", "dance", "do=&#x27;dance&#x27;: expected one of verify, export-jsonl"),
        ("", "export-csv", "More than 1 entries fit"),
    ],
)
def test_an_export_that_cannot_be_is_refused_and_audited(
    operator: Client, drained: Node, query: str, do: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_audit, "EXPORT_ENTRIES_MAX", 1)

    answer = operator.post(f"/audit/{query}", {"do": do})

    assert answer.status_code == 422
    assert words in answer.content.decode()
    entry = AuditEntry.objects.latest("n")
    assert (entry.action, entry.outcome, entry.actor_name) == ("audit.export", "refused", "alice")


def test_whoever_may_not_read_the_audit_may_not_verify_or_export_it(viewer: Client, drained: Node) -> None:
    for do in ("verify", "export-jsonl"):
        assert viewer.post("/audit/", {"do": do}).status_code == 403

    assert AuditEntry.objects.count() == 2


def test_nothing_else_is_done_to_the_audit(operator: Client) -> None:
    assert operator.put("/audit/").status_code == 405
