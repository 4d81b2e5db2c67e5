"""The far side of script/server: a manage.py whose dashboard and demo mesh are a few lines each.

FAKE in the environment makes one of them misbehave.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VAR = Path(os.environ["MESH_VAR"])
FAKE = os.environ.get("FAKE", "")
TOKEN = "msh_abcd1234_" + "x" * 43


class Server(BaseHTTPRequestHandler):
    """Dashboard and node in one: their paths differ."""

    def do_GET(self) -> None:
        if self.path in ("/healthz", "/readyz"):
            self.answer({})
        elif self.path == "/v1/models":
            self.answer({"data": [{"id": "llama"}]})
        elif self.headers["Authorization"] == f"Bearer {TOKEN}":
            self.answer({"results": [{"trace_id": self.path.partition("=")[2], "outcome": "ok"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = f"echo of {asked['messages'][-1]['content']}"
        self.answer({"model": asked["model"], "choices": [{"message": {"content": text}}]})

    def answer(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Mesh-Routed-Via", "node-b")
        self.send_header("X-Mesh-Trace-Id", "trace-1")
        self.end_headers()
        self.wfile.write(data)


def listen(port: int) -> None:
    with ThreadingHTTPServer(("127.0.0.1", port), Server) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        if port == 0:
            (VAR / "demo").mkdir(exist_ok=True)
            mesh = {
                "control_url": f"{url}/faults",
                "pid": os.getpid(),
                "nodes": [{"id": "node-a", "url": url}],
            }
            (VAR / "demo" / "mesh.json").write_text(json.dumps(mesh))
        print(f"ready {url}", flush=True)
        server.serve_forever()


def follow() -> None:
    """End with the parent."""
    sys.stdin.read()
    os._exit(0)


def main(command: str, arguments: list[str]) -> None:
    with (Path(__file__).parent / "steps").open("a") as steps:
        print(command, *arguments, file=steps)
    if command == FAKE:
        sys.exit(f"{command} is broken")
    if command == "migrate":
        VAR.mkdir(exist_ok=True)
    if command == "ensure_operator" and FAKE != "known operator":
        print("sign in as operator with correct-horse")
    if command == "add_token":
        print("token:", TOKEN)
    if "--lifeline" in arguments:
        threading.Thread(target=follow, daemon=True).start()
    if command == "serve":
        listen(int(arguments[arguments.index("--port") + 1]))
    if command == "demo":
        listen(0)


main(sys.argv[1], sys.argv[2:])
