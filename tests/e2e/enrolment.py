"""Whom the dashboards of the tests know: the secrets of nodes, people and programs."""

import json
from typing import NamedTuple

from tests.e2e.harness import Dashboard


class Enrolment(NamedTuple):
    """The tokens, by name."""

    node_tokens: dict[str, str]
    program_tokens: dict[str, str]


def password_of(person: str) -> str:
    """Return the password of a person; it guards nothing."""
    return f"{person} knows the way"


def enrol(dashboard: Dashboard) -> Enrolment:
    """Let a dashboard know them all."""
    printed = dashboard.manage("shell", "--no-imports", "-c", "from tests.e2e.enrol import main; main()")
    return Enrolment(**json.loads(printed.splitlines()[-1]))
