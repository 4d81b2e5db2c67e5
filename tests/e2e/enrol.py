"""Enrols nodes, people and programs; run once by `manage.py shell`, its result is copied for each mesh.

alice operates and may look into the admin, dora operates, bob views, charlie has no access, erin is an admin.
Programs are named for what they may do.
"""

import json

from django.contrib.auth.models import Group, User

from dashboard.models import Scope
from dashboard.services import nodes, tokens
from dashboard.services.actor import SYSTEM
from tests.e2e.enrolment import Enrolment, password_of

NODES = ("node-a", "node-b", "node-c")
PEOPLE = {"alice": "operator", "dora": "operator", "bob": "viewer", "charlie": "", "erin": "admin"}
PROGRAMS = {
    "reader": Scope.READ,
    "auditor": Scope.AUDIT_READ,
    "deployer": Scope.NODES_DRAIN,
    "autoscaler": Scope.NODES_DRAIN,
    "janitor": Scope.NODES_DRAIN,
    "rescuer": Scope.RUNS_CANCEL,
    "owner": Scope.ADMIN,
}


def main() -> None:
    """Enrol them, and print their secrets as JSON."""
    for name, group in PEOPLE.items():
        user = User.objects.create_user(name, password=password_of(name), is_staff=name == "alice")
        user.groups.set(Group.objects.filter(name=group))
    enrolment = Enrolment(
        node_tokens={name: nodes.add(name=name, actor=SYSTEM)[1] for name in NODES},
        program_tokens={
            name: tokens.issue(name=name, scopes=[scope], actor=SYSTEM)[1] for name, scope in PROGRAMS.items()
        },
    )
    print(json.dumps(enrolment._asdict()))
