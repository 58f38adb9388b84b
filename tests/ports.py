"""Ports for programs that are told theirs: nobody takes one of them between the choice and the program's start."""

import os
import random
import socket
from itertools import count

_FIRST, _SHARE, _SHARES = 12_000, 1_000, 18
"""Below those that systems give away to whoever asks for any port, or calls somebody. Tests that run side by side have a share each."""
_numbers = count(random.SystemRandom().randrange(_SHARE))


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody has, and that was not returned for long."""
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
    while True:
        port = _FIRST + share * _SHARE + next(_numbers) % _SHARE
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
