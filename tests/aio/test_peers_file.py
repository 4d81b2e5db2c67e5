"""The peers that a node remembers."""

from pathlib import Path

import pytest

from meshcore.aio.peers_file import FILE_MAX_BYTES, PeersFile
from meshcore.peers import KnownPeer

PEERS = (KnownPeer(node_id="node-b", url="https://b"),)


def test_a_node_that_was_never_told_of_any_remembers_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert PeersFile(tmp_path).load() == ()
    assert caplog.records == []


def test_peers_are_there_after_a_restart_and_for_the_owner_alone(tmp_path: Path) -> None:
    PeersFile(tmp_path).store(PEERS)

    assert PeersFile(tmp_path).load() == PEERS
    assert (tmp_path / "peers.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("data", [b"", b"{not json", b'{"version": 9, "peers": []}', b" " * FILE_MAX_BYTES])
def test_a_broken_file_is_ignored_and_that_is_said(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = PeersFile(tmp_path)
    file.path.write_bytes(data + b'{"peers": []}' * (len(data) >= FILE_MAX_BYTES))

    assert file.load() == ()
    assert [(record.levelname, str(file.path) in record.message) for record in caplog.records] == [
        ("ERROR", True)
    ]


def test_a_file_that_the_disk_does_not_give_is_ignored_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = PeersFile(tmp_path)
    file.path.mkdir()

    assert file.load() == ()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    file = PeersFile(tmp_path / "home")
    (tmp_path / "home").write_text("no folder")

    with pytest.raises(OSError, match="home"):
        file.store(PEERS)
