"""The bodies of a drain. Zero bytes and `{}` mean drain; `PUT` can mean nothing else."""

import enum
from dataclasses import dataclass, field
from typing import Any

from dashboard.api.body import FLAG, OBJECT, SECONDS, TEXT, Key, Shape, choice, decode, expect


class DrainAction(enum.StrEnum):
    """What may be asked for."""

    DRAIN = "drain"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the body asks for; `wishes` are keywords of `services.drain.request` or `cancel`."""

    action: DrainAction = DrainAction.DRAIN
    wishes: dict[str, Any] = field(default_factory=dict)


REASON = Key(TEXT, "Why; shown on pages and kept in the audit.", bounds={"maxLength": 500})
DRAIN_KEYS = {
    "reason": REASON,
    "deadline_seconds": Key(
        SECONDS,
        "How long work in flight may take; null for as long as it needs, 0 with `force` for not at all.",
        bounds={"maximum": 604_800},
    ),
    "force": Key(FLAG, "At the deadline, move runs to peers and cancel the rest."),
    "sticky": Key(FLAG, "Survive the node's next start; false for a new drain by token, true by a person."),
    "expires_seconds": Key(
        SECONDS,
        "End the drain by itself after this long; null for never.",
        bounds={"exclusiveMinimum": 0, "maximum": 2_592_000},
    ),
    "meta": Key(OBJECT, "Anything that the one who drains wants to find again, up to 4096 characters."),
    "override_guards": Key(FLAG, "Drain although guards refuse it; recorded in the audit."),
}
PUT = Shape(keys=DRAIN_KEYS, example={"reason": "kernel update", "deadline_seconds": 1800})
POST_DRAIN = Shape(
    keys={"action": Key(choice([DrainAction.DRAIN.value]), "The default."), **DRAIN_KEYS},
    example={"action": "drain", "reason": "rolling out 2.4"},
)
POST_CANCEL = Shape(
    keys={
        "action": Key(choice([DrainAction.CANCEL.value]), "Give the node back.", required=True),
        "reason": REASON,
    },
    example={"action": "cancel", "reason": "rolled out"},
)
POSTS = {DrainAction.DRAIN: POST_DRAIN, DrainAction.CANCEL: POST_CANCEL}
ACTION = choice([action.value for action in DrainAction])


def parse(raw: bytes) -> Ask:
    """Return what the body of a POST asks for. Raises BodyError."""
    document = decode(raw) if raw else {}
    asked = document.get("action", DrainAction.DRAIN.value)
    expect("action", asked, ACTION)
    action = DrainAction(asked)
    POSTS[action].check(document, of=f" for {action.value}")
    return Ask(action=action, wishes={key: value for key, value in document.items() if key != "action"})
