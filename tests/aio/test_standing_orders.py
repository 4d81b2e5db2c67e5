"""Overrides and aliases that the dashboard wants, carried out. Cases are those of bus-and-health §4."""

from datetime import timedelta
from typing import Any

import pytest

from meshcore.aio.health import ProviderHealthCache, TransitionEvent
from meshcore.aio.standing_orders import PROBLEM_MAX_CHARACTERS, StandingOrders
from meshcore.alias import AliasBook
from meshcore.breaker import BreakerState
from meshcore.frames import Desired
from meshcore.testing import START, ManualClock


class Scene:
    """The breakers and aliases of a node that a dashboard gives orders to."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.health = ProviderHealthCache(clock=self.clock, utcnow=self.clock.utcnow)
        self.aliases = AliasBook({"mesh/fast": ("alpha/m1",)})
        self.events: list[TransitionEvent] = []
        self.health.add_transition_listener(self.events.append)
        self.orders = StandingOrders(self.health, self.aliases, utcnow=self.clock.utcnow)
        self.generation = 0

    def want(self, *overrides: dict[str, Any], aliases: dict[str, list[str]] | None = None) -> None:
        """Give the next order."""
        self.generation += 1
        self.orders.obey(Desired(generation=self.generation, overrides=overrides, aliases=aliases))

    def told(self) -> list[tuple[str, str, str]]:
        """Return what was said of breakers."""
        return [(str(event.to_state), event.actor, event.reason) for event in self.events]


def force_open(**fields: Any) -> dict[str, Any]:
    expires_at = (START + timedelta(minutes=10)).isoformat()
    return {
        "key": "alpha",
        "action": "force_open",
        "actor": "alice",
        "reason": "maintenance",
        "expires_at": expires_at,
        **fields,
    }


RESET = {"key": "alpha", "action": "reset", "actor": "bob", "reason": "done"}


def test_case_39_forced_open_and_reset_are_told_once_each_with_actor_and_reason() -> None:
    scene = Scene()

    scene.want(force_open())
    scene.want(force_open())
    open_for = scene.health.reports()[0].seconds_remaining
    scene.want(RESET)
    scene.want(RESET)

    assert open_for == 600.0
    assert scene.told() == [("forced_open", "alice", "maintenance"), ("closed", "bob", "done")]
    assert scene.health.state("alpha") is BreakerState.CLOSED


def test_case_39_a_reset_forgets_the_failures_from_before() -> None:
    scene = Scene()
    for _ in range(2):
        scene.health.mark_unhealthy("alpha", "500")

    scene.want(RESET)

    assert scene.health.reports()[0].strikes == 0
    assert scene.health.is_healthy("alpha")


def test_case_39_an_override_survives_a_restart_and_ends_when_it_was_to_end() -> None:
    clock = ManualClock()
    order = Desired(generation=1, overrides=(force_open(),))
    Scene(clock).orders.obey(order)
    clock.advance(240.0)

    after = Scene(clock)
    after.orders.obey(order)
    restored = after.health.reports()[0]
    clock.advance(360.0)
    after.health.advance()

    assert (restored.state, restored.seconds_remaining) == (BreakerState.FORCED_OPEN, 360.0)
    assert after.told() == [("forced_open", "alice", "maintenance"), ("closed", "", "override expired")]


def test_an_override_that_expired_while_the_node_was_away_is_not_restored() -> None:
    clock = ManualClock()
    clock.advance(601.0)
    scene = Scene(clock)

    scene.want(force_open())

    assert scene.events == []


def test_an_override_that_is_no_longer_wanted_leaves_the_circuit_as_it_is() -> None:
    scene = Scene()
    for _ in range(2):
        scene.health.mark_unhealthy("alpha", "500")
    scene.events.clear()

    scene.want(force_open(action="force_closed"))
    scene.want()

    assert scene.told() == [("forced_closed", "alice", "maintenance"), ("open", "", "no longer wanted")]


def test_lifting_what_was_never_known_is_nothing() -> None:
    scene = Scene()

    scene.health.lift("nobody", actor="", reason="")

    assert scene.health.reports() == []


def test_wrong_overrides_are_refused_whole_and_the_former_ones_hold(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.want(force_open())

    scene.want({"key": "beta", "action": "force_open"}, {"key": "alpha", "action": "explode"})

    assert scene.health.state("alpha") is BreakerState.FORCED_OPEN
    assert scene.health.state("beta") is BreakerState.CLOSED
    assert "desired state 2: the present overrides stay: overrides[1]" in caplog.text


def test_aliases_are_those_that_the_dashboard_wants_until_it_wants_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    scene = Scene()

    scene.want(aliases={"mesh/slow": ["beta/m2"]})
    wanted = list(scene.aliases.chains())
    scene.want(aliases=None)
    scene.want(aliases=None)

    assert (wanted, list(scene.aliases.chains())) == (["mesh/slow"], ["mesh/fast"])
    assert caplog.messages == ["1 aliases, by the dashboard", "1 aliases, by the file"]


def test_wrong_aliases_are_refused_whole_with_the_reason_and_overrides_hold_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()

    scene.want(force_open(), aliases={"mesh/good": ["a/b"], "mesh/bad": []})

    assert list(scene.aliases.chains()) == ["mesh/fast"]
    assert scene.health.state("alpha") is BreakerState.FORCED_OPEN
    assert "desired state 1: the present aliases stay: dashboard: aliases.'mesh/bad'" in caplog.text


def test_what_was_refused_is_a_problem_until_a_good_order_comes() -> None:
    scene = Scene()

    scene.want({"key": "alpha", "action": "explode"}, aliases={"mesh/fast": ["alpha"]})
    refused = scene.orders.problems()
    scene.want(aliases={"mesh/fast": ["alpha/m2"]})

    assert len(refused) == 2
    assert "overrides[0]" in refused[0]
    assert "mesh/fast" in refused[1]
    assert scene.orders.problems() == ()


def test_aliases_of_the_nodes_own_file_that_were_refused_are_a_problem_too() -> None:
    scene = Scene()

    scene.aliases.refuse_file("node.toml: aliases: " + "x" * 1000)

    [problem] = scene.orders.problems()
    assert problem.startswith("aliases of the file: node.toml")
    assert len(problem) == PROBLEM_MAX_CHARACTERS
