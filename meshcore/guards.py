"""May this node be taken out? What a drain must not take from the mesh unasked (drain-and-control §2).

What is wanted is judged, not what has come about: of two nodes that are asked to drain at once the second is
judged as if the first had drained already. A node that isn't there, or drains, carries nothing.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import msgspec

from meshcore.capability import Offer, offered_models, parse_version
from meshcore.errors import FrameError

NAMES_SHOWN = 5  # of models and nodes in one sentence; the rest is counted


class BlockerKind(enum.StrEnum):
    """Why a drain would hurt; the values are stored and sent."""

    LAST_PROVIDER = "last_provider"
    TOO_MANY_DRAINING = "too_many_draining"


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """One reason not to drain a node.

    `detail` is a sentence; `subject` the capability that would be lost, or the nodes that drain already.
    """

    kind: BlockerKind
    detail: str
    subject: str


class Carried(NamedTuple):
    """What a healthy provider serves: a capability, and with `model` one of its models."""

    capability: str
    major: int
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node as guards see it: whether it shall drain, and whether it is there."""

    name: str
    drains: bool
    there: bool


Carries = Callable[[str], frozenset[Carried]]
"""Tells of a node what it could carry; asked of as few as will do, for it may cost a look into a database."""


def carried(offers: Iterable[Offer], *, is_refused: Callable[[str], bool]) -> frozenset[Carried]:
    """Return what a node's offers carry; `is_refused` says of a breaker's key whether it keeps calls away."""
    return frozenset(each for offer in offers for each in _carried(offer, is_refused))


def draining_max(members: int) -> int:
    """Return how many of so many nodes may drain at once."""
    return max(1, members // 2)


def blockers(name: str, members: Sequence[Member], *, carries: Carries) -> list[Blocker]:
    """Return why node `name` must not be drained; nothing when it drains already or isn't known."""
    target = next((each for each in members if each.name == name), None)
    if target is None or target.drains:
        return []
    return [*_too_many(target, members), *_last_provider(target, members, carries)]


def _carried(offer: Offer, is_refused: Callable[[str], bool]) -> Iterator[Carried]:
    provider = offer.provider or offer.name
    try:
        major = parse_version(offer.version)[0]
    except FrameError:
        return  # no peer can match it either
    if is_refused(provider):
        return
    models = offered_models(offer.params)
    healthy = [model for model in models if not is_refused(f"{provider}/{model}")]
    if healthy or not models:
        yield Carried(offer.name, major)
    yield from (Carried(offer.name, major, model) for model in healthy)


def _too_many(target: Member, members: Sequence[Member]) -> Iterator[Blocker]:
    draining = [each.name for each in members if each.drains]
    counted = sum(each.there or each.drains or each is target for each in members)
    most, would = draining_max(counted), len(draining) + 1
    if would > most:
        detail = f"{would} of {counted} nodes would drain; at most {most} may at once"
        yield Blocker(kind=BlockerKind.TOO_MANY_DRAINING, detail=detail, subject=_names(draining))


def _last_provider(target: Member, members: Sequence[Member], carries: Carries) -> Iterator[Blocker]:
    lost = carries(target.name) if target.there else frozenset()
    for each in members:
        if not lost:
            return
        if each is not target and each.there and not each.drains:
            lost -= carries(each.name)
    for (capability, major), group in groupby(sorted(lost), key=lambda each: each[:2]):
        models = [each.model for each in group]
        name = capability if major == 1 else f"{capability} {major}.x"
        which = "" if "" in models else f" for {_names(models)}"
        detail = f"{target.name} has the last healthy provider of {name}{which}"
        yield Blocker(kind=BlockerKind.LAST_PROVIDER, detail=detail, subject=capability)


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
