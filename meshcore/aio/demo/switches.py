"""What can be switched in the demo mesh: faults of a provider, the life of a node.

A switch is written TARGET=SETTING: `node-a/alpha=fail`, `node-a=kill`.
"""

import enum
from dataclasses import dataclass

from meshcore.mock_script import Faults


class ProviderFault(enum.StrEnum):
    """What a provider does with every call."""

    OK = "ok"
    FAIL = "fail"  # answers 503
    HANG = "hang"  # never answers
    SLOW = "slow"  # answers late


class NodeSwitch(enum.StrEnum):
    """What becomes of a node's process."""

    KILL = "kill"  # SIGKILL; it stays away
    BOUNCE = "bounce"  # SIGKILL; it comes back by itself
    START = "start"


SLOW_MS = 2500  # under the demo's 4 s to the first token: late, but no failure
FAULTS = {
    ProviderFault.OK: Faults(),
    ProviderFault.FAIL: Faults(http=503),
    ProviderFault.HANG: Faults(hang=True),
    ProviderFault.SLOW: Faults(delay_ms=SLOW_MS),
}


class SwitchError(Exception):
    """There is no such switch; the message names it and what there is."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A target with its setting; a provider's target is NODE/PROVIDER."""

    target: str
    setting: ProviderFault | NodeSwitch

    @classmethod
    def parse(cls, text: str) -> "Switch":
        """Return what TARGET=SETTING means; raises SwitchError."""
        target, mark, setting = text.strip().partition("=")
        settings: type[enum.StrEnum] = ProviderFault if "/" in target else NodeSwitch
        if not target or not mark or setting not in set(settings):
            raise SwitchError(
                f"{text!r}: expected NODE/PROVIDER={'|'.join(ProviderFault)} or NODE={'|'.join(NodeSwitch)}"
            )
        return cls(target, ProviderFault(setting) if "/" in target else NodeSwitch(setting))
