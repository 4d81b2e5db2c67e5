"""Who may open a stream: programs by their token, pages by their session, neither by the other's way."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import Error as DatabaseError
from django.http.request import split_domain_port, validate_host
from django.utils.encoding import escape_uri_path

from dashboard.edge.address import values
from dashboard.edge.responses import problem
from dashboard.edge.standing import PEOPLE, TOKENS, until_refused
from dashboard.models import Action, Token
from dashboard.runtime import LaneFull, Runtime
from dashboard.selectors import sessions
from dashboard.services import actor, audit_refusals, rights, tokens
from dashboard.services.accounts import PASSWORD_DUE
from dashboard.services.rights import Right
from dashboard.services.tokens import TokenRejected, TokensUnavailable
from meshcore.openai_errors import BadRequest
from meshcore.run_view import position

Scope = dict[str, Any]
Headers = tuple[tuple[bytes, bytes], ...]

CHALLENGE: Headers = ((b"www-authenticate", b'Bearer realm="meshboard"'),)
RETRY: Headers = ((b"retry-after", b"5"),)
UNCHECKED = "Who asks can't be checked now; try again."


class Refusal(Exception):
    """Why somebody may not come in; `who` is their token or person, as far as it is known.

    `field` names what in the request it is about.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        headers: Headers = (),
        *,
        who: Token | User | None = None,
        field: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.who = who
        self.field = field


Judge = Callable[[Scope], frozenset[Right]]
"""Returns what a request's sender may, if that includes reading; reads the database, raises Refusal."""


def by_token(scope: Scope) -> frozenset[Right]:
    """Let in whoever has a token of scope `read`."""
    secret = tokens.secret_in(values(scope, b"authorization"))
    try:
        token = tokens.authenticate(secret, address=(scope.get("client") or [""])[0])
    except TokenRejected as exc:
        said = "This token doesn't count." if secret else "A token of scope read is needed."
        raise Refusal(HTTPStatus.UNAUTHORIZED, said, CHALLENGE, who=exc.token) from exc
    except TokensUnavailable as exc:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, UNCHECKED, RETRY) from exc
    may = rights.token_rights(token)
    if Right.READ not in may:
        raise Refusal(HTTPStatus.FORBIDDEN, "This needs a token of scope read.", who=token)
    return may


def by_session(scope: Scope) -> frozenset[Right]:
    """Let in whoever is signed in and may look, at one of our own names."""
    host = next(iter(values(scope, b"host")), "")
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        raise Refusal(HTTPStatus.BAD_REQUEST, "That is none of this dashboard's names.")
    key = sessions.key_of(scope)
    user = sessions.user_of(key)
    if user is None or sessions.has(key, PASSWORD_DUE):
        raise Refusal(HTTPStatus.UNAUTHORIZED, "Nobody is signed in.")
    may = rights.user_rights(user)
    if Right.READ not in may:
        raise Refusal(HTTPStatus.FORBIDDEN, "Your account belongs to no group that may look.", who=user)
    return may


async def admitted(runtime: Runtime, judge: Judge, scope: Scope, *, route: str) -> frozenset[Right]:
    """Return what the sender of a request may. Raises Refusal, which the audit counts under `route`."""
    try:
        return await runtime.in_control(judge, scope)
    except Refusal as exc:
        if exc.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            _note(exc, scope, route)
        raise
    except (DatabaseError, LaneFull) as exc:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, UNCHECKED, RETRY) from exc


async def until_unwelcome(runtime: Runtime, judge: Judge, scope: Scope, may: frozenset[Right]) -> None:
    """Return when the sender of a request may not come in any more, or may do other things than before."""

    async def counts() -> bool | None:
        try:
            return await runtime.in_control(judge, scope) == may
        except Refusal as exc:
            return None if exc.status is HTTPStatus.SERVICE_UNAVAILABLE else False
        except (DatabaseError, LaneFull):
            return None

    await until_refused(runtime, counts, key=TOKENS if judge is by_token else PEOPLE)


def position_of(scope: Scope, query: dict[str, list[str]], *known: str) -> int | None:
    """Return the last event that a client says it has; raises Refusal, also for unknown parameters."""
    allowed = sorted({"starting_after", *known})
    for name, values_of in query.items():
        if name not in allowed:
            said = f"Unknown parameter {name[:80]!r}; allowed are {', '.join(allowed)}."
            raise Refusal(HTTPStatus.BAD_REQUEST, said, field=name[:80])
        if len(values_of) > 1:
            said = f"{name} is there {len(values_of)} times; expected it once."
            raise Refusal(HTTPStatus.BAD_REQUEST, said, field=name)
    last_event_id = next(iter(values(scope, b"last-event-id")), "")
    try:
        return position(last_event_id, query.get("starting_after", [""])[0])
    except BadRequest as exc:
        raise Refusal(HTTPStatus.BAD_REQUEST, exc.message, field=exc.param) from exc


async def refuse(scope: Scope, send: Any, refusal: Refusal) -> None:
    """Answer with an error, in the form of the API's."""
    more: dict[str, Any] = {"instance": escape_uri_path(scope["path"])}
    if refusal.field:
        more["errors"] = [{"field": refusal.field, "detail": refusal.detail}]
    await problem(send, refusal.status, refusal.detail, *refusal.headers, **more)


def _note(refusal: Refusal, scope: Scope, route: str) -> None:
    address = (scope.get("client") or [""])[0]
    match refusal.who:
        case Token():
            who = actor.of_token(refusal.who, address=address)
        case User():
            who = actor.of_user(refusal.who, address=address)
        case _:
            who = audit_refusals.stranger(address)
    audit_refusals.note(
        actor=who,
        action=Action.ACCESS,
        target=route,
        status=refusal.status.value,
        reason=refusal.detail,
    )
