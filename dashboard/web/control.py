"""What changes what a node shall do: drain it, change its drain, give it back."""

from http import HTTPStatus

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST
from django_htmx.http import trigger_client_event

from dashboard.models import Action, Node
from dashboard.selectors import drain_record
from dashboard.selectors.nodes import NodeNow
from dashboard.services import audit
from dashboard.services import drain as drains
from dashboard.services.actor import Actor
from dashboard.services.drain import GenerationMismatch, GuardsRefused, InvalidWish
from dashboard.services.rights import Right
from dashboard.web import confirm, refused
from dashboard.web.confirm import Act, BadForm
from dashboard.web.guard import Visitor, actor_of, is_fragment, page
from dashboard.web.node import find, show, show_form
from meshcore.clock import utcnow

REFUSALS = (BadForm, InvalidWish, GuardsRefused, GenerationMismatch)


@require_POST
@page(Right.DRAIN)
def drain(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Ask a node to drain; with the `generation` of an order, change the drain that it asks for."""
    return _act(request, visitor, name, Act.CHANGE if "generation" in request.POST else Act.DRAIN)


@require_POST
@page(Right.DRAIN)
def undrain(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Give a node back to the mesh."""
    return _act(request, visitor, name, Act.UNDRAIN)


def _act(request: HttpRequest, visitor: Visitor, name: str, act: Act) -> HttpResponse:
    node = find(name).stored
    try:
        said = _carry_out(act, node, actor_of(request, visitor), request.POST.dict())
    except REFUSALS as exc:
        return _refused(request, visitor, find(name).row, act, exc)
    return _said(request, name, said)


def _carry_out(act: Act, node: Node, actor: Actor, post: dict[str, str]) -> str:
    """Do it and return what to say."""
    if act is Act.UNDRAIN:
        ended = drains.cancel(node=node, actor=actor, reason=confirm.typed(post, act=act).reason)
        if not ended.was_draining:
            return f"The dashboard had not asked {node.name} to drain; nothing changed."
        return f"Asked {node.name} to serve again, generation {ended.generation}."
    present = drain_record.present(node_id=node.pk) if act is Act.CHANGE else None
    asked = confirm.typed(post, act=act, deadline_at=present.drain.deadline_at if present else None)
    done = drains.request(
        node=node,
        actor=actor,
        reason=asked.reason,
        deadline_seconds=asked.deadline_seconds,
        force=asked.force,
        sticky=asked.sticky,
        expires_seconds=asked.expires_seconds,
        override_guards=asked.override_guards,
        if_generation=asked.if_generation,
    )
    if not done.changed:
        return f"{node.name} was asked just that already, generation {done.generation}."
    did = f"Changed the drain of {node.name}" if act is Act.CHANGE else f"Asked {node.name} to drain"
    return f"{did}, generation {done.generation}."


def _refused(request: HttpRequest, visitor: Visitor, row: NodeNow, act: Act, exc: Exception) -> HttpResponse:
    """Return the form again, as things stand now, with what was typed and what is wrong with it."""
    status, error, wrong = _reason(row.name, exc)
    if not isinstance(exc, drains.ON_RECORD):
        action = Action.UNDRAIN if act is Act.UNDRAIN else Action.DRAIN
        refused.at_once(request, visitor, action, audit.node_target(row.name), error)
    form = confirm.of(act, row, now=utcnow()).refused(request.POST.dict(), error, wrong)
    if is_fragment(request):
        return show_form(request, form, status=status)
    return show(request, visitor, row.name, form=form, status=status)


def _reason(name: str, exc: Exception) -> tuple[HTTPStatus, str, str]:
    match exc:
        case GuardsRefused():
            return HTTPStatus.CONFLICT, "Not drained: read what stands against it.", "override_guards"
        case GenerationMismatch():
            said = (
                f"Somebody was faster: generation {exc.expected} was on your screen, {exc.current} is asked."
            )
            return HTTPStatus.PRECONDITION_FAILED, f"{said} Look at {name} again, then confirm again.", ""
        case InvalidWish():
            return HTTPStatus.UNPROCESSABLE_ENTITY, exc.message, exc.field.removesuffix("_seconds")
        case BadForm():
            return HTTPStatus.UNPROCESSABLE_ENTITY, str(exc), exc.field
    raise exc


def _said(request: HttpRequest, name: str, said: str) -> HttpResponse:
    """Answer a change: a word in place for htmx, else a redirect, so that reloading repeats nothing."""
    if is_fragment(request):
        return trigger_client_event(render(request, "parts/asked.html", {"asked": said}), "rows-changed")
    messages.success(request, said)
    return redirect("node", name)
