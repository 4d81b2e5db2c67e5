"""The second step of what the Access page takes away or changes: what it says, and what it asks for."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.contrib.auth.models import User
from django.http import Http404, QueryDict
from django.urls import reverse

from dashboard.models import Node, Token
from dashboard.selectors import access
from dashboard.services import link
from dashboard.services.words import REASON_MAX_CHARACTERS
from dashboard.web import commands
from dashboard.web.access_forms import GROUPS, Choice, choices
from dashboard.web.confirm import REASON_MIN_CHARACTERS, BadForm


class Act(enum.StrEnum):
    """What can be confirmed; the values stand in the URL."""

    REVOKE = "revoke"
    FORGET = "forget"
    GROUPS = "groups"
    DEACTIVATE = "deactivate"
    REACTIVATE = "reactivate"
    PASSWORD = "password"  # noqa: S105 - a new one


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The inline form as it is shown; `choices` are groups, `insist` is a box that must be ticked."""

    section: str
    title: str
    consequence: str
    verb: str
    action: str
    command: str = ""
    reason: str = ""
    reason_required: bool = True
    choices: tuple[Choice, ...] = ()
    insist: str = ""
    error: str = ""

    def refused(self, post: QueryDict, error: str) -> "Step":
        """Return the form again with what was typed and why that doesn't do."""
        ticked = post.getlist("group")
        again = tuple(replace(each, checked=each.value in ticked) for each in self.choices)
        return replace(self, reason=post.get("reason", ""), choices=again, error=error)


def wanted(query: Mapping[str, str], *, now: datetime) -> Step | None:
    """Return the step that the URL asks for, or None. Raises Http404 for what isn't there."""
    asked, of = query.get("confirm", ""), query.get("of", "")
    if asked == Act.REVOKE:
        return revoke(token_of(of))
    if asked == Act.FORGET:
        return forget(node_of(of), now=now)
    return person(Act(asked), person_of(of)) if asked in set(Act) else None


def reason_of(post: Mapping[str, str], *, required: bool = True) -> str:
    """Return the reason that was typed. Raises BadForm."""
    reason = post.get("reason", "").strip()
    if required and len(reason) < REASON_MIN_CHARACTERS:
        raise BadForm(
            f"Say why, in {REASON_MIN_CHARACTERS} characters or more: whoever reads the audit wants to know."
        )
    if len(reason) > REASON_MAX_CHARACTERS:
        raise BadForm(f"The reason has {len(reason)} characters; at most {REASON_MAX_CHARACTERS} are kept.")
    return reason


def revoke(token: Token) -> Step:
    """Return the step before a token is revoked."""
    return Step(
        section="tokens",
        title=f"Revoke {token.name} ({token.prefix})?",
        consequence="Its next request is refused and its open connections end at once. There is no way back.",
        verb="Revoke",
        action=reverse("access-token-revoke", args=[token.prefix]),
        command=commands.revoke_token(token.prefix),
    )


def forget(node: Node, *, now: datetime) -> Step:
    """Return the step before a node is forgotten."""
    connected = link.is_connected(node, node.link, now=now)
    return Step(
        section="nodes",
        title=f"Forget {node.name}?",
        consequence=(
            "Its tokens end, and what is asked of it is dropped; other nodes let go of it. It goes on by "
            "itself until somebody stops it. Its traces, its drains and the audit stay."
        ),
        verb="Forget",
        action=reverse("access-node-forget", args=[node.name]),
        command=commands.forget_node(node.name),
        insist=f"{node.name} is connected now; forget it all the same" if connected else "",
    )


def person(act: Act, user: User) -> Step:
    """Return the step before a person's account is changed."""
    name = user.get_username()
    words = {
        Act.GROUPS: (f"Groups of {name}", "They hold with the next request.", "Change"),
        Act.DEACTIVATE: (
            f"Deactivate {name}?",
            "Their sessions end at once and they can't sign in; the name stays theirs.",
            "Deactivate",
        ),
        Act.REACTIVATE: (f"Let {name} in again?", "With the password and the groups they had.", "Reactivate"),
        Act.PASSWORD: (
            f"Give {name} a new password?",
            "Their sessions end at once. The new one is shown once, and they must choose their own with it.",
            "Make a password",
        ),
    }
    title, consequence, verb = words[act]
    return Step(
        section="people",
        title=title,
        consequence=consequence,
        verb=verb,
        action=reverse(f"access-person-{act.value}", args=[user.pk]),
        reason_required=act is Act.DEACTIVATE,
        choices=tuple(choices(GROUPS, access.told(user).groups)) if act is Act.GROUPS else (),
    )


def token_of(prefix: str) -> Token:
    """Return the token with a prefix. Raises Http404."""
    token = Token.objects.filter(prefix=prefix).first()
    if token is None:
        raise Http404(f"There is no token {prefix[:40]!r}.")
    return token


def node_of(name: str) -> Node:
    """Return a node by its name, with its link. Raises Http404."""
    node = Node.objects.select_related("link").filter(name=name).first()
    if node is None:
        raise Http404(f"There is no node called {name[:63]!r}.")
    return node


def person_of(pk: str | int) -> User:
    """Return a person by the key of their row. Raises Http404."""
    text = str(pk)
    user = (
        User.objects.filter(pk=int(text)).first()
        if text.isascii() and text.isdigit() and len(text) < 10
        else None
    )
    if user is None:
        raise Http404("There is nobody of this number.")
    return user
