"""The dashboard's addresses."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from dashboard.api import docs
from dashboard.api.base import NoSuchRoute
from dashboard.services.rights import Right
from dashboard.web import access_acts
from dashboard.web.access import access_page
from dashboard.web.access_steps import Act
from dashboard.web.audit import audit_list
from dashboard.web.control import drain, undrain
from dashboard.web.drains import drain_record, drains_list
from dashboard.web.fleet import fleet
from dashboard.web.guard import page
from dashboard.web.live import live_cells
from dashboard.web.login import Login, Logout, OwnPassword
from dashboard.web.node import node
from dashboard.web.providers import override_breaker, providers
from dashboard.web.run_cancel import cancel_run
from dashboard.web.runs import run, runs_list
from dashboard.web.traces import trace, traces_list

handler403 = "dashboard.web.refused.forbidden"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", fleet, name="fleet"),
    path("nodes/<str:name>/", node, name="node"),
    path("nodes/<str:name>/drain/", drain, name="node-drain"),
    path("nodes/<str:name>/undrain/", undrain, name="node-undrain"),
    path("providers/", providers, name="providers"),
    path("providers/override/", override_breaker, name="override"),
    path("traces/", traces_list, name="traces"),
    path("traces/<str:ident>/", trace, name="trace"),
    path("runs/", runs_list, name="runs"),
    path("runs/<str:run_id>/", run, name="run"),
    path("runs/<str:run_id>/cancel/", cancel_run, name="run-cancel"),
    path("drains/", drains_list, name="drains"),
    path("drains/<str:ident>/", drain_record, name="drain"),
    path("audit/", audit_list, name="audit"),
    path("access/", access_page, name="access"),
    path("access/tokens/", access_acts.make_token, name="access-token-make"),
    path("access/tokens/<str:prefix>/revoke/", access_acts.revoke_token, name="access-token-revoke"),
    path("access/nodes/", access_acts.add_node, name="access-node-add"),
    path("access/nodes/<str:name>/forget/", access_acts.forget_node, name="access-node-forget"),
    path("access/people/", access_acts.add_person, name="access-person-add"),
    path("access/people/<int:pk>/password/", access_acts.new_password, name="access-person-password"),
    *(
        path(
            f"access/people/<int:pk>/{act.value}/",
            access_acts.change_person,
            {"act": act},
            name=f"access-person-{act.value}",
        )
        for act in (Act.GROUPS, Act.DEACTIVATE, Act.REACTIVATE)
    ),
    path("live/cells", live_cells, name="live-cells"),
    path("login/", Login.as_view(), name="login"),
    path("logout/", Logout.as_view(), name="logout"),
    path("api/docs/", page(Right.READ)(docs.page), name="api-docs"),
    path("api/docs/openapi.json", page(Right.READ)(docs.schema), name="api-docs-schema"),
    path("password/", OwnPassword.as_view(), name="password"),
    path("api/v1/", include("dashboard.api.urls")),
    re_path("^api(?:/|$)", NoSuchRoute.as_view()),
    path("admin/", admin.site.urls),
]
