"""The node's HTTP endpoint. Only this package knows that it is HTTP that a node listens to.

server.py           listens, puts the routes together
connection.py       HTTP/1.1 with a client, its bounds, and the refusal of what is no HTTP
message.py          a request's head, and its body as it comes
routes.py           from method and path to a handler
client_routes.py    the OpenAI wire for clients
detached.py         the same, executed as runs
run_routes.py       runs: make, look, watch, cancel
run_proxy.py        runs that stand in a peer's log
peer_routes.py      the bus for other nodes
operator_routes.py  health, readiness, metrics
admission.py        the gate in front of every call, and the count of what is behind it
requests.py         reads requests of strangers within bounds
answers.py          JSON, errors in OpenAI's shape, headers that say where an answer came from
streams.py          event streams
"""

from meshcore.aio.gateway.client_routes import ClientLimits, ClientRoutes
from meshcore.aio.gateway.operator_routes import OperatorRoutes
from meshcore.aio.gateway.peer_routes import PeerRoutes
from meshcore.aio.gateway.server import Gateway

__all__ = ["ClientLimits", "ClientRoutes", "Gateway", "OperatorRoutes", "PeerRoutes"]
