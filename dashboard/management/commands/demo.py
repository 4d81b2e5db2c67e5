"""`manage.py demo`: a mesh of three nodes to play with, or the switches of the one that runs."""

import asyncio
import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from dashboard.models import Node, Scope
from dashboard.secrets import read_or_make
from dashboard.services import nodes, tokens
from dashboard.services.actor import SYSTEM
from meshcore.aio.atomic_file import replace_file
from meshcore.aio.demo import remote
from meshcore.aio.demo.child import ChildError
from meshcore.aio.demo.plan import NODES, Plan, preferred_ports
from meshcore.aio.demo.ports import HOST, choose_ports
from meshcore.aio.demo.run import run_demo
from meshcore.aio.demo.switches import NodeSwitch, ProviderFault, SwitchError
from meshcore.aio.lock_file import held_lock
from meshcore.errors import AlreadyRunning

EPILOG = f"""\
switches of a running demo:
  manage.py demo --set node-a/alpha=fail      a provider: {", ".join(ProviderFault)}
  manage.py demo --set node-b=bounce          a node: {", ".join(NodeSwitch)}
  manage.py demo --show                       how everything stands, as JSON
"""


class Command(BaseCommand):
    """Runs the demo mesh; prints `ready URL` with the address of its page once all of it is up."""

    help = "Run three nodes with mock providers and some traffic, or turn the switches of a running demo."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Return the parser, with the switches listed as they are."""
        return super().create_parser(
            prog_name, subcommand, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the command's options."""
        parser.add_argument("--dashboard", metavar="URL", default=settings.MESH_URL.origin)
        parser.add_argument("--var", metavar="DIR", type=Path, default=settings.VAR_DIR)
        parser.add_argument(
            "--lifeline", action="store_true", help="stop when standard input ends, as `serve` does"
        )
        parser.add_argument("--set", metavar="TARGET=SETTING", action="append", help="turn a switch and end")
        parser.add_argument("--show", action="store_true", help="say how everything stands and end")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what was asked."""
        var: Path = options["var"].absolute()
        try:
            if options["set"]:
                remote.turn(var / "demo", options["set"])
            elif options["show"]:
                self.stdout.write(json.dumps(remote.show(var / "demo"), indent=2))
            else:
                self._run(var, options["dashboard"].rstrip("/"), lifeline=options["lifeline"])
        except (AlreadyRunning, ChildError, OSError, SwitchError, remote.DemoAway) as exc:
            raise CommandError(str(exc)) from exc

    def _run(self, var: Path, dashboard_url: str, *, lifeline: bool) -> None:
        with held_lock(var / "demo" / "lock"):  # before any port or token of a running demo is touched
            plan = make_plan(var, dashboard_url)
            connections.close_all()  # the database was only needed for the tokens
            demo = run_demo(plan, code=settings.BASE_DIR, announce=self._announce, lifeline=lifeline)
            asyncio.run(demo)

    def _announce(self, url: str) -> None:
        self.stdout.write(f"ready {url}")
        self.stdout.flush()


def make_plan(var: Path, dashboard_url: str) -> Plan:
    """Return the demo's plan; its nodes are known to the dashboard then, their tokens in `var/secrets`."""
    folder = var / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    return Plan(
        folder=folder,
        dashboard_url=dashboard_url,
        mesh_secret=read_or_make(var / "secrets", "mesh_secret"),
        token_files={node: _token_file(node, var / "secrets") for node in NODES},
        ports=choose_ports(folder / "ports.json", preferred_ports()),
    )


def _token_file(name: str, folder: Path) -> Path:
    """Return the file with a token that counts for this node; made anew when the one there doesn't."""
    file = folder / f"demo-{name}.token"
    node = Node.objects.filter(name=name).first()
    if node is None:
        _, secret = nodes.add(name=name, actor=SYSTEM)
    elif _counts(file, node):
        return file
    else:
        _, secret = tokens.issue(name=name, scopes=[Scope.NODES_PUSH], node=node, actor=SYSTEM)
    replace_file(file, secret.encode() + b"\n")
    return file


def _counts(file: Path, node: Node) -> bool:
    try:
        return tokens.authenticate(file.read_text().strip(), address=HOST).node == node
    except (OSError, tokens.TokenRejected):
        return False
