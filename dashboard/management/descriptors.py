"""Open files of a process: each socket is one, and a large mesh needs more than the usual 1 024."""

import resource

SPARE = 200  # databases, logs, a listening socket


def allow(sockets: int) -> int:
    """Raise the soft limit so that `sockets` fit, as far as the hard one lets us; return how many do fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sockets
    wanted = sockets + SPARE if hard == resource.RLIM_INFINITY else min(sockets + SPARE, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(max(soft, wanted) - SPARE, sockets)
