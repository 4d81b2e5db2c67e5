"""The second step of drain, change and undrain: what it says, and what it lets through."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from django.urls import reverse
from msgspec import UNSET

from dashboard.models import Drain
from dashboard.selectors import drain_record, guards
from dashboard.selectors.nodes import NodeNow
from dashboard.services.drain_wish import DEADLINE_MAX_SECONDS, Seconds
from dashboard.services.words import REASON_MAX_CHARACTERS
from dashboard.web import commands
from meshcore.guards import Blocker

REASON_MIN_CHARACTERS = 3
KEEP, OWN, NOW = "keep", "own", "0"
MINUTES_MAX = int(DEADLINE_MAX_SECONDS / 60)
Choices = tuple[tuple[str, str], ...]
"""What a select offers: (value, words)."""
DEADLINES: Choices = (
    ("", "none"),
    ("300", "5 minutes"),
    ("900", "15 minutes"),
    ("3600", "1 hour"),
    (OWN, "other…"),
    (NOW, "now"),
)
EXPIRIES: Choices = (
    ("", "never"),
    ("3600", "after 1 hour"),
    ("14400", "after 4 hours"),
    ("86400", "after 1 day"),
    ("604800", "after 1 week"),
)


class Act(enum.StrEnum):
    """What can be confirmed; the values stand in the URL."""

    DRAIN = "drain"
    CHANGE = "change"
    UNDRAIN = "undrain"


class BadForm(ValueError):
    """What was typed into `field` can't be used; the text says why, for the person."""

    def __init__(self, message: str, field: str = "reason") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The inline form as it is shown; `typed` is what stands in its fields, `wrong` the field of `error`.

    `generation` is the order that the form was made from: with another one it is asked for again.
    """

    act: Act
    node: str
    title: str
    consequence: str
    command: str
    typed: Mapping[str, str] = field(default_factory=dict)
    deadlines: Choices = ()
    expiries: Choices = ()
    blockers: tuple[Blocker, ...] = ()
    generation: int | None = None
    error: str = ""
    wrong: str = ""

    @property
    def verb(self) -> str:
        """What the button does."""
        return {Act.CHANGE: "Change the drain of"}.get(self.act, self.act.value.capitalize())

    @property
    def keep(self) -> str:
        """What the other button does."""
        return {Act.DRAIN: "Keep it", Act.CHANGE: "Leave it"}.get(self.act, "Let it drain")

    @property
    def action(self) -> str:
        """Where the form goes."""
        return reverse("node-undrain" if self.act is Act.UNDRAIN else "node-drain", args=[self.node])

    @property
    def back(self) -> str:
        """The page without the confirm."""
        return reverse("node", args=[self.node])

    @property
    def reason_required(self) -> bool:
        """Draining asks for a reason, giving back only takes one."""
        return self.act is not Act.UNDRAIN

    def refused(self, typed: Mapping[str, str], error: str, wrong: str = "") -> "Confirm":
        """Return the form again with what was typed and why that doesn't do."""
        return replace(self, typed=typed, error=error, wrong=wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a person asked for; `if_generation` None: whatever is asked of the node by now."""

    reason: str
    deadline_seconds: Seconds = UNSET
    expires_seconds: Seconds = UNSET
    force: bool = False
    sticky: bool = False
    override_guards: bool = False
    if_generation: int | None = None


def wanted(query: Mapping[str, str], row: NodeNow, *, now: datetime) -> Confirm | None:
    """Return the confirm that the URL asks for, or None."""
    asked = query.get("confirm", "")
    return of(Act(asked), row, now=now) if asked in set(Act) else None


def of(act: Act, row: NodeNow, *, now: datetime) -> Confirm:
    """Return the form for one node as it stands; a drain that is not there can't be changed, but begun."""
    if act is Act.UNDRAIN:
        return _undrain(row)
    present = drain_record.present(node_id=row.node.pk) if act is Act.CHANGE else None
    return _change(row, present.drain) if present else _drain(row, now=now)


def typed(form: Mapping[str, str], *, act: Act, deadline_at: datetime | None = None) -> Typed:
    """Return what was typed; raises BadForm. `deadline_at`: the deadline that is kept, when it is."""
    reason = _reason(form, required=act is not Act.UNDRAIN)
    if act is Act.UNDRAIN:
        return Typed(reason=reason)
    deadline_seconds = _deadline(form, act)
    force = bool(form.get("force"))
    if deadline_seconds == 0 and not force:
        raise BadForm("“Now” ends what still runs: tick “By force”, if that is meant.", "force")
    if force and (deadline_seconds is None or (deadline_seconds is UNSET and deadline_at is None)):
        raise BadForm("“By force” says what happens at the deadline: choose one, or “now”.", "deadline")
    return Typed(
        reason=reason,
        deadline_seconds=deadline_seconds,
        expires_seconds=_chosen(form, "expires", EXPIRIES, act),
        force=force,
        sticky=bool(form.get("sticky")),
        override_guards=bool(form.get("override_guards")),
        if_generation=_generation(form) if act is Act.CHANGE else None,
    )


def _drain(row: NodeNow, *, now: datetime) -> Confirm:
    return Confirm(
        act=Act.DRAIN,
        node=row.name,
        title=f"Drain {row.name}?",
        consequence=_consequence(row),
        command=commands.drain(row.name),
        typed={"sticky": "1"},
        deadlines=DEADLINES,
        expiries=EXPIRIES,
        blockers=tuple(guards.judge(name=row.name, community=row.node.community, now=now)),
    )


def _change(row: NodeNow, drain: Drain) -> Confirm:
    generation = row.order.generation
    return Confirm(
        act=Act.CHANGE,
        node=row.name,
        title=f"Change the drain of {row.name}?",
        consequence="It goes on, and keeps its beginning and who began it.",
        command=commands.change_drain(row.name, generation),
        typed={
            "reason": drain.reason,
            "deadline": KEEP,
            "expires": KEEP,
            "force": "1" * drain.force,
            "sticky": "1" * drain.sticky,
        },
        deadlines=((KEEP, f"as it is: {_at(drain.deadline_at, 'none')}"), *DEADLINES),
        expiries=((KEEP, f"as it is: {_at(drain.expires_at, 'never')}"), *EXPIRIES),
        generation=generation,
    )


def _undrain(row: NodeNow) -> Confirm:
    return Confirm(
        act=Act.UNDRAIN,
        node=row.name,
        title=f"Give {row.name} back to the mesh?",
        consequence="It takes new calls again as soon as it acknowledges.",
        command=commands.undrain(row.name),
    )


def _reason(form: Mapping[str, str], *, required: bool) -> str:
    reason = form.get("reason", "").strip()
    if required and len(reason) < REASON_MIN_CHARACTERS:
        raise BadForm("Say why, in 3 characters or more: whoever reads the audit will want to know.")
    if len(reason) > REASON_MAX_CHARACTERS:
        raise BadForm(f"The reason has {len(reason)} characters; at most {REASON_MAX_CHARACTERS} are kept.")
    return reason


def _deadline(form: Mapping[str, str], act: Act) -> Seconds:
    if form.get("deadline") != OWN:
        return _chosen(form, "deadline", DEADLINES, act)
    typed = form.get("minutes", "").strip().replace(",", ".")
    try:
        minutes = float(typed)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= MINUTES_MAX:  # NaN is refused, too
        said = f"{typed[:20]!r} minutes" if typed else "No number of minutes"
        raise BadForm(f"{said}: type one above 0 and up to {MINUTES_MAX:,}.".replace(",", " "), "minutes")
    return minutes * 60


def _chosen(form: Mapping[str, str], name: str, choices: Choices, act: Act) -> Seconds:
    value = form.get(name, "")
    if value == KEEP and act is Act.CHANGE:
        return UNSET
    if value not in dict(choices):
        raise BadForm(f"There is no choice {value[:40]!r} here; take one from the list.", name)
    return float(value) if value else None


def _generation(form: Mapping[str, str]) -> int:
    value = form.get("generation", "")
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise BadForm(f"The form says generation {value[:40]!r}, which is no number: open it again.")
    return int(value)


def _at(moment: datetime | None, nothing: str) -> str:
    return nothing if moment is None else moment.astimezone(UTC).strftime("%d %b %H:%M:%S")


def _consequence(row: NodeNow) -> str:
    if not row.heard:
        return "It can't be reached now; it will drain when it is back."
    calls = row.node.in_flight
    if calls == 0:
        return "Nothing is in flight. New calls go to the other nodes."
    return (
        f"{calls} call{'s' if calls > 1 else ''} in flight finish untouched; new ones go to the other nodes."
    )
