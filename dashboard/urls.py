"""The dashboard's addresses."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from dashboard.api import docs
from dashboard.api.base import NoSuchRoute
from dashboard.services.rights import Right
from dashboard.web.audit import audit_list
from dashboard.web.control import drain, undrain
from dashboard.web.fleet import fleet
from dashboard.web.guard import page
from dashboard.web.live import live_cells
from dashboard.web.login import Login, Logout
from dashboard.web.node import node
from dashboard.web.providers import providers
from dashboard.web.traces import trace, traces_list

urlpatterns: list[URLPattern | URLResolver] = [
    path("", fleet, name="fleet"),
    path("nodes/<str:name>/", node, name="node"),
    path("nodes/<str:name>/drain/", drain, name="node-drain"),
    path("nodes/<str:name>/undrain/", undrain, name="node-undrain"),
    path("providers/", providers, name="providers"),
    path("traces/", traces_list, name="traces"),
    path("traces/<str:ident>/", trace, name="trace"),
    path("audit/", audit_list, name="audit"),
    path("live/cells", live_cells, name="live-cells"),
    path("login/", Login.as_view(), name="login"),
    path("logout/", Logout.as_view(), name="logout"),
    path("api/docs/", page(Right.READ)(docs.page), name="api-docs"),
    path("api/docs/openapi.json", page(Right.READ)(docs.schema), name="api-docs-schema"),
    path("api/v1/", include("dashboard.api.urls")),
    re_path("^api(?:/|$)", NoSuchRoute.as_view()),
    path("admin/", admin.site.urls),
]
