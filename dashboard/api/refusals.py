"""What services and bodies refuse, as answers: the one place where their exceptions become problems."""

from http import HTTPStatus
from typing import Any

import msgspec

from dashboard.api.body import BodyError
from dashboard.api.preconditions import mismatch
from dashboard.api.problems import Problem
from dashboard.services.aliases import InvalidAliases
from dashboard.services.desired import GenerationMismatch
from dashboard.services.drain import ON_RECORD, GuardsRefused
from dashboard.services.drain_wish import InvalidWish
from dashboard.services.nodes import InvalidNode, NodeConnected
from dashboard.services.outbox import InvalidCancel
from dashboard.services.overrides import InvalidOverride
from dashboard.services.tokens import InvalidToken

NAMING = (BodyError, InvalidWish, InvalidOverride, InvalidCancel)  # their `field`
PLAIN = (InvalidAliases, InvalidNode, InvalidToken)
KINDS = (*NAMING, *PLAIN, *ON_RECORD, NodeConnected)


def as_problem(exc: Exception) -> Problem:
    """Return what is answered to one of `KINDS`."""
    if isinstance(exc, GuardsRefused):
        return guarded(exc)
    if isinstance(exc, GenerationMismatch):
        return mismatch(exc.current)
    if isinstance(exc, NodeConnected):
        return Problem(HTTPStatus.CONFLICT, f"{exc}.", field="even_connected")
    field = exc.field if isinstance(exc, NAMING) else ""
    return Problem(HTTPStatus.BAD_REQUEST, str(exc), field=field)


def guarded(exc: GuardsRefused) -> Problem:
    """Return the answer to a drain that guards refuse."""
    blockers: list[dict[str, Any]] = msgspec.to_builtins(exc.blockers)
    return Problem(
        HTTPStatus.CONFLICT,
        f"{exc}; override_guards drains it all the same.",
        field="override_guards",
        more={"blockers": blockers},
    )
