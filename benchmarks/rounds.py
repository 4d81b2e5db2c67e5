"""Interleaved rounds: everybody is measured in turn, again and again: a busy minute hits all alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from benchmarks.load import in_ms


class Role(StrEnum):
    """What a contestant is to us."""

    OURS = "ours"
    LIMIT = "limit"
    PEER = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One turn: how much was done, in how much time, by how much work of the contestant's process.

    `latencies`, in seconds, are of all that was done; without them p50 and p99 are of the turn alone.
    `stages` are the seconds of some of it in each part of the way.
    """

    count: int
    seconds: float
    cpu_seconds: float
    errors: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    note: str = ""  # what else must be known of this turn, for people
    latencies: Sequence[float] = ()
    stages: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Done per second."""
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of processor time for each."""
        return self.cpu_seconds / max(self.count, 1) * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Who is measured: `measure(seconds)` is one turn. `failure` says why it couldn't be had at all."""

    name: str
    role: Role
    measure: Callable[[float], Sample] | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The medians of a contestant's turns; errors, notes, stages, and latencies where known, are of all.

    A stage has the median and the most, in milliseconds.
    """

    name: str
    role: Role
    rate: float = 0.0
    cpu_us: float = 0.0
    errors: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    stages: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    failure: str = ""
    notes: tuple[str, ...] = ()


def run(contestants: Sequence[Contestant], *, seconds: float, rounds: int) -> list[Result]:
    """Measure all for `seconds` altogether; every second round goes backwards: none is always first."""
    able = [each for each in contestants if each.measure is not None]
    turn_seconds = seconds / (rounds * max(len(able), 1))
    samples: dict[str, list[Sample]] = {each.name: [] for each in able}
    for number in range(rounds):
        for each in able if number % 2 == 0 else reversed(able):
            if each.measure is not None:
                samples[each.name].append(each.measure(turn_seconds))
    return [_result(each, samples) for each in contestants]


def _result(contestant: Contestant, samples: Mapping[str, Sequence[Sample]]) -> Result:
    turns = samples.get(contestant.name, ())
    if not turns:
        return Result(name=contestant.name, role=contestant.role, failure=contestant.failure)
    p50_ms, p99_ms = _latencies(turns)
    return Result(
        name=contestant.name,
        role=contestant.role,
        rate=median(turn.rate for turn in turns),
        cpu_us=median(turn.cpu_us for turn in turns),
        errors=sum(turn.errors for turn in turns),
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        stages=_stages(turns),
        notes=tuple(turn.note for turn in turns if turn.note),
    )


def _latencies(turns: Sequence[Sample]) -> tuple[float | None, float | None]:
    together = [each for turn in turns for each in turn.latencies]
    if together:
        return in_ms(together)
    return _median(turn.p50_ms for turn in turns), _median(turn.p99_ms for turn in turns)


def _stages(turns: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    names = dict.fromkeys(name for turn in turns for name in turn.stages)
    of_all = {name: [each for turn in turns for each in turn.stages.get(name, ())] for name in names}
    return {name: (median(some) * 1000, max(some) * 1000) for name, some in of_all.items() if some}


def _median(figures: Iterable[float | None]) -> float | None:
    known = [each for each in figures if each is not None]
    return median(known) if known else None
