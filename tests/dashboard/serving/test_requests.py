"""Requests are judged while they arrive: too large, too slow, too many."""

import json
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from dashboard.serving.limits import Limits
from dashboard.serving.requests import BoundedChannel, BoundedFactory

LIMITS = Limits(body_bytes=10, request_seconds=30.0, linger_seconds=5.0, idle_seconds=60.0, connections=2)


class Sockets:
    """The websockets of the far side: as many as a test says."""

    countConnections = 0


class FarSide:
    """What the channel hands whole requests to."""

    root_path = ""
    request_buffer_size = 8192
    proxy_forwarded_address_header = None
    server_name = "far side"

    def __init__(self) -> None:
        self.ws_factory = Sockets()
        self.bodies: list[bytes] = []
        self.closed = 0

    def protocol_connected(self, protocol: object) -> None:
        """Nothing to note."""

    def protocol_disconnected(self, protocol: object) -> None:
        self.closed += 1

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> None:
        self.bodies.append(protocol.content.read())


class Wire(StringTransport):
    """A transport that notes how it is closed."""

    half_closed = False
    aborted = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Client:
    """One connection to a factory, with time in hand."""

    def __init__(self, factory: BoundedFactory, clock: Clock) -> None:
        self._protocol: Any = factory.buildProtocol(None)
        self.channel: BoundedChannel = self._protocol._channel
        self._protocol.callLater = clock.callLater
        self.wire = Wire()
        self._protocol.makeConnection(self.wire)

    def send(self, data: bytes) -> None:
        self._protocol.dataReceived(data)

    def leave(self) -> None:
        self._protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def answer(self) -> bytes:
        return bytes(self.wire.value())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def far_side() -> FarSide:
    return FarSide()


@pytest.fixture
def factory(far_side: FarSide) -> BoundedFactory:
    return BoundedFactory(far_side, LIMITS)


@pytest.fixture
def client(factory: BoundedFactory, clock: Clock) -> Client:
    return Client(factory, clock)


def test_a_body_within_the_bound_arrives_whole(client: Client, far_side: FarSide) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
    client.send(b"56789")

    assert far_side.bodies == [b"0123456789"]


def test_a_form_is_left_to_django(client: Client, far_side: FarSide) -> None:
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 3\r\n\r\na=b"
    )

    assert far_side.bodies == [b"a=b"]


def test_an_announced_body_that_is_too_large_is_refused_before_it_comes(
    client: Client, far_side: FarSide
) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n")

    assert client.answer.startswith(b"HTTP/1.1 413 Request Entity Too Large\r\n")
    assert b'"detail": "the body of a request may have at most 10 bytes"' in client.answer
    assert b"100 Continue" not in client.answer
    assert client.wire.half_closed
    assert far_side.bodies == []


def test_a_body_that_turns_out_too_large_is_refused_at_the_byte_too_many(
    client: Client, far_side: FarSide
) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"5\r\n01234\r\n5\r\n56789\r\n")
    assert client.answer == b""

    client.send(b"1\r\n!\r\n5\r\nafter\r\n0\r\n\r\n")

    assert client.answer.startswith(b"HTTP/1.1 413 ")
    assert far_side.bodies == []


def test_what_comes_after_a_refusal_is_thrown_away_and_then_cut_off(
    client: Client, far_side: FarSide, clock: Clock
) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
    answer = client.answer

    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
    clock.advance(LIMITS.linger_seconds - 0.1)
    assert not client.wire.aborted
    clock.advance(0.1)

    assert client.wire.aborted
    assert client.answer == answer
    assert far_side.bodies == []


def test_a_client_that_leaves_after_a_refusal_is_forgotten(client: Client, clock: Clock) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")

    client.leave()

    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"hello\r\n\r\n", id="no request line"),
        pytest.param(b"GET /%s HTTP/1.1\r\n" % (b"x" * 17_000), id="a head that is too long"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ten\r\n\r\n", id="no length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", id="two lengths"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", id="no chunk"
        ),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", id="no address"),
        pytest.param(b"GET /?\xff HTTP/1.1\r\nHost: a\r\n\r\n", id="no query"),
    ],
)
def test_what_cant_be_read_is_400_as_a_problem(client: Client, far_side: FarSide, nonsense: bytes) -> None:
    client.send(nonsense)

    head, _, body = client.answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400
    assert far_side.bodies == []


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"G", id="in the first line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost", id="in the head"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n0", id="in the body"),
    ],
)
def test_a_request_that_drips_is_refused_when_its_time_is_up(
    client: Client, clock: Clock, far_side: FarSide, start: bytes
) -> None:
    client.send(start)
    for _ in range(5):
        clock.advance(5.0)
        client.send(b"x")
    assert client.answer == b""

    clock.advance(5.0)

    assert client.answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"within 30 seconds" in client.answer
    assert far_side.bodies == []


def test_a_request_that_is_being_answered_has_all_the_time(client: Client, clock: Clock) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    clock.advance(1000.0)

    assert client.channel.handling
    assert client.answer == b""


def test_a_connection_without_a_request_is_closed_after_a_while(client: Client, clock: Clock) -> None:
    clock.advance(LIMITS.idle_seconds)

    assert client.wire.disconnecting


def test_one_connection_too_many_is_closed_at_once_and_a_free_place_is_given_again(
    factory: BoundedFactory, clock: Clock
) -> None:
    clients = [Client(factory, clock) for _ in range(2)]
    assert factory.buildProtocol(None) is None

    clients[0].leave()

    assert factory.buildProtocol(None) is not None


def test_websockets_count_as_connections(factory: BoundedFactory, far_side: FarSide) -> None:
    far_side.ws_factory.countConnections = 2

    assert factory.buildProtocol(None) is None


def test_at_the_end_an_idle_connection_closes_and_a_busy_one_after_its_answer(
    factory: BoundedFactory, clock: Clock
) -> None:
    idle, busy = Client(factory, clock), Client(factory, clock)
    busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    idle.channel.end()
    busy.channel.end()
    assert idle.wire.disconnecting
    assert not busy.wire.disconnecting

    request = busy.channel.requests[0]
    request.handle_reply({"type": "http.response.start", "status": 204, "headers": []})
    request.handle_reply({"type": "http.response.body", "body": b""})
    assert busy.wire.disconnecting
    assert busy.answer.startswith(b"HTTP/1.1 204 ")


class Application:
    """Takes a request and answers when a test says so; `told` is what it hears."""

    def __init__(self, far_side: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[Any] = []
        self.request: Any = None
        monkeypatch.setattr(far_side, "create_application", self._take)

    def _take(self, protocol: Any, scope: dict[str, Any]) -> "Application":
        self.request = protocol
        return self

    def put_nowait(self, message: Any) -> None:
        self.told.append(message["type"])

    def begin(self, kind: bytes = b"text/event-stream") -> None:
        headers = [(b"content-type", kind)]
        self.request.handle_reply({"type": "http.response.start", "status": 200, "headers": headers})

    def say(self, body: bytes, *, more: bool = True) -> None:
        self.request.handle_reply({"type": "http.response.body", "body": body, "more_body": more})

    @property
    def may_go_on(self) -> bool:
        return bool(self.request.valve._open.is_set())


@pytest.fixture
def application(client: Client, far_side: FarSide, monkeypatch: pytest.MonkeyPatch) -> Application:
    found = Application(far_side, monkeypatch)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return found


def test_an_application_waits_while_its_client_takes_nothing(
    client: Client, application: Application
) -> None:
    application.begin()
    assert application.may_go_on

    client.channel.pauseProducing()
    assert not application.may_go_on
    client.channel.resumeProducing()
    assert application.may_go_on

    application.say(b"end", more=False)
    client.channel.pauseProducing()
    assert application.may_go_on


def test_nobody_waits_for_a_client_that_has_left(client: Client, application: Application) -> None:
    application.begin()
    client.channel.pauseProducing()

    client.leave()

    assert application.may_go_on
    assert application.told == ["http.request", "http.disconnect"]


@pytest.mark.parametrize(("kind", "told"), [(b"text/event-stream", 1), (b"application/json", 0)])
def test_a_server_that_stops_ends_streams_and_lets_other_answers_finish(
    client: Client, application: Application, kind: bytes, told: int
) -> None:
    application.begin(kind)

    client.channel.end()

    assert application.told.count("http.disconnect") == told
