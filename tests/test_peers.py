"""Telling a node of the others, and what it makes of that."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import framing
from meshcore.capability import Manifest, Offer
from meshcore.errors import FrameError
from meshcore.frames import FRAME_MAX_BYTES, PEERS_FRAME_MAX, Peers
from meshcore.peers import (
    MANIFEST_MAX_BYTES,
    PEERS_MAX,
    URL_MAX_CHARS,
    KnownPeer,
    PeerBook,
    PeerTeller,
    decode_known,
    encode_known,
    fitting,
    reachable_at,
)


def manifest(node_id: str, *, url: str = "", draining: bool = False) -> Manifest:
    return Manifest(node_id=node_id, url=url or f"https://{node_id}", draining=draining)


def whole(*node_ids: str) -> dict[str, Manifest]:
    return {node_id: manifest(node_id) for node_id in node_ids}


def many(count: int, *, first: int = 0) -> dict[str, Manifest]:
    return whole(*(f"n{number}" for number in range(first, first + count)))


def carried(frames: list[Peers]) -> list[Peers]:
    """Return the frames as they come out of the wire."""
    reader = framing.reader_from_dashboard()
    return [heard for frame in frames for heard in reader.read(framing.encode(frame))]


def book_after(*wholes: dict[str, Manifest]) -> PeerBook:
    teller, book = PeerTeller(), PeerBook(node_id="node-a")
    for peers in wholes:
        for frame in teller.tell(peers):
            book.hear(frame)
    return book


NODE_IDS = st.sampled_from([f"n{number}" for number in range(200)])
WHOLES = st.lists(
    st.dictionaries(
        NODE_IDS, st.tuples(st.sampled_from(["https://x", "https://y:1"]), st.booleans()), max_size=PEERS_MAX
    ),
    max_size=6,
)


@given(WHOLES)
def test_all_that_was_told_together_is_the_whole(wholes: list[dict[str, tuple[str, bool]]]) -> None:
    teller, book = PeerTeller(), PeerBook(node_id="node-a")

    for said in wholes:
        peers = {id_: manifest(id_, url=url, draining=draining) for id_, (url, draining) in said.items()}
        refused = [sentence for frame in carried(teller.tell(peers)) for sentence in book.hear(frame).refused]
        for node_id in book.urls():
            book.unanswered(node_id)

        assert refused == []
        assert book.urls() == {node_id: url for node_id, (url, _) in said.items()}


@given(WHOLES)
def test_frames_are_numbered_and_bounded_and_say_only_what_is_new(
    wholes: list[dict[str, tuple[str, bool]]],
) -> None:
    teller, told, revs = PeerTeller(), dict[str, Manifest](), list[int]()

    for said in wholes:
        peers = {id_: manifest(id_, url=url, draining=draining) for id_, (url, draining) in said.items()}
        for frame in teller.tell(peers):
            revs.append(frame.rev)
            assert len(frame.upsert) + len(frame.remove) <= PEERS_FRAME_MAX
            assert all(told.pop(node_id) for node_id in frame.remove)
            assert all(told.get(each.node_id) != each for each in frame.upsert)
            told |= {each.node_id: each for each in frame.upsert}
            assert len(told) <= PEERS_MAX
        assert told == peers

    assert revs == list(range(1, len(revs) + 1))


def test_what_goes_and_what_comes_share_the_room_of_a_frame() -> None:
    teller = PeerTeller()
    teller.tell(many(100))

    frames = teller.tell(many(100, first=100))

    assert [(len(frame.remove), len(frame.upsert)) for frame in frames] == [
        (64, 0),
        (36, 28),
        (0, 64),
        (0, 8),
    ]


def test_a_dashboard_that_knows_of_nobody_says_so_once() -> None:
    teller = PeerTeller()

    assert [teller.tell({}), teller.tell({})] == [[Peers(rev=1)], []]


def test_more_peers_than_a_node_follows_are_refused() -> None:
    with pytest.raises(ValueError, match="129, expected at most 128"):
        PeerTeller().tell(many(PEERS_MAX + 1))


def test_the_longest_frame_is_within_its_bound() -> None:
    ids = [f"{number:0>63}" for number in range(PEERS_FRAME_MAX)]
    offers = tuple(Offer(name="c" * 50) for _ in range(56))
    long = [Manifest(node_id=id_, url="https://x", capabilities=offers) for id_ in ids]
    padded = [msgspec.structs.replace(each, url=each.url + "x" * _left(each)) for each in long]

    frame = Peers(rev=(1 << 63) - 1, upsert=tuple(map(fitting, padded)), remove=tuple(ids))

    assert {len(msgspec.json.encode(each)) for each in frame.upsert} == {MANIFEST_MAX_BYTES}
    assert len(framing.encode(frame)) <= FRAME_MAX_BYTES


def _left(each: Manifest) -> int:
    return MANIFEST_MAX_BYTES - len(msgspec.json.encode(each))


def test_a_manifest_that_is_too_long_goes_without_its_capabilities() -> None:
    models = [f"model-{number}" for number in range(1000)]
    long = Manifest(node_id="b", url="https://b", capabilities=(Offer(name="c", params={"models": models}),))

    assert fitting(long) == Manifest(node_id="b", url="https://b")


def test_a_frame_with_too_many_entries_is_skipped() -> None:
    reader = framing.reader_from_dashboard()

    heard = reader.read(msgspec.json.encode(Peers(rev=1, remove=("x",) * (PEERS_FRAME_MAX + 1))))

    assert (heard, reader.malformed) == ([], 1)


def test_a_peer_that_nobody_vouches_for_stays_as_long_as_it_answers() -> None:
    book = book_after(whole("b", "c"), whole("c"))

    assert book.urls() == {"b": "https://b", "c": "https://c"}
    assert [book.unanswered("b"), book.unanswered("c"), book.unanswered("x")] == [True, False, False]
    assert book.urls() == {"c": "https://c"}


def test_a_new_connection_begins_anew() -> None:
    book = book_after(whole("b", "c"))

    for frame in PeerTeller().tell(whole("c")):
        book.hear(frame)

    assert [book.unanswered("b"), book.unanswered("c")] == [True, False]


def test_a_frame_that_was_there_already_says_nothing() -> None:
    book = book_after(whole("b"), whole("b", "c"))

    news = book.hear(Peers(rev=2, remove=("b",)))

    assert news == ([], [], [])
    assert not book.unanswered("b")


def test_what_is_remembered_counts_until_a_dashboard_speaks() -> None:
    book = PeerBook(node_id="node-a")
    book.recall([KnownPeer(node_id="b", url="https://b")])

    before = book.unanswered("b")
    book.hear(Peers(rev=1))

    assert (before, book.unanswered("b")) == (False, True)


def test_the_configuration_wins_but_draining_is_heard() -> None:
    book = PeerBook(node_id="node-a", configured=["b"])

    news = book.hear(Peers(rev=1, upsert=(manifest("b", draining=True), manifest("node-a"), manifest("c"))))

    assert book.urls() == {"c": "https://c"}
    assert (news.ask, news.draining) == (["b", "node-a", "c"], ["b"])


def test_who_is_named_is_asked() -> None:
    assert book_after(whole("b")).hear(Peers(rev=2, remove=("b",))).ask == ["b"]


@pytest.mark.parametrize(
    ("node_id", "url", "said"),
    [
        ("No", "https://x", "node_id='No': expected 1 to 63"),
        ("", "https://x", "node_id=''"),
        ("b", "", "url of b: expected http"),
        ("b", "https://x:0", "url of b: expected http"),
        ("b", "file:///etc", "url of b: expected http"),
        ("b", "https://x/" + "x" * URL_MAX_CHARS, "expected at most 1000 characters"),
        ("b", "http://10.0.0.1:8110", "'http://10.0.0.1:8110', expected https:// beyond loopback"),
    ],
)
def test_a_peer_that_a_configuration_would_refuse_is_left_out_and_the_others_are_taken(
    node_id: str, url: str, said: str
) -> None:
    book = PeerBook(node_id="node-a")

    news = book.hear(Peers(rev=1, upsert=(Manifest(node_id=node_id, url=url), manifest("c"))))

    assert book.urls() == {"c": "https://c"}
    assert [said in sentence for sentence in news.refused] == [True]


def test_plain_http_is_taken_on_loopback_and_in_a_trusted_network() -> None:
    careful, trusting = PeerBook(node_id="a"), PeerBook(node_id="a", allow_plain_http=True)

    for book in (careful, trusting):
        book.recall(
            [KnownPeer(node_id="b", url="http://127.0.0.1:1"), KnownPeer(node_id="c", url="http://c")]
        )

    assert [set(careful.urls()), set(trusting.urls())] == [{"b"}, {"b", "c"}]


def test_there_is_room_for_128_peers_the_configured_ones_included() -> None:
    book = PeerBook(node_id="node-a", configured=["x", "y"])

    news = [book.hear(frame) for frame in PeerTeller().tell(many(PEERS_MAX))]

    assert len(book.urls()) == PEERS_MAX - 2
    assert [sentence for each in news for sentence in each.refused] == [
        f"n{number}: expected at most 126 peers beside the configured ones" for number in (126, 127)
    ]


def test_whom_nobody_vouches_for_makes_room() -> None:
    book = book_after(many(PEERS_MAX), many(PEERS_MAX, first=1))

    assert set(book.urls()) == set(many(PEERS_MAX, first=1))


def test_what_is_written_down_is_read_again() -> None:
    known = book_after(whole("b", "c")).known()

    assert decode_known(encode_known(known)) == known
    assert known == (KnownPeer(node_id="b", url="https://b"), KnownPeer(node_id="c", url="https://c"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"peers": 1}',
        b'{"peers": [{"node_id": "b"}]}',
        b"\xff",
        b"[" * 100_000,
        b'{"peers": [], "version": 2}',
        encode_known((KnownPeer(node_id="b", url="https://b"),) * (PEERS_MAX + 1)),
    ],
)
def test_what_was_not_written_so_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_known(data)


def test_an_address_without_a_port_to_come_to_is_none() -> None:
    assert [reachable_at(url) for url in ("https://b:1", "http://127.0.0.1:0", "")] == [True, False, False]
