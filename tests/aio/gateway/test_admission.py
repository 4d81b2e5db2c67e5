"""The gate in front of every call."""

from pathlib import Path

import pytest

from meshcore.aio.drain_marker import DrainController
from meshcore.aio.gateway.admission import Admission
from meshcore.drain import DrainPolicy, WorkKind
from meshcore.errors import CallError, Code
from meshcore.testing import ManualClock


def controller(home: Path, clock: ManualClock, **policy: float) -> DrainController:
    return DrainController(
        home=home, on_status=lambda _: None, policy=DrainPolicy(**policy), clock=clock, utcnow=clock.utcnow
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_call_counts_while_it_lasts(tmp_path: Path, clock: ManualClock) -> None:
    gate = controller(tmp_path, clock)
    admission = Admission("node-a", gate, max_streams=1)

    with admission.admitted(WorkKind.CALL, "t1") as (_, edge):
        assert not edge
        assert gate.readout().in_flight.calls == 1

    assert gate.readout().in_flight.total == 0


def test_a_call_that_fails_is_counted_out(tmp_path: Path, clock: ManualClock) -> None:
    gate = controller(tmp_path, clock)
    admission = Admission("node-a", gate, max_streams=1)

    with pytest.raises(RuntimeError), admission.admitted(WorkKind.STREAM, "t1"):
        raise RuntimeError

    assert gate.readout().in_flight.total == 0
    with admission.admitted(WorkKind.STREAM, "t2"):
        assert gate.readout().in_flight.streams == 1


def test_a_stream_beyond_the_bound_is_refused_and_leaves_no_trace(tmp_path: Path, clock: ManualClock) -> None:
    gate = controller(tmp_path, clock)
    admission = Admission("node-a", gate, max_streams=1)

    with admission.admitted(WorkKind.STREAM, "t1"):
        with pytest.raises(CallError) as caught, admission.admitted(WorkKind.STREAM, "t2"):
            pass

        assert caught.value.code is Code.CAPACITY_EXCEEDED
        assert gate.readout().in_flight.total == 1


def test_a_draining_node_passes_calls_on_until_its_grace_is_over(tmp_path: Path, clock: ManualClock) -> None:
    gate = controller(tmp_path, clock, edge_grace_seconds=30.0)
    admission = Admission("node-a", gate, max_streams=1)
    gate.enter()

    with admission.admitted(WorkKind.CALL, "t1") as (_, edge):
        assert edge
        assert (gate.readout().in_flight.total, gate.readout().edge) == (0, 1)
    clock.advance(30.0)
    with (
        pytest.raises(CallError, match="node-a is draining") as caught,
        admission.admitted(WorkKind.CALL, "t2"),
    ):
        pass

    assert caught.value.code is Code.NODE_DRAINING
    assert caught.value.retry_after_seconds == 5.0


def test_a_joining_and_a_stopping_node_say_so(tmp_path: Path, clock: ManualClock) -> None:
    gate = controller(tmp_path, clock, join_wait_seconds=3.0)
    admission = Admission("node-a", gate, max_streams=1)

    with pytest.raises(CallError, match="joining") as joining, admission.admitted(WorkKind.CALL, "t1"):
        pass
    gate.begin_shutdown()
    with pytest.raises(CallError, match="stopping") as stopping, admission.admitted(WorkKind.CALL, "t2"):
        pass

    assert (joining.value.code, stopping.value.code) == (Code.JOINING, Code.NODE_DRAINING)
