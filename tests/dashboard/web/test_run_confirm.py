"""The second step of cancelling a run."""

from typing import Any

import pytest

from dashboard.models import Run
from dashboard.selectors.runs import RunRow
from dashboard.web.run_confirm import confirm_of


@pytest.mark.parametrize(
    ("owner", "unheard", "said"),
    [
        ("node-a", False, "node-a stops generating"),
        ("node-a", True, "node-a is not heard now; another node of its log will end it"),
        ("", False, "Nobody executes it yet"),
    ],
)
def test_it_says_what_will_happen(owner: str, unheard: bool, said: str) -> None:
    form = confirm_of(RunRow(run=Run(run_id="run_k3v9x2_1", owner=owner), unheard=unheard))

    assert said in form.consequence
    assert "runs/run_k3v9x2_1/cancel" in form.command
    assert (form.action, form.back) == ("/runs/run_k3v9x2_1/cancel/", "/runs/run_k3v9x2_1/")


def test_what_was_typed_stays_when_it_is_refused() -> None:
    typed: dict[str, Any] = {"reason": "no"}

    form = confirm_of(RunRow(run=Run(run_id="run_1"))).refused(typed, "Say why.", "reason")

    assert (form.typed, form.error, form.wrong) == (typed, "Say why.", "reason")
