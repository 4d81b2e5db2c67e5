"""Which connection of a node counts, and what it is told first (link-and-telemetry, "Rules").

    open_connection -> counts, until another one is opened -> go_idle -> close_connection

Every handshake takes the next `connection_no` under lock; whoever writes for a connection checks that it
still has the number. All that is decided from the database, so it holds over any number of processes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, transaction

from dashboard.models import ControlHead, DesiredState, Node, NodeLink, SpoolMark
from dashboard.selectors.presence import LOST_SHOWN, health_seconds, telemetry_seconds
from dashboard.services import audit, changes, columns, desired, drain_hello, marks, tokens
from meshcore.frames import CONTRACT_VERSION, FRAME_MAX_BYTES, WINDOW, DescriptorBody, Desired, Hello, Limits
from meshcore.link import CloseCode

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)  # the database, for all of a group
ALIVE = timedelta(seconds=10)  # an open socket that was heard this lately isn't taken over by another process
TEXT_MAX = {"instance_id": 64, "boot_epoch": 128, "log_id": 64, "url": 255, "version": 64}


class HandshakeRefused(Exception):
    """The connection must be closed with `code`; the text is for the node's log."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """A hello of `node`, when that came, and the id of the token that let it in, whose use is noted."""

    node: Node
    hello: Hello
    now: datetime
    token_id: int | None = None


Opened = tuple[int, DescriptorBody]
"""The number of a connection that counts, and the answer to its hello."""


def open_connection(*, node: Node, hello: Hello, now: datetime) -> Opened:
    """Let this connection of `node` count. A drain that ends with the node's restart has ended then.

    Raises HandshakeRefused.
    """
    (opened,) = open_connections([Greeting(node=node, hello=hello, now=now)])
    if isinstance(opened, Exception):
        raise opened
    return opened


def open_connections(greetings: Sequence[Greeting]) -> list[Opened | Exception]:
    """Let many connections count, in one transaction; an exception stands for one that must not.

    Nodes are locked in order of their ids, as whoever else locks several does.
    """
    in_order = sorted(range(len(greetings)), key=lambda at: greetings[at].node.pk)
    opened: dict[int, Opened | Exception] = {}
    with transaction.atomic(), changes.together(now=greetings[-1].now):
        head = audit.locked_head()
        used = [each.token_id for each in greetings if each.token_id is not None]
        tokens.note_uses(used, now=greetings[-1].now)
        limits = _limits(Node.objects.count())
        for at in in_order:
            opened[at] = _opened(greetings[at], head, limits)
    return [opened[at] for at in range(len(greetings))]


def _limits(nodes: int) -> Limits:
    return Limits(
        window=WINDOW,
        max_frame_bytes=FRAME_MAX_BYTES,
        health_seconds=health_seconds(nodes),
        telemetry_seconds=telemetry_seconds(nodes),
    )


def _opened(greeting: Greeting, head: ControlHead, limits: Limits) -> Opened | Exception:
    try:
        with transaction.atomic():  # one that is refused takes nothing with it
            return _open(greeting, head, limits)
    except AWAY:
        raise
    except Exception as exc:  # of this hello alone, whatever it is: raised where it came from
        return exc


def _open(greeting: Greeting, head: ControlHead, limits: Limits) -> Opened:
    hello, now = _checked(greeting.hello), greeting.now
    node = _locked(greeting.node)
    link, _ = NodeLink.objects.select_for_update().get_or_create(node=node)
    _refuse_duplicate(node, link, hello, now=now)
    _take_over(link, hello, now=now)
    mark = _mark(node, link, hello, now=now)
    wanted = drain_hello.node_said_hello(
        node=node,
        boot_epoch=hello.boot_epoch,
        desired_generation=hello.desired_generation,
        head=head,
        now=now,
    )
    _note_lost(node, hello.spool_acknowledged - mark.hwm, now=now)
    _introduce(node, hello, now=now)
    changes.publish(f"node:{node.name}", f"providers:{node.name}", "nodes", now=now)
    return link.connection_no, DescriptorBody(
        contract_version=min(hello.contract_version, CONTRACT_VERSION),
        resume_from=mark.hwm,
        spool_reset=hello.spool_last_seq < mark.hwm,
        desired=wanted,
        limits=limits,
    )


def desired_of(*, node: Node) -> Desired | None:
    """Return what the node shall do now, None when nobody ever wanted anything of it."""
    state = DesiredState.objects.filter(node=node).first()
    return None if state is None else desired.frame(state)


def go_idle(*, node: Node, connection_no: int, now: datetime) -> bool:
    """Note that the node closes on purpose, before it does; False: the connection doesn't count any more."""
    return _update(node, connection_no, {"idle": True}, now=now)


def close_connection(*, node: Node, connection_no: int, now: datetime) -> bool:
    """Note that the socket is closed; False: the connection didn't count any more, and nothing changed."""
    return _update(node, connection_no, {"closed_at": now}, now=now)


def _update(node: Node, connection_no: int, values: dict[str, object], *, now: datetime) -> bool:
    with transaction.atomic():
        mine = NodeLink.objects.filter(node=node, connection_no=connection_no, closed_at=None)
        won = mine.update(**values) == 1
        if won:  # one that went idle isn't heard any more, and nor are its breakers
            changes.publish(f"node:{node.name}", f"providers:{node.name}", "nodes", now=now)
    return won


def _checked(hello: Hello) -> Hello:
    """Return what a hello says, fit to be stored; raises HandshakeRefused."""
    hello = columns.clean(hello)
    oldest = max(CONTRACT_VERSION - 1, 1)
    if hello.contract_version < oldest:
        raise _wrong(f"contract_version={hello.contract_version}: expected {oldest} or above")
    texts = {name: getattr(hello, name) for name in ("instance_id", "boot_epoch", "log_id")}
    texts |= {name: getattr(hello.manifest, name) for name in ("url", "version")}
    for name, text in texts.items():
        if len(text) > TEXT_MAX[name]:
            raise _wrong(f"{name} of {len(text)} characters: expected at most {TEXT_MAX[name]}")
    for name in ("instance_id", "spool_id"):
        if not 0 < len(getattr(hello, name)) <= TEXT_MAX["instance_id"]:
            raise _wrong(f"{name}: expected 1 to {TEXT_MAX['instance_id']} characters")
    return hello


def _wrong(reason: str) -> HandshakeRefused:
    return HandshakeRefused(CloseCode.PROTOCOL_ERROR, reason)


def is_connected(node: Node, link: NodeLink, *, now: datetime) -> bool:
    """Return whether a process of the node is on the other end: its socket is open and was heard lately."""
    if link.opened_at is None or link.closed_at is not None:
        return False
    heard_at = max(link.opened_at, node.last_heard_at or link.opened_at)
    return now - heard_at < ALIVE


def _refuse_duplicate(node: Node, link: NodeLink, hello: Hello, *, now: datetime) -> None:
    if link.instance_id != hello.instance_id and is_connected(node, link, now=now):
        reason = f"another process with the token of {node.name} is connected"
        raise HandshakeRefused(CloseCode.DUPLICATE_NODE, reason)


def _locked(node: Node) -> Node:
    # not FOR UPDATE: rows that refer to the node are stored meanwhile, and would wait in the other order
    found = Node.objects.select_for_update(no_key=True).filter(pk=node.pk).first()
    if found is None:  # since its token was looked at
        raise HandshakeRefused(CloseCode.UNAUTHORIZED, f"the node {node.name} was forgotten")
    return found


def _take_over(link: NodeLink, hello: Hello, *, now: datetime) -> None:
    link.connection_no += 1
    link.instance_id = hello.instance_id
    link.opened_at, link.closed_at, link.idle = now, None, False
    link.save()


def _mark(node: Node, link: NodeLink, hello: Hello, *, now: datetime) -> SpoolMark:
    found = SpoolMark.objects.select_for_update()
    mark, new = found.get_or_create(node=node, spool_id=hello.spool_id, defaults={"updated_at": now})
    mark.connection_no, mark.updated_at = link.connection_no, now
    mark.save(update_fields=["connection_no", "updated_at"])
    if new:
        marks.trim(node)
    return mark


def _note_lost(node: Node, lost: int, *, now: datetime) -> None:
    """Note what a node was told to be committed and isn't: the database is an older copy.

    Up to the next acknowledgement every handshake finds the same, so the most counts.
    """
    if lost <= 0:
        return
    if node.lost_at is None or now - node.lost_at > LOST_SHOWN:
        node.lost_items = 0
    logger.warning("%s: up to %d reports are missing, as the database is an older copy", node.name, lost)
    node.lost_items, node.lost_at = max(node.lost_items, lost), now
    node.save(update_fields=["lost_items", "lost_at"])


def _introduce(node: Node, hello: Hello, *, now: datetime) -> None:
    node.instance_id = hello.instance_id
    node.boot_epoch = hello.boot_epoch
    node.log_id = hello.log_id
    node.url = hello.manifest.url
    node.version = hello.manifest.version
    node.manifest = columns.plain(hello.manifest)
    node.clock_skew_seconds = (hello.clock - now).total_seconds()
    node.save(
        update_fields=[
            *("instance_id", "boot_epoch", "log_id", "url", "version", "manifest", "clock_skew_seconds")
        ]
    )
