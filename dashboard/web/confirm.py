"""The second step of drain and undrain: what it says, and what it lets through."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.urls import reverse

from dashboard.selectors.nodes import NodeNow
from dashboard.web import commands

REASON_MIN_CHARACTERS = 3
REASON_MAX_CHARACTERS = 500
DEADLINES = (("", "none"), ("300", "5 minutes"), ("900", "15 minutes"), ("3600", "1 hour"))


class Act(enum.StrEnum):
    """What can be confirmed; the values stand in the URL."""

    DRAIN = "drain"
    UNDRAIN = "undrain"


class BadForm(ValueError):
    """What was typed can't be used; the text says why, for the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The inline form as it is shown."""

    act: Act
    node: str
    title: str
    consequence: str
    command: str
    reason: str = ""
    deadline: str = ""
    error: str = ""

    @property
    def verb(self) -> str:
        """What the button does."""
        return self.act.value.capitalize()

    @property
    def keep(self) -> str:
        """What the other button does."""
        return "Keep it" if self.act is Act.DRAIN else "Let it drain"

    @property
    def action(self) -> str:
        """Where the form goes."""
        return reverse(f"node-{self.act.value}", args=[self.node])

    @property
    def back(self) -> str:
        """The page without the confirm."""
        return reverse("node", args=[self.node])

    @property
    def reason_required(self) -> bool:
        """Draining asks for a reason, giving back only takes one."""
        return self.act is Act.DRAIN

    @property
    def deadlines(self) -> tuple[tuple[str, str], ...]:
        """The deadlines to choose from: (seconds as text, words)."""
        return DEADLINES if self.act is Act.DRAIN else ()

    def refused(self, typed: Mapping[str, str], error: str) -> "Confirm":
        """Return the form again with what was typed and why that doesn't do."""
        return replace(self, reason=typed.get("reason", ""), deadline=typed.get("deadline", ""), error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a person asked for; `deadline_seconds` None: none."""

    reason: str
    deadline_seconds: float | None


def wanted(query: Mapping[str, str], row: NodeNow) -> Confirm | None:
    """Return the confirm that the URL asks for, or None."""
    asked = query.get("confirm", "")
    return of(Act(asked), row) if asked in set(Act) else None


def of(act: Act, row: NodeNow) -> Confirm:
    """Return the empty form for one node."""
    if act is Act.DRAIN:
        return Confirm(
            act=act,
            node=row.name,
            title=f"Drain {row.name}?",
            consequence=_consequence(row),
            command=commands.drain(row.name),
        )
    return Confirm(
        act=act,
        node=row.name,
        title=f"Give {row.name} back to the mesh?",
        consequence="It takes new calls again as soon as it acknowledges.",
        command=commands.undrain(row.name),
    )


def typed(form: Mapping[str, str], *, act: Act) -> Typed:
    """Return what was typed; raises BadForm."""
    reason = form.get("reason", "").strip()
    if act is Act.DRAIN and len(reason) < REASON_MIN_CHARACTERS:
        raise BadForm("Say why, in 3 characters or more: whoever reads the audit will want to know.")
    if len(reason) > REASON_MAX_CHARACTERS:
        raise BadForm(f"The reason has {len(reason)} characters; at most {REASON_MAX_CHARACTERS} are kept.")
    deadline = form.get("deadline", "")
    if deadline not in dict(DEADLINES):
        raise BadForm(f"There is no deadline of {deadline!r}; choose one from the list.")
    return Typed(reason=reason, deadline_seconds=float(deadline) if deadline else None)


def _consequence(row: NodeNow) -> str:
    if not row.heard:
        return "It can't be reached now; it will drain when it is back."
    calls = row.node.in_flight
    if calls == 0:
        return "Nothing is in flight. New calls go to the other nodes."
    return (
        f"{calls} call{'s' if calls > 1 else ''} in flight finish untouched; new ones go to the other nodes."
    )
