"""What the Access page lets one make, a token, a node, a person: what was typed, and what it means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.http import QueryDict

from dashboard.models import Scope
from dashboard.services import nodes
from dashboard.services.rights import GroupName

SCOPES: dict[str, str] = {
    Scope.READ: "read all but the audit and tokens; the dashboard's metrics",
    Scope.AUDIT_READ: "read the audit and verify it",
    Scope.NODES_DRAIN: "drain any node and give it back",
    Scope.RUNS_CANCEL: "cancel runs",
    Scope.BREAKERS_WRITE: "override breakers",
    Scope.ADMIN: "aliases, nodes, tokens and people",
    Scope.NODES_PUSH: "be one node: its link, its telemetry, its own drain; no other scope goes with it",
}
GROUPS: dict[str, str] = {
    GroupName.VIEWER: "sees all but the audit",
    GroupName.AUDITOR: "sees the audit, too",
    GroupName.OPERATOR: "drains, cancels runs, overrides breakers",
    GroupName.ADMIN: "may all, this page included",
}
NEVER = "never"
DAY = 86_400
EXPIRIES = {
    str(DAY): "in 1 day",
    str(7 * DAY): "in 7 days",
    str(30 * DAY): "in 30 days",
    str(90 * DAY): "in 90 days",
    str(365 * DAY): "in 1 year",
    NEVER: "never, until it is revoked",
}
EXPIRES_DEFAULT = str(90 * DAY)


class BadChoice(ValueError):
    """A form has a value that the page never offered; the text names it and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A checkbox."""

    value: str
    words: str
    checked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenForm:
    """A token to be made."""

    name: str = ""
    scopes: tuple[str, ...] = ()
    node: str = ""
    networks: str = ""
    expires: str = EXPIRES_DEFAULT
    error: str = ""

    @classmethod
    def of(cls, post: QueryDict) -> "TokenForm":
        """Return what was typed."""
        return cls(
            name=post.get("name", "").strip(),
            scopes=tuple(post.getlist("scope")),
            node=post.get("node", ""),
            networks=post.get("networks", "").strip(),
            expires=post.get("expires", EXPIRES_DEFAULT),
        )

    @property
    def choices(self) -> list[Choice]:
        """The scopes to choose from."""
        return choices(SCOPES, self.scopes)

    @property
    def expiries(self) -> list[Choice]:
        """The lifetimes to choose from."""
        return choices(EXPIRIES, [self.expires])

    @property
    def wanted(self) -> list[Scope]:
        """The scopes that were chosen. Raises BadChoice."""
        return [Scope(value) for value in chosen("scope", self.scopes, SCOPES)]

    @property
    def expires_seconds(self) -> float | None:
        """The lifetime that was chosen, None for ever. Raises BadChoice."""
        (value,) = chosen("expires", [self.expires], EXPIRIES)
        return None if value == NEVER else float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeForm:
    """A node to be added."""

    name: str = ""
    community: str = "default"
    listen: str = nodes.LISTEN
    upstream: str = nodes.UPSTREAM
    error: str = ""

    @classmethod
    def of(cls, post: QueryDict) -> "NodeForm":
        """Return what was typed."""
        return cls(
            name=post.get("name", "").strip(),
            community=post.get("community", "").strip() or "default",
            listen=post.get("listen", "").strip() or nodes.LISTEN,
            upstream=post.get("upstream", "").strip() or nodes.UPSTREAM,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonForm:
    """A person to be added."""

    name: str = ""
    groups: tuple[str, ...] = (GroupName.VIEWER.value,)
    error: str = ""

    @classmethod
    def of(cls, post: QueryDict) -> "PersonForm":
        """Return what was typed."""
        return cls(name=post.get("name", "").strip(), groups=tuple(post.getlist("group")))

    @property
    def choices(self) -> list[Choice]:
        """The groups to choose from."""
        return choices(GROUPS, self.groups)

    @property
    def wanted(self) -> list[GroupName]:
        """The groups that were chosen. Raises BadChoice."""
        return groups_of(self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """All three, as they stand on the page."""

    token: TokenForm = field(default_factory=TokenForm)
    node: NodeForm = field(default_factory=NodeForm)
    person: PersonForm = field(default_factory=PersonForm)


def groups_of(values: Iterable[str]) -> list[GroupName]:
    """Return groups by their names. Raises BadChoice."""
    return [GroupName(value) for value in chosen("group", values, GROUPS)]


def choices(offered: Mapping[str, str], checked: Iterable[str]) -> list[Choice]:
    """Return what is offered, with what is checked."""
    on = set(checked)
    return [Choice(value=str(value), words=words, checked=value in on) for value, words in offered.items()]


def chosen(name: str, values: Iterable[str], offered: Mapping[str, str]) -> list[str]:
    """Return the values, which are all on offer. Raises BadChoice."""
    values = list(values)
    for value in values:
        if value not in offered:
            raise BadChoice(f"{name}={value[:40]!r}: expected one of {', '.join(offered)}.")
    return values
