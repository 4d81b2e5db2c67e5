"""Rights: the table of people and scopes."""

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User

from dashboard.models import Node, Scope, Token
from dashboard.services.rights import Right, may_drain, may_push, token_rights, user_rights

pytestmark = pytest.mark.django_db


def test_an_operator_does_all_but_administer(alice: User) -> None:
    assert user_rights(alice) == set(Right) - {Right.ADMIN}


def test_a_viewer_reads(bob: User) -> None:
    assert user_rights(bob) == {Right.READ}


def test_groups_add_up_and_unknown_ones_give_nothing(bob: User) -> None:
    bob.groups.add(Group.objects.get(name="auditor"), Group.objects.create(name="friends"))

    assert user_rights(bob) == {Right.READ, Right.AUDIT_READ}


def test_an_admin_and_a_superuser_may_do_everything(charlie: User) -> None:
    charlie.groups.add(Group.objects.get(name="admin"))
    assert user_rights(charlie) == set(Right)

    charlie.groups.clear()
    charlie.is_superuser = True
    assert user_rights(charlie) == set(Right)


def test_whoever_is_in_no_group_signed_out_or_inactive_may_nothing(alice: User, charlie: User) -> None:
    alice.is_active = False

    assert [user_rights(who) for who in (charlie, alice, AnonymousUser(), None)] == [frozenset()] * 4


def test_a_scope_gives_its_own_right_and_no_other() -> None:
    rights = {scope: token_rights(Token(scopes=[scope.value])) for scope in Scope}

    assert rights == {
        Scope.READ: {Right.READ},
        Scope.AUDIT_READ: {Right.AUDIT_READ},
        Scope.NODES_DRAIN: {Right.DRAIN},
        Scope.RUNS_CANCEL: {Right.CANCEL_RUN},
        Scope.BREAKERS_WRITE: {Right.BREAKERS},
        Scope.NODES_PUSH: set(),
        Scope.ADMIN: {Right.ADMIN},
    }


def test_a_node_s_own_token_drains_that_node_alone(node: Node) -> None:
    own = Token(scopes=[Scope.NODES_PUSH.value], node=node)

    assert may_drain(own, node.name)
    assert not may_drain(own, "node-b")
    assert may_drain(Token(scopes=[Scope.NODES_DRAIN.value]), "node-b")
    assert not may_drain(Token(scopes=[Scope.READ.value, Scope.ADMIN.value]), "node-b")
    assert may_push(own)
    assert not may_push(Token(scopes=[Scope.NODES_PUSH.value]))
    assert not may_push(Token(scopes=[Scope.READ.value], node=node))
