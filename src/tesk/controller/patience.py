"""The loop that must live: what fails is tried again, later and later, and stops nothing else."""

import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import TypeVar

from tesk.controller.backoff import delay_seconds
from tesk.controller.workqueue import WorkQueue
from tesk.errors import BackendUnavailable, LeaseLost, Unavailable

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2
_RETRY_LONGEST_SECONDS = 30.0

Key = TypeVar("Key", bound=Hashable)


class Patience:
    """Counts failures in a row by what failed. `fault` is told of a fault of our own in it."""

    def __init__(self, fault: Callable[[Hashable], None]) -> None:
        self._fault = fault
        self._failures: dict[Hashable, int] = {}

    async def attempt(self, name: Hashable, act: Callable[[], Awaitable[None]]) -> float | None:
        """Do something; None if it went well, else how long to wait before another try. Only LeaseLost gets out."""
        try:
            await act()
        except LeaseLost:
            raise
        except (Unavailable, BackendUnavailable, TimeoutError) as later:
            _log.warning("%s: %s; will try again", name, later or "it took too long")
        except Exception:  # noqa: BLE001 - the one loop that must live: a fault of one task never stops the others
            _log.exception("%s: a fault of the server's own; will try again", name)
            self._fault(name)
        else:
            self.forget(name)
            return None
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        # At least half of it: without any pause a database that is gone would be asked in a tight loop.
        return delay_seconds(failures, _RETRY_SECONDS, _RETRY_LONGEST_SECONDS, 0.5 + random.random() / 2)

    async def work(self, queue: WorkQueue[Key], do: Callable[[Key], Awaitable[None]]) -> None:
        """Do what comes in a queue, for ever."""
        while True:
            key = await queue.get()
            wait = await self.attempt(key, partial(do, key))
            queue.done(key)
            if wait is not None:
                queue.add_later(key, wait)

    def forget(self, name: Hashable) -> None:
        """Count anew."""
        self._failures.pop(name, None)
