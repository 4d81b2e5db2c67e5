"""Run pytest with real servers: `MESH_TEST_ENGINES=auto|services|wheels python -m tests.engines [ARGUMENTS]`.

Servers are there before pytest starts, because Django reads its database from the environment; and once for
all workers. `--services-answer` runs nothing: its exit code says whether there are servers already.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.engines.servers import Mode, NoServer, provided, services_answer

SUITES = ("tests/engines", "tests/dashboard/services", "tests/dashboard/selectors", "tests/dashboard/api")
USAGE_ERROR = 4  # as pytest's


class Terminated(Exception):
    """Somebody wants us to end."""


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit code, or `USAGE_ERROR` where there are no servers."""
    if list(arguments) == ["--services-answer"]:
        return 0 if services_answer() else 1
    signal.signal(signal.SIGTERM, _terminated)
    try:
        mode = Mode(os.environ.get("MESH_TEST_ENGINES") or Mode.AUTO)
        with provided(mode) as engines:
            urls = {"DATABASE_URL": engines.postgres_url, "CHANNEL_LAYER_URL": engines.redis_url}
            return _pytest(with_paths(arguments), urls)
    except ValueError:
        print(
            f"MESH_TEST_ENGINES={os.environ['MESH_TEST_ENGINES']!r}: expected {', '.join(Mode)}",
            file=sys.stderr,
        )
    except NoServer as exc:
        print(exc, file=sys.stderr)
    except (Terminated, KeyboardInterrupt):
        return 128 + signal.SIGTERM
    return USAGE_ERROR


def with_paths(arguments: Sequence[str]) -> list[str]:
    """Return pytest's arguments; when they name no file or folder, with those that need servers."""
    named = any(Path(each.partition("::")[0]).exists() for each in arguments)
    return [*arguments, *([] if named else SUITES)]


def _pytest(arguments: Sequence[str], urls: dict[str, str]) -> int:
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-m", "not sqlite", *arguments], env={**os.environ, **urls}
    ) as tests:
        try:
            return tests.wait()
        except BaseException:
            tests.kill()
            raise


def _terminated(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left to do is quick, and must be done
    raise Terminated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
