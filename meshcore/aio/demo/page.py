"""The demo's page as text: how things stand, and a button for each switch. It works without scripts."""

from collections.abc import Iterable
from html import escape

from meshcore.aio.demo.child import ChildState
from meshcore.aio.demo.mesh import DemoMesh
from meshcore.aio.demo.plan import NODES, PROVIDERS
from meshcore.aio.demo.switches import NodeSwitch, ProviderFault, Switch
from meshcore.aio.demo.traffic import Answer, Traffic

DOCUMENT = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Demo mesh – Meshboard</title>
<link rel="stylesheet" href="/control.css">
<script src="/control.js" defer></script>
</head>
<body>
<header class="top"><span class="brand">Meshboard</span><span class="sub">demo mesh</span>
<a class="button" href="{dashboard}">Open the dashboard</a></header>
<main>
{trouble}
<section class="panel"><header><h1>Break something</h1>
<p class="sub">then watch the mesh cope with it on the dashboard</p></header>
<table><thead><tr><th scope="col">Node</th><th scope="col">Process</th>
<th scope="col">Its providers</th></tr></thead>
<tbody>{rows}</tbody></table></section>
<section class="panel"><header><h2>Traffic</h2><p class="sub" id="counts">{counts}</p></header>
<table><thead><tr><th scope="col">Time</th><th scope="col">Asked</th><th scope="col">Model</th>
<th scope="col">Answered by</th><th scope="col">Status</th><th scope="col" class="num">ms</th></tr></thead>
<tbody id="recent">{recent}</tbody></table></section>
<section class="panel"><header><h2>From the shell</h2></header>
<p class="shell"><code>python manage.py demo --set node-a/alpha=fail</code>
<code>python manage.py demo --set node-b=bounce</code> <code>python manage.py demo --show</code></p></section>
</main>
</body>
</html>
"""
FAULT_WORDS = {
    ProviderFault.OK: "works",
    ProviderFault.FAIL: "fails",
    ProviderFault.HANG: "hangs",
    ProviderFault.SLOW: "is slow",
}
NODE_WORDS = {
    NodeSwitch.KILL: "Kill",
    NodeSwitch.BOUNCE: "Kill, comes back",
    NodeSwitch.START: "Start",
}
PILLS = {ChildState.UP: "ok", ChildState.STARTING: "warn", ChildState.DOWN: "bad"}


def document(mesh: DemoMesh, traffic: Traffic, *, trouble: str = "") -> str:
    """Return the whole page; `trouble` is a sentence about what was refused."""
    return DOCUMENT.format(
        dashboard=escape(mesh.plan.dashboard_url),
        trouble=f'<p class="trouble" role="alert">{escape(trouble)}</p>' if trouble else "",
        rows="".join(_node_row(mesh, node) for node in NODES),
        counts=counts_line(traffic),
        recent=recent_rows(traffic.recent),
    )


def state_cell(mesh: DemoMesh, node: str) -> str:
    """Return how a node's process stands, as a cell's content."""
    state = mesh.nodes[node].state
    seconds = mesh.seconds_to_comeback(node)
    words = f"{state.value}, back in {seconds:.0f} s" if seconds is not None else state.value
    return f'<span class="pill {PILLS[state]}">{escape(words)}</span>'


def counts_line(traffic: Traffic) -> str:
    """Return the ledger of all calls in one sentence."""
    counts = traffic.counts
    return (
        f"{counts['calls']} calls, {counts['answered']} answered"
        f" ({counts['moved_on']} by another node than the one asked first), {counts['failed']} failed"
    )


def recent_rows(recent: Iterable[Answer]) -> str:
    """Return the last calls, newest first, as table rows."""
    return "".join(_recent_row(answer) for answer in reversed(list(recent)))


def _recent_row(answer: Answer) -> str:
    server = answer.answered_by if answer.routed_via == "local" else answer.routed_via
    way = f"{server} through {answer.answered_by}" if server != answer.answered_by else server
    status = "ok" if answer.answered_by else f"failed {answer.status or ''}"
    cells = (
        f"{answer.at:%H:%M:%S}",
        answer.asked,
        f"{answer.model}{', streamed' if answer.stream else ''}",
        way or "–",
    )
    pill = f'<span class="pill {"ok" if answer.answered_by else "bad"}">{status}</span>'
    texts = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr>{texts}<td>{pill}</td><td class="num">{answer.milliseconds:.0f}</td></tr>'


def _node_row(mesh: DemoMesh, node: str) -> str:
    switches = "".join(
        _button(Switch(node, each), words, pressed=False) for each, words in NODE_WORDS.items()
    )
    providers = "".join(_provider(mesh, f"{node}/{provider}", model) for provider, model in PROVIDERS.items())
    return (
        f'<tr><th scope="row">{escape(node)}</th>'
        f'<td><span id="state-{escape(node)}">{state_cell(mesh, node)}</span>'
        f'<div class="switches">{switches}</div></td><td>{providers}</td></tr>'
    )


def _provider(mesh: DemoMesh, target: str, model: str) -> str:
    buttons = "".join(
        _button(Switch(target, fault), words, pressed=mesh.faults[target] is fault)
        for fault, words in FAULT_WORDS.items()
    )
    name = target.partition("/")[2]
    return (
        f'<div class="provider"><span class="name">{escape(name)}</span>'
        f' <span class="sub">{escape(model)}</span>'
        f'<div class="switches">{buttons}</div></div>'
    )


def _button(switch: Switch, words: str, *, pressed: bool) -> str:
    value = escape(f"{switch.target}={switch.setting.value}")
    return (
        f'<form method="post" action="/switch"><button name="set" value="{value}"'
        f' aria-pressed="{str(pressed).lower()}" aria-label="{escape(switch.target)}: {words}">'
        f"{words}</button></form>"
    )
