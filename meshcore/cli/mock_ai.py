"""`python -m meshcore mock-ai`: a mock provider on a port, until it is told to stop."""

import argparse
import asyncio
import signal
from collections.abc import Sequence

from meshcore.aio.mock_ai import MockAi

DESCRIPTION = """\
A real server that speaks the OpenAI wire with made-up answers. What goes wrong is asked for in the last user
message (slow:20x500, many:20, stamp:on, fail:http=503, fail:after=2, err:after=2, hang:after=2) or, for all
calls, by POST /_faults with any of {"http", "retry_after", "delay_ms", "hang", "chunks", "chunk_ms", "stamp",
"fail_after", "err_after", "hang_after"}. DELETE /_faults takes it back; GET /_calls counts calls and aborts.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; prints `ready http://host:port` once it listens. Returns the exit code."""
    options = _parser().parse_args(argv)
    mock = MockAi(name=options.name, models=options.model or ["mock-model"])
    try:
        asyncio.run(_serve(mock, options.host, options.port))
    except OSError as exc:
        print(f"mock-ai: can't listen on {options.host}:{options.port}: {exc.strerror}", flush=True)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m meshcore mock-ai",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=_port, required=True, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--name", default="mock", help="tells several mocks apart (default: %(default)s)")
    parser.add_argument("--model", action="append", help="may be repeated (default: mock-model)")
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port from 0 to 65535")
    return int(text)


async def _serve(mock: MockAi, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with mock.serve(host, port) as url:
        print(f"ready {url}", flush=True)
        await stopped.wait()
