"""Chats through a node with everything on: keys, routing, breaker, trace, spool; whole and streamed.

Streams also as runs: each is made, its chunks are stored in an SQLite file, and its client is sent what is.

The dashboard that the node knows is away, so that its spool takes every trace and forgets none.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import msgspec

from benchmarks import peers
from benchmarks.load import Tally, Target
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import ROOT, Server, ServerFailed, free_port, module, started
from benchmarks.table import Goal
from benchmarks.upstream import MODEL

UNIT = "chats"
KEY = "sk-bench-0123456789"
LIMIT = "aiohttp pass-through"
LITELLM = "LiteLLM 1.101.6"
AS_RUN = "node, as a run on sqlite"
DETACHED = {"X-Mesh-Detach": "1"}
READY_SECONDS = 15.0
LITELLM_READY_SECONDS = 60.0
LOAD_GRACE_SECONDS = 30.0  # a turn that takes so much longer than it should hangs
GOALS = {
    False: (Goal(ratio=0.6, of=LIMIT), Goal(ratio=30, of=LITELLM)),
    True: (
        Goal(ratio=0.7, of=LIMIT),
        Goal(ratio=50, of=LITELLM),
        Goal(who=AS_RUN, ratio=0.4, of=LIMIT),
    ),
}
"""By whether the answers are streamed."""

NODE = """
[node]
id = "bench"
listen = "127.0.0.1:{port}"
home = "{name}"
api_keys_env = "BENCH_KEYS"
[dashboard]
url = "http://127.0.0.1:{nobody}"
token_env = "BENCH_TOKEN"
join_wait_seconds = 0
[[providers]]
name = "local"
base_url = "http://127.0.0.1:{upstream}/v1"
models = ["{model}"]
[runs]
log = "{log}"
"""

LITELLM_SETTINGS = """
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: none
general_settings:
  master_key: {key}
"""


@contextmanager
def contestants(*, stream: bool, with_peers: bool) -> Iterator[list[Contestant]]:
    """Start provider, node, limit and peer; give those that are measured."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-bench-")))
        upstream = free_port()
        provider = stack.enter_context(
            started("upstream", module("benchmarks.upstream", str(upstream)), scratch=scratch)
        )
        provider.wait_until_answering(_target(upstream, stream=stream), seconds=READY_SECONDS)
        found = [
            _measured("meshboard", Role.OURS, _node(stack, scratch, upstream), stream=stream),
            _measured(LIMIT, Role.LIMIT, _pass_through(stack, scratch, upstream), stream=stream),
        ]
        if stream:
            storing = _node(stack, scratch, upstream, name="storing", log="sqlite:///runs.db")
            found.append(_measured(AS_RUN, Role.OURS, storing, stream=True, headers=DETACHED))
        if with_peers:
            found.append(_peer(stack, scratch, upstream, stream=stream))
        yield found


def _node(
    stack: ExitStack, scratch: Path, upstream: int, *, name: str = "meshboard", log: str = "memory:"
) -> tuple[Server, int]:
    port = free_port()
    text = NODE.format(name=name, port=port, nobody=free_port(), upstream=upstream, model=MODEL, log=log)
    config = scratch / f"{name}.toml"
    config.write_text(text)
    environ = {"BENCH_KEYS": f"bench:{KEY}", "BENCH_TOKEN": "bench"}
    command = module("meshcore", "node", "--config", str(config))
    return stack.enter_context(started(name, command, scratch=scratch, environ=environ)), port


def _pass_through(stack: ExitStack, scratch: Path, upstream: int) -> tuple[Server, int]:
    port = free_port()
    url = f"http://127.0.0.1:{upstream}/v1/chat/completions"
    command = module("benchmarks.pass_through", str(port), url)
    return stack.enter_context(started("pass-through", command, scratch=scratch)), port


def _peer(stack: ExitStack, scratch: Path, upstream: int, *, stream: bool) -> Contestant:
    try:
        server = _litellm(stack, scratch, upstream)
        return _measured(LITELLM, Role.PEER, server, stream=stream, ready_seconds=LITELLM_READY_SECONDS)
    except (peers.PeersMissing, ServerFailed) as exc:
        return Contestant(name=LITELLM, role=Role.PEER, failure=str(exc))


def _litellm(stack: ExitStack, scratch: Path, upstream: int) -> tuple[Server, int]:
    python, port = peers.ensure(), free_port()
    config = scratch / "litellm.yaml"
    config.write_text(LITELLM_SETTINGS.format(model=MODEL, upstream=upstream, key=KEY))
    command = [str(python.parent / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environ = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet for prices
        "LITELLM_LOG": "ERROR",
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    return stack.enter_context(started("litellm", command, scratch=scratch, environ=environ)), port


def _measured(
    name: str,
    role: Role,
    running: tuple[Server, int],
    *,
    stream: bool,
    headers: Mapping[str, str] = MappingProxyType({}),
    ready_seconds: float = READY_SECONDS,
) -> Contestant:
    """Return a contestant that answers; raises ServerFailed."""
    server, port = running
    target = _target(port, stream=stream, headers=headers)
    server.wait_until_answering(target, seconds=ready_seconds)
    return Contestant(name=name, role=role, measure=partial(_turn, server, target))


def _target(port: int, *, stream: bool, headers: Mapping[str, str] = MappingProxyType({})) -> Target:
    question = {"model": MODEL, "messages": [{"role": "user", "content": "Is all well?"}], "stream": stream}
    return Target(
        url=f"http://127.0.0.1:{port}/v1/chat/completions",
        body=msgspec.json.encode(question),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", **headers},
        marker=b"[DONE]" if stream else b'"choices"',
    )


def _turn(server: Server, target: Target, seconds: float) -> Sample:
    asked = msgspec.structs.replace(target, seconds=seconds)
    before = server.cpu_seconds()
    done = subprocess.run(
        module("benchmarks.load"),
        input=msgspec.json.encode(asked),
        cwd=ROOT,
        capture_output=True,
        timeout=seconds + LOAD_GRACE_SECONDS,
        check=True,
    )
    tally = msgspec.json.decode(done.stdout, type=Tally)
    return Sample(
        count=tally.count,
        seconds=tally.seconds,
        cpu_seconds=server.cpu_seconds() - before,
        errors=tally.errors,
        p50_ms=tally.p50_ms,
        p99_ms=tally.p99_ms,
    )
