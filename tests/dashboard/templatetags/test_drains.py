"""What came of a drain, in words."""

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from dashboard.templatetags.drains import came_of, deadline, stands_against
from meshcore.guards import Blocker, BlockerKind

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)
SOON, PAST = NOW + timedelta(minutes=14), NOW - timedelta(minutes=1)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def row(**facts: Any) -> Any:
    drain = SimpleNamespace(deadline_at=facts.pop("deadline_at", None), force=facts.pop("force", False))
    known = {"known": True, "left": 3, "drained_seconds": None, "safe_seconds": None, "standing": "draining"}
    return SimpleNamespace(**{"active": True, "drain": drain, **known, **facts})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"standing": "safe to stop", "safe_seconds": 44.2}, "safe to stop after 44 s"),
        ({"standing": "safe to stop"}, "safe to stop"),
        (
            {"standing": "drained", "drained_seconds": 41.0},
            "drained after 41 s; calls it passes on are still open",
        ),
        ({"known": False}, "the node has not told of it yet"),
        ({}, "no deadline"),
        ({"deadline_at": SOON}, "deadline in 14 min"),
        ({"deadline_at": SOON, "force": True}, "what is left is ended by force in 14 min"),
        ({"deadline_at": PAST, "force": True}, "what is left is ended by force: now"),
        ({"active": False, "safe_seconds": 44.2}, "was safe to stop after 44 s"),
        ({"active": False, "drained_seconds": 41.0}, "was drained after 41 s, never safe to stop"),
        ({"active": False}, "ended with 3 in flight"),
        ({"active": False, "known": False}, "the node never told of it"),
    ],
)
def test_it_says_what_came_of_it_or_what_comes_next(facts: dict[str, Any], said: str) -> None:
    assert words(came_of(row(**facts), NOW)) == said


@pytest.mark.parametrize(
    ("at", "force", "exceeded", "said"),
    [
        (None, False, False, "none: it waits for as long as the work takes"),
        (SOON, False, False, "in 14 min , at 14:35:07 ; then it is only said that work is left"),
        (SOON, True, False, "in 14 min , at 14:35:07 ; what is left then is ended by force"),
        (PAST, False, False, "was 14:20:07"),
        (PAST, False, True, "deadline exceeded it was 14:20:07 ; work was left then"),
    ],
)
def test_a_deadline_says_when_and_what_happens_then(
    at: datetime | None, force: bool, exceeded: bool, said: str
) -> None:
    assert words(deadline(at, force, exceeded, NOW)) == said


@pytest.mark.parametrize(
    ("kind", "detail", "subject", "said"),
    [
        (BlockerKind.LAST_PROVIDER, "a has the last of chat", "chat", "a has the last of chat."),
        (BlockerKind.TOO_MANY_DRAINING, "2 of 2", "b", "2 of 2; b drains already."),
        (BlockerKind.TOO_MANY_DRAINING, "3 of 4", "b, c", "3 of 4; b, c drain already."),
        (BlockerKind.TOO_MANY_DRAINING, "1 of 1", "", "1 of 1."),
    ],
)
def test_what_stands_against_a_drain_is_a_sentence(
    kind: BlockerKind, detail: str, subject: str, said: str
) -> None:
    assert stands_against(Blocker(kind=kind, detail=detail, subject=subject)) == said
