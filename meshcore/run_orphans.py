"""What a node does about a run that it doesn't execute (runs.md, "Rules": owner dies, nobody is stuck).

Judged by the log and by the owner's heartbeat, the same on every node of a log. Two that come to the same
conclusion append the same thing, and the log lets one of them through.
"""

import enum
from dataclasses import dataclass

from meshcore.run_events import ClaimReason, EndReason, RunStatus
from meshcore.runs import TAKEOVERS_MAX, RunState


class Life(enum.Enum):
    """What an observer knows of a run's owner."""

    ALIVE = enum.auto()
    DEAD = enum.auto()
    UNKNOWN = enum.auto()  # not watched for long enough


class Move(enum.Enum):
    """What to append, if anything."""

    LEAVE = enum.auto()  # it is cared for, or it is too early to say
    CLAIM = enum.auto()  # and execute it, if this node can; else leave it to others: it waits
    END = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanPolicy:
    """How long others wait before they do what is the owner's to do; seconds above 0."""

    lease_seconds: float = 4.0  # an open run that nobody ever claimed is claimed after so long
    cancel_seconds: float = 15.0  # for the owner to write that a cancelled run ended
    stall_seconds: float = 600.0  # without progress: the owner ends it
    stall_grace_seconds: float = 15.0  # behind that: anybody does

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected seconds above 0")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do; of an END, how the run ended."""

    move: Move
    status: RunStatus = RunStatus.FAILED
    reason: str = ""


LEAVE, CLAIM = Verdict(Move.LEAVE), Verdict(Move.CLAIM)
CANCELLED = Verdict(Move.END, RunStatus.CANCELLED, EndReason.CANCEL_REQUESTED)
OWNER_LOST = Verdict(Move.END, RunStatus.FAILED, EndReason.OWNER_LOST)
STALLED = Verdict(Move.END, RunStatus.FAILED, EndReason.STALLED)


def judge(state: RunState, life: Life, *, quiet_seconds: float, policy: OrphanPolicy) -> Verdict:
    """Return what to do about a run of somebody else; `quiet_seconds`: since its log last grew, as seen here.

    `life` is that of the last owner; of a run that was never claimed it says nothing.
    """
    if state.created is None or state.end is not None:
        return LEAVE
    if state.cancelled_by is not None:
        left_alone = state.released or state.owner is None or life is Life.DEAD
        return CANCELLED if left_alone or quiet_seconds >= policy.cancel_seconds else LEAVE
    if state.owner is None:
        return CLAIM if quiet_seconds >= policy.lease_seconds else LEAVE
    if state.released or life is Life.DEAD:
        return _orphan(state)
    overdue = quiet_seconds >= policy.stall_seconds + policy.stall_grace_seconds
    return STALLED if overdue else LEAVE


def _orphan(state: RunState) -> Verdict:
    """A begun run that may not run twice is lost with its owner, and so is one that kills its owners."""
    once_only = state.created is not None and not state.created.restartable
    exhausted = not state.released and state.takeovers >= TAKEOVERS_MAX
    return OWNER_LOST if once_only or exhausted else CLAIM


def reason_to_claim(state: RunState, *, can_continue: bool) -> ClaimReason:
    """Return how a claimer takes the run: a beginning, the rest, or all anew."""
    if state.owner is None:
        return ClaimReason.STARTED
    return ClaimReason.CONTINUED if can_continue else ClaimReason.RESTARTED
