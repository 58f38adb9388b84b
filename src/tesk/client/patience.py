"""How long a client tries again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds of pauses, a request is tried again.

    `busy`: the server said 429 or 503, or broke the connection. `gone`: nobody listens there (a restart, perhaps).
    """

    busy: float = 60.0
    gone: float = 5.0
