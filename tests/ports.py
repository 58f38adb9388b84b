"""Ports for programs that are told theirs: nobody takes one of them between the choice and the program's start."""

import atexit
import random
import socket
from collections import deque

_PORTS = range(12_000, 30_000)
"""Below those that systems give away to whoever asks for any port, or calls somebody."""
_MOST = 100
_dice = random.SystemRandom()
_claims: deque[socket.socket] = deque()


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody has, and that no other tests on this machine are given for as long as these run."""
    while True:
        port = _dice.choice(_PORTS)
        # A name that one process has at a time, gone with it: free of files, and in the same network as the port.
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0tesk-tests-port-{port}")
            with socket.socket() as probe:
                probe.bind((address, port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        if len(_claims) > _MOST:
            _claims.popleft().close()
        return port


@atexit.register
def _let_go() -> None:
    for claim in _claims:
        claim.close()
