"""Who was turned away for want of a right: 401 and 403, in the audit a minute later and counted.

Refusals of somebody entitled are written at once, by `audit.refuse`. These here could be made by anybody and
as often as they like, so they are gathered in memory (`audit_gatherer`) and written by housekeeping. Nothing
that a caller typed is kept of them: no path, no name, no secret.
"""

import ipaddress
import logging
import threading
from dataclasses import replace
from datetime import datetime

from django.db import DatabaseError, transaction

from dashboard.models import Action, ActorKind, ControlHead, Outcome, Token
from dashboard.services import audit, changes
from dashboard.services.actor import SYSTEM, Actor, of_token
from dashboard.services.audit_gatherer import KEYS_MAX, Gatherer, Refusal, Tally
from meshcore.clock import utcnow

logger = logging.getLogger(__name__)

NOWHERE = "no address"
NETWORK_BITS = {4: 24, 6: 64}  # what one customer of a provider commonly has
OTHERS = f"further refusals, beyond {KEYS_MAX} kinds a minute"

_gatherer = Gatherer()
_lock = threading.Lock()


def stranger(address: str) -> Actor:
    """Return whoever calls from `address` without being known, as the network they call from."""
    return Actor(kind=ActorKind.STRANGER, name=network_of(address), address=address)


def network_of(address: str) -> str:
    """Return the network of an address: /24, of IPv6 /64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return NOWHERE
    found = getattr(found, "ipv4_mapped", None) or found
    return str(ipaddress.ip_network((found.packed, NETWORK_BITS[found.version]), strict=False))


def note(
    *, actor: Actor, action: Action, target: str, status: int, reason: str = "", now: datetime | None = None
) -> None:
    """Count that `actor` was refused; quick, may be called from any thread, and never fails.

    `target` and `reason` are words of ours, such as a route's pattern: nothing that came with the request.
    """
    now = now or utcnow()
    who = replace(actor, address="", request_id="")
    tally = Tally(
        refusal=Refusal(who=who, action=action, target=target, status=status),
        first_at=now,
        last_at=now,
        address=actor.address,
        request_id=actor.request_id,
        reason=reason,
    )
    with _lock:
        _gatherer.add(tally)


def note_link(*, address: str, token: Token | None, reason: str) -> None:
    """Count that a node's link was refused; `token` when its secret was right."""
    who = of_token(token, address=address) if token else stranger(address)
    note(actor=who, action=Action.LINK, target="link/v1", status=401, reason=reason)


def flush(*, now: datetime) -> int:
    """Write the minutes that are over; returns the number of entries. To be called every few seconds."""
    return _write(before=now, now=now)


def flush_all(*, now: datetime) -> int:
    """Write all that was gathered, because the process ends."""
    return _write(before=None, now=now)


def _write(*, before: datetime | None, now: datetime) -> int:
    with _lock:
        tallies = _gatherer.take(before=before)
    if not tallies:
        return 0
    try:
        with transaction.atomic():
            head = audit.locked_head()
            for tally in tallies:
                _record(head, tally, now=now)
            changes.publish("audit", now=now)
    except DatabaseError:
        logger.warning("%d refusals could not be written yet", sum(tally.count for tally in tallies))
        with _lock:
            _gatherer.give_back(tallies)
        raise
    return len(tallies)


def _record(head: ControlHead, tally: Tally, *, now: datetime) -> None:
    refusal = tally.refusal
    seen = {"first_at": tally.first_at.isoformat(), "last_at": tally.last_at.isoformat()}
    audit.record(
        head=head,
        actor=replace(refusal.who, address=tally.address, request_id=tally.request_id) if refusal else SYSTEM,
        action=refusal.action if refusal else Action.ACCESS,
        target=refusal.target if refusal else OTHERS,
        after={"status": refusal.status, **seen} if refusal else seen,
        reason=tally.reason if refusal else "",
        outcome=Outcome.REFUSED,
        count=tally.count,
        now=now,
    )
