"""Bearer tokens open the API and nothing else does: no cookie, no query string."""

from http import HTTPStatus

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from dashboard.api.problems import RETRY, Problem
from dashboard.models import Token
from dashboard.services import tokens
from dashboard.services.tokens import Refusal, TokenRejected, TokensUnavailable

CHALLENGE = 'Bearer realm="meshboard"'

SENTENCES = {  # all but the first are told only to whoever has the right secret
    Refusal.UNKNOWN: "The token is unknown.",
    Refusal.EXPIRED: "The token has expired.",
    Refusal.REVOKED: "The token was revoked.",
    Refusal.NETWORK: "The token doesn't count from this address.",
}


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer msh_…`."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Token] | None:
        """Return the token, or None for none; a wrong one is 401, and 503 when it can't be checked."""
        given = request.headers.get("Authorization", "")  # several are joined by a comma, which no secret has
        secret = tokens.secret_in([given])
        if not secret:
            return None
        try:
            token = tokens.authenticate(secret, address=request.META.get("REMOTE_ADDR", ""))
        except TokenRejected as exc:
            raise AuthenticationFailed(SENTENCES[exc.kind]) from exc
        except TokensUnavailable as exc:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Tokens can't be checked now; try again.",
                headers=RETRY,
            ) from exc
        return AnonymousUser(), token

    def authenticate_header(self, request: Request) -> str:
        """Return what 401 asks for."""
        return CHALLENGE
