"""The two buttons that change what a node shall do."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST
from django_htmx.http import trigger_client_event

from dashboard.models import Action, Node
from dashboard.services import audit
from dashboard.services import drain as drains
from dashboard.services.actor import Actor
from dashboard.services.drain import InvalidWish
from dashboard.services.rights import Right
from dashboard.web import confirm
from dashboard.web.confirm import Act, BadForm
from dashboard.web.guard import Visitor, actor_of, is_fragment, page
from dashboard.web.node import find, show, show_form
from meshcore.clock import utcnow

UNPROCESSABLE = 422


@require_POST
@page(Right.DRAIN)
def drain(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Ask a node to drain."""
    return _act(request, visitor, name, Act.DRAIN)


@require_POST
@page(Right.DRAIN)
def undrain(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Give a node back to the mesh."""
    return _act(request, visitor, name, Act.UNDRAIN)


def _act(request: HttpRequest, visitor: Visitor, name: str, act: Act) -> HttpResponse:
    post, row = request.POST.dict(), find(name)[1]
    try:
        said = _carry_out(act, row.node, actor_of(request, visitor), confirm.typed(post, act=act))
    except (BadForm, InvalidWish) as exc:
        _audit_refusal(request, visitor, name, act, reason=str(exc))
        form = confirm.of(act, row).refused(post, str(exc))
        if is_fragment(request):
            return show_form(request, form, status=UNPROCESSABLE)
        return show(request, visitor, name, form=form, status=UNPROCESSABLE)
    return _said(request, name, said)


def _carry_out(act: Act, node: Node, actor: Actor, asked: confirm.Typed) -> str:
    """Do it and return what to say."""
    if act is Act.DRAIN:
        deadline = asked.deadline_seconds
        done = drains.request(node=node, actor=actor, reason=asked.reason, deadline_seconds=deadline)
        return f"Asked {node.name} to drain, generation {done.generation}."
    ended = drains.cancel(node=node, actor=actor, reason=asked.reason)
    if not ended.was_draining:
        return f"The dashboard had not asked {node.name} to drain; nothing changed."
    return f"Asked {node.name} to serve again, generation {ended.generation}."


def _audit_refusal(request: HttpRequest, visitor: Visitor, name: str, act: Act, *, reason: str) -> None:
    target = audit.node_target(name)
    audit.refuse(
        actor=actor_of(request, visitor),
        action=Action(act.value),
        target=target,
        reason=reason,
        now=utcnow(),
    )


def _said(request: HttpRequest, name: str, said: str) -> HttpResponse:
    """Answer a change: a word in place for htmx, else a redirect, so that reloading repeats nothing."""
    if is_fragment(request):
        return trigger_client_event(render(request, "parts/asked.html", {"asked": said}), "rows-changed")
    messages.success(request, said)
    return redirect("node", name)
