"""The second step of cancelling a run: what it says."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django.urls import reverse

from dashboard.selectors.runs import RunRow
from dashboard.web import commands

ASKED = "cancel"  # in the address


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfirm:
    """The inline form as it is shown; `typed` is what stands in its fields, `wrong` the field of `error`."""

    run_id: str
    consequence: str
    command: str
    typed: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    wrong: str = ""

    title = "Cancel this run?"
    verb = "Cancel"
    node = "the run"  # what the button acts on
    keep = "Let it run"
    reason_required = True
    generation = None
    blockers = deadlines = ()

    @property
    def action(self) -> str:
        """Where the form goes."""
        return reverse("run-cancel", args=[self.run_id])

    @property
    def back(self) -> str:
        """The page without the confirm."""
        return reverse("run", args=[self.run_id])

    def refused(self, typed: Mapping[str, str], error: str, wrong: str = "") -> "RunConfirm":
        """Return the form again with what was typed and why that doesn't do."""
        return replace(self, typed=typed, error=error, wrong=wrong)


def confirm_of(each: RunRow) -> RunConfirm:
    """Return the form for a run as it stands."""
    return RunConfirm(
        run_id=each.run.run_id,
        consequence=_consequence(each),
        command=commands.cancel_run(each.run.run_id),
    )


def _consequence(each: RunRow) -> str:
    if not each.run.owner:
        return "Nobody executes it yet; it will never begin."
    if each.unheard:
        return f"{each.run.owner} is not heard now; another node of its log will end it, for good."
    return f"{each.run.owner} stops generating, and the text so far stays; nobody takes it up again."
