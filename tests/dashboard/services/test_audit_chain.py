"""The text of an entry and the hash over it: a format that others can check."""

import hashlib
from datetime import datetime, timedelta, timezone

from dashboard.models import AuditEntry
from dashboard.services import audit_chain


def entry(now: datetime) -> AuditEntry:
    """Return an entry that is nowhere stored."""
    return AuditEntry(
        n=2, at=now, actor_kind="user", actor_name="zoë", action="drain", target="node:a", outcome="done"
    )


def test_the_text_is_sorted_ascii_json_in_utc(now: datetime) -> None:
    there = now.astimezone(timezone(timedelta(hours=2)))

    assert audit_chain.text_of(entry(there)) == (
        '{"action":"drain","actor_id":"","actor_kind":"user","actor_name":"zo\\u00eb","address":"","after":null,'
        '"at":"2026-01-01T12:00:00.000000+00:00","before":null,"cause_n":null,"count":1,"generation":null,"n":2,'
        '"outcome":"done","reason":"","request_id":"","target":"node:a","token_prefix":""}'
    )


def test_the_hash_is_sha_256_over_the_hash_before_and_the_text() -> None:
    assert audit_chain.link("ab" * 32, "{}") == hashlib.sha256(b"ab" * 32 + b"{}").hexdigest()


def test_only_the_one_text_of_an_entry_tells_facts(now: datetime) -> None:
    text = audit_chain.text_of(entry(now))

    facts = audit_chain.facts_of(text)

    assert facts is not None
    assert facts["actor_name"] == "zoë"
    others = [text + " ", text.replace('"n":2', '"n":02'), text.replace("n", "N"), "[]", "{}", "x", "NaN"]
    assert [audit_chain.facts_of(other) for other in [*others, "[" * 100_000]] == [None] * 8


def test_a_text_that_claims_no_number_has_none() -> None:
    assert [
        audit_chain.read(text).n for text in ('{"n":7}', '{"n":"7"}', '{"n":true}', "{}", "[7]", "x")
    ] == [
        7,
        None,
        None,
        None,
        None,
        None,
    ]
