"""How many of this process's open files may be connections, and how many of those streams. The rest is for tasks and the store."""

import resource

_OTHER_SHARE, _OTHER_LEAST = 4, 128
"""One of so many is for other things than connections, and no fewer than this."""


def connections_most() -> int:
    """Return how many connections may be open at once."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most - max(most // _OTHER_SHARE, _OTHER_LEAST)


def streams_most() -> int:
    """Return how many of them may be streams: who only follows keeps out nobody who submits."""
    return connections_most() * 2 // 3


def logs_most() -> int:
    """Return how many streams of logs may be open: each holds a file, or a cluster's stream, beside its connection."""
    return connections_most() // 6
