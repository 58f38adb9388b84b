"""Leases on a file that one server holds: they live in its memory, by a clock that nobody sets back."""

import json
import time
from threading import Lock

from tesk.errors import LeaseLost


class Leases:
    """Used from the event loop and from the writer's thread. The file's lock keeps other servers out, so none of this is shared."""

    def __init__(self) -> None:
        self._ends: dict[int, float] = {}
        self._lock = Lock()

    def hold(self, lease_id: int, seconds: float) -> None:
        """Let a lease live for so long from now."""
        with self._lock:
            self._ends[lease_id] = time.monotonic() + seconds

    def drop(self, lease_id: int) -> None:
        """End a lease."""
        with self._lock:
            self._ends.pop(lease_id, None)

    def alive(self, lease_id: int) -> bool:
        """Say whether a lease lives."""
        with self._lock:
            return time.monotonic() < self._ends.get(lease_id, 0.0)

    def require(self, lease_id: int) -> None:
        """Raise LeaseLost where a lease has ended."""
        if not self.alive(lease_id):
            raise LeaseLost("the lease of this server has ended")

    def living(self) -> str:
        """Return the ids of all that live, as a JSON array."""
        with self._lock:
            now = time.monotonic()
            return json.dumps([lease_id for lease_id, end in self._ends.items() if now < end])
