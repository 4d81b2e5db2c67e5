"""What a node's hello changes of what is wanted of it: it was started anew, or knew another dashboard."""

from datetime import datetime

from dashboard.models import Action, ControlHead, DesiredState, Drain, DrainStatus, Node
from dashboard.services import audit, desired, drain_record
from dashboard.services.actor import SYSTEM
from meshcore.frames import Desired


def node_said_hello(
    *, node: Node, boot_epoch: str, desired_generation: int, head: ControlHead, now: datetime
) -> Desired:
    """Return the desired state that answers a node's hello, after what its hello itself changes.

    A drain that isn't sticky ends with another boot epoch ("" is never another). A node that holds a
    generation above ours knew another life of this dashboard: ours goes above its. In the transaction of the
    handshake, which locked the control `head` before any row of the node.
    """
    state = desired.locked(node=node, now=now)
    if desired_generation > state.generation:
        _restore(head, state, node, desired_generation, now=now)
    drain = drain_record.active(head, state, node, now=now)
    if drain is not None and boot_epoch and drain.boot_epoch != boot_epoch:
        _rebooted(head, state, drain, boot_epoch, now=now)
    return desired.frame(state)


def _rebooted(
    head: ControlHead, state: DesiredState, drain: Drain, boot_epoch: str, *, now: datetime
) -> None:
    if drain.boot_epoch and not drain.sticky:
        reason = "the node was started anew"
        drain_record.end(
            head, state, drain, DrainStatus.ENDED_BY_RESTART, actor=SYSTEM, reason=reason, now=now
        )
        drain_record.publish(drain.node, now=now)
        return
    drain.boot_epoch = (
        boot_epoch  # it lives on in this one: made sticky or not later, the next reboot counts from here
    )
    drain.save(update_fields=["boot_epoch"])


def _restore(head: ControlHead, state: DesiredState, node: Node, generation: int, *, now: datetime) -> None:
    before = {"generation": state.generation}
    raised = desired.overtake(state, generation=generation, now=now)
    Drain.objects.filter(node=node, status=DrainStatus.ACTIVE.value).update(generation=raised)
    audit.record(
        head=head,
        actor=SYSTEM,
        action=Action.DESIRED_RESTORE,
        target=audit.node_target(node.name),
        before=before,
        after={"generation": raised, "generation_of_the_node": generation},
        reason="restored",
        generation=raised,
        now=now,
    )
    drain_record.publish(node, now=now)
