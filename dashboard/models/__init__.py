"""What the dashboard stores, one file per noun."""

from dashboard.models.audit import Action, ActorKind, AuditEntry, ControlHead, Outcome
from dashboard.models.change import Change
from dashboard.models.desired import DesiredState
from dashboard.models.drain import STEP_MAX_CHARACTERS, Drain, DrainStatus, DrainStep, Step, StepSource
from dashboard.models.node import NODE_NAME, Node, NodeLink, SpoolMark
from dashboard.models.node_minute import MeshMinute, NodeMinute
from dashboard.models.outbox import OutboxRow, OutboxState
from dashboard.models.person import OneTimePassword
from dashboard.models.provider import ProviderHealth, Transition
from dashboard.models.retention import History, Removal
from dashboard.models.rollup import HourMark, HourRollup, MinuteRollup
from dashboard.models.run import Run
from dashboard.models.token import Scope, Token
from dashboard.models.trace import SIGNATURE_MAX_CHARACTERS, SKIP_BITS, ErrorSignature, Trace, TraceDetail

__all__ = [
    "NODE_NAME",
    "SIGNATURE_MAX_CHARACTERS",
    "SKIP_BITS",
    "STEP_MAX_CHARACTERS",
    "Action",
    "ActorKind",
    "AuditEntry",
    "Change",
    "ControlHead",
    "DesiredState",
    "Drain",
    "DrainStatus",
    "DrainStep",
    "ErrorSignature",
    "History",
    "HourMark",
    "HourRollup",
    "MeshMinute",
    "MinuteRollup",
    "Node",
    "NodeLink",
    "NodeMinute",
    "OneTimePassword",
    "OutboxRow",
    "OutboxState",
    "Outcome",
    "ProviderHealth",
    "Removal",
    "Run",
    "Scope",
    "SpoolMark",
    "Step",
    "StepSource",
    "Token",
    "Trace",
    "TraceDetail",
    "Transition",
]
