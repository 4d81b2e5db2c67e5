"""Who did what: append-only, each entry's hash covers the one before it."""

import enum

from django.db import models


class ActorKind(enum.StrEnum):
    """Who acted."""

    USER = "user"
    TOKEN = "token"  # noqa: S105 - a kind of actor
    NODE = "node"
    SYSTEM = "system"
    STRANGER = "stranger"  # nobody that is known: an address range that was refused


class Action(enum.StrEnum):
    """What is audited; the values are stored, so none is ever renamed."""

    DRAIN = "drain"
    UNDRAIN = "undrain"
    DRAIN_EFFECT = "drain.effect"
    DESIRED_RESTORE = "desired.restore"
    DESIRED_EFFECT = "desired.effect"
    BREAKER_FORCE_OPEN = "breaker.force_open"
    BREAKER_FORCE_CLOSED = "breaker.force_closed"
    BREAKER_RESET = "breaker.reset"
    BREAKER_LIFT = "breaker.lift"
    ALIASES_PUT = "aliases.put"
    RUN_CANCEL = "run.cancel"
    RUN_CANCEL_EFFECT = "run.cancel.effect"
    NODE_ADD = "node.add"
    NODE_FORGET = "node.forget"
    TOKEN_ISSUE = "token.issue"  # noqa: S105 - the name of an action
    TOKEN_REVOKE = "token.revoke"  # noqa: S105 - the name of an action
    LOGIN = "login"
    USER_ADD = "user.add"
    USER_CHANGE = "user.change"
    PASSWORD_NEW = "password.new"  # noqa: S105 - the name of an action
    ACCESS = "access"
    LINK = "link"
    AUDIT_EXPORT = "audit.export"
    AUDIT_ROTATE = "audit.rotate"


class Outcome(enum.StrEnum):
    """What came of it."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class ControlHead(models.Model):
    """The one row that every control write locks first; also the two ends of the audit chain.

    `start_n` and `start_hash` are the last entry that a rotation took away; where there was none, the chain
    begins with entry 1.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    audit_n = models.PositiveBigIntegerField(default=0)
    audit_hash = models.CharField(max_length=64, default="0" * 64)
    start_n = models.PositiveBigIntegerField(default=0)
    start_hash = models.CharField(max_length=64, default="0" * 64)

    def __str__(self) -> str:
        return f"audit {self.audit_n}"


class AuditEntry(models.Model):
    """One entry; names are copies as text, so it outlives what it names. `canonical` is what was hashed."""

    n = models.PositiveBigIntegerField(primary_key=True)
    at = models.DateTimeField()
    actor_kind = models.CharField(max_length=8, choices=[(k.value, k.value) for k in ActorKind])
    actor_name = models.CharField(max_length=150)
    actor_id = models.CharField(max_length=40, blank=True, default="")
    token_prefix = models.CharField(max_length=16, blank=True, default="")
    address = models.CharField(max_length=45, blank=True, default="")
    request_id = models.CharField(max_length=64, blank=True, default="")
    action = models.CharField(max_length=40)  # an Action
    target = models.CharField(max_length=200)  # "node:node-a", "token:k3v9x2qa", "user:alice"
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.TextField(blank=True, default="")
    outcome = models.CharField(max_length=8, choices=[(o.value, o.value) for o in Outcome])
    generation = models.PositiveBigIntegerField(null=True)
    cause_n = models.PositiveBigIntegerField(null=True)  # the entry whose effect this one is
    count = models.PositiveIntegerField(default=1)
    canonical = models.TextField()
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["-n"]
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["target", "-n"], name="audit_by_target"),  # all about one target
            models.Index(
                fields=["target", "generation"], name="audit_by_generation"
            ),  # the cause of an effect
            models.Index(fields=["actor_name", "-n"], name="audit_by_actor"),
            models.Index(fields=["action", "-n"], name="audit_by_action"),
            models.Index(fields=["outcome", "-n"], name="audit_by_outcome"),
            models.Index(fields=["at", "n"], name="audit_by_time"),  # which numbers a span of time has
            models.Index(fields=["cause_n"], name="audit_by_cause"),  # what came of an entry
        ]

    def __str__(self) -> str:
        return f"{self.n} {self.actor_name} {self.action} {self.target}"
