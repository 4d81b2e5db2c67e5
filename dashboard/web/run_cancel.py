"""Has a run cancelled: an order for a node of its log, first of all its owner."""

from http import HTTPStatus

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST
from django_htmx.http import trigger_client_event

from dashboard.models import Action
from dashboard.selectors.runs import RunRow
from dashboard.services import outbox
from dashboard.services.outbox import CancelObserved, InvalidCancel
from dashboard.services.rights import Right
from dashboard.web import refused
from dashboard.web.confirm import REASON_MIN_CHARACTERS
from dashboard.web.guard import Visitor, actor_of, is_fragment, page
from dashboard.web.run_confirm import confirm_of
from dashboard.web.runs import find, show, show_form

SAID = {
    CancelObserved.OBSERVED: "A node of its log has taken the order to cancel it already.",
    CancelObserved.PENDING: "Asked to cancel it; its node will end it in a moment.",
    CancelObserved.LOG_UNREACHABLE: "No node of its log is there now: the order waits, up to 24 h.",
}


@require_POST
@page(Right.CANCEL_RUN)
def cancel_run(request: HttpRequest, visitor: Visitor, run_id: str) -> HttpResponse:
    """Have a run cancelled."""
    each = find(run_id)
    reason = request.POST.get("reason", "").strip()
    try:
        _check(each, reason)
        order = outbox.cancel_run(run_id=run_id, reason=reason, actor=actor_of(request, visitor))
    except InvalidCancel as exc:
        return _refused(request, visitor, each, exc)
    return _said(request, run_id, SAID[order.observed])


def _check(each: RunRow, reason: str) -> None:
    """Raise InvalidCancel for what a person may not ask, though a program might."""
    if not each.live:
        raise InvalidCancel("run_id", f"It is {each.run.status} already.")
    if len(reason) < REASON_MIN_CHARACTERS:
        raise InvalidCancel(
            "reason", "Say why, in 3 characters or more: whoever reads the audit will want to know."
        )


def _refused(request: HttpRequest, visitor: Visitor, each: RunRow, exc: InvalidCancel) -> HttpResponse:
    refused.at_once(request, visitor, Action.RUN_CANCEL, f"run:{each.run.run_id}", str(exc))
    form = confirm_of(each).refused(request.POST.dict(), exc.message, exc.field)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if each.live else HTTPStatus.CONFLICT
    if is_fragment(request):
        return show_form(request, form, status=status)
    return show(request, visitor, each.run.run_id, form=form, status=status)


def _said(request: HttpRequest, run_id: str, said: str) -> HttpResponse:
    """Answer: a word in place for htmx, else a redirect, so that reloading repeats nothing."""
    if is_fragment(request):
        return trigger_client_event(render(request, "parts/asked.html", {"asked": said}), "rows-changed")
    messages.success(request, said)
    return redirect("run", run_id)
