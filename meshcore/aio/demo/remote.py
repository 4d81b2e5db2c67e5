"""The switches of a running demo, turned from another process."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from meshcore.aio.demo.run import mesh_file
from meshcore.aio.demo.switches import Switch, SwitchError

ANSWER_SECONDS = 10.0


class DemoAway(Exception):
    """No demo runs with these files, or it doesn't answer."""


def turn(folder: Path, texts: Iterable[str]) -> None:
    """Turn the switches, each TARGET=SETTING; all are understood before the first is turned.

    Raises SwitchError, DemoAway.
    """
    switches = [Switch.parse(text) for text in texts]
    for switch in switches:
        form = urllib.parse.urlencode({"set": f"{switch.target}={switch.setting}"}).encode()
        try:
            _ask(folder, "/switch", form)
        except urllib.error.HTTPError as exc:
            raise SwitchError(f"{switch.target!r}: the demo has no such target") from exc


def show(folder: Path) -> dict[str, Any]:
    """Return how the demo's nodes, faults and counts stand. Raises DemoAway."""
    state: dict[str, Any] = json.loads(_ask(folder, "/state"))
    return {key: state[key] for key in ("nodes", "faults", "troubles", "counts")}


def _ask(folder: Path, path: str, form: bytes | None = None) -> bytes:
    try:
        control_url = json.loads(mesh_file(folder).read_bytes())["control_url"]
    except (OSError, ValueError, KeyError) as exc:
        raise DemoAway(f"no demo runs in {folder}") from exc
    try:
        with urllib.request.urlopen(control_url + path, form, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - our own file names it
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as exc:
        exc.close()
        raise
    except OSError as exc:
        raise DemoAway(f"the demo at {control_url} doesn't answer: {exc}") from exc
