"""Who is told of changes: each of its own keys, and nobody is asked who isn't concerned."""

import pytest

from dashboard.listeners import Listeners

KEYS = ["orders:a", "nodes", "orders:ab", "orders:a"]


class Ears:
    """Keeps what it is told, call by call."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], list[str]]] = []

    def __call__(self, ids: object, keys: object) -> None:
        self.calls.append((list(ids), list(keys)))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("orders:a", ["orders:a", "orders:a"]),
        ("orders:", ["orders:a", "orders:ab", "orders:a"]),
        ("orders", []),
        ("nodes", ["nodes"]),
        ("", ["orders:a", "nodes", "orders:ab", "orders:a"]),
    ],
)
def test_what_a_listener_asked_for_is_told_in_one_call_and_in_order(pattern: str, heard: list[str]) -> None:
    listeners, ears = Listeners(), Ears()
    listeners.add(pattern, ears)

    listeners.tell(range(len(KEYS)), KEYS)

    assert [key for _, keys in ears.calls for key in keys] == heard
    assert len(ears.calls) == bool(heard)
    assert [KEYS[n] for ids, _ in ears.calls for n in ids] == heard


def test_all_who_listen_to_the_same_are_told() -> None:
    listeners, some = Listeners(), [Ears(), Ears()]
    for ears in some:
        listeners.add("peers", ears)

    listeners.tell([0], ["peers"])

    assert [ears.calls for ears in some] == [[([0], ["peers"])]] * 2


def test_who_leaves_is_forgotten_and_takes_nobody_along() -> None:
    listeners, left, stays = Listeners(), Ears(), Ears()
    leave = listeners.add("peers", left)
    listeners.add("peers", stays)

    leave()
    leave()
    listeners.tell([0], ["peers"])

    assert (left.calls, stays.calls, len(listeners)) == ([], [([0], ["peers"])], 1)


def test_who_leaves_while_the_others_are_told_is_no_fault() -> None:
    listeners, ears = Listeners(), Ears()
    leaving = [listeners.add("", lambda ids, keys: leaving[0]())]
    listeners.add("", ears)

    listeners.tell([1], ["nodes"])

    assert (len(ears.calls), len(listeners)) == (1, 1)


def test_a_fault_of_one_does_not_keep_news_from_the_next(caplog: pytest.LogCaptureFixture) -> None:
    listeners, ears = Listeners(), Ears()
    listeners.add("", lambda ids, keys: 1 / 0)  # type: ignore[arg-type]
    listeners.add("", ears)

    listeners.tell([1], ["nodes"])

    assert ears.calls == [([1], ["nodes"])]
    assert "a listener to changes failed" in caplog.text


def test_a_change_of_one_node_is_looked_up_and_not_asked_of_every_link() -> None:
    listeners = Listeners()
    told: list[str] = []
    for number in range(1000):
        listeners.add(f"orders:n{number}", lambda ids, keys: told.extend(keys))
    steps = listeners._by_pattern = CountedDict(listeners._by_pattern)

    listeners.tell([1, 2], ["node:n1", "orders:n1"])

    assert told == ["orders:n1"]
    assert steps.looked_up <= 10


class CountedDict(dict):  # type: ignore[type-arg]
    """Counts how often something is looked for in it; to go through all of it isn't allowed."""

    looked_up = 0

    def __contains__(self, key: object) -> bool:
        self.looked_up += 1
        return super().__contains__(key)

    def get(self, key: object, default: object = None) -> object:
        self.looked_up += 1
        return super().get(key, default)

    def __iter__(self) -> object:  # type: ignore[override]
        raise AssertionError("all listeners are asked")

    items = values = keys = __iter__  # type: ignore[assignment]
