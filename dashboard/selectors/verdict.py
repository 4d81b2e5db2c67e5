"""One sentence for the worst thing there is now, and what else a person must know of the numbers."""

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from dashboard.models import ProviderHealth
from dashboard.selectors import providers, testimony
from dashboard.selectors.matrix import Matrix
from dashboard.selectors.nodes import CLOCK_SKEW_SECONDS, Gathered, NodeNow
from dashboard.selectors.presence import LOST_SHOWN, Composite
from meshcore.breaker import BreakerState

NOTICES_MAX = 20  # more than anybody reads before doing something
SET_BACK_SHOWN = timedelta(days=1)  # how long it is said that a disk was set back


class Tone(enum.StrEnum):
    """How a verdict feels; the values are the classes of the look."""

    OK = "ok"
    NONE = "none"
    CALM = "calm"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is worst: a sentence, since when, and what is behind it; `others` counts what else is not well."""

    tone: Tone
    sentence: str
    since: datetime | None = None
    detail: str = ""
    others: int = 0


def of(mesh: Gathered) -> Verdict:
    """Return what is worst in the mesh now."""
    found = [verdict for judge in _JUDGES for verdict in judge(mesh)]
    if not found:
        return _all_well(mesh.nodes)
    return replace(found[0], others=len(found) - 1)


def of_providers(found: Matrix) -> Verdict:
    """Return what is worst among the providers now, asked for or not."""
    down = [key for key, finding in found.findings.items() if finding.down]
    doubted = [key for key, finding in found.findings.items() if finding.doubt]
    if down:
        return Verdict(tone=Tone.BAD, sentence=found.findings[down[0]].about(down[0]), others=len(down) - 1)
    if doubted:
        nodes = found.findings[doubted[0]].doubt
        sentence = f"{doubted[0]} is in doubt on {nodes} node{'s' if nodes > 1 else ''}"
        return Verdict(tone=Tone.WARN, sentence=sentence, others=len(doubted) - 1)
    if found.states:
        many = len(found.findings)
        return Verdict(tone=Tone.OK, sentence="No breaker is open", detail=f"{many} providers and models")
    sentence = "No node is heard that told of its providers" if found.findings else "No provider yet"
    return Verdict(tone=Tone.NONE, sentence=sentence)


def notices(mesh: Gathered) -> list[str]:
    """Return what makes the numbers incomplete or the times wrong, a sentence each, up to a bound."""
    found = [notice for node in mesh.nodes for notice in _notices(node, mesh.now)]
    more = len(found) - NOTICES_MAX
    return found if more <= 0 else [*found[:NOTICES_MAX], f"And {more} more like these."]


def _notices(node: NodeNow, now: datetime) -> Iterator[str]:
    spool = node.node.spool
    dropped: dict[str, int] = spool.get("dropped", {})
    lost = ", ".join(
        f"{count:,} {kind}s".replace(",", " ") for kind, count in sorted(dropped.items()) if count
    )
    if lost:
        yield f"Numbers are incomplete: {node.name} had to drop {lost} while it could not report."
    if _was_set_back(spool, now):
        yield f"Numbers are incomplete: the disk of {node.name} was set back to an older copy."
    if node.node.lost_at is not None and now - node.node.lost_at < LOST_SHOWN:
        many, at = f"{node.node.lost_items:,}".replace(",", " "), f"{node.node.lost_at:%d %b %H:%M}"
        yield (
            f"Numbers are incomplete: up to {many} reports of {node.name} from before {at} are missing, "
            "as the database came back as an older copy."
        )
    for problem in node.readout.problems if node.readout and node.heard else ():
        yield f"{node.name} could not take what was asked and holds to what it had: {problem}"
    skew = node.node.clock_skew_seconds
    if abs(skew) > CLOCK_SKEW_SECONDS:
        way = "ahead" if skew > 0 else "behind"
        yield f"The clock of {node.name} is {abs(skew):.0f} s {way}; its times are shown as it says them."


def _was_set_back(spool: Mapping[str, Any], now: datetime) -> bool:
    reset_at: str | None = spool.get("reset_at")
    return reset_at is not None and now - datetime.fromisoformat(reset_at) < SET_BACK_SHOWN


def _unreachable(mesh: Gathered) -> Iterator[Verdict]:
    gone = [node for node in mesh.nodes if node.state is Composite.UNREACHABLE]
    if gone:
        heard = [node.node.last_heard_at for node in gone if node.node.last_heard_at]
        yield Verdict(
            tone=Tone.BAD,
            sentence=f"{_names(gone)} {_is(gone)} unreachable",
            since=min(heard),
            detail="calls go to the other nodes",
        )


def _down(mesh: Gathered) -> Iterator[Verdict]:
    troubled: dict[str, list[tuple[NodeNow, ProviderHealth]]] = {}
    for node in mesh.nodes:
        for breaker in node.troubled if node.heard else ():
            troubled.setdefault(breaker.key, []).append((node, breaker))
    for key, seen in sorted(troubled.items(), key=lambda item: -len(item[1])):
        where = _where([node for node, _ in seen], having=mesh.having.get(key, 0))
        yield Verdict(
            tone=Tone.BAD,
            sentence=f"{_thing(key)} {_how(seen)} {where}",
            since=min((each.since for _, each in seen if each.since), default=None),
            detail=next((each.last_error for _, each in seen if each.last_error), ""),
        )


def _unacknowledged(mesh: Gathered) -> Iterator[Verdict]:
    for node in mesh.nodes:
        if node.heard and node.order.overdue:
            yield Verdict(
                tone=Tone.WARN,
                sentence=f"{node.name} has not acknowledged its order",
                detail=f"generation {node.order.generation} asked, {node.order.observed} acted on",
            )


def _leaving(mesh: Gathered) -> Iterator[Verdict]:
    for node in mesh.nodes:
        if node.state in (Composite.STOPPING, Composite.STOPPED):
            yield Verdict(tone=Tone.WARN, sentence=f"{node.name} is {node.state.value}")


def _draining(mesh: Gathered) -> Iterator[Verdict]:
    for node in mesh.nodes:
        if node.drain is None or node.state not in (Composite.DRAINING, Composite.DRAINED):
            continue
        word = "is drained and safe to stop" if node.drain.safe_to_stop else f"is {node.state.value}"
        yield Verdict(
            tone=Tone.CALM,
            sentence=f"{node.name} {word}{f', by {node.drain.by}' if node.drain.by else ''}",
            since=node.drain.since,
            detail=node.drain.reason,
        )


def _quiet(mesh: Gathered) -> Iterator[Verdict]:
    for node in mesh.nodes:
        if node.heard and node.presence.stale:
            since = node.node.last_heard_at
            yield Verdict(tone=Tone.WARN, sentence=f"{node.name} has gone quiet", since=since)


def _coming(mesh: Gathered) -> Iterator[Verdict]:
    for node in mesh.nodes:
        if node.state is Composite.JOINING:
            yield Verdict(tone=Tone.NONE, sentence=f"{node.name} is joining")
        elif node.state is Composite.NEVER_SEEN:
            detail = "start it with the configuration that add_node printed"
            yield Verdict(tone=Tone.NONE, sentence=f"{node.name} has never connected", detail=detail)


_JUDGES: tuple[Callable[[Gathered], Iterator[Verdict]], ...] = (
    _unreachable,
    _down,
    _quiet,
    _unacknowledged,
    _leaving,
    _draining,
    _coming,
)


def _all_well(nodes: tuple[NodeNow, ...]) -> Verdict:
    if not nodes:
        return Verdict(tone=Tone.NONE, sentence="No node yet")
    idle = sum(node.state is Composite.IDLE for node in nodes)
    well = f"All {len(nodes)} nodes are well" if len(nodes) > 1 else f"{nodes[0].name} is well"
    return Verdict(tone=Tone.OK, sentence=well, detail=f"{idle} idle" if idle else "")


def _thing(key: str) -> str:
    return f"The way to {key.removeprefix(providers.PEER)}" if key.startswith(providers.PEER) else key


def _how(seen: list[tuple[NodeNow, ProviderHealth]]) -> str:
    trying = all(breaker.state == BreakerState.HALF_OPEN for _, breaker in seen)
    return "is being tried again" if trying else "is down"


def _where(seen: list[NodeNow], *, having: int) -> str:
    if having == 1:
        return f"on {seen[0].name}"
    if len(seen) == having:
        return f"on all {having} nodes that have it"
    return f"as seen from {_names(seen)} only"


def _names(nodes: list[NodeNow]) -> str:
    return testimony.names([node.name for node in nodes])


def _is(nodes: list[NodeNow]) -> str:
    return "is" if len(nodes) == 1 else "are"
