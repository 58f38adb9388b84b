"""Cancel by a filter: `POST /tesk/v1/tasks:cancel`."""

import time

from tesk import operations
from tesk.api.create import require_json
from tesk.caller import LOCAL
from tesk.http.deadline import Deadlines
from tesk.http.exchange import Exchange, body_in_time
from tesk.store.store import Store
from tesk.tes import messages
from tesk.tes.selection import cancel_tasks

_BODY_BYTES = 1024 * 1024
"""Room for ten thousand ids."""


class Cancel:
    """Ends many tasks of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._deadlines = Deadlines()

    async def cancel(self, exchange: Exchange) -> None:
        """Answer when all that fit were asked to end; they may run for a moment yet."""
        headers = exchange.headers
        require_json(headers.get(b"content-type"), headers.get(b"content-encoding"), what="a filter is")
        asked = cancel_tasks(await body_in_time(self._deadlines, exchange, _BODY_BYTES, "for a filter"))
        done = await operations.cancel_tasks(self._store, exchange.caller or LOCAL, asked, time.time())
        await exchange.answer(200, messages.encode(done))
