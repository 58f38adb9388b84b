"""One POST to a listener: to an address that may be called, signed, over a line that is kept for the next one."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tesk.callbacks.host import Host
from tesk.callbacks.line import Answer, Broken
from tesk.callbacks.message import request
from tesk.callbacks.target import Forbidden, Rules, Target
from tesk.settings import CallbacksSettings
from tesk.signature import Keys
from tesk.store.outbox import Outgoing, Pending, owner_of


class Calls:
    """Calls listeners as the settings allow. `clock` gives seconds since the epoch. Raises SettingsError for a bad key."""

    def __init__(self, settings: CallbacksSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._rules = Rules(settings)
        self._keys = Keys(settings.keys)
        self._tls = ssl.create_default_context()
        # Names that nobody answers for hold threads up: their own.
        self._lookups = ThreadPoolExecutor(8, "tesk-lookup")

    def close(self) -> None:
        """Wait for no lookup that is under way."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def post(self, host: Host, out: Outgoing, move: Pending) -> tuple[Answer | None, str]:
        """Tell a task's listener of a move; return the answer, or None and why none came."""
        settings, line = self._settings, None
        try:
            target = self._rules.check(out.url)
            line = await host.line(target, self._find, self._tls if target.tls else None, settings.connect_seconds)
            message = request(
                target,
                out.task_id,
                move,
                user=owner_of(out.lane),
                keys=self._keys,
                timestamp=int(self._clock()),
                plain=settings.plain,
            )
            answer = await line.post(
                message, first_seconds=settings.answer_seconds, whole_seconds=settings.whole_seconds
            )
        except (Broken, Forbidden) as error:
            return None, str(error)
        finally:
            if line is not None:
                host.give_back(line)
        return answer, ""

    async def _find(self, target: Target) -> list[str]:
        lookup = partial(socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                found = await asyncio.get_running_loop().run_in_executor(self._lookups, lookup)
        except TimeoutError:
            raise Broken(f"no address of {target.host} within {self._settings.connect_seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise Broken(f"no address of {target.host}: {why}") from error
        return self._rules.allowed(target.host, list(dict.fromkeys(str(place[0]) for *_, place in found)))
