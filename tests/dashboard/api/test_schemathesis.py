"""The whole API against its own schema: nothing it answers is undocumented, and nothing makes it fail.

Deterministic and bounded: the same examples each time. They run against the real application, one after the
other on one database, so later ones meet what earlier ones left behind.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, settings
from schemathesis import Case

from dashboard.api import ingest_document, streams
from dashboard.api.openapi import document
from dashboard.models import Node, Scope, Token
from dashboard.services import tokens
from dashboard.services.actor import SYSTEM

# That every well-formed request is accepted can't be: cursors and generations are right only at their moment.
# And what DELETE ends can still be read: a revoked token, a node that no longer drains.
UNFIT = ("positive_data_acceptance", "use_after_free")
CONFIG = {"checks": {check: {"enabled": False} for check in UNFIT}}
DOCUMENT = deepcopy(document())
for path in (*streams.PATHS, ingest_document.PATH):  # in front of Django; streams have no end
    del DOCUMENT["paths"][path]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config.from_dict(CONFIG))
SCHEMA.app = get_wsgi_application()
EVERYTHING = set(Scope) - {Scope.NODES_PUSH}

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]


def bounded(**more: Any) -> settings:
    """Settings that give the same examples each time, on however slow a machine."""
    return settings(
        derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), **more
    )


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """A request must not close the connection whose transaction the test takes back."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def authorization(node: Node) -> dict[str, str]:
    """The header of a token that may do everything."""
    return {"Authorization": f"Bearer {tokens.issue(name='fuzz', scopes=EVERYTHING, actor=SYSTEM)[1]}"}


@SCHEMA.parametrize()
@bounded(max_examples=5)
def test_every_answer_is_one_that_the_schema_tells_of(case: Case, authorization: dict[str, str]) -> None:
    Token.objects.filter(name="fuzz").update(revoked_at=None)  # an example may have revoked it

    case.call_and_validate(headers=authorization)


def test_every_sequence_of_calls_stays_within_the_schema(authorization: dict[str, str]) -> None:
    machine: Any = SCHEMA.as_state_machine()

    class Caller(machine):  # type: ignore[misc]
        """Goes from answer to call along the links, in a world of its own each time."""

        def setup(self) -> None:
            self._world = transaction.atomic()
            self._world.__enter__()

        def teardown(self) -> None:
            transaction.set_rollback(True)
            self._world.__exit__(None, None, None)

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            Token.objects.filter(name="fuzz").update(revoked_at=None)
            return {"headers": authorization}

        def validate_response(self, response: Any, case: Case, *_: Any, **sent: Any) -> None:
            case.validate_response(
                response, headers=authorization, transport_kwargs=sent, recorder=self.recorder
            )

    Caller.run(settings=bounded(max_examples=20, stateful_step_count=8))
