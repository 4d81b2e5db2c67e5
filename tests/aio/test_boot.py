"""The boot epoch, from the real /proc and from made-up ones."""

from pathlib import Path

import pytest

from meshcore.aio.boot import boot_epoch

STAT = "1 (init (a b) c) S 0 1 1 0 -1 4194560 11 22 33 44 5 6 7 8 20 0 1 0 4711 169" + " 0" * 30


def make_proc(folder: Path, stat: str) -> Path:
    (folder / "sys/kernel/random").mkdir(parents=True)
    (folder / "sys/kernel/random/boot_id").write_text("boot-1\n")
    (folder / "1").mkdir()
    (folder / "1/stat").write_text(stat)
    return folder


def test_this_machine_has_one_and_the_same_epoch() -> None:
    epoch = boot_epoch()

    assert epoch == boot_epoch()
    assert all(epoch.partition(":"))


def test_the_epoch_is_the_boot_and_the_start_of_the_first_process(tmp_path: Path) -> None:
    assert boot_epoch(make_proc(tmp_path, STAT)) == "boot-1:4711"


@pytest.mark.parametrize("stat", ["", "1 (init) S 0"])
def test_an_unreadable_epoch_is_empty(tmp_path: Path, stat: str) -> None:
    assert boot_epoch(make_proc(tmp_path, stat)) == ""


def test_without_proc_the_epoch_is_empty(tmp_path: Path) -> None:
    assert boot_epoch(tmp_path / "nowhere") == ""
