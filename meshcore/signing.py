"""Signed requests between nodes (bus-and-breaker §5): HMAC-SHA256 with the mesh secret, which itself never
travels.

What is signed: time, nonce, method, path, target node and the body's hash. A request is accepted within 300
s of the callee's clock and once; nonces are kept for 600 s, so none can be forgotten while its request is
still in time.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime

from meshcore.clock import UtcNow
from meshcore.errors import CallError, Code

TIME_HEADER = "X-Mesh-Time"  # milliseconds since 1970, UTC
NONCE_HEADER = "X-Mesh-Nonce"
TARGET_HEADER = "X-Mesh-Target"
SIGNATURE_HEADER = "X-Mesh-Signature"

SKEW_MS = 300_000
NONCE_KEEP_MS = 600_000
NONCES_MAX = 200_000  # some 40 MB; beyond it the oldest goes, and with it every request as old as that one
ALWAYS_TAKEN_MS = 30_000  # but a request that young is taken even then: 200 000 in 30 s are more than come
NONCE_LENGTH = range(16, 65)
SCHEME = "mesh1"


def epoch_ms(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def sign(
    secret: bytes, *, at_ms: int, nonce: str, method: str, path: str, target: str, body: bytes
) -> dict[str, str]:
    """Return the headers that prove a request to node `target`."""
    return {
        TIME_HEADER: str(at_ms),
        NONCE_HEADER: nonce,
        TARGET_HEADER: target,
        SIGNATURE_HEADER: _signature(secret, str(at_ms), nonce, method, path, target, body),
    }


class Verifier:
    """Checks the requests that come to node `node_id`; an empty secret accepts none."""

    def __init__(self, secret: bytes, node_id: str, *, utcnow: UtcNow, nonces_max: int = NONCES_MAX) -> None:
        self._secret = secret
        self._node_id = node_id
        self._utcnow = utcnow
        self._nonces_max = nonces_max
        self._nonces: OrderedDict[str, tuple[int, int]] = OrderedDict()  # -> when it came, was signed
        self._forgotten_ms = 0  # requests not younger than this can't be told from repeated ones

    def check(self, headers: Mapping[str, str], *, method: str, path: str, body: bytes) -> None:
        """Accept a request, once; else CallError `unauthorized`, `clock_skew` when only its time is off."""
        if not self._secret:
            raise CallError(Code.UNAUTHORIZED, "this node has no mesh secret")
        time, nonce = headers.get(TIME_HEADER, ""), headers.get(NONCE_HEADER, "")
        given = headers.get(SIGNATURE_HEADER, "")
        expected = _signature(self._secret, time, nonce, method, path, self._node_id, body)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise CallError(Code.UNAUTHORIZED, "the signature is missing or wrong")
        if not (time.isascii() and time.isdigit()) or len(nonce) not in NONCE_LENGTH:
            raise CallError(Code.UNAUTHORIZED, "the signed time or nonce is malformed")
        now_ms, signed_ms = self.now_ms(), int(time)
        if abs(now_ms - signed_ms) > SKEW_MS or signed_ms <= self._forgotten_ms:
            raise CallError(
                Code.CLOCK_SKEW, f"the request's time is {(signed_ms - now_ms) / 1000:+.1f} s off"
            )
        self._forget(now_ms)
        if nonce in self._nonces:
            raise CallError(Code.UNAUTHORIZED, "the request was seen before")
        self._nonces[nonce] = (now_ms, signed_ms)

    def now_ms(self) -> int:
        """Return this node's time, for a caller whose clock is off."""
        return epoch_ms(self._utcnow())

    def _forget(self, now_ms: int) -> None:
        while self._nonces and next(iter(self._nonces.values()))[0] <= now_ms - NONCE_KEEP_MS:
            self._nonces.popitem(last=False)
        while len(self._nonces) >= self._nonces_max:
            _, (_, signed_ms) = self._nonces.popitem(last=False)
            self._forgotten_ms = max(self._forgotten_ms, min(signed_ms, now_ms - ALWAYS_TAKEN_MS))


def _signature(secret: bytes, time: str, nonce: str, method: str, path: str, target: str, body: bytes) -> str:
    digest = hashlib.sha256(body).hexdigest()
    said = "\n".join((SCHEME, time, nonce, method.upper(), path, target, digest))
    return hmac.new(secret, said.encode(), hashlib.sha256).hexdigest()
