"""Log lines: JSON for machines, plain for people."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from meshcore.aio.logs import set_up_logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_an_event_is_one_json_line_with_its_fields() -> None:
    stream = io.StringIO()
    set_up_logs(stream)

    logging.getLogger("meshcore.aio.node").warning("lost %s", "node-b", extra={"node": "node-b"})

    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["logger"]) == ("lost node-b", "warning", "meshcore.aio.node")
    assert line["node"] == "node-b"
    assert line["timestamp"].endswith("Z")


def test_both_ways_to_log_come_out_alike() -> None:
    stream = io.StringIO()
    set_up_logs(stream)

    structlog.get_logger("meshcore.aio.link_client").warning("link.lost", url="ws://here")
    structlog.get_logger("meshcore.aio.link_client").debug("detail")

    line = json.loads(stream.getvalue())
    assert (line["event"], line["url"], line["level"]) == ("link.lost", "ws://here", "warning")
    assert line["logger"] == "meshcore.aio.link_client"


def test_an_exception_stays_in_its_line() -> None:
    stream = io.StringIO()
    set_up_logs(stream)

    logging.getLogger("x").error("failed", exc_info=ValueError("of the test"))

    (line,) = stream.getvalue().splitlines()
    assert "ValueError: of the test" in json.loads(line)["exception"]


def test_a_newline_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    set_up_logs(stream)

    logging.getLogger("x").warning("a\n{}")

    assert len(stream.getvalue().splitlines()) == 1


def test_what_is_below_the_level_is_not_said() -> None:
    stream = io.StringIO()
    set_up_logs(stream)

    logging.getLogger("x").debug("detail")

    assert stream.getvalue() == ""


def test_people_get_no_json() -> None:
    stream = Terminal()
    set_up_logs(stream)

    logging.getLogger("x").warning("lost node-b")

    assert "lost node-b" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
