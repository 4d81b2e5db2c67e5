"""The API's addresses, below /api/v1/."""

from django.urls import path, re_path

from dashboard.api.aliases import AllAliases, NodeAliases
from dashboard.api.audit import Audit, Verify
from dashboard.api.base import NoSuchRoute
from dashboard.api.breakers import Breakers, Overrides, Providers
from dashboard.api.drain import DrainView
from dashboard.api.drains import Drains, OneDrain
from dashboard.api.nodes import Nodes, OneNode
from dashboard.api.runs import CancelRun, OneRun, Runs
from dashboard.api.schema import Schema
from dashboard.api.tokens import OneToken, Tokens
from dashboard.api.traces import OneTrace, Traces

app_name = "api"
urlpatterns = [
    path("nodes", Nodes.as_view(), name="nodes"),
    path("nodes/<str:name>", OneNode.as_view(), name="node"),
    path("nodes/<str:name>/drain", DrainView.as_view(), name="drain"),
    path("nodes/<str:name>/aliases", NodeAliases.as_view(), name="node-aliases"),
    path("aliases", AllAliases.as_view(), name="aliases"),
    path("providers", Providers.as_view(), name="providers"),
    path("breakers", Breakers.as_view(), name="breakers"),
    path("breakers/overrides", Overrides.as_view(), name="overrides"),
    path("drains", Drains.as_view(), name="drains"),
    path("drains/<str:drain>", OneDrain.as_view(), name="drain-record"),
    path("runs", Runs.as_view(), name="runs"),
    path("runs/<str:run>", OneRun.as_view(), name="run"),
    path("runs/<str:run>/cancel", CancelRun.as_view(), name="run-cancel"),
    path("traces", Traces.as_view(), name="traces"),
    path("traces/<str:trace>", OneTrace.as_view(), name="trace"),
    path("audit", Audit.as_view(), name="audit"),
    path("audit/verify", Verify.as_view(), name="audit-verify"),
    path("tokens", Tokens.as_view(), name="tokens"),
    path("tokens/<str:prefix>", OneToken.as_view(), name="token"),
    path("schema", Schema.as_view(), name="schema"),
    re_path("", NoSuchRoute.as_view()),
]
