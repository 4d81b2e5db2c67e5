"""Aliases that follow their file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meshcore.aio.alias_file import AliasFile
from meshcore.aio.testing import wait_until
from meshcore.alias import AliasBook, AliasSource, Table, parse_aliases
from meshcore.errors import ConfigError


class Scene:
    """A file of aliases, one a line, and the book that follows it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "aliases"
        self.path.write_text("mesh/fast=alpha/m1")
        self.book = AliasBook({"mesh/fast": ("alpha/m1",)})
        self.hangup = asyncio.Event()
        self.reads = 0
        self.file = AliasFile(self.path, self.read, look_seconds=0.01)

    def read(self) -> Table:
        self.reads += 1
        if not self.path.exists():
            raise ConfigError(f"{self.path}: can't be read")
        lines = [line.partition("=") for line in self.path.read_text().splitlines()]
        return parse_aliases({name: chain.split() for name, _, chain in lines}, source=str(self.path))

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.file.follow(self.book, self.hangup))
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_changed_file_is_taken_by_itself(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with scene.following():
        await wait_until(lambda: scene.reads == 1)
        scene.path.write_text("mesh/new=beta/m2 alpha/m1")
        await wait_until(lambda: list(scene.book.chains()) == ["mesh/new"])

    assert caplog.messages == [f"1 aliases read from {scene.path}; in force are the file's"]


async def test_a_file_that_does_not_change_is_not_read_again(scene: Scene) -> None:
    for _ in range(3):
        await scene.file.look(scene.book)

    assert scene.reads == 1


async def test_a_hangup_reads_it_again_whatever_it_says(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with scene.following():
        await wait_until(lambda: scene.reads == 1)
        scene.hangup.set()
        await wait_until(lambda: scene.reads == 2)
        await wait_until(lambda: bool(caplog.messages))

    assert not scene.hangup.is_set()


async def test_case_20_a_bad_file_leaves_the_old_aliases_and_is_said_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.file.look(scene.book)
    scene.path.write_text("mesh/new=")

    await scene.file.look(scene.book)
    await scene.file.look(scene.book)

    assert list(scene.book.chains()) == ["mesh/fast"]
    assert "at least one PROVIDER/MODEL" in scene.book.problems[AliasSource.FILE]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("the aliases stay as they are: ")


async def test_case_20_a_missing_file_leaves_the_old_aliases_and_one_that_comes_back_is_taken(
    scene: Scene,
) -> None:
    await scene.file.look(scene.book)
    scene.path.unlink()
    await scene.file.look(scene.book)
    meanwhile = list(scene.book.chains()), dict(scene.book.problems)
    scene.path.write_text("mesh/back=alpha/m1")

    await scene.file.look(scene.book)

    assert meanwhile[0] == ["mesh/fast"]
    assert "can't be read" in meanwhile[1][AliasSource.FILE]
    assert (list(scene.book.chains()), scene.book.problems) == (["mesh/back"], {})


async def test_who_asks_for_a_bad_file_twice_is_told_twice(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.path.write_text("nonsense")

    for _ in range(2):
        await scene.file.look(scene.book, asked=True)

    assert len(caplog.messages) == 2
