"""What the dashboard wants of a node beside drains, and the node keeps doing: overrides and aliases.

It comes with the desired state, which is on the node's disk before anything is done, so that it holds again
after a restart, dashboard or not.
"""

import logging

from meshcore.aio.health import ProviderHealthCache
from meshcore.alias import AliasBook
from meshcore.clock import UtcNow
from meshcore.errors import ConfigError, FrameError
from meshcore.frames import Desired
from meshcore.override import LIFTED, Action, Lift, Move, OverrideBook, parse_overrides

PROBLEM_MAX_CHARACTERS = 300  # it is said with every health frame

logger = logging.getLogger(__name__)


class StandingOrders:
    """Carries out overrides and aliases; what is malformed is refused whole, and the former holds on.

    `problems` says what of the last order, or of the node's own aliases, isn't in force, and why.
    """

    def __init__(self, health: ProviderHealthCache, aliases: AliasBook, *, utcnow: UtcNow) -> None:
        self._health = health
        self._aliases = aliases
        self._utcnow = utcnow
        self._overrides = OverrideBook()
        self._override_problem = ""

    def problems(self) -> tuple[str, ...]:
        """Return a sentence for each thing that was refused and whose former state holds on."""
        aliases = (f"aliases of the {source}: {why}" for source, why in self._aliases.problems.items())
        found = [self._override_problem, *aliases]
        return tuple(problem[:PROBLEM_MAX_CHARACTERS] for problem in found if problem)

    def obey(self, order: Desired) -> None:
        """Make breakers and aliases what `order` says."""
        self._override(order)
        self._alias(order)

    def _override(self, order: Desired) -> None:
        try:
            wanted = parse_overrides(order.overrides)
        except FrameError as exc:
            logger.error("desired state %d: the present overrides stay: %s", order.generation, exc)
            self._override_problem = str(exc)
            return
        self._override_problem = ""
        for move in self._overrides.moves(wanted, now=self._utcnow()):
            self._carry_out(move)

    def _carry_out(self, move: Move) -> None:
        if isinstance(move, Lift):
            self._health.lift(move.key, actor="", reason=LIFTED)
            return
        key, actor, reason = move.override.key, move.override.actor, move.override.reason
        logger.info("%s of %s by %s: %s", move.override.action, key, actor or "nobody", reason or "no reason")
        match move.override.action:
            case Action.FORCE_OPEN:
                self._health.force_open(key, actor=actor, reason=reason, seconds=move.seconds)
            case Action.FORCE_CLOSED:
                self._health.force_closed(key, actor=actor, reason=reason, seconds=move.seconds)
            case Action.RESET:
                self._health.reset(key, actor=actor, reason=reason)

    def _alias(self, order: Desired) -> None:
        try:
            changed = self._aliases.want(order.aliases)
        except ConfigError as exc:
            logger.error("desired state %d: the present aliases stay: %s", order.generation, exc)
            return
        if changed:
            logger.info("%d aliases, by the %s", len(self._aliases.chains()), self._aliases.source)
