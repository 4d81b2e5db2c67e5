"""What errors have in common, stored once."""

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import SKIP_BITS, ErrorSignature, Trace, TraceDetail
from dashboard.services import signatures
from meshcore.trace import Reason


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


def rows(*messages: str, outcome: str = "error") -> list[tuple[Trace, TraceDetail]]:
    return [(Trace(outcome=outcome, code="x"), TraceDetail(message=message)) for message in messages]


@pytest.mark.django_db
def test_each_kind_is_stored_once(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    first, again = rows("after 1 s", "after 2 s", "refused"), rows("after 3 s")
    signatures.assign(first)

    with django_assert_num_queries(1):
        signatures.assign(again)

    assert {row.text for row in ErrorSignature.objects.all()} == {"x: after # s", "x: refused"}
    assert first[0][0].error_signature_id == first[1][0].error_signature_id == again[0][0].error_signature_id
    assert first[2][0].error_signature_id != first[0][0].error_signature_id


@pytest.mark.django_db
def test_what_went_well_has_none_and_costs_nothing(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    well = rows("an old word", outcome="ok")

    with django_assert_num_queries(0):
        signatures.assign(well)

    assert well[0][0].error_signature_id is None


@pytest.mark.django_db
def test_beyond_the_bound_new_kinds_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "SIGNATURES_MAX", 2)
    known, new = rows("a", "b"), rows("a", "c", "d")
    signatures.assign(known)

    signatures.assign(new)

    texts = dict(ErrorSignature.objects.values_list("pk", "text"))
    assert [texts[trace.error_signature_id] for trace, _ in new] == ["x: a", "(other)", "(other)"]


def test_every_reason_has_a_bit_of_its_own() -> None:
    assert set(SKIP_BITS) == set(Reason)
    assert len(set(SKIP_BITS.values())) == len(Reason)
    assert max(SKIP_BITS.values()) < 63


def test_why_others_were_passed_over_is_kept_as_bits() -> None:
    detail = TraceDetail(
        candidates=[{"reason": "draining"}, {"rank": 1}, {"reason": "of a newer node"}],
        alias_skips=[{"entry": "a/b", "reason": "no_tools"}],
    )

    assert signatures.skips(detail) == 1 << SKIP_BITS[Reason.DRAINING] | 1 << SKIP_BITS[Reason.NO_TOOLS]
    assert signatures.skips(TraceDetail()) == 0
