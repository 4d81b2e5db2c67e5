"""The second step."""

import pytest

from dashboard.models import Node
from dashboard.selectors import nodes
from dashboard.web import confirm
from dashboard.web.confirm import Act, BadForm
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import NOW

pytestmark = pytest.mark.django_db


def row(**fields: int) -> nodes.NodeNow:
    factory.seen_node("node-a", now=NOW, **fields)  # type: ignore[arg-type]
    return nodes.gather(now=NOW).nodes[0]


@pytest.mark.parametrize(
    ("calls", "words"),
    [(0, "Nothing is in flight."), (1, "1 call in flight"), (31, "31 calls in flight finish")],
)
def test_it_says_what_will_happen_to_the_calls_in_flight(calls: int, words: str) -> None:
    assert confirm.of(Act.DRAIN, row(in_flight=calls)).consequence.startswith(words)


def test_a_silent_node_will_drain_when_it_is_back() -> None:
    Node.objects.create(name="node-a", created_at=NOW)

    form = confirm.of(Act.DRAIN, nodes.gather(now=NOW).nodes[0])

    assert form.consequence == "It can't be reached now; it will drain when it is back."


def test_both_ways_have_their_words_and_their_address() -> None:
    drain, undrain = (confirm.of(act, row()) for act in Act)

    assert (drain.verb, drain.keep, drain.action) == ("Drain", "Keep it", "/nodes/node-a/drain/")
    assert (undrain.verb, undrain.keep, undrain.action) == (
        "Undrain",
        "Let it drain",
        "/nodes/node-a/undrain/",
    )
    assert (drain.reason_required, undrain.reason_required) == (True, False)
    assert drain.deadlines and not undrain.deadlines
    assert '{"reason": "REASON"}' in drain.command
    assert '"action": "cancel"' in undrain.command


@pytest.mark.parametrize(
    ("asked", "act"), [("drain", Act.DRAIN), ("undrain", Act.UNDRAIN), ("none", None), ("", None)]
)
def test_the_address_opens_it(asked: str, act: Act | None) -> None:
    form = confirm.wanted({"confirm": asked}, row())

    assert (form and form.act) is act


def test_what_was_typed_is_taken_trimmed() -> None:
    typed = confirm.typed({"reason": "  kernel update ", "deadline": "900"}, act=Act.DRAIN)

    assert (typed.reason, typed.deadline_seconds) == ("kernel update", 900.0)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({}, "3 characters or more"),
        ({"reason": " ab "}, "3 characters or more"),
        ({"reason": "x" * 501}, "has 501 characters"),
        ({"reason": "kernel", "deadline": "7"}, "no deadline of '7'"),
        ({"reason": "kernel", "deadline": "soon"}, "no deadline of 'soon'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(form: dict[str, str], why: str) -> None:
    with pytest.raises(BadForm, match=why):
        confirm.typed(form, act=Act.DRAIN)


def test_giving_back_needs_no_reason_but_has_the_same_bound() -> None:
    assert confirm.typed({}, act=Act.UNDRAIN).reason == ""
    with pytest.raises(BadForm, match="at most 500"):
        confirm.typed({"reason": "x" * 501}, act=Act.UNDRAIN)


def test_a_refused_form_keeps_what_was_typed() -> None:
    form = confirm.of(Act.DRAIN, row()).refused({"reason": "ab", "deadline": "900"}, "Say why.")

    assert (form.reason, form.deadline, form.error) == ("ab", "900", "Say why.")
