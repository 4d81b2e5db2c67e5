"""Second steps open by their address, and only for what is there."""

import pytest
from django.contrib.auth.models import User
from django.http import Http404

from dashboard.models import Node
from dashboard.web import access_steps
from dashboard.web.access_steps import Act
from dashboard.web.confirm import BadForm
from tests.dashboard.web.conftest import NOW

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("query", [{}, {"confirm": ""}, {"confirm": "none", "of": "node-a"}])
def test_an_address_without_a_step_opens_none(query: dict[str, str], node: Node) -> None:
    assert access_steps.wanted(query, now=NOW) is None


@pytest.mark.parametrize("of", ["", "nowhere", "999", "-1", "²", "9" * 40])
@pytest.mark.parametrize("act", list(Act))
def test_what_is_not_there_has_no_step(act: Act, of: str) -> None:
    with pytest.raises(Http404):
        access_steps.wanted({"confirm": act.value, "of": of}, now=NOW)


@pytest.mark.parametrize("act", [Act.GROUPS, Act.DEACTIVATE, Act.REACTIVATE, Act.PASSWORD])
def test_of_a_person_only_deactivating_needs_a_reason(act: Act, bob: User) -> None:
    step = access_steps.wanted({"confirm": act.value, "of": str(bob.pk)}, now=NOW)

    assert step is not None
    assert "bob" in step.title
    assert step.action == f"/access/people/{bob.pk}/{act.value}/"
    assert step.reason_required is (act is Act.DEACTIVATE)


@pytest.mark.parametrize(("reason", "said"), [("", "Say why"), ("  x ", "Say why"), ("x" * 501, "501")])
def test_a_reason_has_its_bounds(reason: str, said: str) -> None:
    with pytest.raises(BadForm, match=said):
        access_steps.reason_of({"reason": reason})


def test_a_reason_may_be_left_out_where_none_is_asked_for() -> None:
    assert access_steps.reason_of({}, required=False) == ""
