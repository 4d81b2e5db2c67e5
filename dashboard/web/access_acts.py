"""What the Access page does. A secret is shown in the answer to the request that made it, and never again."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from dashboard.models import Action, Token
from dashboard.services import accounts, nodes, tokens
from dashboard.services.accounts import InvalidPerson
from dashboard.services.actor import Actor
from dashboard.services.nodes import InvalidNode, NodeConnected, Place
from dashboard.services.people import AdminNeeded
from dashboard.services.rights import Right
from dashboard.services.tokens import InvalidToken
from dashboard.web import access_steps, commands, refused
from dashboard.web.access import show
from dashboard.web.access_forms import BadChoice, Forms, NodeForm, PersonForm, TokenForm, groups_of
from dashboard.web.access_steps import Act, Step
from dashboard.web.confirm import BadForm
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, actor_of, page
from meshcore.clock import utcnow

BETWEEN_NETWORKS = re.compile(r"[\s,;]+")
REFUSED = HTTPStatus.UNPROCESSABLE_ENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Something new with its secret; `blocks` are (what it is, text to copy)."""

    title: str
    secret: str
    words: str = ""
    note: str = ""
    blocks: tuple[tuple[str, str], ...] = ()


@require_POST
@page(Right.ADMIN)
def make_token(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Make a token and show it once."""
    form = TokenForm.of(request.POST)
    try:
        token, secret = tokens.issue(
            name=form.name,
            scopes=form.wanted,
            node=access_steps.node_of(form.node) if form.node else None,
            networks=filter(None, BETWEEN_NETWORKS.split(form.networks)),
            expires_seconds=form.expires_seconds,
            actor=actor_of(request, visitor),
        )
    except (BadChoice, InvalidToken) as exc:
        refused.at_once(request, visitor, Action.TOKEN_ISSUE, "tokens", str(exc))
        form = replace(form, error=str(exc))
        return show(request, visitor, forms=Forms(token=form), status=REFUSED)
    made = Made(
        title=f"Token {token.name}",
        words=f"It opens {', '.join(token.scopes)}.",
        secret=secret,
        blocks=(("Use it", _first_use(token, secret)),),
    )
    return _show_once(request, visitor, made)


@require_POST
@page(Right.ADMIN)
def revoke_token(request: HttpRequest, visitor: Visitor, prefix: str) -> HttpResponse:
    """End a token."""
    token = access_steps.token_of(prefix)

    def carry_out(actor: Actor, reason: str) -> str:
        if tokens.revoke(token=token, actor=actor, reason=reason):
            return f"Token {token.name} ({token.prefix}) is revoked."
        return f"Token {token.name} ({token.prefix}) was revoked before; nothing changed."

    what = Action.TOKEN_REVOKE, f"token:{token.prefix}"
    return _act(request, visitor, access_steps.revoke(token), carry_out, what=what)


@require_POST
@page(Right.ADMIN)
def add_node(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Add a node; show its token once, with the configuration and the command that start it."""
    form = NodeForm.of(request.POST)
    place = Place(dashboard_url=settings.MESH_URL.origin, listen=form.listen, upstream=form.upstream)
    try:
        enrolled = nodes.enrol(
            name=form.name, community=form.community, place=place, actor=actor_of(request, visitor)
        )
    except InvalidNode as exc:
        refused.at_once(request, visitor, Action.NODE_ADD, "nodes", str(exc))
        form = replace(form, error=str(exc))
        return show(request, visitor, forms=Forms(node=form), status=REFUSED)
    made = Made(
        title=f"Node {enrolled.node.name}",
        note=nodes.ALONE,
        secret=enrolled.secret,
        blocks=(
            (f"Save this as {enrolled.file}", enrolled.configuration),
            ("Start it", enrolled.start()),
        ),
    )
    return _show_once(request, visitor, made)


@require_POST
@page(Right.ADMIN)
def forget_node(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Take a node out of the mesh."""
    node = access_steps.node_of(name)
    insists = request.POST.get("insist") == "yes"

    def carry_out(actor: Actor, reason: str) -> str:
        nodes.forget(node=node, actor=actor, reason=reason, even_connected=insists)
        return f"{node.name} is forgotten."

    what = Action.NODE_FORGET, f"node:{node.name}"
    return _act(request, visitor, access_steps.forget(node, now=utcnow()), carry_out, what=what)


@require_POST
@page(Right.ADMIN)
def add_person(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Add a person; show their one-time password once."""
    form = PersonForm.of(request.POST)
    try:
        user, password = accounts.add(
            username=form.name, groups=form.wanted, actor=actor_of(request, visitor)
        )
    except (BadChoice, InvalidPerson) as exc:
        refused.at_once(request, visitor, Action.USER_ADD, "users", str(exc))
        form = replace(form, error=str(exc))
        return show(request, visitor, forms=Forms(person=form), status=REFUSED)
    return _show_once(request, visitor, _password_of(user, password))


@require_POST
@page(Right.ADMIN)
def new_password(request: HttpRequest, visitor: Visitor, pk: int) -> HttpResponse:
    """Give a person a new one-time password, and show it once."""
    user = access_steps.person_of(pk)
    try:
        reason = access_steps.reason_of(request.POST.dict(), required=False)
        password = accounts.new_password(user=user, actor=actor_of(request, visitor), reason=reason)
    except (AdminNeeded, BadForm) as exc:
        refused.at_once(request, visitor, Action.PASSWORD_NEW, f"user:{user.get_username()}", str(exc))
        step = access_steps.person(Act.PASSWORD, user).refused(request.POST, str(exc))
        return show(request, visitor, step=step, status=REFUSED)
    return _show_once(request, visitor, _password_of(user, password))


@require_POST
@page(Right.ADMIN)
def change_person(request: HttpRequest, visitor: Visitor, pk: int, act: Act) -> HttpResponse:
    """Change a person's groups, or whether they may sign in."""
    user = access_steps.person_of(pk)

    def carry_out(actor: Actor, reason: str) -> str:
        match act:
            case Act.GROUPS:
                groups = groups_of(request.POST.getlist("group"))
                accounts.set_groups(user=user, groups=groups, actor=actor, reason=reason)
                return f"{user.get_username()} is in {', '.join(groups) or 'no group'} now."
            case Act.DEACTIVATE:
                accounts.deactivate(user=user, actor=actor, reason=reason)
                return f"{user.get_username()} is deactivated."
            case _:
                accounts.reactivate(user=user, actor=actor, reason=reason)
                return f"{user.get_username()} may sign in again."

    what = Action.USER_CHANGE, f"user:{user.get_username()}"
    return _act(request, visitor, access_steps.person(act, user), carry_out, what=what)


def _act(
    request: HttpRequest,
    visitor: Visitor,
    step: Step,
    carry_out: Callable[[Actor, str], str],
    *,
    what: tuple[Action, str],
) -> HttpResponse:
    """Carry a second step out and go back to the list, or show it again with what is wrong.

    `what` is what the audit calls it: action and target.
    """
    try:
        reason = access_steps.reason_of(request.POST.dict(), required=step.reason_required)
        said = carry_out(actor_of(request, visitor), reason)
    except (AdminNeeded, BadChoice, BadForm, NodeConnected) as exc:
        refused.at_once(request, visitor, *what, str(exc))
        return show(request, visitor, step=step.refused(request.POST, str(exc)), status=REFUSED)
    messages.success(request, said)
    return redirect("access")


def _show_once(request: HttpRequest, visitor: Visitor, made: Made) -> HttpResponse:
    context = {**frame(visitor, section="access", now=utcnow()), "made": made}
    return render(request, "access_made.html", context)


def _password_of(user: User, password: str) -> Made:
    name = user.get_username()
    return Made(
        title=f"Password of {name}",
        words=f"With it {name} signs in once and chooses an own one; until then no other page opens.",
        secret=password,
    )


def _first_use(token: Token, secret: str) -> str:
    if token.node is not None:
        return f"{nodes.TOKEN_VARIABLE}={secret} {nodes.start(f'{token.node.name}.toml')}"
    return f"MESH_TOKEN={secret}\n{commands.first_use(token.scopes)}"
