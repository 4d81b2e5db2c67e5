"""`manage.py add_node NAME`: a token, shown once, a ready configuration, and the command to start with it."""

import os
import shlex
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from dashboard.management.shell import whoever_runs_this
from dashboard.secrets import read_or_make
from dashboard.services import nodes
from dashboard.services.nodes import Enrolled, Place

MESH_SECRET = "mesh_secret"  # noqa: S105 - the name of the file, as the demo's nodes have it


class Command(BaseCommand):
    """Adds a node to the mesh."""

    help = "Add a node: prints its token once, its configuration, and the command that starts it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument("name", help="1 to 63 of a-z 0-9 . _ -, unique in the mesh")
        parser.add_argument("--community", default="default", help="nodes call only nodes of their own")
        parser.add_argument("--upstream", default=nodes.UPSTREAM, help="any OpenAI-compatible URL")
        parser.add_argument("--listen", default=nodes.LISTEN, help="HOST:PORT where the node answers")
        parser.add_argument("--dashboard", default=settings.MESH_URL.origin, help="URL of this dashboard")
        parser.add_argument(
            "--folder", type=Path, help="write node.toml and node.token there, readable by you alone"
        )

    def handle(self, **options: Any) -> None:
        """Add the node and say how to start it."""
        if options["folder"] is None:
            self._tell(_enrol(options))
        else:
            self._write(options["folder"], options)

    def _tell(self, enrolled: Enrolled) -> None:
        self.stdout.write(
            f"Node {enrolled.node.name} is added. Its token, shown this once:\n\n  {enrolled.secret}\n"
        )
        self.stdout.write(f"Save this as {enrolled.file}:\n\n{enrolled.configuration}")
        self.stdout.write(f"Start it:\n\n  {enrolled.start(python=_python())}\n")
        self.stdout.write(nodes.ALONE)

    def _write(self, folder: Path, options: dict[str, Any]) -> None:
        token, toml, mesh_secret = folder / "node.token", folder / "node.toml", _mesh_secret_file()
        with _OwnFile(token) as token_file, _OwnFile(toml) as toml_file:
            enrolled = _enrol(options, token_file=token.name, mesh_secret_file=str(mesh_secret))
            token_file.write(enrolled.secret)
            toml_file.write(enrolled.configuration)
        name = enrolled.node.name
        self.stdout.write(f"Node {name} is added; its token is in {token}, which nobody else can read.")
        self.stdout.write(f"It joins the mesh with the secret in {mesh_secret}.")
        self.stdout.write(f"Start it:\n\n  {nodes.start(str(toml), python=_python())}")


class _OwnFile:
    """A new file that only its owner can read; gone again when the block that fills it fails."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "_OwnFile":
        """Make the file. Raises CommandError when there is one."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as exc:
            raise CommandError(f"{self._path}: {exc.strerror}") from exc
        return self

    def write(self, text: str) -> None:
        """Write all of it, ending in a newline."""
        with os.fdopen(os.dup(self._file), "w", encoding="utf-8") as file:
            file.write(text.rstrip("\n") + "\n")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file."""
        os.close(self._file)
        if kind is not None:
            self._path.unlink()


def _enrol(options: dict[str, Any], *, token_file: str = "", mesh_secret_file: str = "") -> Enrolled:
    place = Place(
        dashboard_url=options["dashboard"],
        listen=options["listen"],
        upstream=options["upstream"],
        token_file=token_file,
        mesh_secret_file=mesh_secret_file,
    )
    try:
        return nodes.enrol(
            name=options["name"], community=options["community"], place=place, actor=whoever_runs_this()
        )
    except nodes.InvalidNode as exc:
        raise CommandError(str(exc)) from exc


def _mesh_secret_file() -> Path:
    """Return the file with the secret that the nodes of this machine share; made when there is none yet."""
    folder = settings.VAR_DIR / "secrets"
    read_or_make(folder, MESH_SECRET)
    return Path(folder / MESH_SECRET)


def _python() -> str:
    """Return how to call this Python from here, as short as it goes."""
    python = Path(sys.executable)
    here = Path.cwd()
    return shlex.quote(str(python.relative_to(here) if python.is_relative_to(here) else python))
