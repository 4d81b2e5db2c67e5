"""The API's addresses, below /api/v1/."""

from django.urls import path, re_path

from dashboard.api.base import NoSuchRoute
from dashboard.api.drain import DrainView
from dashboard.api.reads import Audit, Nodes, OneNode, OneTrace, Traces
from dashboard.api.schema import Schema

app_name = "api"
urlpatterns = [
    path("nodes", Nodes.as_view(), name="nodes"),
    path("nodes/<str:name>", OneNode.as_view(), name="node"),
    path("nodes/<str:name>/drain", DrainView.as_view(), name="drain"),
    path("traces", Traces.as_view(), name="traces"),
    path("traces/<str:trace>", OneTrace.as_view(), name="trace"),
    path("audit", Audit.as_view(), name="audit"),
    path("schema", Schema.as_view(), name="schema"),
    re_path("", NoSuchRoute.as_view()),
]
