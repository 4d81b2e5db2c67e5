"""Which pages a change concerns, by the key that the change feed has for it, and what is news on them."""

from collections.abc import Iterable

FLEET = "fleet"
FLEET_PAGE = "fleet:"
FLEET_PAGES = 99  # of `nodes.PAGE_ROWS` nodes each
NODE_PAGE = "node:"
PROVIDERS = "providers"
DRAINS = "drains"
RUNS = "runs"
RUN_PAGE = "run:"
HEARD = "heard"  # no change of the feed: the ages of all nodes, for whoever refreshes them by the clock
FIGURES = "figures"  # nor this: the traffic of all nodes, which falls by the clock when no calls come
SUMMARY = "summary"  # no change of the feed either: what is said of all nodes, after any change of one
TRANSITIONS = "transitions"  # the kind of what is told of breakers behind how they stand
DULL = (HEARD, FIGURES, TRANSITIONS, SUMMARY)  # kinds of keys that change all the time, or tell of the past
LIST_KEYS = {
    FLEET: frozenset({"nodes"}),
    PROVIDERS: frozenset({"nodes", "providers", "overrides"}),
    "traces": frozenset({"traces"}),
    RUNS: frozenset({"runs"}),
    DRAINS: frozenset({"drains"}),
    "audit": frozenset({"audit"}),
}


def fleet_number(page: str) -> int:
    """Return which page of the fleet it is, from 1; 0 when it is none."""
    if page == FLEET:
        return 1
    number = page.removeprefix(FLEET_PAGE)
    given = page != number and number.isascii() and number.isdigit() and len(number) < 3
    return int(number) if given and number[0] != "0" and 2 <= int(number) <= FLEET_PAGES else 0


def is_news(key: str) -> bool:
    """Return whether a change of `key` is to be seen at once: not so ages, figures and the past."""
    return key.partition(":")[0] not in DULL


def concerning(page: str, keys: Iterable[str]) -> list[str]:
    """Return what `render` must be asked for on `page` after changes of `keys`, each once, in order."""
    kind = _kind(page)
    found: dict[str, None] = {}
    for key in keys:
        pages = pages_of(key)
        if page in pages or kind in pages:
            found[_row(key) if kind == FLEET else key] = None
            if kind == FLEET and key != HEARD:
                found[SUMMARY] = None
    return list(found)


def _row(key: str) -> str:
    """Return what the fleet renders for `key`: a node's breakers are in its row, which goes out once."""
    return "node:" + key.removeprefix("providers:") if key.startswith("providers:") else key


def pages_of(key: str) -> tuple[str, ...]:
    """Return the pages with cells that a change of `key` may alter.

    "node:" stands for every node's page, "run:" for every run's.
    """
    kind, _, name = key.partition(":")
    if kind == "node" and name:
        return (FLEET, NODE_PAGE + name, DRAINS)
    if kind == FIGURES and name:
        return (FLEET, NODE_PAGE + name)
    if kind == TRANSITIONS and name:
        return (NODE_PAGE + name, PROVIDERS)
    if kind == "providers" and name:  # also said when a node falls silent, or is heard again
        return (FLEET, NODE_PAGE + name, PROVIDERS, RUNS, RUN_PAGE)
    if kind == "runs" and name:
        return (RUNS, NODE_PAGE + name, RUN_PAGE)
    if kind == "run" and name:
        return (key,)
    pages: dict[str, tuple[str, ...]] = {
        "nodes": (FLEET,),
        "runs": (RUNS,),
        HEARD: (FLEET, NODE_PAGE, PROVIDERS),
        FIGURES: (FLEET, NODE_PAGE),
    }
    return pages.get(key, ())


def list_keys_of(page: str) -> frozenset[str]:
    """Return the keys whose change may alter which rows a page has, or their order."""
    if page.startswith(NODE_PAGE):
        name = page.removeprefix(NODE_PAGE)
        return frozenset({f"providers:{name}", f"transitions:{name}", "drains", "traces", "runs"})
    if page.startswith(RUN_PAGE):
        return frozenset({page})  # it is also the key that says that the run turned
    return LIST_KEYS[FLEET if fleet_number(page) else page]


def _kind(page: str) -> str:
    """Return the prefix of a page of which there are many; the page itself where it is one."""
    kind, colon, _ = page.partition(":")
    return FLEET if kind == FLEET else kind + colon
