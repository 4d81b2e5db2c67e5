"""One node, and the two buttons that change what it shall do."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import trigger_client_event

from dashboard import fragments
from dashboard.models import Node
from dashboard.selectors import nodes
from dashboard.selectors.nodes import Gathered, NodeNow
from dashboard.services import drain as drains
from dashboard.services.drain import InvalidWish
from dashboard.services.rights import Right
from dashboard.web import confirm
from dashboard.web.confirm import Act, BadForm, Confirm
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, actor_of, is_fragment, page, template_for
from meshcore.clock import utcnow

UNPROCESSABLE = 422


@require_safe
@page(Right.READ)
def node(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Show a node; `?confirm=drain` opens the second step, in place when htmx asks."""
    mesh, row = _find(name)
    form = confirm.wanted(request.GET.dict(), row) if visitor.may["drain"] else None
    if is_fragment(request) and "confirm" in request.GET:
        return _form(request, form)
    return _page(request, visitor, mesh, row, form)


@require_POST
@page(Right.READ)
def drain(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Ask a node to drain."""
    return _act(request, visitor, name, Act.DRAIN)


@require_POST
@page(Right.READ)
def undrain(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Give a node back to the mesh."""
    return _act(request, visitor, name, Act.UNDRAIN)


def _act(request: HttpRequest, visitor: Visitor, name: str, act: Act) -> HttpResponse:
    visitor.needs(Right.DRAIN)
    mesh, row = _find(name)
    post = request.POST.dict()
    try:
        said = _carry_out(request, visitor, row.node, act, confirm.typed(post, act=act))
    except (BadForm, InvalidWish) as exc:
        form = confirm.of(act, row).refused(post, str(exc))
        if is_fragment(request):
            return _form(request, form, status=UNPROCESSABLE)
        return _page(request, visitor, mesh, row, form, status=UNPROCESSABLE)
    return _said(request, name, said)


def _carry_out(request: HttpRequest, visitor: Visitor, node: Node, act: Act, asked: confirm.Typed) -> str:
    actor = actor_of(request, visitor)
    if act is Act.DRAIN:
        done = drains.request(
            node=node, actor=actor, reason=asked.reason, deadline_seconds=asked.deadline_seconds
        )
        return f"Asked {node.name} to drain, generation {done.generation}."
    ended = drains.cancel(node=node, actor=actor, reason=asked.reason)
    if not ended.was_draining:
        return f"The dashboard had not asked {node.name} to drain; nothing changed."
    return f"Asked {node.name} to serve again, generation {ended.generation}."


def _said(request: HttpRequest, name: str, said: str) -> HttpResponse:
    """Answer a change: a word in place for htmx, else a redirect, so that reloading repeats nothing."""
    if is_fragment(request):
        return trigger_client_event(render(request, "parts/asked.html", {"asked": said}), "rows-changed")
    messages.success(request, said)
    return redirect("node", name)


def _form(request: HttpRequest, form: Confirm | None, *, status: int = 200) -> HttpResponse:
    if form is None:
        return HttpResponse("")
    return render(request, "parts/confirm.html", {"confirm": form}, status=status)


def _page(
    request: HttpRequest,
    visitor: Visitor,
    mesh: Gathered,
    row: NodeNow,
    form: Confirm | None,
    *,
    status: int = 200,
) -> HttpResponse:
    context = {
        **frame(visitor, section="fleet", now=mesh.now, live_page=f"node:{row.name}"),
        **fragments.node_context(mesh, row),
        "past": nodes.past_of(node=row.node),
        "confirm": form,
        "fragment": is_fragment(request),
    }
    return render(request, template_for(request, "node.html"), context, status=status)


def _find(name: str) -> tuple[Gathered, NodeNow]:
    mesh = nodes.gather(now=utcnow())
    row = mesh.named(name)
    if row is None:
        raise Http404(f"There is no node called {name!r}.")
    return mesh, row
