"""Who else is in the mesh: what a dashboard tells a node of that, and what the node makes of it.

    dashboard   PeerTeller.tell(whole) -> frames with what is another answer than before
    node        PeerBook.hear(frame)   -> whom to follow, and where

A learned peer is *vouched for* while the dashboard says that it is there. One that isn't any more is followed
for as long as it answers: a dashboard that has lost sight of a node, or has only just started, must not take
a mesh apart that works.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from meshcore.capability import Manifest
from meshcore.config_sections import HTTP, NAME
from meshcore.config_values import Rejected, is_plain_beyond_loopback
from meshcore.errors import FrameError
from meshcore.frames import PEERS_FRAME_MAX, Peers

PEERS_MAX = 128  # that a node follows: each costs a request every 10 s
MANIFEST_MAX_BYTES = 3900  # of one in a frame: 64 of them, and as many names, are below FRAME_MAX_BYTES
URL_MAX_CHARS = 1000


class KnownPeer(msgspec.Struct, frozen=True, kw_only=True):
    """A peer as a node remembers it; what it offers it says itself."""

    node_id: str
    url: str


class PeersNews(NamedTuple):
    """What a frame means for now: whom to ask at once, who takes no calls, and what was refused and why."""

    ask: list[str]
    draining: list[str]
    refused: list[str]


class PeerTeller:
    """The dashboard's side of one connection: remembers what its node was told."""

    def __init__(self) -> None:
        self._rev = 0
        self._told: dict[str, Manifest] = {}

    def tell(self, peers: Mapping[str, Manifest]) -> list[Peers]:
        """Return the frames after which the node knows `peers`, at most `PEERS_MAX`, and no others.

        The first time there is a frame even without peers: it says that the dashboard knows of none.
        """
        if len(peers) > PEERS_MAX:
            raise ValueError(f"peers: {len(peers)}, expected at most {PEERS_MAX}")
        remove = [node_id for node_id in self._told if node_id not in peers]
        upsert = [manifest for node_id, manifest in peers.items() if self._told.get(node_id) != manifest]
        self._told = dict(peers)
        frames = [
            Peers(rev=rev, remove=gone, upsert=come)
            for rev, (gone, come) in enumerate(_parts(remove, upsert), self._rev + 1)
        ]
        if self._rev == 0 and not frames:
            frames = [Peers(rev=1)]
        self._rev += len(frames)
        return frames


class PeerBook:
    """A node's side: the peers that it has learned of, beside those that its configuration names.

    The configuration wins: what is said of those only tells whether they drain.
    """

    def __init__(
        self, *, node_id: str, configured: Collection[str] = (), allow_plain_http: bool = False
    ) -> None:
        self._apart = frozenset({node_id, *configured})
        self._room = PEERS_MAX + 1 - len(self._apart)
        self._allow_plain_http = allow_plain_http
        self._urls: dict[str, str] = {}
        self._vouched: set[str] = set()
        self._rev = 0

    def urls(self) -> dict[str, str]:
        """Return where the learned peers are, by their ids."""
        return dict(self._urls)

    def known(self) -> tuple[KnownPeer, ...]:
        """Return the learned peers, to be remembered."""
        return tuple(KnownPeer(node_id=node_id, url=url) for node_id, url in sorted(self._urls.items()))

    def recall(self, peers: Iterable[KnownPeer]) -> list[str]:
        """Take what was remembered; it counts until a dashboard speaks. Return what was refused and why."""
        return self._learn_all((peer.node_id, peer.url) for peer in peers)

    def hear(self, frame: Peers) -> PeersNews:
        """Take what a dashboard says; a frame that came before already says nothing."""
        if frame.rev == 1:
            self._vouched.clear()
        elif frame.rev <= self._rev:
            return PeersNews([], [], [])
        self._rev = frame.rev
        self._vouched.difference_update(frame.remove)
        refused = self._learn_all((manifest.node_id, manifest.url) for manifest in frame.upsert)
        return PeersNews(
            ask=[*frame.remove, *(manifest.node_id for manifest in frame.upsert)],
            draining=[manifest.node_id for manifest in frame.upsert if manifest.draining],
            refused=refused,
        )

    def unanswered(self, node_id: str) -> bool:
        """Note that a peer doesn't answer; return whether it was forgotten, as nobody vouches for it."""
        if node_id not in self._urls or node_id in self._vouched:
            return False
        del self._urls[node_id]
        return True

    def _learn_all(self, peers: Iterable[tuple[str, str]]) -> list[str]:
        refused = []
        for node_id, url in peers:
            try:
                self._learn(node_id, url)
            except FrameError as exc:
                refused.append(str(exc))
        return refused

    def _learn(self, node_id: str, url: str) -> None:
        if node_id in self._apart:
            return
        address = self._checked(node_id, url)
        if node_id not in self._urls and len(self._urls) >= self._room:
            self._make_room_for(node_id)
        self._urls[node_id] = address
        self._vouched.add(node_id)

    def _checked(self, node_id: str, url: str) -> str:
        """Return a peer's address; raises FrameError for what a configuration would refuse, too."""
        try:
            NAME.read(node_id)
        except Rejected as exc:
            raise FrameError(f"node_id={node_id[:80]!r}: expected {NAME.allowed}") from exc
        if len(url) > URL_MAX_CHARS:
            raise FrameError(f"url of {node_id}: expected at most {URL_MAX_CHARS} characters")
        try:
            address = HTTP.read(url)
        except Rejected as exc:
            raise FrameError(f"url of {node_id}: expected {HTTP.allowed}") from exc
        if not self._allow_plain_http and is_plain_beyond_loopback(address):
            raise FrameError(f"url of {node_id}: {address!r}, expected https:// beyond loopback")
        return address

    def _make_room_for(self, node_id: str) -> None:
        dispensable = next((known for known in self._urls if known not in self._vouched), None)
        if dispensable is None:
            raise FrameError(f"{node_id}: expected at most {self._room} peers beside the configured ones")
        del self._urls[dispensable]


def fitting(manifest: Manifest) -> Manifest:
    """Return a manifest for a frame: without capabilities when they are too many to be told by others."""
    if len(msgspec.json.encode(manifest)) <= MANIFEST_MAX_BYTES:
        return manifest
    return msgspec.structs.replace(manifest, capabilities=())


def reachable_at(url: str) -> bool:
    """Return whether others can be told to come to this address."""
    try:
        HTTP.read(url)
    except Rejected:
        return False
    return True


class _Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the file; another `version` is for other eyes."""

    peers: tuple[KnownPeer, ...]
    version: int = 1


def encode_known(peers: tuple[KnownPeer, ...]) -> bytes:
    """Return what to write down of learned peers."""
    return msgspec.json.encode(_Remembered(peers=peers))


def decode_known(data: bytes) -> tuple[KnownPeer, ...]:
    """Return what was written down; raises FrameError for anything else."""
    try:
        remembered = msgspec.json.decode(data, type=_Remembered)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise FrameError(str(exc)) from exc
    if remembered.version != 1 or len(remembered.peers) > PEERS_MAX:
        raise FrameError(
            f"version {remembered.version} with {len(remembered.peers)} peers:"
            f" expected version 1 with at most {PEERS_MAX}"
        )
    return remembered.peers


def _parts(
    remove: list[str], upsert: list[Manifest]
) -> Iterator[tuple[tuple[str, ...], tuple[Manifest, ...]]]:
    """Yield what fits into a frame each; what goes is said first, so that there is room for what comes."""
    while remove or upsert:
        gone, remove = remove[:PEERS_FRAME_MAX], remove[PEERS_FRAME_MAX:]
        room = PEERS_FRAME_MAX - len(gone)
        come, upsert = upsert[:room], upsert[room:]
        yield tuple(gone), tuple(come)
