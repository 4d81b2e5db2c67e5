"""The second step of an override: what it says of a breaker, and what it lets through."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django.urls import reverse

from dashboard.models import Action as Audited
from dashboard.models import Node
from dashboard.selectors import providers
from dashboard.services.words import REASON_MAX_CHARACTERS
from dashboard.web import commands
from dashboard.web.confirm import REASON_MIN_CHARACTERS, BadForm, Choices
from meshcore.override import KEY_MAX_CHARACTERS, Action

NODES_MAX = 200  # that one can choose from; on a larger mesh one node of many is named by its page or the API
NEVER = "never"
HOUR = "3600"
EXPIRIES: Choices = (
    ("1800", "30 minutes"),
    (HOUR, "1 hour"),
    ("14400", "4 hours"),
    ("86400", "1 day"),
    ("604800", "1 week"),
    (NEVER, "until it is lifted"),
)


class Act(enum.StrEnum):
    """What can be done with a breaker; the values of Action, and the end of one."""

    FORCE_OPEN = "force_open"
    FORCE_CLOSED = "force_closed"
    RESET = "reset"
    LIFT = "lift"


ACTS: Choices = (
    (Act.FORCE_OPEN, "take out of service"),
    (Act.FORCE_CLOSED, "hold closed"),
    (Act.RESET, "reset"),
    (Act.LIFT, "lift the override"),
)
LASTING = frozenset({Act.FORCE_OPEN, Act.FORCE_CLOSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideForm:
    """The inline form as it is shown; `nodes` have the breaker, `typed` is what stands in the fields."""

    key: str
    nodes: tuple[str, ...]
    command: str
    typed: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    wrong: str = ""

    @property
    def what(self) -> str:
        """What people call it."""
        peer = self.key.removeprefix(providers.PEER)
        return self.key if peer == self.key else f"the way to {peer}"

    @property
    def acts(self) -> Choices:
        """What to choose from: (value, words)."""
        return ACTS

    @property
    def expiries(self) -> Choices:
        """How long it may last: (value, words)."""
        return EXPIRIES

    @property
    def action(self) -> str:
        """Where the form goes."""
        return reverse("override")

    @property
    def back(self) -> str:
        """The page without the form."""
        return reverse("providers")

    def refused(self, typed: Mapping[str, str], error: str, wrong: str) -> "OverrideForm":
        """Return the form again with what was typed and why that doesn't do."""
        return replace(self, typed=typed, error=error, wrong=wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a person asked for; `node` None: every node that has it. `expires_seconds` None: until lifted."""

    act: Act
    key: str
    node: Node | None
    reason: str
    expires_seconds: float | None

    @property
    def order(self) -> Action | None:
        """What nodes are told to do; None: to do it no more."""
        return None if self.act is Act.LIFT else Action(self.act.value)


def wanted(query: Mapping[str, str]) -> OverrideForm | None:
    """Return the form that the URL asks for, or None."""
    key = query.get("override", "")[:KEY_MAX_CHARACTERS]
    if not key:
        return None
    typed = {name: query.get(name, "") for name in ("node", "action")}
    return of(key, {"expires": HOUR, **typed})


def of(key: str, typed: Mapping[str, str]) -> OverrideForm:
    """Return the form for one breaker."""
    nodes = providers.having(key)[:NODES_MAX]
    lifts = typed.get("action") == Act.LIFT
    node = typed.get("node", "")
    command = commands.lift(key, node) if lifts else commands.override(key, node)
    return OverrideForm(key=key, nodes=tuple(node.name for node in nodes), command=command, typed=typed)


def typed(form: Mapping[str, str]) -> Typed:
    """Return what was typed; raises BadForm."""
    act = _choice(form, "action", ACTS)
    return Typed(
        act=Act(act),
        key=form.get("key", ""),
        node=_node(form.get("node", "")),
        reason=_reason(form),
        expires_seconds=_expires(form) if act in LASTING else None,
    )


def audited_as(form: Mapping[str, str]) -> Audited:
    """Return what the audit calls what was asked for; an override where it can't be told."""
    act = form.get("action", "")
    return Audited(f"breaker.{act}") if act in set(Act) else Audited.BREAKER_FORCE_OPEN


def _choice(form: Mapping[str, str], name: str, choices: Choices) -> str:
    value = form.get(name, "")
    if value not in dict(choices):
        raise BadForm(f"There is no choice {value[:40]!r} here; take one from the list.", name)
    return value


def _node(name: str) -> Node | None:
    if not name:
        return None
    node = Node.objects.filter(name=name).first()
    if node is None:
        raise BadForm(f"There is no node called {name[:63]!r}.", "node")
    return node


def _expires(form: Mapping[str, str]) -> float | None:
    value = _choice(form, "expires", EXPIRIES)
    return None if value == NEVER else float(value)


def _reason(form: Mapping[str, str]) -> str:
    reason = form.get("reason", "").strip()
    if len(reason) < REASON_MIN_CHARACTERS:
        raise BadForm("Say why, in 3 characters or more: whoever finds it overridden will want to know.")
    if len(reason) > REASON_MAX_CHARACTERS:
        raise BadForm(f"The reason has {len(reason)} characters; at most {REASON_MAX_CHARACTERS} are kept.")
    return reason
