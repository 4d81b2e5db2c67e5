"""What was typed is read, and what the page never offered is refused."""

import pytest
from django.http import QueryDict

from dashboard.models import Scope
from dashboard.services.rights import GroupName
from dashboard.web.access_forms import EXPIRIES, GROUPS, SCOPES, BadChoice, NodeForm, PersonForm, TokenForm


def test_every_scope_and_every_group_is_told_in_words() -> None:
    assert set(SCOPES) == set(Scope)
    assert set(GROUPS) == set(GroupName)


def test_a_token_ends_by_itself_unless_somebody_says_never() -> None:
    assert TokenForm.of(QueryDict("name=ci")).expires_seconds == 90 * 86_400
    assert TokenForm.of(QueryDict("expires=never")).expires_seconds is None
    assert [each.value for each in TokenForm().expiries if each.checked] == ["7776000"]
    assert all(value == "never" or float(value) > 0 for value in EXPIRIES)


def test_scopes_are_those_that_were_ticked() -> None:
    form = TokenForm.of(QueryDict("scope=read&scope=admin&networks=+10.0.0.0/8+"))

    assert form.wanted == [Scope.READ, Scope.ADMIN]
    assert [each.value for each in form.choices if each.checked] == ["read", "admin"]
    assert form.networks == "10.0.0.0/8"


@pytest.mark.parametrize("query", ["scope=root", "expires=1", "scope="])
def test_what_was_not_offered_is_refused(query: str) -> None:
    form = TokenForm.of(QueryDict(query))

    with pytest.raises(BadChoice, match="expected one of"):
        _ = form.wanted, form.expires_seconds


def test_a_node_has_places_by_default() -> None:
    form = NodeForm.of(QueryDict("name=+laptop+&community=&listen="))

    assert (form.name, form.community, form.listen) == ("laptop", "default", "127.0.0.1:8120")


def test_a_person_may_be_in_several_groups_or_none() -> None:
    assert PersonForm.of(QueryDict("group=viewer&group=auditor")).wanted == ["viewer", "auditor"]
    assert PersonForm.of(QueryDict("")).wanted == []
