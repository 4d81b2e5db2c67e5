"""What is done about runs of others."""

import msgspec
import pytest

from meshcore.run_events import AnyEvent, ClaimReason
from meshcore.run_orphans import (
    CANCELLED,
    CLAIM,
    LEAVE,
    OWNER_LOST,
    STALLED,
    Life,
    OrphanPolicy,
    Verdict,
    judge,
    reason_to_claim,
)
from meshcore.runs import fold
from tests.test_runs import CANCEL, CREATED, RELEASED, STARTED, chunk, claimed, end

POLICY = OrphanPolicy()
ONCE = [msgspec.structs.replace(CREATED, restartable=False), STARTED[1]]
LOST_THRICE = [*STARTED, *(claimed(f"n{epoch}", epoch, ClaimReason.CONTINUED) for epoch in (2, 3, 4))]


@pytest.mark.parametrize(
    ("log", "life", "quiet_seconds", "verdict"),
    [
        ([], Life.DEAD, 1000, LEAVE),
        ([*STARTED, end(3)], Life.DEAD, 1000, LEAVE),
        ([CREATED], Life.UNKNOWN, 3.9, LEAVE),
        ([CREATED], Life.UNKNOWN, 4.0, CLAIM),
        (STARTED, Life.ALIVE, 614.9, LEAVE),
        (STARTED, Life.ALIVE, 615.0, STALLED),
        (STARTED, Life.UNKNOWN, 5.0, LEAVE),
        (STARTED, Life.DEAD, 0.0, CLAIM),
        ([*STARTED, RELEASED], Life.ALIVE, 0.0, CLAIM),
        (LOST_THRICE[:-1], Life.DEAD, 0.0, CLAIM),
        (LOST_THRICE, Life.DEAD, 0.0, OWNER_LOST),
        (LOST_THRICE, Life.ALIVE, 0.0, LEAVE),
        ([*LOST_THRICE, RELEASED], Life.DEAD, 0.0, CLAIM),
        (ONCE, Life.DEAD, 0.0, OWNER_LOST),
        ([*ONCE, RELEASED], Life.ALIVE, 0.0, OWNER_LOST),
        (ONCE[:1], Life.UNKNOWN, 4.0, CLAIM),
        ([*STARTED, CANCEL], Life.ALIVE, 14.9, LEAVE),
        ([*STARTED, CANCEL], Life.ALIVE, 15.0, CANCELLED),
        ([*STARTED, CANCEL], Life.DEAD, 0.0, CANCELLED),
        ([CREATED, CANCEL], Life.UNKNOWN, 0.0, CANCELLED),
        ([*STARTED, RELEASED, CANCEL], Life.ALIVE, 0.0, CANCELLED),
    ],
)
def test_a_run_is_judged_by_its_log_and_its_owners_life(
    log: list[AnyEvent], life: Life, quiet_seconds: float, verdict: Verdict
) -> None:
    assert judge(fold(log), life, quiet_seconds=quiet_seconds, policy=POLICY) == verdict


def test_a_claim_says_whether_it_begins_goes_on_or_begins_anew() -> None:
    fresh, begun = fold([CREATED]), fold([*STARTED, chunk(1)])

    reasons = [
        reason_to_claim(fresh, can_continue=True),
        reason_to_claim(begun, can_continue=True),
        reason_to_claim(begun, can_continue=False),
    ]

    assert reasons == [ClaimReason.STARTED, ClaimReason.CONTINUED, ClaimReason.RESTARTED]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_policy_has_seconds_above_zero(seconds: float) -> None:
    with pytest.raises(ValueError, match="lease_seconds"):
        OrphanPolicy(lease_seconds=seconds)
