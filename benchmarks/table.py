"""The table of a bench: who did how much, then one line for each goal."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.rounds import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """At least `ratio` times the rate of `of`; without `of`, 99 of 100 within `p99_ms` if that is given, else
    at most `cpu_us` of processor time each if that is given, else at least `rate` a second. It is for `who`,
    without whom it is for the first that was measured.
    """

    who: str = ""
    ratio: float = 0.0
    of: str = ""
    rate: float = 0.0
    p99_ms: float = 0.0
    cpu_us: float = 0.0


def render(name: str, unit: str, results: Sequence[Result], goals: Sequence[Goal]) -> str:
    """Return the whole text; the first result is ours, and there may be more of ours."""
    heads = f"{'':34} {unit + '/s':>12} {'CPU us each':>12} {'p50 ms':>8} {'p99 ms':>8}"
    rows = [line for result in results for line in (_row(result), *(f"  {note}" for note in result.notes))]
    lines = [name, heads, *rows, "", *(_verdict(goal, results) for goal in goals)]
    return "\n".join(lines)


def _row(result: Result) -> str:
    label = f"{result.name} ({result.role})"
    if result.failure:
        return f"{label:34} not measured: {result.failure}"
    errors = f"  {result.errors} ERRORS" if result.errors else ""
    latencies = f"{_ms(result.p50_ms)} {_ms(result.p99_ms)}"
    stages = "".join(_stage(name, *figures) for name, figures in result.stages.items())
    return f"{label:34} {result.rate:12,.0f} {result.cpu_us:12.2f} {latencies}{errors}{stages}"


def _stage(name: str, median_ms: float, most_ms: float) -> str:
    return f"\n  {name:58} {_ms(median_ms)} {_ms(most_ms)} at most"


def _ms(figure: float | None) -> str:
    return " " * 8 if figure is None else f"{figure:8.2f}"


def _verdict(goal: Goal, results: Sequence[Result]) -> str:
    ours = next(result for result in results if goal.who in ("", result.name))
    who = f"{goal.who}: " if goal.who else ""
    if goal.p99_ms:
        if ours.p99_ms is None:
            return f"not known: nothing was measured, goal {goal.p99_ms:g} ms"
        return f"{_mark(ours.p99_ms < goal.p99_ms)} {who}p99 {ours.p99_ms:.2f} ms, goal {goal.p99_ms:g} ms"
    if goal.cpu_us:
        mark = _mark(0 < ours.cpu_us < goal.cpu_us)
        return f"{mark} {who}{ours.cpu_us:,.0f} us CPU, goal {goal.cpu_us:,.0f} us"
    if not goal.of:
        by_cpu = f"by CPU time {1e6 / ours.cpu_us:,.0f}/s" if ours.cpu_us else "not measured"
        return f"{_mark(ours.rate >= goal.rate)} {who}{ours.rate:,.0f}/s ({by_cpu}), goal {goal.rate:,.0f}/s"
    other = next(result for result in results if result.name == goal.of)
    if not other.rate or not ours.rate:
        return f"not known: {goal.of} was not measured, goal {goal.ratio:g} x"
    ratio, cpu_ratio = ours.rate / other.rate, other.cpu_us / ours.cpu_us
    text = f"{who}{ratio:.2f} x {goal.of} (by CPU time {cpu_ratio:.2f} x), goal {goal.ratio:g} x"
    return f"{_mark(ratio >= goal.ratio)} {text}"


def _mark(reached: bool) -> str:
    return "reached    " if reached else "NOT REACHED"
