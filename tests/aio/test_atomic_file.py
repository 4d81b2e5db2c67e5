"""Files that are always whole."""

from pathlib import Path

import pytest

from meshcore.aio.atomic_file import replace_file


def test_a_file_is_made_with_its_folder_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "file"

    replace_file(path, b"one")
    replace_file(path, b"two")

    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_content_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()

    with pytest.raises(OSError, match="directory"):
        replace_file(path, b"two")

    assert list(tmp_path.iterdir()) == [path]
