"""Tokens and people of every kind, for pictures and for budgets."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.contrib.auth.models import User

from dashboard.models import Node, Scope, Token
from dashboard.services import accounts, tokens
from dashboard.services.actor import SYSTEM, of_user
from dashboard.services.rights import GroupName

DAY = 86_400.0


def make(nodes: Mapping[str, Node], *, now: datetime) -> None:
    """Make them."""
    admin = User.objects.order_by("pk").first()
    by = of_user(admin) if admin else SYSTEM
    long_ago = now - timedelta(days=40)
    for name, scopes, more in (
        ("deploy pipeline", [Scope.READ, Scope.NODES_DRAIN], {"networks": ["10.20.0.0/16", "fd00:20::/32"]}),
        ("prometheus", [Scope.READ], {}),
        ("weekly report", [Scope.READ, Scope.AUDIT_READ], {"expires_seconds": 30 * DAY}),
        ("old autoscaler", [Scope.NODES_DRAIN, Scope.RUNS_CANCEL, Scope.BREAKERS_WRITE], {}),
    ):
        tokens.issue(
            name=name, scopes=scopes, actor=by, now=long_ago, **{"expires_seconds": 90 * DAY, **more}
        )
    for node in nodes.values():
        tokens.issue(name=node.name, scopes=[Scope.NODES_PUSH], node=node, actor=SYSTEM, now=long_ago)
    tokens.revoke(token=Token.objects.get(name="old autoscaler"), actor=by, reason="replaced", now=now)
    Token.objects.filter(name="prometheus").update(last_used_at=now - timedelta(seconds=12))
    for username, groups in (
        ("maria.alvarez", [GroupName.OPERATOR, GroupName.ADMIN]),
        ("jonas", [GroupName.OPERATOR]),
        ("audit-office@example.org", [GroupName.AUDITOR]),
        ("newcomer", []),
    ):
        accounts.add(username=username, groups=groups, actor=by, now=now)
    jonas = User.objects.get(username="jonas")
    accounts.deactivate(user=jonas, actor=by, reason="left the team", now=now)
