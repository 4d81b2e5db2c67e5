"""Django's admin: a look at every table, and people. Nothing else is changed here."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property

from dashboard.models import (
    Action,
    AuditEntry,
    Change,
    ControlHead,
    DesiredState,
    Drain,
    DrainStep,
    MeshMinute,
    MinuteRollup,
    Node,
    NodeLink,
    NodeMinute,
    ProviderHealth,
    Run,
    SpoolMark,
    Token,
    Trace,
    TraceDetail,
    Transition,
)
from dashboard.services import actor, people
from dashboard.services.actor import Actor
from meshcore.clock import utcnow

ROWS_MAX = 10_000  # that a list leafs through; millions are for the pages, which don't count


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than it leafs."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most `ROWS_MAX`."""
        rows = cast("QuerySet[Model]", self.object_list)
        return rows[:ROWS_MAX].count()


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """A table to look at."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_select_related = True
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return no."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return no."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return no."""
        return False


@admin.register(AuditEntry)
class AuditAdmin(ReadOnly):
    """Who did what, why, from where, and what came of it."""

    list_display = (
        "n",
        "at",
        "actor_kind",
        "actor_name",
        "action",
        "target",
        "outcome",
        "reason",
        "generation",
        "cause_n",
        "address",
    )
    list_filter = ("action", "outcome", "actor_kind", "at")
    search_fields = ("actor_name", "target", "reason", "address", "token_prefix")


@admin.register(Node)
class NodeAdmin(ReadOnly):
    """Nodes by their own last word."""

    list_display = (
        "name",
        "community",
        "state",
        "in_flight",
        "observed_generation",
        "last_heard_at",
        "version",
    )
    list_filter = ("state",)


@admin.register(Drain)
class DrainAdmin(ReadOnly):
    """Drains, running and past."""

    list_display = ("node", "status", "started_at", "ended_at", "by_name", "reason", "generation")
    list_filter = ("status", "node")


@admin.register(DrainStep)
class DrainStepAdmin(ReadOnly):
    """What happened in them."""

    list_display = ("drain", "step", "source", "at", "generation", "in_flight", "edge")
    list_filter = ("step", "source")


@admin.register(DesiredState)
class DesiredStateAdmin(ReadOnly):
    """What nodes shall do."""

    list_display = ("node", "generation", "changed_at")


@admin.register(ProviderHealth)
class ProviderHealthAdmin(ReadOnly):
    """Breakers now."""

    list_display = ("node", "key", "state", "strikes", "open_until", "observed_at")
    list_filter = ("state", "node")


@admin.register(Transition)
class TransitionAdmin(ReadOnly):
    """Breakers in the past."""

    list_display = ("node", "key", "at", "from_state", "to_state", "evidence", "reason")
    list_filter = ("node", "to_state")


@admin.register(Token)
class TokenAdmin(ReadOnly):
    """Tokens, without what is kept of their secrets."""

    list_display = (
        "name",
        "prefix",
        "scopes",
        "node",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "created_by",
    )
    exclude = ("digest",)


@admin.register(Trace)
class TraceAdmin(ReadOnly):
    """Calls."""

    list_display = (
        "trace_id",
        "node",
        "started_at",
        "capability",
        "provider",
        "routed_via",
        "outcome",
        "code",
    )
    list_filter = ("outcome", "node")


@admin.register(Run)
class RunAdmin(ReadOnly):
    """Runs, live and ended."""

    list_display = ("run_id", "status", "reason", "owner", "epoch", "takeovers", "model", "heard_at")
    list_filter = ("status",)
    search_fields = ("=run_id",)


admin.site.register(
    (Change, ControlHead, MeshMinute, MinuteRollup, NodeLink, NodeMinute, SpoolMark, TraceDetail), ReadOnly
)
admin.site.unregister((User, Group))
admin.site.register(Group, ReadOnly)  # what they may is written in `services.rights`


@admin.register(User)
class People(UserAdmin):  # type: ignore[type-arg]
    """Users; changes are audited, and nobody makes themselves a superuser here."""

    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("May", {"fields": ("is_active", "is_staff", "groups")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ("groups",)
    list_filter = ("is_active", "is_staff", "groups")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return whether the person may; a superuser is changed by superusers alone."""
        beyond = obj is not None and obj.is_superuser and not request.user.is_superuser
        return not beyond and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return no: whoever leaves is made inactive, so that the audit trail's names stay taken."""
        return False

    def save_model(self, request: HttpRequest, obj: User, form: "ModelForm[User]", change: bool) -> None:
        """Save a user; the head is locked first, as before every control write."""
        form.opened = people.begin(user_id=obj.pk)  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save a user's groups, then audit all of it, in the admin's one transaction."""
        super().save_related(request, form, formsets, change)
        try:
            people.finish(form.opened, user=form.instance, actor=_actor(request))
        except people.AdminNeeded as exc:
            raise PermissionDenied(str(exc)) from exc

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Set another's password and audit that it is new."""
        with transaction.atomic():
            opened = people.begin(user_id=None) if request.method == "POST" else None
            answer = super().user_change_password(request, id, form_url)
            if opened is not None and answer.status_code == 302:  # saved; a form with errors is shown again
                people.record_user(
                    head=opened.head,
                    actor=_actor(request),
                    action=Action.PASSWORD_NEW,
                    user=User.objects.get(pk=id),
                    now=utcnow(),
                )
        return answer


def _actor(request: HttpRequest) -> Actor:
    assert isinstance(request.user, User)  # noqa: S101 - the admin lets nobody else in
    return actor.of_user(request.user, address=request.META.get("REMOTE_ADDR", ""))
