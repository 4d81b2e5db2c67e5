"""One call's way along the chain of its alias (bus-and-breaker §3).

The chain's order goes first, routing's order decides among the nodes that offer the same entry. An entry that
nobody offers, or that can't do what the request needs, is passed over with its reason. An entry that is
offered by many nodes doesn't use up the attempts: while later ones were not tried yet, one is kept for each.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from meshcore.alias import AliasBook, Chain, Step, is_alias
from meshcore.capability import version_serves
from meshcore.errors import CallError, Code
from meshcore.needs import LACKS, lack_of, needs_of
from meshcore.registry import Entry
from meshcore.routing import Choice, Question, Ranked, nobody, refused
from meshcore.trace import AliasSkip, Candidate, Reason

KNOWN_SHOWN_MAX = 50  # aliases that an error lists
UNABLE = LACKS.keys()

Look = Callable[[Question, Iterable[Entry]], Choice]
"""Routing's choice among entries."""


class Walk:
    """A call for `alias`, whose chain is empty when nobody knows it; `known` are then the ones that are."""

    def __init__(self, alias: str, chain: Chain, body: Mapping[str, Any], known: Sequence[str] = ()) -> None:
        self.asked = alias
        self.alias = alias if chain else ""  # a stranger's word is no alias
        self._chain = chain
        self._needs = needs_of(body)
        self._known = known
        self._tried: list[tuple[Step, Entry]] = []
        self._skips: dict[Step, AliasSkip] = {}

    def params(self, params: Mapping[str, Any], entry: Entry, model: str) -> dict[str, Any]:
        """Return what is asked of the entry that a step led to: no other node need know the alias."""
        return {**params, "model": model, "provider": entry.descriptor.provider}

    def trying(self, entry: Entry, model: str) -> None:
        """Note an attempt."""
        self._tried.append((Step(entry.descriptor.provider, model), entry))

    def choose(
        self, question: Question, entries: Iterable[Entry], look: Look, *, attempts_left: int
    ) -> Choice:
        """Return whom to try, in the chain's order; `look` is routing's choice for one of its entries."""
        offered = list(entries)
        ordered: dict[Step, list[Ranked]] = {}
        refusals: list[Candidate] = []
        for step in self._open_steps(question):
            choice = self._at(step, question, offered, look)
            refusals.extend(choice.refused)
            if choice.ordered:
                ordered[step] = choice.ordered
            elif not self._was_tried(step):
                self._skips.setdefault(step, _skip(step, choice.refused))
        return Choice(self._spread(ordered, attempts_left), refusals)

    def skipped(self, *, served: bool) -> tuple[AliasSkip, ...]:
        """Return the entries that were passed over: of a served call those before the one that served."""
        if not served or not self._tried:
            return tuple(self._skips.values())
        last = self._chain.index(self._tried[-1][0])
        return tuple(self._skips[step] for step in self._chain[:last] if step in self._skips)

    def nobody(self, question: Question, refusals: Sequence[Candidate]) -> CallError:
        """Return the error of a call that no entry may serve."""
        if not self._chain:
            return CallError(Code.NOT_FOUND, f"model: no alias {self.asked!r}; known are {self._listed()}")
        reasons = {candidate.reason for candidate in refusals}
        if reasons <= UNABLE | {Reason.UNCONFIGURED}:
            if lacks := sorted(LACKS[reason] for reason in reasons & UNABLE):
                text = f"model: no entry of {self.alias} can do what the request needs: {', '.join(lacks)}"
                return CallError(Code.BAD_REQUEST, text)
            chain = ", ".join(map(str, self._chain))
            return CallError(Code.NO_HEALTHY_PROVIDER, f"nobody offers any entry of {self.alias}: {chain}")
        return nobody(question, [c for c in refusals if c.reason not in UNABLE | {Reason.UNCONFIGURED}])

    def _open_steps(self, question: Question) -> Iterable[Step]:
        """Return the entries that may serve; only the model that began an answer goes on with it."""
        if not question.continues:
            return self._chain
        return [step for step in self._chain if step.model == question.params["model"]]

    def _at(self, step: Step, question: Question, entries: Sequence[Entry], look: Look) -> Choice:
        asked = {**question.params, "model": step.model, "provider": step.provider}
        offering = [
            entry
            for entry in entries
            if entry.descriptor.provider == step.provider
            and version_serves(entry.descriptor.version, question.version)
            and entry.fits(asked)
        ]
        if not offering:
            return Choice([], [_unconfigured(step, entries)])
        able: list[Entry] = []
        refusals: list[Candidate] = []
        for entry in offering:
            lack = lack_of(entry.descriptor.params, self._needs)
            if lack is None:
                able.append(entry)
            else:
                refusals.append(refused(entry, lack.reason, lack.detail))
        tried = [entry for at, entry in self._tried if at == step]
        choice = look(msgspec.structs.replace(question, params=asked, excluded=tried), able)
        refusals.extend(choice.refused)
        return Choice(choice.ordered, [msgspec.structs.replace(c, model=step.model) for c in refusals])

    def _spread(self, ordered: Mapping[Step, list[Ranked]], attempts_left: int) -> list[Ranked]:
        fresh = sum(not self._was_tried(step) for step in ordered)
        now: list[Ranked] = []
        later: list[Ranked] = []
        for step, candidates in ordered.items():
            (later if self._was_tried(step) and fresh >= attempts_left else now).extend(candidates)
        return now + later

    def _was_tried(self, step: Step) -> bool:
        return any(at == step for at, _ in self._tried)

    def _listed(self) -> str:
        shown = ", ".join(self._known[:KNOWN_SHOWN_MAX])
        more = len(self._known) - KNOWN_SHOWN_MAX
        return f"{shown} and {more} more" if more > 0 else shown or "none"


def walk_for(model: str, params: Mapping[str, Any], body: Mapping[str, Any], book: AliasBook) -> Walk | None:
    """Return the walk of a call that asks for `model` when that is an alias, known or not; else None."""
    if not is_alias(model) or params.get("provider"):
        return None
    chain = book.chain(model)
    return Walk(model, chain, body) if chain else Walk(model, (), body, list(book.chains()))


def _unconfigured(step: Step, entries: Iterable[Entry]) -> Candidate:
    nodes = sorted({entry.node_id for entry in entries if entry.descriptor.provider == step.provider})
    detail = (
        f"not offered by {step.provider} of {', '.join(nodes)}" if nodes else f"no provider {step.provider}"
    )
    return Candidate(
        node="", provider=step.provider, model=step.model, reason=Reason.UNCONFIGURED, detail=detail
    )


def _skip(step: Step, refusals: Sequence[Candidate]) -> AliasSkip:
    first = refusals[0]
    return AliasSkip(entry=str(step), reason=first.reason or "", detail=first.detail)
