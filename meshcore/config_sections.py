"""The sections of a node's configuration, one frozen class each: names, units, bounds, defaults.

They are those of bus-and-breaker §6. The annotation of a field holds its kind; what has no default must be
given. No section holds a secret: it names the environment variable or the file that does.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from meshcore.alias import Table
from meshcore.config_values import Address, Choice, Flag, ListenOn, Number, Text, Texts, Url, Whole

NAME = Text(r"[a-z0-9][a-z0-9._-]{0,62}", "1 to 63 of a-z 0-9 . _ - that begin with a letter or digit")
MODEL = Text(r"[^\s,/](?:[^\s,]{0,198}[^\s,])?", "1 to 200 characters without spaces and commas")
VARIABLE = Text(
    r"(?:[A-Z][A-Z0-9_]{0,99})?",
    "the name of an environment variable (A-Z 0-9 _), not the secret itself",
    secret=True,
)
PATH = Text(r"[^\x00-\x1f]{1,1000}", "a path, relative ones count from this file's folder")
SECRET_PATH = Text(r"[^\x00-\x1f]{0,1000}", "the path of a file with the secret", secret=True)
HTTP = Url(("http", "https"))
RUN_LOG = Text(
    r"memory:|sqlite:///[^\x00-\x1f]+|nats://[^\s@]+", "memory:, sqlite:///PATH or nats://HOST:PORT"
)

DAY_SECONDS = 86_400.0


class ProviderKind(enum.StrEnum):
    """What answers behind a provider's name."""

    OPENAI = "openai"  # any OpenAI-compatible upstream
    ECHO = "echo"
    UNAVAILABLE = "unavailable"


class Continuation(enum.StrEnum):
    """How an upstream can be asked to go on from a partial answer."""

    NONE = "none"
    PREFILL = "prefill"
    VLLM = "vllm"


class OnBrokenStream(enum.StrEnum):
    """What becomes of a run whose stream breaks after its first token."""

    CONTINUE = "continue"
    RESTART = "restart"
    FAIL = "fail"


class Sync(enum.StrEnum):
    """What a run's log survives: SIGKILL of every process, or power loss too."""

    PROCESS = "process"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSection:
    """Who the node is, where it listens, where its files are; `advertise` "" means what it listens on.

    The mesh secret comes from a variable or from a file; without one the node has no peers.
    """

    id: Annotated[str, NAME]
    listen: Annotated[Address, ListenOn()]
    home: Annotated[str, PATH]
    community: Annotated[str, NAME] = "default"
    advertise: Annotated[str, Url(("http", "https"), optional=True)] = ""
    api_keys_env: Annotated[str, VARIABLE] = ""
    mesh_secret_env: Annotated[str, VARIABLE] = ""
    mesh_secret_file: Annotated[str, SECRET_PATH] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSection:
    """Whom the node reports to; exactly one of `token_env` and `token_file` is given."""

    url: Annotated[str, HTTP]
    token_env: Annotated[str, VARIABLE] = ""
    token_file: Annotated[str, SECRET_PATH] = ""
    join_wait_seconds: Annotated[float, Number(600, zero=True)] = 3.0  # the gate stays closed at most so long


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsSection:
    """The log of runs, who may be declared dead when, and the bounds of one run.

    All nodes of a log should have the same times and bounds: others judge an owner by their own.
    """

    log: Annotated[str, RUN_LOG] = "memory:"
    heartbeat_seconds: Annotated[float, Number(600)] = 1.0
    lease_seconds: Annotated[float, Number(3600)] = 4.0
    on_broken_stream: Annotated[OnBrokenStream, Choice(OnBrokenStream)] = OnBrokenStream.CONTINUE
    sync: Annotated[Sync, Choice(Sync)] = Sync.PROCESS
    stall_seconds: Annotated[float, Number(DAY_SECONDS)] = 600.0  # without a chunk; then the run has failed
    max_chunks: Annotated[int, Whole(1, 10_000_000)] = 200_000  # of one run, as all that stands in its log
    max_bytes: Annotated[int, Whole(1 << 16, 1 << 32)] = 67_108_864


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSection:
    """How long and how often a call is tried, and when a silent peer counts as stale."""

    max_attempts: Annotated[int, Whole(1, 20)] = 3
    freshness_seconds: Annotated[float, Number(3600)] = 60.0
    deadline_seconds: Annotated[float, Number(DAY_SECONDS)] = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySection:
    """Bounds of the HTTP endpoint."""

    max_body_bytes: Annotated[int, Whole(1024, 1 << 30)] = 8_388_608
    max_streams: Annotated[int, Whole(1, 100_000)] = 1000
    edge_grace_seconds: Annotated[float, Number(DAY_SECONDS, zero=True)] = 30.0
    allow_plain_http: Annotated[bool, Flag()] = False
    trace_content: Annotated[bool, Flag()] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSection:
    """How much telemetry waits on disk for the dashboard."""

    max_bytes: Annotated[int, Whole(1 << 20, 1 << 40)] = 268_435_456
    max_items: Annotated[int, Whole(1000, 1_000_000_000)] = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSection:
    """When a provider is given up and for how long."""

    failure_threshold: Annotated[int, Whole(1, 1000)] = 2
    backoff_seconds: Annotated[float, Number(DAY_SECONDS)] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSection:
    """How often providers are asked whether they live."""

    interval_seconds: Annotated[float, Number(DAY_SECONDS)] = 30.0
    timeout_seconds: Annotated[float, Number(600)] = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSection:
    """One provider; `models` empty means discovered from the upstream's /models."""

    name: Annotated[str, NAME]
    kind: Annotated[ProviderKind, Choice(ProviderKind)] = ProviderKind.OPENAI
    base_url: Annotated[str, Url(("http", "https"), optional=True)] = ""
    models: Annotated[tuple[str, ...], Texts(MODEL, 1000)] = ()
    api_key_env: Annotated[str, VARIABLE] = ""
    api_key_file: Annotated[str, SECRET_PATH] = ""
    max_concurrent: Annotated[int, Whole(1, 100_000)] = 64
    connect_seconds: Annotated[float, Number(600)] = 5.0
    first_token_seconds: Annotated[float, Number(DAY_SECONDS)] = 60.0
    between_tokens_seconds: Annotated[float, Number(DAY_SECONDS)] = 60.0
    tools: Annotated[bool, Flag()] = True
    vision: Annotated[bool, Flag()] = False
    context_tokens: Annotated[int, Whole(0, 100_000_000)] = 0  # of prompt and answer together; 0: not known
    continuation: Annotated[Continuation, Choice(Continuation)] = Continuation.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSection:
    """A node of the mesh that is known without a dashboard."""

    id: Annotated[str, NAME]
    url: Annotated[str, HTTP]


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What must not be shown; none of it is in the text form of this object."""

    api_keys: tuple[str, ...] = field(default=(), repr=False)  # KEY or NAME:KEY
    mesh_secret: str = field(default="", repr=False)
    dashboard_token: str = field(default="", repr=False)
    provider_keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # provider name -> key


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """All settings of a node; paths start at the file's folder. `dashboard` None: it runs without one."""

    node: NodeSection
    dashboard: DashboardSection | None
    runs: RunsSection
    bus: BusSection
    gateway: GatewaySection
    spool: SpoolSection
    breaker: BreakerSection
    probe: ProbeSection
    providers: tuple[ProviderSection, ...]
    aliases: Table
    peers: tuple[PeerSection, ...]
    secrets: Secrets = field(default_factory=Secrets, repr=False)
