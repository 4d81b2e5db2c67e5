"""The second step of an override."""

import pytest

from dashboard.web import override
from dashboard.web.confirm import BadForm
from dashboard.web.override import Act
from meshcore.override import Action
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import NOW

pytestmark = pytest.mark.django_db

FORM = {"key": "groq", "action": "force_open", "node": "", "expires": "3600", "reason": " bills twice "}


def test_the_address_opens_it_for_an_hour() -> None:
    factory.seen_node("node-a", now=NOW)

    form = override.wanted({"override": "groq", "node": "node-a"})

    assert form is not None
    assert (form.key, form.nodes, form.what) == ("groq", ("node-a",), "groq")
    assert (form.typed["expires"], form.typed["node"]) == ("3600", "node-a")
    assert '"node": "node-a"' in form.command
    assert override.wanted({}) is None


def test_a_way_to_a_node_is_called_so() -> None:
    form = override.of("node:node-b", {"action": "lift", "node": "node-a"})

    assert form.what == "the way to node-b"
    assert "key=node%3Anode-b&node=node-a" in form.command


def test_every_act_is_an_action_or_the_end_of_one() -> None:
    orders = {act: override.typed({**FORM, "action": act.value}).order for act in Act}

    assert orders.pop(Act.LIFT) is None
    assert {action.value for action in Action} == {order.value for order in orders.values() if order}


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ({}, 3600.0),
        ({"expires": "never"}, None),
        ({"action": "reset"}, None),
        ({"action": "lift", "expires": "nonsense"}, None),
    ],
)
def test_only_what_lasts_has_an_end(typed: dict[str, str], seconds: float | None) -> None:
    asked = override.typed({**FORM, **typed})

    assert (asked.reason, asked.node, asked.expires_seconds) == ("bills twice", None, seconds)


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"action": ""}, "action"),
        ({"expires": ""}, "expires"),
        ({"node": "x"}, "node"),
        ({"reason": ""}, "reason"),
    ],
)
def test_what_cannot_be_used_names_its_field(typed: dict[str, str], field: str) -> None:
    with pytest.raises(BadForm) as refused:
        override.typed({**FORM, **typed})

    assert refused.value.field == field
