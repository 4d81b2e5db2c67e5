"""Why a call went where it went, as people say it, from what its node wrote of it.

The node's words are read with care: an older or a newer node may leave fields out, or know others.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from django import template

from meshcore.routing import LOCAL_LOAD
from meshcore.trace import Reason

register = template.Library()

Words = Mapping[str, Any]

REFUSALS = {
    Reason.VERSION: "offers another version",
    Reason.PARAMS: "does not offer this model",
    Reason.UNCONFIGURED: "is not offered anywhere",
    Reason.NO_TOOLS: "takes no tools",
    Reason.NO_VISION: "sees no images",
    Reason.CONTEXT: "the request is too long for it",
    Reason.DRAINING: "is draining",
    Reason.STALE: "was not heard of lately",
    Reason.BREAKER_OPEN: "breaker open",
    Reason.HALF_OPEN_BUSY: "breaker half-open, another call is trying it",
    Reason.COOLING: "cools down after a rate limit",
    Reason.FORCED_OPEN: "breaker forced open by an operator",
    Reason.CAPACITY: "all its places were taken",
    Reason.EXCLUDED: "already tried in this call",
    Reason.HOP: "already on this call's path",
}
SAYS_IT_ALL = frozenset(  # their detail stands alone
    {
        Reason.VERSION,
        Reason.PARAMS,
        Reason.UNCONFIGURED,
        Reason.NO_TOOLS,
        Reason.NO_VISION,
        Reason.CAPACITY,
    }
)


@register.filter
def refusal(candidate: Words) -> str:
    """Return why a candidate was passed over: "breaker open, 41 s left", "12 of 12 in flight".

    A reason that only a newer node knows is shown as it came.
    """
    reason, detail = str(candidate.get("reason") or ""), str(candidate.get("detail") or _left(candidate))
    if reason in SAYS_IT_ALL and detail:
        return detail
    words = REFUSALS[Reason(reason)] if reason in set(Reason) else _plain(reason)
    return f"{words}, {detail}" if words and detail else words or detail


def where(one: Words, node: str) -> str:
    """Return a provider and its node as one says it on `node`: "ollama, local", "ollama on node-c".

    What no node has, only an alias names, stands without a node.
    """
    provider = one.get("provider") or "any provider"
    if one.get("node") == "":
        return provider
    return f"{provider}, local" if _is_local(one, node) else f"{provider} on {one['node']}"


@register.simple_tag
def reasons(story: Any) -> list[str]:
    """Return the sentences on a call's way, in the order in which things were decided.

    `story` is a selectors.traces.Story.
    """
    trace, node = story.trace, story.trace.node.name
    return [
        *_alias(trace.alias, trace.model_served, story.alias_skips),
        *_choice(story.candidates, node),
        *_failovers(story.attempts, node),
        *splice_reasons(story.splices, node),
    ]


def splice_reasons(splices: Sequence[Words], node: str) -> list[str]:
    """Return where another provider went on with a broken answer."""
    return [_splice(splice, node) for splice in splices]


def _alias(alias: str, served: str, skips: Sequence[Words]) -> Iterator[str]:
    if alias:
        skipped = [f"{skip.get('entry') or 'an entry'} ({refusal(skip) or 'passed over'})" for skip in skips]
        past = f", past {', '.join(skipped)}" if skipped else ""
        yield f"{alias} led {'to ' + served if served else 'nowhere'}{past}."


def _failovers(attempts: Sequence[Words], node: str) -> Iterator[str]:
    for failed, following in pairwise(attempts):
        if not failed.get("committed"):  # what breaks after that is spliced, and told there
            code = failed.get("code") or "an error"
            yield f"{_called(failed, node)} failed with {code}, so {_called(following, node)} was tried."


def _choice(candidates: Sequence[Words], node: str) -> Iterator[str]:
    ranked = sorted((each for each in candidates if each.get("rank")), key=lambda each: int(each["rank"]))
    everybody, fit = _places(candidates), _places(ranked)  # who fits at first may be refused for the rest
    if everybody and not fit:
        yield f"None of {_counted(len(everybody), 'candidate')} could be tried."
    elif everybody > fit:
        yield f"{len(everybody - fit)} of {_counted(len(everybody), 'candidate')} could not be tried."
    if len(ranked) == 1:
        yield f"{_called(ranked[0], node)} was the only one that could."
    elif ranked:
        yield _before(ranked[0], ranked[1], node)


def _places(candidates: Sequence[Words]) -> set[tuple[Any, ...]]:
    return {(each.get("node"), each.get("provider"), each.get("model", "")) for each in candidates}


def _before(first: Words, second: Words, node: str) -> str:
    if first.get("model") != second.get("model"):
        names = [f"{each.get('provider')}/{each.get('model')}" for each in (first, second)]
        return f"The alias names {names[0]} before {names[1]}."
    ours, theirs = first.get("score") or {}, second.get("score") or {}
    load = float(ours.get("load", 0.0))
    if _is_local(first, node) and not _is_local(second, node) and ours and load < LOCAL_LOAD:
        return f"Local first: the load of {first.get('provider')}, {load:.2f}, is under {LOCAL_LOAD:.2f}."
    before = f"{_called(first, node)} before {_called(second, node)}"
    if "value" not in ours or "value" not in theirs:
        return f"{before}."
    values = f"score {ours['value']:.0f} against {theirs['value']:.0f}"
    if ours["value"] <= theirs["value"]:
        return f"{before}: {values}, and less is better."
    return f"{before} in spite of {values}: the other is loaded, or its own node calls it unavailable."


def _called(one: Words, node: str) -> str:
    """Return a provider and its node as within a sentence: "local ollama", "ollama on node-c"."""
    return f"local {one.get('provider') or 'provider'}" if _is_local(one, node) else where(one, node)


def _is_local(one: Words, node: str) -> bool:
    return one.get("node") in (None, "local", node)


def _splice(splice: Words, node: str) -> str:
    count = splice.get("after_chunks")
    after = "Midway" if count is None else f"After {_counted(count, 'chunk')}"
    reason = f" ({_plain(str(splice['reason']))})" if splice.get("reason") else ""
    broken = _called({"provider": splice.get("from_provider"), "node": splice.get("from_node")}, node)
    further = _called({"provider": splice.get("to_provider"), "node": splice.get("to_node")}, node)
    return f"{after} {broken} broke off{reason}; {further} went on from there."


def _left(candidate: Words) -> str:
    seconds = candidate.get("seconds_remaining")
    return f"{seconds:.0f} s left" if isinstance(seconds, int | float) else ""


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
