"""Who may do what: people by their groups, tokens by their scopes (the table of drain-and-control §4)."""

import enum

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User

from dashboard.models import Scope, Token


class Right(enum.StrEnum):
    """What can be allowed; pushing telemetry isn't here, because only a node's token ever may."""

    READ = "read"
    AUDIT_READ = "audit_read"
    DRAIN = "drain"
    CANCEL_RUN = "cancel_run"
    BREAKERS = "breakers"
    ADMIN = "admin"


class GroupName(enum.StrEnum):
    """The groups that migration 0002 makes."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


NOTHING: frozenset[Right] = frozenset()
OF_GROUP = {
    GroupName.VIEWER: frozenset({Right.READ}),
    GroupName.AUDITOR: frozenset({Right.READ, Right.AUDIT_READ}),
    GroupName.OPERATOR: frozenset(Right) - {Right.ADMIN},
    GroupName.ADMIN: frozenset(Right),
}
OF_SCOPE = {
    Scope.READ: Right.READ,
    Scope.AUDIT_READ: Right.AUDIT_READ,
    Scope.NODES_DRAIN: Right.DRAIN,
    Scope.RUNS_CANCEL: Right.CANCEL_RUN,
    Scope.BREAKERS_WRITE: Right.BREAKERS,
    Scope.ADMIN: Right.ADMIN,
}


def user_rights(user: AbstractBaseUser | AnonymousUser | None) -> frozenset[Right]:
    """Return what a person may: the rights of all their groups, all for a superuser, none while inactive."""
    if not isinstance(user, User) or not user.is_active:
        return NOTHING
    if user.is_superuser:
        return frozenset(Right)
    names = user.groups.values_list("name", flat=True)
    return NOTHING.union(*(OF_GROUP[GroupName(name)] for name in names if name in set(GroupName)))


def token_rights(token: Token) -> frozenset[Right]:
    """Return what a token may, whatever the node; no scope implies another."""
    return frozenset(right for scope, right in OF_SCOPE.items() if scope.value in token.scopes)


def may_drain(token: Token, node_name: str) -> bool:
    """Return whether a token may drain a node: any by nodes:drain, that very node by its own nodes:push."""
    own = may_push(token) and token.node is not None and token.node.name == node_name
    return own or Right.DRAIN in token_rights(token)


def may_push(token: Token) -> bool:
    """Return whether a token opens the link of the node it is bound to."""
    return Scope.NODES_PUSH.value in token.scopes and token.node_id is not None
