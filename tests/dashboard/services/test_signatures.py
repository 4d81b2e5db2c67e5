"""What errors have in common, stored once."""

from datetime import UTC, datetime

import msgspec
import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import SKIP_BITS, ErrorSignature
from dashboard.services import signatures
from meshcore.trace import AliasSkip, Candidate, Reason, RoutingTrace

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("timeout", "no first token within 1.0 s", "timeout: no first token within # s"),
        ("timeout", "", "timeout"),
        ("", "broken", "broken"),
        ("", "", ""),
        ("x", "call 7f3a91cc01 of 10.0.0.7:8100", "x: call # of #"),
        ("x", "id 123e4567-e89b-12d3-a456-426614174000", "x: id #"),
        ("x", "defaced facade\n\t  two  lines", "x: defaced facade two lines"),
        ("x", "m" * 500, "x: " + "m" * 197),
    ],
)
def test_what_differs_from_call_to_call_is_left_out(code: str, message: str, expected: str) -> None:
    assert signatures.signature(code, message) == expected


@pytest.mark.django_db
def test_each_kind_is_stored_once(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    first = signatures.keys({"x: after # s", "x: refused"})

    with django_assert_num_queries(1):
        again = signatures.keys({"x: after # s"})

    assert {row.text for row in ErrorSignature.objects.all()} == set(first) == {"x: after # s", "x: refused"}
    assert again["x: after # s"] == first["x: after # s"] != first["x: refused"]


@pytest.mark.django_db
def test_where_nothing_failed_it_costs_nothing(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert signatures.keys(set()) == {}


@pytest.mark.django_db
def test_beyond_the_bound_new_kinds_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "SIGNATURES_MAX", 2)
    signatures.keys({"x: a", "x: b"})

    new = signatures.keys({"x: a", "x: c", "x: d"})

    texts = dict(ErrorSignature.objects.values_list("pk", "text"))
    assert {text: texts[key] for text, key in new.items()} == {
        "x: a": "x: a",
        "x: c": "(other)",
        "x: d": "(other)",
    }


def test_every_reason_has_a_bit_of_its_own() -> None:
    assert set(SKIP_BITS) == set(Reason)
    assert len(set(SKIP_BITS.values())) == len(Reason)
    assert max(SKIP_BITS.values()) < 63


def test_why_others_were_passed_over_is_kept_as_bits() -> None:
    passed_over = (AliasSkip(entry="a/b", reason="no_tools"), AliasSkip(entry="c", reason="of a newer node"))
    candidates = (
        Candidate(node="", provider="a", reason=Reason.DRAINING),
        Candidate(node="", provider="b", rank=1),
    )
    call = RoutingTrace(trace_id="t1", capability="llm.chat", started_at=NOW)

    both = msgspec.structs.replace(call, candidates=candidates, alias_skips=passed_over)

    assert signatures.skips(both) == 1 << SKIP_BITS[Reason.DRAINING] | 1 << SKIP_BITS[Reason.NO_TOOLS]
    assert signatures.skips(call) == 0
