"""Children of `script/server`, with real processes."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from script.processes import Child, StartFailed, Stopped, stop_all
from script.stop_request import StopRequest

READY = "print('ready http://127.0.0.1:1/', flush=True)\n"
WAIT = "import time; time.sleep(60)\n"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"

Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children: list[Child] = []

    def start(program: str, *, name: str = "child", quiet: bool = False) -> Child:
        command = [sys.executable, "-c", program]
        children.append(Child(name, command, environ=os.environ, cwd=tmp_path, quiet=quiet))
        return children[-1]

    yield start
    for child in children:
        child.kill()


def test_a_child_is_ready_when_it_says_where(start: Start) -> None:
    child = start(f"print('starting')\n{READY}{WAIT}")

    assert child.wait_until_ready(StopRequest(), seconds=30) == "http://127.0.0.1:1/"


def test_lines_are_printed_with_the_name_in_front(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    child = start("import sys; print('out', flush=True); sys.exit('err')", name="demo")

    with pytest.raises(StartFailed):
        child.wait_until_done(StopRequest(), seconds=30)

    assert capfd.readouterr().out.splitlines() == ["     demo | out", "     demo | err"]


def test_a_quiet_child_speaks_only_through_its_failure(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    child = start("print('a reason'); raise SystemExit(3)", name="migrate", quiet=True)

    with pytest.raises(StartFailed, match=r"^migrate failed with exit code 3\n  a reason$"):
        child.wait_until_done(StopRequest(), seconds=30)

    assert capfd.readouterr().out == ""


def test_a_child_that_ends_before_it_is_ready_failed(start: Start) -> None:
    child = start("raise SystemExit(7)")

    with pytest.raises(StartFailed, match="ended with exit code 7 before it was ready"):
        child.wait_until_ready(StopRequest(), seconds=30)


def test_a_child_that_never_gets_ready_failed(start: Start) -> None:
    child = start(WAIT)

    with pytest.raises(StartFailed, match=r"was not ready within 0\.1 s"):
        child.wait_until_ready(StopRequest(), seconds=0.1)


def test_a_step_that_does_not_end_failed(start: Start) -> None:
    child = start(WAIT)

    with pytest.raises(StartFailed, match=r"was not done within 0\.1 s"):
        child.wait_until_done(StopRequest(), seconds=0.1)


def test_what_a_step_printed_is_returned(start: Start) -> None:
    child = start("print('one'); print('two')", quiet=True)

    assert child.wait_until_done(StopRequest(), seconds=30) == "one\ntwo"


def test_only_the_last_lines_of_a_talkative_child_are_kept(start: Start) -> None:
    child = start("for n in range(1000): print(n)", quiet=True)

    kept = child.wait_until_done(StopRequest(), seconds=30).splitlines()

    assert kept == [str(n) for n in range(960, 1000)]


@pytest.mark.parametrize("wait", [Child.wait_until_ready, Child.wait_until_done])
def test_waiting_ends_when_a_stop_is_asked_for(start: Start, wait: Callable[..., str]) -> None:
    stop = StopRequest()
    stop.set()

    with pytest.raises(Stopped):
        wait(start(WAIT), stop, seconds=30)


def test_the_last_child_started_is_the_first_to_end(start: Start, tmp_path: Path) -> None:
    note = "open('order', 'a').write(NAME)"
    program = (
        f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: ({note}, sys.exit()))\n{READY}{WAIT}"
    )
    children = [start(program.replace("NAME", repr(name))) for name in "ab"]
    for child in children:
        child.wait_until_ready(StopRequest(), seconds=30)

    stop_all(children)

    assert (tmp_path / "order").read_text() == "ba"


def test_a_deaf_child_and_its_own_children_are_killed_in_time(start: Start, tmp_path: Path) -> None:
    fork = "import os; pid = os.fork(); pid and open('pid', 'w').write(str(pid))\n"
    child = start(f"{DEAF}{fork}if pid: {READY}{WAIT}")
    child.wait_until_ready(StopRequest(), seconds=30)
    began = time.monotonic()

    stop_all([child], seconds=0.5)

    assert child.exit_code == -signal.SIGKILL
    assert time.monotonic() - began < 5
    assert _has_ended(int((tmp_path / "pid").read_text()))


def _has_ended(pid: int) -> bool:
    """Whether the process ends within 10 s; one that its new parent has not reaped yet has ended, too."""
    give_up_at = time.monotonic() + 10
    while time.monotonic() < give_up_at:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_in_the_terminal_does_not_reach_the_children(start: Start) -> None:
    child = start(f"import os\nprint('ready http://%d' % os.getpgid(0), flush=True)\n{WAIT}")

    group = child.wait_until_ready(StopRequest(), seconds=30).removeprefix("http://")

    assert group != str(os.getpgid(0))


def test_ending_what_has_ended_is_no_error(start: Start) -> None:
    child = start("")
    child.wait_until_done(StopRequest(), seconds=30)

    stop_all([child])

    assert child.exit_code == 0
