"""Fixtures of the tests with real processes."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import Browser, StorageState

from tests.e2e.enrolment import Enrolment, enrol
from tests.e2e.harness import ROOT, Mesh
from tests.e2e.room import Room
from tests.e2e.window import Window, running_chromium

OpenWindow = Callable[[str], Window]


class Measured(Protocol):
    """Takes down how much of something there was."""

    def __call__(self, what: str, amount: float, unit: str = "s") -> None:
        """Write it where whoever runs the tests can read it."""


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """Processes that end with the test; what they logged is printed, so a failure shows it."""
    mesh = Mesh(tmp_path)
    try:
        yield mesh
    finally:
        mesh.end()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This checkout and its environment, with a `var` of its own."""
    checkout = tmp_path / "check out"
    checkout.mkdir()
    for name in ("manage.py", "meshcore", "dashboard", "templates", "static"):
        (checkout / name).symlink_to(ROOT / name)
    (checkout / ".venv").symlink_to(sys.prefix)
    return checkout


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Enrolment]:
    """The state of a dashboard that knows nodes, people and programs, to be copied, and their secrets."""
    folder = tmp_path_factory.mktemp("enrolled")
    enrolment = enrol(Mesh(folder).dashboard())
    return folder / "var", enrolment


@pytest.fixture(scope="module")
def room(enrolled: tuple[Path, Enrolment], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """The control room of a module, not started."""
    like, enrolment = enrolled
    mesh = Mesh(tmp_path_factory.mktemp("room"))
    try:
        yield Room(mesh, enrolment, like=like)
    finally:
        mesh.end()
        shutil.rmtree(mesh.folder)


@pytest.fixture(autouse=True)
def _logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what the processes of a room logged behind each test, so that a failure shows it."""
    yield
    if "room" in request.fixturenames:
        request.getfixturevalue("room").mesh.print_logs()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all windows of a module."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in() -> dict[str, StorageState]:
    """The cookies of people who have signed in."""
    return {}


@pytest.fixture
def window(chromium: Browser, room: Room, signed_in: dict[str, StorageState]) -> Iterator[OpenWindow]:
    """Opens windows of people, who sign in once in a module; fails when one of their pages complains."""
    opened: list[Window] = []

    def open_for(person: str) -> Window:
        opened.append(Window(chromium, room.dashboard.url, signed_in.get(person)))
        if person not in signed_in:
            signed_in[person] = opened[-1].sign_in(person)
        return opened[-1]

    yield open_for
    for each in opened:
        each.close()


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Takes down what something took; no test is judged by its seconds, because the machine may be busy."""

    def take_down(what: str, amount: float, unit: str = "s") -> None:
        record_property(what, f"{amount:.3f} {unit}")
        print(f"measured: {what}: {amount:.3f} {unit}")

    return take_down
