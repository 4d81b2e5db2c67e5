"""Which models a node can be asked for, and what a client means by a model's name."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from meshcore.alias import AliasBook, Step
from meshcore.capability import offered_models
from meshcore.registry import Entry


class Wanted(NamedTuple):
    """What a client asks for: a model, and the one provider that shall serve it, "" for any that has it."""

    model: str
    provider: str = ""


def wanted(name: str, entries: Iterable[Entry]) -> Wanted:
    """Return what `name` means: a model as it is offered, else `provider/model`.

    Models have slashes in their own names, too, so a whole name that somebody offers is never split.
    """
    provider, slash, model = name.partition("/")
    if not slash or not model:
        return Wanted(name)
    is_provider = False
    for entry in entries:
        if name in offered_models(entry.descriptor.params):
            return Wanted(name)
        is_provider = is_provider or entry.descriptor.provider == provider
    return Wanted(model, provider) if is_provider else Wanted(name)


def can_serve(entry: Entry, *, draining: bool, heard_since: float, is_healthy: Callable[[str], bool]) -> bool:
    """Return whether an entry may be asked now, busy or not.

    `draining` says it of this node itself; a peer not heard of since the monotonic moment `heard_since` is
    stale.
    """
    peer = entry.peer
    if draining if peer is None else peer.draining or peer.heard_at < heard_since:
        return False
    return entry.available and is_healthy(entry.breaker_key)


def aliases_served(book: AliasBook, entries: Iterable[Entry]) -> list[str]:
    """Return the aliases of which these entries offer any part, in order of name."""
    offered = {
        Step(entry.descriptor.provider, model)
        for entry in entries
        for model in offered_models(entry.descriptor.params)
    }
    return [name for name, chain in book.chains().items() if not offered.isdisjoint(chain)]


def models_served(entries: Iterable[Entry]) -> dict[str, str]:
    """Return model -> node for every model that these entries offer, in order of name."""
    served: dict[str, str] = {}
    for entry in entries:
        for model in offered_models(entry.descriptor.params):
            served.setdefault(model, entry.node_id)
    return dict(sorted(served.items()))
