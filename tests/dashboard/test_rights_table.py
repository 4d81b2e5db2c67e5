"""Every route and every page, and what each kind of caller gets from it: the whole table of rights.

A route or a method without a row here fails. To add one, write its row into `ROWS` (or `EDGE_ROWS`,
`SOCKET_ROWS` for what stands in front of Django): `page` for cookies, `api` for tokens, `anyone` for neither.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from channels.testing import HttpCommunicator, WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from dashboard import asgi, runtime
from dashboard.api.base import NoSuchRoute
from dashboard.models import Drain, DrainStatus, Node, NodeLink, Run, Scope, Trace
from dashboard.services import nodes, tokens
from dashboard.services.actor import SYSTEM
from meshcore import framing
from meshcore.capability import Manifest
from meshcore.clock import utcnow
from meshcore.frames import Hello
from tests.dashboard.conftest import person

ADMINISTERS = "admin"
OPERATES = "operator admin"
READS_AUDIT = "operator auditor admin"
READS = "viewer operator auditor admin"

NOBODY = "nobody"
PEOPLE = ("outsider", "viewer", "operator", "auditor", "admin")  # signed in; the outsider is in no group
SCOPES = ("read", "audit:read", "nodes:drain", "runs:cancel", "breakers:write", "admin token")
NODES = ("own node", "other node")  # tokens of scope nodes:push; node-a is the one that paths name
TOKENS = (*SCOPES, *NODES)
WHO = (NOBODY, *PEOPLE, *TOKENS)
SECONDS = 10.0  # no answer takes this long, however busy the machine
HELLO = Hello(
    node_id="any", instance_id="i1", spool_id="s1", clock=utcnow(), manifest=Manifest(node_id="any")
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
Expected = Mapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method of a route of the URLconf, called at `path` with `form`; the status for each caller."""

    method: str
    route: str
    path: str
    expected: Expected
    form: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def row(method: str, route: str, path: str, expected: Expected, form: Mapping[str, Any] | None = None) -> Row:
    return Row(method=method, route=route, path=path, expected=expected, form=form or {})


def page(method: str, route: str, path: str, opens: str, *, ok: int = 200, **form: Any) -> Row:
    """A page: opens to the people of some groups; others 403, without a session 302 to the login."""
    shut = dict.fromkeys(WHO, 302) | dict.fromkeys(PEOPLE, 403)
    return row(method, route, path, shut | dict.fromkeys(opens.split(), ok), form)


def api(method: str, route: str, path: str, *opens: str, ok: int = 200, **body: Any) -> Row:
    """A route of the API: opens to some tokens; other tokens 403, no token 401, whatever the cookie."""
    shut = dict.fromkeys(WHO, 401) | dict.fromkeys(TOKENS, 403)
    return row(method, f"api/v1/{route}", f"/api/v1/{path}", shut | dict.fromkeys(opens, ok), body)


def anyone(method: str, route: str, path: str, status: int, **others: int) -> Row:
    """What is the same for all, but for `others`, groups and their status."""
    return row(method, route, path, dict.fromkeys(WHO, status) | others)


ALIASES = {"mesh/fast": ["groq/llama"]}
ROWS = (
    page("GET", "", "/", READS),
    page("GET", "nodes/<str:name>/", "/nodes/node-a/", READS),
    page("POST", "nodes/<str:name>/drain/", "/nodes/node-a/drain/", OPERATES, ok=302, reason="update"),
    page("POST", "nodes/<str:name>/undrain/", "/nodes/node-a/undrain/", OPERATES, ok=302),
    page("GET", "providers/", "/providers/", READS),
    page(
        *("POST", "providers/override/", "/providers/override/", OPERATES),
        ok=302,
        key="groq",
        action="reset",
        reason="it lies",
    ),
    page("GET", "drains/", "/drains/", READS),
    page("GET", "drains/<str:ident>/", "/drains/{drain}/", READS),
    page("GET", "runs/", "/runs/", READS),
    page("GET", "runs/<str:run_id>/", "/runs/{run}/", READS),
    page("POST", "runs/<str:run_id>/cancel/", "/runs/{run}/cancel/", OPERATES, ok=302, reason="wrong one"),
    page("GET", "traces/", "/traces/", READS),
    page("GET", "traces/<str:ident>/", "/traces/{trace}/", READS),
    page("GET", "audit/", "/audit/", READS_AUDIT),
    page("POST", "audit/", "/audit/", READS_AUDIT),
    page("GET", "live/cells", "/live/cells?page=fleet", READS),
    page("GET", "access/", "/access/", ADMINISTERS),
    page("POST", "access/tokens/", "/access/tokens/", ADMINISTERS, name="ci", scope="read"),
    page(
        *("POST", "access/tokens/<str:prefix>/revoke/", "/access/tokens/{prefix}/revoke/", ADMINISTERS),
        ok=302,
        reason="leaked",
    ),
    page("POST", "access/nodes/", "/access/nodes/", ADMINISTERS, name="laptop"),
    page(
        *("POST", "access/nodes/<str:name>/forget/", "/access/nodes/node-b/forget/", ADMINISTERS),
        ok=302,
        reason="sold",
    ),
    page("POST", "access/people/", "/access/people/", ADMINISTERS, name="eve"),
    page("POST", "access/people/<int:pk>/password/", "/access/people/{person}/password/", ADMINISTERS),
    page("POST", "access/people/<int:pk>/groups/", "/access/people/{person}/groups/", ADMINISTERS, ok=302),
    page(
        *("POST", "access/people/<int:pk>/deactivate/", "/access/people/{person}/deactivate/", ADMINISTERS),
        ok=302,
        reason="left",
    ),
    page(
        *("POST", "access/people/<int:pk>/reactivate/", "/access/people/{person}/reactivate/", ADMINISTERS),
        ok=302,
    ),
    # Signing in and out, and one's own password, are for everybody; who is signed in goes on to the board.
    anyone("GET", "login/", "/login/", 200, **dict.fromkeys(PEOPLE, 302)),
    anyone("POST", "login/", "/login/", 200, **dict.fromkeys(PEOPLE, 302)),
    anyone("POST", "logout/", "/logout/", 302),
    anyone("GET", "password/", "/password/", 302, **dict.fromkeys(PEOPLE, 200)),
    anyone("POST", "password/", "/password/", 302, **dict.fromkeys(PEOPLE, 200)),
    # The API.
    api("GET", "nodes", "nodes", "read"),
    api("POST", "nodes", "nodes", "admin token", ok=201, id="laptop"),
    api("GET", "nodes/<str:name>", "nodes/node-a", "read"),
    api("DELETE", "nodes/<str:name>", "nodes/node-b", "admin token", ok=204),
    api("GET", "nodes/<str:name>/drain", "nodes/node-a/drain", "read"),
    api("PUT", "nodes/<str:name>/drain", "nodes/node-a/drain", "nodes:drain", "own node", ok=202),
    api("POST", "nodes/<str:name>/drain", "nodes/node-a/drain", "nodes:drain", "own node", ok=202),
    api("DELETE", "nodes/<str:name>/drain", "nodes/node-a/drain", "nodes:drain", "own node"),
    api("GET", "nodes/<str:name>/aliases", "nodes/node-a/aliases", "read"),
    api("PUT", "nodes/<str:name>/aliases", "nodes/node-a/aliases", "admin token", ok=202, aliases=ALIASES),
    api("DELETE", "nodes/<str:name>/aliases", "nodes/node-a/aliases", "admin token"),
    api("GET", "aliases", "aliases", "read"),
    api("PUT", "aliases", "aliases", "admin token", ok=202, aliases=ALIASES),
    api("GET", "providers", "providers", "read"),
    api("GET", "breakers", "breakers", "read"),
    api("GET", "breakers/overrides", "breakers/overrides", "read"),
    api(
        *("POST", "breakers/overrides", "breakers/overrides", "breakers:write"),
        ok=202,
        key="groq",
        action="force_open",
    ),
    api("DELETE", "breakers/overrides", "breakers/overrides?key=groq", "breakers:write"),
    api("GET", "drains", "drains", "read"),
    api("GET", "drains/<str:drain>", "drains/{drain}", "read"),
    api("GET", "runs", "runs", "read"),
    api("GET", "runs/<str:run>", "runs/{run}", "read"),
    api("POST", "runs/<str:run>/cancel", "runs/run_k3v9x2_1/cancel", "runs:cancel", ok=202),
    api("GET", "traces", "traces", "read"),
    api("GET", "traces/<str:trace>", "traces/{trace}", "read"),
    api("GET", "audit", "audit", "audit:read"),
    api("GET", "audit/verify", "audit/verify", "audit:read"),
    api("GET", "tokens", "tokens", "admin token"),
    api("POST", "tokens", "tokens", "admin token", ok=201, name="ci", scopes=["read"]),
    api("GET", "tokens/<str:prefix>", "tokens/{prefix}", "admin token"),
    api("DELETE", "tokens/<str:prefix>", "tokens/{prefix}", "admin token"),
    api("GET", "schema", "schema", "read"),
    *(anyone(method, "api/v1/", "/api/v1/no/such/route", 404) for method in METHODS),
    *(anyone(method, "^api(?:/|$)", "/api/v2/nodes", 404) for method in METHODS),
    page("GET", "api/docs/", "/api/docs/", READS),
    page("GET", "api/docs/openapi.json", "/api/docs/openapi.json", READS),
)

LET_IN: Expected = dict.fromkeys(WHO, 200)
BY_TOKEN: Expected = dict.fromkeys(WHO, 401) | dict.fromkeys(TOKENS, 403)
NO_RUN = f"run_zzzzzz_{'0' * 32}"
EDGE_ROWS: dict[str, Expected] = {
    "/healthz": LET_IN,
    # From elsewhere; this machine itself may (tests/dashboard/edge/test_metrics.py).
    "/metrics": dict.fromkeys(WHO, 403) | {NOBODY: 401, "read": 200} | dict.fromkeys(READS.split(), 200),
    "/static/css/app.css": LET_IN,
    "/api/v1/ingest": dict.fromkeys(WHO, 401) | dict.fromkeys(TOKENS, 403) | dict.fromkeys(NODES, 200),
    "/api/v1/events": BY_TOKEN | {"read": 200},
    f"/api/v1/runs/{NO_RUN}/stream": BY_TOKEN | {"read": 404},  # let in, and then there is no such run
    f"/runs/{NO_RUN}/stream": dict.fromkeys(WHO, 401) | {"outsider": 403} | dict.fromkeys(READS.split(), 404),
}
POSTED = {"/api/v1/ingest": b'{"spool_id": "s9", "after": 0, "to": 1, "dropped": {"trace": 1}}'}
SOCKET_ROWS: dict[str, Expected] = {  # the code with which it is closed, or "open"
    "/link/v1": dict.fromkeys(WHO, 4401) | dict.fromkeys(NODES, "open"),
    "/live?page=fleet": dict.fromkeys(WHO, 4401) | dict.fromkeys(READS.split(), "open"),
    "/live?page=providers": dict.fromkeys(WHO, 4401) | dict.fromkeys(READS.split(), "open"),
    "/live?page=drains": dict.fromkeys(WHO, 4401) | dict.fromkeys(READS.split(), "open"),
    "/live?page=runs": dict.fromkeys(WHO, 4401) | dict.fromkeys(READS.split(), "open"),
    "/live?page=run:run_k3v9x2_1": dict.fromkeys(WHO, 4401) | dict.fromkeys(READS.split(), "open"),
    "/live?page=traces": dict.fromkeys(WHO, 4401) | dict.fromkeys(READS.split(), "open"),
    "/live?page=node:node-a": dict.fromkeys(WHO, 4401) | dict.fromkeys(READS.split(), "open"),
    "/live?page=audit": dict.fromkeys(WHO, 4401)
    | {"viewer": 4404}
    | dict.fromkeys(READS_AUDIT.split(), "open"),
}

# Django's admin is for staff, which is no group: nobody of these gets in. Where it redirects to its login:
ADMIN_PREFIX = "admin/"
ADMIN_OPEN = {"admin/login/": 200, "admin/logout/": 302}


@dataclass(frozen=True, slots=True)
class Callers:
    """What each kind of caller sends along, and what paths name."""

    headers: Mapping[str, Mapping[str, str]]
    things: Mapping[str, str]

    def of(self, who: str) -> Mapping[str, str]:
        return self.headers.get(who, {})


@pytest.fixture
def callers(db: None) -> Callers:
    """One of each kind; node-a is there and can be drained, node-b has never been seen."""
    now = utcnow()
    own, other = (nodes.add(name=name, actor=SYSTEM)[0] for name in ("node-a", "node-b"))
    NodeLink.objects.filter(node=own).update(opened_at=now, connection_no=1, instance_id=HELLO.instance_id)
    Node.objects.filter(pk=own.pk).update(state="running", accepting=True, last_heard_at=now)
    headers: dict[str, dict[str, str]] = {who: _cookie(_somebody(who)) for who in PEOPLE}
    for scope, who in zip((Scope(name.partition(" ")[0]) for name in SCOPES), SCOPES, strict=True):
        headers[who] = _bearer([scope])
    headers |= {
        "own node": _bearer([Scope.NODES_PUSH], own),
        "other node": _bearer([Scope.NODES_PUSH], other),
    }
    token, _ = tokens.issue(name="to be revoked", scopes=[Scope.READ], actor=SYSTEM)
    things = {
        "trace": str(_trace(own).pk),
        "drain": str(_drain(other).pk),
        "run": _run(own).run_id,
        "person": str(person("bob", "viewer").pk),
        "prefix": token.prefix,
    }
    return Callers(headers, things)


def _trace(node: Node) -> Trace:
    now = utcnow()
    return Trace.objects.create(
        id=1, trace_id="t1", node=node, started_at=now, received_at=now, outcome="ok", duration_ms=1
    )


def _run(node: Node) -> Run:
    now = utcnow()
    return Run.objects.create(
        run_id="run_k3v9x2_1", status="running", owner=node.name, epoch=1, first_heard_at=now, heard_at=now
    )


def _drain(node: Node) -> Drain:
    now = utcnow()
    ended = {"status": DrainStatus.CANCELLED.value, "started_at": now, "ended_at": now}
    return Drain.objects.create(node=node, first_generation=1, generation=1, by_kind="user", **ended)


def _somebody(who: str) -> User:
    return person(f"somebody-{who}", *([] if who == "outsider" else [who]))


def _cookie(user: User) -> dict[str, str]:
    browser = Client()
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    return {"Cookie": f"{name}={browser.cookies[name].value}"}


def _bearer(scopes: Iterable[Scope], node: Node | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.issue(name='ci', scopes=scopes, node=node, actor=SYSTEM)[1]}"}


def call(callers: Callers, who: str, method: str, path: str, form: Mapping[str, Any]) -> int:
    """Send a request and take back what it changed; returns its status."""
    browser = Client(raise_request_exception=False, headers=callers.of(who))
    where = path.format(**callers.things)
    with transaction.atomic():
        if method == "POST" and not path.startswith("/api/v1/"):
            answer = browser.post(where, form)
        else:
            body = json.dumps(form).encode() if form else b""
            answer = browser.generic(method, where, body, content_type="application/json")
        transaction.set_rollback(True)
    return int(answer.status_code)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_gets_from_a_route_what_the_table_says(row: Row, callers: Callers) -> None:
    found = {who: call(callers, who, row.method, row.path, row.form) for who in WHO}

    assert found == row.expected


def routes() -> Iterator[tuple[str, Any]]:
    """Every route of the URLconf, and what answers it."""
    yield from _routes(get_resolver().url_patterns, "")


def _routes(patterns: Iterable[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        else:
            yield route, pattern.callback


OURS = [(route, view) for route, view in routes() if not route.startswith(ADMIN_PREFIX)]


def test_every_method_of_every_route_has_its_row(callers: Callers) -> None:
    wrong = {}
    for route, view in OURS:
        paths = {row.method: row.path for row in ROWS if row.route == route}
        answered = {method for path in paths.values() for method in _answered(callers, view, path)}
        if not paths or answered != set(paths):
            wrong[route] = f"answers {sorted(answered)}, has rows for {sorted(paths)}"

    assert wrong == {}


def _answered(callers: Callers, view: Any, path: str) -> set[str]:
    """Return the methods of a view; the API asks for a token before it says that it has none of a name."""
    handlers = getattr(view, "view_class", None)
    if path.startswith("/api/v1/") and handlers is not NoSuchRoute:
        return {method for method in METHODS if hasattr(handlers, method.lower())}
    asked = {
        (method, who): call(callers, who, method, path, {})
        for method in METHODS
        for who in ("nobody", "admin")
    }
    return {method for method, _ in asked if 405 not in (asked[method, "nobody"], asked[method, "admin"])}


def test_no_row_is_about_a_route_that_is_gone() -> None:
    known = {route for route, _ in OURS}

    assert [str(row) for row in ROWS if row.route not in known] == []


def admin_paths() -> dict[str, str]:
    """An address for each route of Django's admin."""
    found = {}
    for route, _ in routes():
        if route.startswith(ADMIN_PREFIX):
            path = re.sub(r"<[a-z]+:[a-z_]+>", "1", route)
            path = re.sub(r"\(\?P<app_label>([a-z]+)[^)]*\)", r"\1", path)
            path = re.sub(r"\(\?P<url>\.\*\)", "anything", path)
            found[route] = "/" + path.replace("^", "").replace("$", "")
    return found


def test_the_admin_opens_to_none_of_them(callers: Callers) -> None:
    found = {}
    for route, path in admin_paths().items():
        statuses = {call(callers, who, "GET", path, {}) for who in WHO}
        if statuses != {ADMIN_OPEN.get(route, 302)}:
            found[path] = statuses

    assert found == {}


def scope_headers(callers: Callers, who: str) -> list[tuple[bytes, bytes]]:
    ours = settings.MESH_URL.origin
    pairs = {"host": ours.partition("://")[2], "origin": ours, **callers.of(who)}
    return [(name.lower().encode(), value.encode()) for name, value in pairs.items()]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", EDGE_ROWS)
async def test_each_gets_from_the_edge_what_the_table_says(path: str, callers: Callers) -> None:
    found = {}
    async with runtime.running(jobs=()):
        for who in WHO:
            method, body = ("POST", POSTED[path]) if path in POSTED else ("GET", b"")
            headers = [*scope_headers(callers, who), (b"content-type", b"application/json")]
            wire = HttpCommunicator(asgi.application, method, path, headers=headers)
            wire.scope["client"] = ["203.0.113.9", 4711]
            await wire.send_input({"type": "http.request", "body": body})
            found[who] = (await wire.receive_output(SECONDS))["status"]
            await wire.send_input({"type": "http.disconnect"})
            await wire.wait(timeout=SECONDS)

    assert found == EDGE_ROWS[path]


async def knock(path: str, headers: list[tuple[bytes, bytes]]) -> int | str:
    """Return the code with which a socket is closed, or "open" when something comes first.

    A page is told its cells, a node is answered its hello.
    """
    wire = WebsocketCommunicator(asgi.application, path, headers=headers)
    assert (await wire.connect(SECONDS))[0]
    if path == "/link/v1":
        await wire.send_to(text_data=framing.encode(HELLO).decode())
    said = await wire.receive_output(SECONDS)
    await wire.disconnect(timeout=SECONDS)
    return int(said["code"]) if said["type"] == "websocket.close" else "open"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", SOCKET_ROWS)
async def test_each_socket_opens_to_whom_the_table_says(path: str, callers: Callers) -> None:
    async with runtime.running(jobs=()):
        found = {who: await knock(path, scope_headers(callers, who)) for who in WHO}

    assert found == SOCKET_ROWS[path]


def test_everything_in_front_of_django_has_its_row() -> None:
    others = {path for path in EDGE_ROWS if path.startswith(settings.STATIC_URL) or asgi.is_run_stream(path)}
    assert EDGE_ROWS.keys() - others == asgi.EDGE.keys()
    assert {path.partition("?")[0] for path in SOCKET_ROWS} == set(asgi.SOCKETS)
