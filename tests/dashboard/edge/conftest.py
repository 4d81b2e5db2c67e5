"""Nodes that have a log, and viewers of its runs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dashboard import runtime
from dashboard.models import Scope
from dashboard.runtime import Runtime
from dashboard.services import nodes, tokens
from dashboard.services.actor import SYSTEM
from tests.dashboard.edge.watched import (
    NOW,
    LogNode,
    NewNode,
    Watch,
    bearer,
    watching,
)


@pytest.fixture
def reader(db: None) -> tuple[bytes, bytes]:
    """The header of a program that may read."""
    return bearer(tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)[1])


@pytest.fixture
async def rt() -> AsyncIterator[Runtime]:
    async with runtime.running(jobs=()) as running:
        yield running


@pytest.fixture
async def new_node(rt: Runtime) -> AsyncIterator[NewNode]:
    """Adds a node and connects it."""
    started: list[LogNode] = []

    async def new(name: str, **more: Any) -> LogNode:
        _, secret = await rt.in_control(nodes.add, name=name, actor=SYSTEM, now=NOW)
        started.append(LogNode(name, secret, **more))
        return await started[-1].connect()

    yield new
    for each in started:
        await each.die()


@pytest.fixture
async def watch(rt: Runtime) -> AsyncIterator[Watch]:
    async with watching() as start:
        yield start
