"""Providers: how nodes see them and each other, and what operators want of their breakers."""

from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import trigger_client_event

from dashboard import fragments
from dashboard.selectors import matrix, override_list, testimony
from dashboard.selectors.matrix_rows import Wanted
from dashboard.services import overrides
from dashboard.services.actor import Actor
from dashboard.services.overrides import InvalidOverride
from dashboard.services.rights import Right
from dashboard.web import asked, commands, override, refused
from dashboard.web.asked import BadQuery
from dashboard.web.confirm import BadForm
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, actor_of, is_fragment, page, template_for
from dashboard.web.override import Act, OverrideForm, Typed
from meshcore.breaker import BreakerState
from meshcore.clock import utcnow

STATES = tuple(state.value for state in BreakerState)
VERBS = {
    Act.FORCE_OPEN: "to take {} out of service",
    Act.FORCE_CLOSED: "to hold the breaker of {} closed",
    Act.RESET: "to reset the breaker of {}",
    Act.LIFT: "to let {} go by its own evidence again",
}


@require_safe
@page(Right.READ)
def providers(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show the breakers of all nodes that fit the filter of the address.

    `?override=KEY` opens the second step of an override, in place when htmx asks.
    """
    if is_fragment(request) and "override" in request.GET:
        return _show_form(request, _form(request, visitor))
    return _show(request, visitor, form=_form(request, visitor))


@require_POST
@page(Right.BREAKERS)
def override_breaker(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Override a breaker on one node or on all, or lift that."""
    post = request.POST.dict()
    try:
        said = _carry_out(override.typed(post), actor_of(request, visitor))
    except (BadForm, InvalidOverride) as exc:
        complaint, field = _complaint(exc)
        target = f"breaker:{post.get('key', '')}"
        refused.at_once(request, visitor, override.audited_as(post), target, complaint)
        form = override.of(post.get("key", ""), {}).refused(post, complaint, field)
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        if is_fragment(request):
            return _show_form(request, form, status=status)
        return _show(request, visitor, form=form, status=status)
    if is_fragment(request):
        return trigger_client_event(render(request, "parts/asked.html", {"asked": said}), "rows-changed")
    messages.success(request, said)
    return redirect("providers")


def _show(
    request: HttpRequest, visitor: Visitor, *, form: OverrideForm | None, status: int = HTTPStatus.OK
) -> HttpResponse:
    now, query = utcnow(), request.GET.dict()
    chrome = frame(visitor, section="providers", now=now, live_page="providers")
    try:
        wanted, problem = _wanted(query), ""
    except BadQuery as exc:
        wanted, problem, status = Wanted(), str(exc), HTTPStatus.BAD_REQUEST
    found = matrix.read(now=now, wanted=wanted)
    context: dict[str, Any] = {
        **chrome,
        **fragments.matrix_context(found),
        "wanted": wanted,
        "problem": problem,
        "overrides": override_list.read(now=now),
        "form": form,
        "choices": {"providers": found.names, "states": STATES},
        "command": commands.node(next((each.name for each in found.providers.columns), "node-a")),
    }
    return render(request, template_for(request, "providers.html"), context, status=status)


def _show_form(
    request: HttpRequest, form: OverrideForm | None, *, status: int = HTTPStatus.OK
) -> HttpResponse:
    if form is None:
        return HttpResponse("")
    return render(request, "parts/override.html", {"form": form}, status=status)


def _form(request: HttpRequest, visitor: Visitor) -> OverrideForm | None:
    return override.wanted(request.GET.dict()) if visitor.may["breakers"] else None


def _carry_out(asked_for: Typed, actor: Actor) -> str:
    """Do it and return what to say."""
    order, node, key, reason = asked_for.order, asked_for.node, asked_for.key, asked_for.reason
    if order is None:
        ordered = overrides.lift(node=node, key=key, reason=reason, actor=actor)
    else:
        ordered = overrides.put(
            node=node,
            key=key,
            action=order,
            reason=reason,
            expires_seconds=asked_for.expires_seconds,
            actor=actor,
        )
    changed = [each.node.name for each in ordered if each.changed]
    if not changed:
        return f"Nothing changed: {key} was just so already."
    return f"Asked {testimony.names(changed)} {VERBS[asked_for.act].format(key)}."


def _complaint(exc: BadForm | InvalidOverride) -> tuple[str, str]:
    if isinstance(exc, BadForm):
        return str(exc), exc.field
    return exc.message, exc.field.removesuffix("_seconds")


def _wanted(query: dict[str, str]) -> Wanted:
    return Wanted(
        state=asked.choice(query, "state", STATES),
        provider=asked.text(query, "provider", at_most=200),
    )
