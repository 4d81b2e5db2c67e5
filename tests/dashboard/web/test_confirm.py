"""The second step."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec import UNSET

from dashboard.models import Node
from dashboard.selectors import nodes
from dashboard.services import drain as drains
from dashboard.services.drain_wish import Seconds
from dashboard.web import confirm
from dashboard.web.confirm import Act, BadForm, Confirm
from meshcore.guards import BlockerKind
from tests.dashboard.services.trail import ALICE
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import NOW

pytestmark = pytest.mark.django_db


def row(**fields: int) -> nodes.NodeNow:
    """node-a beside a node that can do all that it can."""
    factory.seen_node("node-a", now=NOW, **fields)  # type: ignore[arg-type]
    factory.seen_node("node-b", now=NOW)
    return found()


def found() -> nodes.NodeNow:
    node = nodes.gather(now=NOW).named("node-a")
    assert node is not None
    return node


def form(act: Act, of: nodes.NodeNow) -> Confirm:
    return confirm.of(act, of, now=NOW)


@pytest.mark.parametrize(
    ("calls", "words"),
    [(0, "Nothing is in flight."), (1, "1 call in flight"), (31, "31 calls in flight finish")],
)
def test_it_says_what_will_happen_to_the_calls_in_flight(calls: int, words: str) -> None:
    assert form(Act.DRAIN, row(in_flight=calls)).consequence.startswith(words)


def test_a_silent_node_will_drain_when_it_is_back() -> None:
    Node.objects.create(name="node-a", created_at=NOW)

    assert form(Act.DRAIN, found()).consequence == "It can't be reached now; it will drain when it is back."


def test_each_way_has_its_words_and_its_address() -> None:
    drain, undrain = (form(act, row()) for act in (Act.DRAIN, Act.UNDRAIN))

    assert (drain.verb, drain.keep, drain.action) == ("Drain", "Keep it", "/nodes/node-a/drain/")
    assert (undrain.verb, undrain.keep, undrain.action) == (
        "Undrain",
        "Let it drain",
        "/nodes/node-a/undrain/",
    )
    assert (drain.reason_required, undrain.reason_required) == (True, False)
    assert drain.deadlines and drain.expiries and not undrain.deadlines
    assert drain.typed["sticky"] and not drain.typed.get("force")
    assert '"reason": "REASON"' in drain.command
    assert '"action": "cancel"' in undrain.command


def test_what_stands_against_it_is_known_before_the_click() -> None:
    factory.seen_node("node-a", now=NOW, providers=("ollama",))
    factory.seen_node("node-b", now=NOW, providers=("groq",))

    blockers = form(Act.DRAIN, found()).blockers

    assert [blocker.kind for blocker in blockers] == [BlockerKind.LAST_PROVIDER]
    assert "node-a has the last healthy provider of llm.chat" in blockers[0].detail


def test_a_drain_that_goes_on_is_changed_from_what_it_is() -> None:
    node = Node.objects.get(pk=row().node.pk)
    drains.request(
        node=node, actor=ALICE, reason="kernel", deadline_seconds=900, force=True, sticky=False, now=NOW
    )

    change = form(Act.CHANGE, found())

    assert (change.act, change.generation, change.blockers) == (Act.CHANGE, 1, ())
    assert change.typed == {
        "reason": "kernel",
        "deadline": "keep",
        "expires": "keep",
        "force": "1",
        "sticky": "",
    }
    assert change.deadlines[0] == ("keep", "as it is: 05 Mar 14:36:07")
    assert change.expiries[0] == ("keep", "as it is: never")
    assert 'If-Match: "1"' in change.command and change.command.startswith("curl -X PUT")


def test_a_drain_that_is_not_there_can_only_be_begun() -> None:
    assert form(Act.CHANGE, row()).act is Act.DRAIN


@pytest.mark.parametrize(
    ("asked", "act"), [("drain", Act.DRAIN), ("undrain", Act.UNDRAIN), ("none", None), ("", None)]
)
def test_the_address_opens_it(asked: str, act: Act | None) -> None:
    opened = confirm.wanted({"confirm": asked}, row(), now=NOW)

    assert (opened and opened.act) is act


@pytest.mark.parametrize(
    ("typed", "act", "seconds"),
    [
        ({}, Act.DRAIN, None),
        ({"deadline": "900"}, Act.DRAIN, 900.0),
        ({"deadline": "own", "minutes": " 7,5 "}, Act.DRAIN, 450.0),
        ({"deadline": "900", "minutes": "7"}, Act.DRAIN, 900.0),
        ({"deadline": "0", "force": "1"}, Act.DRAIN, 0.0),
        ({"deadline": "keep"}, Act.CHANGE, UNSET),
        ({"deadline": ""}, Act.CHANGE, None),
    ],
)
def test_a_deadline_is_chosen_typed_in_minutes_or_kept(
    typed: dict[str, str], act: Act, seconds: Seconds
) -> None:
    asked = confirm.typed({"reason": "kernel update", "generation": "1", **typed}, act=act)

    assert asked.deadline_seconds == seconds


def test_what_was_typed_is_taken_trimmed_and_what_was_not_ticked_is_no() -> None:
    ticked = {"force": "1", "sticky": "1", "override_guards": "1", "deadline": "300", "expires": "3600"}

    much = confirm.typed({"reason": "  kernel update ", **ticked}, act=Act.DRAIN)
    little = confirm.typed({"reason": "kernel update"}, act=Act.DRAIN)

    assert (much.reason, much.force, much.sticky, much.override_guards) == ("kernel update", True, True, True)
    assert (much.expires_seconds, much.if_generation) == (3600.0, None)
    assert (little.force, little.sticky, little.override_guards) == (False, False, False)
    assert little.expires_seconds is None


def test_a_change_names_the_order_it_was_made_from() -> None:
    typed = {"reason": "kernel", "generation": "17", "deadline": "keep", "expires": "keep", "force": "1"}

    asked = confirm.typed(typed, act=Act.CHANGE, deadline_at=NOW + timedelta(minutes=5))

    assert (asked.if_generation, asked.expires_seconds, asked.force) == (17, UNSET, True)


@pytest.mark.parametrize(
    ("form", "act", "why", "field"),
    [
        ({"reason": ""}, Act.DRAIN, "3 characters or more", "reason"),
        ({"reason": " ab "}, Act.DRAIN, "3 characters or more", "reason"),
        ({"reason": "x" * 501}, Act.DRAIN, "has 501 characters", "reason"),
        ({"deadline": "7"}, Act.DRAIN, "no choice '7'", "deadline"),
        ({"deadline": "keep"}, Act.DRAIN, "no choice 'keep'", "deadline"),
        ({"expires": "soon"}, Act.DRAIN, "no choice 'soon'", "expires"),
        ({"deadline": "own"}, Act.DRAIN, "No number of minutes", "minutes"),
        ({"deadline": "own", "minutes": "soon"}, Act.DRAIN, "'soon' minutes: type one above 0", "minutes"),
        ({"deadline": "own", "minutes": "0"}, Act.DRAIN, "up to 10 080", "minutes"),
        ({"deadline": "own", "minutes": "nan"}, Act.DRAIN, "'nan' minutes", "minutes"),
        ({"deadline": "own", "minutes": "10081"}, Act.DRAIN, "'10081' minutes", "minutes"),
        ({"deadline": "0"}, Act.DRAIN, "tick “By force”", "force"),
        ({"force": "1"}, Act.DRAIN, "choose one, or “now”", "deadline"),
        ({"force": "1", "deadline": "keep", "generation": "1"}, Act.CHANGE, "choose one", "deadline"),
        ({"deadline": "keep", "expires": "keep"}, Act.CHANGE, "generation ''", "reason"),
        ({"generation": "²", "deadline": ""}, Act.CHANGE, "generation '²'", "reason"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    form: dict[str, Any], act: Act, why: str, field: str
) -> None:
    with pytest.raises(BadForm, match=why) as refused:
        confirm.typed({"reason": "kernel", **form}, act=act)

    assert refused.value.field == field


def test_giving_back_needs_no_reason_but_has_the_same_bound() -> None:
    assert confirm.typed({}, act=Act.UNDRAIN).reason == ""
    with pytest.raises(BadForm, match="at most 500"):
        confirm.typed({"reason": "x" * 501}, act=Act.UNDRAIN)


def test_a_refused_form_keeps_what_was_typed() -> None:
    refused = form(Act.DRAIN, row()).refused({"reason": "ab", "deadline": "900"}, "Say why.", "reason")

    assert (refused.typed, refused.error, refused.wrong) == (
        {"reason": "ab", "deadline": "900"},
        "Say why.",
        "reason",
    )
