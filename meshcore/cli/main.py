"""Which command was asked for."""

import sys
from collections.abc import Callable, Sequence

from meshcore.cli import drain, mock_ai, node

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "node": (node.main, "run a gateway node, or check its configuration"),
    "drain": (drain.main, "drain the node of this machine, and wait until it is safe to stop"),
    "mock-ai": (mock_ai.main, "run a mock provider that fails on demand"),
}
WRONG_USAGE = 64  # EX_USAGE of sysexits.h


def main(argv: Sequence[str]) -> int:
    """Run the command that `argv` begins with and return its exit code."""
    name, arguments = (argv[0], argv[1:]) if argv else ("", [])
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name not in COMMANDS:
        print(f"{name!r} is no command\n{_usage()}" if name else _usage(), file=sys.stderr)
        return WRONG_USAGE
    command, _ = COMMANDS[name]
    return command(arguments)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: python -m meshcore COMMAND [--help]", "", *lines])
