"""What a node's hello changes: reboots, and other lives of the dashboard."""

from datetime import datetime
from typing import Any

import pytest
from django.db import transaction

from dashboard.models import Action, AuditEntry, DesiredState, Drain, DrainStatus, Node
from dashboard.services import aliases, audit, drain, drain_hello, overrides
from meshcore.override import Action as Override
from tests.dashboard.services.test_drain import ALICE, CI, entries, later

pytestmark = pytest.mark.django_db


def hello(node: Node, epoch: str, now: datetime, generation: int = 0) -> Any:
    """Let the node say hello."""
    with transaction.atomic():
        return drain_hello.node_said_hello(
            node=node,
            boot_epoch=epoch,
            desired_generation=generation,
            head=audit.locked_head(),
            now=now,
        )


def test_a_drain_that_is_not_sticky_ends_with_another_boot_epoch(node: Node, now: datetime) -> None:
    Node.objects.update(boot_epoch="boot-1")
    drain.request(node=node, actor=CI, now=now)
    assert hello(node, "boot-1", now, 1).drain is not None

    desired = hello(node, "boot-2", later(now, 5), 1)

    assert (desired.generation, desired.drain) == (2, None)
    assert Drain.objects.get().status == DrainStatus.ENDED_BY_RESTART.value
    assert entries(Action.UNDRAIN)[0].actor_kind == "system"


def test_an_unknown_boot_epoch_never_counts_as_another(node: Node, now: datetime) -> None:
    Node.objects.update(boot_epoch="boot-1")
    drain.request(node=node, actor=CI, now=now)

    assert hello(node, "", now).drain is not None


def test_the_first_epoch_heard_of_is_the_one_the_drain_lives_in(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=CI, now=now)

    assert hello(node, "boot-1", now).drain is not None
    assert hello(node, "boot-2", now).drain is None


def test_a_sticky_drain_stays_over_reboots(node: Node, now: datetime) -> None:
    Node.objects.update(boot_epoch="boot-1")
    drain.request(node=node, actor=ALICE, now=now)

    desired = hello(node, "boot-2", now)

    assert desired.generation == 1
    assert desired.drain.sticky is True
    drain.request(node=node, actor=ALICE, sticky=False, now=now)
    assert hello(node, "boot-2", now).drain is not None  # it was not booted since


def test_an_expired_drain_ends_before_hello_is_answered(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=CI, expires_seconds=60, now=now)

    assert hello(node, "", later(now, 60)).drain is None


def test_a_node_that_knew_another_life_of_the_dashboard_is_overtaken(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=ALICE, reason="update", now=now)

    desired = hello(node, "boot-1", now, generation=40)

    assert (desired.generation, desired.drain.reason) == (41, "update")
    assert Drain.objects.get().generation == 41
    [entry] = entries(Action.DESIRED_RESTORE)
    assert (entry.actor_kind, entry.reason, entry.generation) == ("system", "restored", 41)


def test_the_next_life_keeps_its_own_overrides_and_aliases(node: Node, now: datetime) -> None:
    table = {"mesh/fast": ["groq/llama3"]}
    aliases.put(nodes=[node], table=table, reason="", actor=ALICE, now=now)
    overrides.put(
        node=node,
        key="groq",
        action=Override.FORCE_OPEN,
        reason="",
        expires_seconds=60,
        actor=ALICE,
        now=now,
    )

    desired = hello(node, "boot-1", now, generation=40)

    assert (desired.generation, desired.aliases) == (41, table)
    assert [override["key"] for override in desired.overrides] == ["groq"]
    assert overrides.expire(now=later(now, 60)) == 1
    assert DesiredState.objects.get(node=node).generation == 42


def test_a_node_that_was_forgotten_and_added_again_lets_go_of_what_it_held(node: Node, now: datetime) -> None:
    desired = hello(node, "boot-1", now, generation=7)

    assert (desired.generation, desired.drain, desired.overrides, desired.aliases) == (8, None, (), None)


def test_a_hello_that_changes_nothing_writes_no_audit(node: Node, now: datetime) -> None:
    before = AuditEntry.objects.count()

    desired = hello(node, "boot-1", now)

    assert (desired.generation, desired.drain, desired.overrides) == (0, None, ())
    assert AuditEntry.objects.count() == before
