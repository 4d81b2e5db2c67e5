"""`manage.py simulate`: nodes that nobody has, for load tests and for a look at a large mesh."""

import asyncio
import contextlib
import logging
import resource
import signal
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from dashboard.management import descriptors, migrations
from dashboard.management.shell import whoever_runs_this
from dashboard.models import Node, Scope
from dashboard.services import nodes, tokens
from dashboard.services.actor import Actor
from meshcore.aio.logs import set_up_logs
from meshcore.aio.simulation.crowd import Crowd, names, sentences
from meshcore.aio.simulation.node import NodePlan

NODES_MAX = 5000  # of one process; each takes about 150 kB and a descriptor
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
PROGRESS_SECONDS = 5.0
LOOK_SECONDS = 0.25  # between two looks at whether everybody has caught up
COMMUNITY = "simulation"  # so that real nodes are never told of simulated ones
REASON = "the simulation is over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """When the simulation is over: after `seconds`, or once all have caught up."""

    seconds: float
    caught_up: bool


class Command(BaseCommand):
    """Runs simulated nodes."""

    help = (
        "Run simulated nodes, sim-0001 and so on, against this dashboard, and forget them at the end. They "
        "speak the real link, obey drains and overrides, and make up their calls."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument("--nodes", type=_whole(1, NODES_MAX), default=10, help="default: %(default)s")
        parser.add_argument(
            "--rate", type=_number(0, 1000), default=1.0, help="calls a second of each (default: %(default)s)"
        )
        parser.add_argument(
            "--providers", type=_whole(1, 200), default=20, help="of each node (default: %(default)s)"
        )
        parser.add_argument("--seconds", type=_number(0, 86_400), default=60.0, help="default: %(default)s")
        parser.add_argument("--url", default=settings.MESH_URL.origin, help="of this dashboard")
        parser.add_argument(
            "--backlog", type=_whole(0, 2000), default=0, help="calls that each has to tell of when it comes"
        )
        parser.add_argument(
            "--at-once", action="store_true", help="all nodes come in the same moment, as after an outage"
        )
        parser.add_argument(
            "--until-caught-up",
            action="store_true",
            help="end as soon as all that was to tell is stored; 1 when --seconds are over before",
        )
        parser.add_argument("--keep", action="store_true", help="don't forget the nodes at the end")
        parser.add_argument(
            "--anywhere", action="store_true", help="also against a dashboard that is not on this machine"
        )

    def handle(self, **options: Any) -> None:
        """Add the nodes, let them live, forget them."""
        migrations.refuse_pending()
        _refuse_strangers(options["url"], anywhere=options["anywhere"])
        if (fit := descriptors.allow(options["nodes"])) < options["nodes"]:
            raise CommandError(
                f"--nodes {options['nodes']}: the limit of open files allows {fit} (ulimit -Hn)"
            )
        set_up_logs(level=logging.ERROR)  # a line for each link is nothing that anybody reads
        logging.getLogger("websockets").setLevel(logging.CRITICAL)  # nor a traceback for each that is lost
        plan = NodePlan(
            providers=options["providers"],
            calls_per_second=options["rate"],
            max_items=max(NodePlan().max_items, 2 * options["backlog"]),
        )
        wanted, actor = names(options["nodes"]), whoever_runs_this()
        self.stdout.write(f"{len(wanted)} nodes with {plan.providers} providers each, {wanted[0]} and so on")
        try:
            crowd = Crowd({name: enrol(name, actor) for name in wanted}, options["url"], plan)
            connections.close_all()  # others write now
            ending = Ending(seconds=options["seconds"], caught_up=options["until_caught_up"])
            in_time = asyncio.run(self._live(crowd, ending, options))
        finally:
            if not options["keep"]:
                self.stdout.write(f"{forget(wanted, actor)} nodes are forgotten")
        if not in_time:
            raise CommandError(f"not all had caught up after {options['seconds']:g} s")

    async def _live(self, crowd: Crowd, ending: Ending, options: dict[str, Any]) -> bool:
        for node in crowd.nodes:
            node.remember(options["backlog"])
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        begin, cpu = time.monotonic(), time.process_time()
        async with crowd.present(at_once=options["at_once"]):
            in_time = await self._watch(crowd, ending, over)
            passed, used = time.monotonic() - begin, time.process_time() - cpu
            self._say("at the end", crowd)
            if options["keep"]:
                self.stdout.write(f"{await crowd.say_goodbye()} nodes are idle")
        mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.stdout.write(
            f"{passed:.1f} s, {used:.1f} s of a processor, {mib:.0f} MiB at most, in this process"
        )
        return in_time

    async def _watch(self, crowd: Crowd, ending: Ending, over: asyncio.Event) -> bool:
        """Return False when time was up before all had caught up."""
        begin = time.monotonic()
        told = begin
        while not over.is_set():
            now = time.monotonic()
            if ending.caught_up and all(node.has_caught_up() for node in crowd.nodes):
                return True
            if now - begin >= ending.seconds:
                return not ending.caught_up
            if now - told >= PROGRESS_SECONDS:
                told = now
                self._say(f"{now - begin:.0f} s", crowd)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_SECONDS, ending.seconds)):
                    await over.wait()
        return True

    def _say(self, when: str, crowd: Crowd) -> None:
        self.stdout.write(f"{when}: {'; '.join(sentences(crowd.standing()))}")
        self.stdout.flush()


def enrol(name: str, actor: Actor) -> str:
    """Return a token of the node, which is added when a former simulation didn't leave it behind."""
    node = Node.objects.filter(name=name).first()
    if node is None:
        return nodes.add(name=name, community=COMMUNITY, actor=actor)[1]
    if node.community != COMMUNITY:
        raise CommandError(f"{name} is no simulated node: it is of {node.community}, not of {COMMUNITY}")
    return tokens.issue(name=name, scopes=[Scope.NODES_PUSH], node=node, actor=actor)[1]


def forget(wanted: Sequence[str], actor: Actor) -> int:
    """Forget the simulated nodes of these names; return how many there were."""
    there = Node.objects.filter(name__in=wanted, community=COMMUNITY)
    return sum(nodes.forget(node=node, actor=actor, reason=REASON, even_connected=True) for node in there)


def _refuse_strangers(url: str, *, anywhere: bool) -> None:
    host = urlsplit(url).hostname
    if urlsplit(url).scheme not in ("http", "https") or not host:
        raise CommandError(f"--url {url}: expected http://HOST:PORT or https://HOST")
    if host not in LOOPBACK and not anywhere:
        raise CommandError(
            f"--url {url} is not on this machine: simulated nodes fill its database; --anywhere allows it"
        )


def _whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"{text!r}: expected an integer from {least} to {most}")
        return int(text)

    return number


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise ArgumentTypeError(f"{text!r}: expected a number from {least:g} to {most:g}")
        return value

    return number
