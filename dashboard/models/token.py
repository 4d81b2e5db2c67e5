"""Access tokens of machines."""

import enum

from django.db import models

from dashboard.models.node import Node


class Scope(enum.StrEnum):
    """What a token may (drain-and-control §4)."""

    READ = "read"
    AUDIT_READ = "audit:read"
    NODES_DRAIN = "nodes:drain"
    RUNS_CANCEL = "runs:cancel"
    BREAKERS_WRITE = "breakers:write"
    NODES_PUSH = "nodes:push"
    ADMIN = "admin"


class Token(models.Model):
    """A token: `msh_<prefix>_<secret>`; only its SHA-256 is kept, so it is shown once, when it is made."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8, unique=True)
    digest = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    node = models.ForeignKey(
        Node, null=True, on_delete=models.CASCADE, related_name="tokens"
    )  # with nodes:push
    networks = models.JSONField(default=list)  # empty: from anywhere
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"
