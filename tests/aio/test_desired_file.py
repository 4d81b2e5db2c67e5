"""The stored desired state of a node."""

from pathlib import Path

import pytest

from meshcore import desired
from meshcore.aio.desired_file import DesiredFile
from meshcore.frames import Desired, DesiredDrain
from meshcore.testing import START


def test_a_node_that_was_never_told_anything_holds_generation_zero(tmp_path: Path) -> None:
    assert DesiredFile(tmp_path).load() == Desired(generation=0)


def test_an_order_is_there_after_a_restart(tmp_path: Path) -> None:
    order = Desired(generation=3, drain=DesiredDrain(since=START, by="alice"))

    DesiredFile(tmp_path).store(order)

    assert DesiredFile(tmp_path).load() == order


@pytest.mark.parametrize("data", [b"", b"{not json", b'{"type": "desired"}'])
def test_a_broken_file_keeps_the_node_out_of_service_and_says_so(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = DesiredFile(tmp_path)
    file.path.write_bytes(data)

    held = file.load()

    assert held is desired.UNREADABLE
    assert [(record.levelname, str(file.path) in record.message) for record in caplog.records] == [
        ("ERROR", True)
    ]


def test_a_file_that_the_disk_does_not_give_keeps_the_node_out_of_service(tmp_path: Path) -> None:
    file = DesiredFile(tmp_path)
    file.path.mkdir()

    assert file.load() is desired.UNREADABLE
