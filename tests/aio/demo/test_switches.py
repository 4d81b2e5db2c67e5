"""Switches as people write them."""

import pytest

from meshcore.aio.demo.switches import FAULTS, NodeSwitch, ProviderFault, Switch, SwitchError


@pytest.mark.parametrize(
    ("text", "target", "setting"),
    [
        ("node-a/alpha=fail", "node-a/alpha", ProviderFault.FAIL),
        (" node-a/beta=ok\n", "node-a/beta", ProviderFault.OK),
        ("node-a=bounce", "node-a", NodeSwitch.BOUNCE),
    ],
)
def test_a_switch_has_a_target_and_a_setting(text: str, target: str, setting: ProviderFault) -> None:
    assert Switch.parse(text) == Switch(target, setting)


@pytest.mark.parametrize(
    "text", ["", "node-a", "node-a=fail", "node-a/alpha=kill", "=kill", "node-a/alpha=FAIL"]
)
def test_what_is_no_switch_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(
        SwitchError, match=r"expected NODE/PROVIDER=ok\|fail\|hang\|slow or NODE=kill\|bounce\|start"
    ):
        Switch.parse(text)


def test_each_fault_is_one_that_the_mock_can_play() -> None:
    assert set(FAULTS) == set(ProviderFault)
