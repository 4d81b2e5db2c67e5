"""Measure one thing and print the table: `script/bench NAME`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from benchmarks import breaker, bus, drain, fleet, gateway, ingest, lists, live, runs, spool
from benchmarks.rounds import Contestant, run
from benchmarks.servers import ServerFailed
from benchmarks.table import Goal, render

ROUNDS = 5
SECONDS = 25.0  # measured altogether; with all that must start first a bench stays within a minute


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench: what it counts, who takes part, what is to be reached."""

    unit: str
    contestants: Callable[..., AbstractContextManager[list[Contestant]]]
    goals: Sequence[Goal]


BENCHES = {
    "gateway": Bench(gateway.UNIT, partial(gateway.contestants, stream=False), gateway.GOALS[False]),
    "gateway-stream": Bench(gateway.UNIT, partial(gateway.contestants, stream=True), gateway.GOALS[True]),
    "bus": Bench(bus.UNIT, bus.contestants, bus.GOALS),
    "breaker": Bench(breaker.UNIT, breaker.contestants, breaker.GOALS),
    "drain": Bench(drain.UNIT, drain.contestants, drain.GOALS),
    "ingest": Bench(ingest.UNIT, ingest.contestants, ingest.GOALS),
    "live": Bench(live.UNIT, live.contestants, live.GOALS),
    "fleet": Bench(fleet.UNIT, fleet.contestants, fleet.GOALS),
    "lists": Bench(lists.UNIT, lists.contestants, lists.GOALS),
    "runs": Bench(runs.UNIT, runs.contestants, runs.GOALS),
    "spool": Bench(spool.UNIT, spool.contestants, spool.GOALS),
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("name", choices=BENCHES)
    parser.add_argument("--seconds", type=_seconds, default=SECONDS, help="to measure altogether")
    parser.add_argument("--no-peers", action="store_true", help="ours and the limit alone; installs nothing")
    return parser.parse_args(arguments)


def measure(bench: Bench, name: str, *, seconds: float, with_peers: bool, rounds: int = ROUNDS) -> str:
    """Run a bench and return its table. Raises ServerFailed when ours or the limit can't be started."""
    with bench.contestants(with_peers=with_peers) as contestants:
        results = run(contestants, seconds=seconds, rounds=rounds)
    known = {result.name for result in results}
    goals = [goal for goal in bench.goals if {goal.of, goal.who} <= {*known, ""}]
    return render(name, bench.unit, results, goals)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of seconds above 0, up to 3600")
    return seconds


def main(arguments: Sequence[str]) -> int:
    """Return 0 when it was measured, whatever came out."""
    options = parse(arguments)
    bench = BENCHES[options.name]
    try:
        print(measure(bench, options.name, seconds=options.seconds, with_peers=not options.no_peers))
    except ServerFailed as exc:
        print(f"script/bench: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
