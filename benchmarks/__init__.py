"""Ours, a limit and peers, measured in turn by one run on one machine: `script/bench NAME`.

gateway.py            chats through a node, a bare pass-through and LiteLLM, whole and streamed
loops.py              what the loops below share: turns of so many seconds, each in a process of its own
drain.py              from the API call to the closed gate of a node, beside a bare round trip
ingest.py             traces through the link into databases; ingest_*.py are its turns, each a process
phoenix.py            its peer, in an environment of its own: .venv-bench-phoenix; phoenix_turn.py runs there
bus.py  breaker.py    calls a second over the bus; permits a second of circuit breakers
rounds.py             interleaved rounds, medians
table.py              the table that is printed
peers.py              the peers' own virtual environment, .venv-bench
servers.py            server processes: started, asked until they answer, watched for CPU time, stopped
load.py upstream.py pass_through.py    the far sides, each a process: clients, provider, limit
"""
