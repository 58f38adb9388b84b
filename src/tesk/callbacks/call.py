"""One POST to a listener: to an address that may be called, signed, over a line that is kept for the next one."""

import ssl
from collections.abc import Callable

from tesk.callbacks.host import Host
from tesk.callbacks.line import Answer, Broken
from tesk.callbacks.message import request
from tesk.callbacks.subscribe import rules
from tesk.http.lookup import Lookup, Unfound
from tesk.http.target import Forbidden, Target
from tesk.settings import CallbacksSettings
from tesk.signature import Keys
from tesk.store.outbox import Outgoing, Pending, owner_of


class Calls:
    """Calls listeners as the settings allow. `clock` gives seconds since the epoch. Raises SettingsError for a bad key."""

    def __init__(self, settings: CallbacksSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._rules = rules(settings)
        self._keys = Keys(settings.keys)
        self._tls = ssl.create_default_context()
        self._lookup = Lookup()

    def close(self) -> None:
        """Wait for no lookup that is under way."""
        self._lookup.close()

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
        except (Broken, Forbidden, Unfound) as error:
            return None, str(error)
        finally:
            if line is not None:
                host.give_back(line)
        return answer, ""

    async def _find(self, target: Target) -> list[str]:
        seconds = self._settings.connect_seconds
        return self._rules.allowed(target.host, await self._lookup.addresses(target.host, target.port, seconds=seconds))
