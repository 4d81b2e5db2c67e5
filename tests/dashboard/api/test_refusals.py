"""What services refuse becomes an answer in one place."""

import pytest

from dashboard.api.body import BodyError
from dashboard.api.refusals import KINDS, as_problem
from dashboard.services.aliases import InvalidAliases
from dashboard.services.desired import GenerationMismatch
from dashboard.services.drain import GuardsRefused
from dashboard.services.drain_wish import InvalidWish
from dashboard.services.nodes import InvalidNode, NodeConnected
from dashboard.services.outbox import InvalidCancel
from dashboard.services.overrides import InvalidOverride
from dashboard.services.tokens import InvalidToken
from meshcore.guards import Blocker, BlockerKind

BLOCKER = Blocker(kind=BlockerKind.LAST_PROVIDER, detail="it is the last", subject="llm.chat")


@pytest.mark.parametrize(
    ("refusal", "status", "field", "said"),
    [
        (BodyError("a is 7", field="a"), 400, "a", "a is 7"),
        (InvalidWish("reason", "too long"), 400, "reason", "reason: too long"),
        (InvalidOverride("key", "too long"), 400, "key", "key: too long"),
        (InvalidCancel("run_id", "none"), 400, "run_id", "run_id: none"),
        (InvalidAliases("mesh/a: none"), 400, "", "mesh/a: none"),
        (InvalidNode("name='A'"), 400, "", "name='A'"),
        (InvalidToken("no scope"), 400, "", "no scope"),
        (GenerationMismatch(1, 7), 412, "If-Match", "generation 7"),
        (NodeConnected("it is connected"), 409, "even_connected", "it is connected"),
        (GuardsRefused([BLOCKER]), 409, "override_guards", "it is the last"),
    ],
)
def test_a_refusal_is_answered_by_its_kind(refusal: Exception, status: int, field: str, said: str) -> None:
    problem = as_problem(refusal)

    assert isinstance(refusal, KINDS)
    assert (problem.status_code, problem.field) == (status, field)
    assert said in str(problem.detail)


def test_guards_tell_their_blockers() -> None:
    assert as_problem(GuardsRefused([BLOCKER])).more == {
        "blockers": [{"kind": "last_provider", "detail": "it is the last", "subject": "llm.chat"}]
    }


def test_a_mismatch_tells_the_present_generation() -> None:
    problem = as_problem(GenerationMismatch(1, 7))

    assert (problem.headers, problem.more) == ({"ETag": '"7"'}, {"current_generation": 7})
