"""The one thread that writes: what came while it was busy becomes the next transaction, with one fsync for all."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from tesk.errors import TeskError, Unavailable
from tesk.store.rows import Created, NewTask

_T = TypeVar("_T")

Change = Callable[[sqlite3.Connection], _T]
"""Writes inside an open transaction. What it raises, it raises before it writes."""

_BATCH = 512
"""Most changes in a transaction, so that one fsync is not waited for too long."""


class _Ask(NamedTuple, Generic[_T]):
    change: Change[_T] | NewTask
    answer: asyncio.Future[_T]


class Writer:
    """Owns the writing connection. Lives from `Writer()` to `close()`, in one event loop."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        create: Callable[[sqlite3.Connection, Sequence[NewTask]], list[Created | Exception]],
        created: Callable[[Sequence[NewTask]], object],
        committed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._create = create
        self._created = created
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._coming: list[_Ask[object]] = []
        self._queue: SimpleQueue[list[_Ask[object]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="tesk-store", daemon=True)
        self._thread.start()

    async def run(self, change: Change[_T]) -> _T:
        """Run a change in a transaction that it shares with others; return when that is durable. Raises Unavailable."""
        answer: asyncio.Future[_T] = self._loop.create_future()
        self._ask(_Ask(change, answer))
        return await answer

    def create(self, new: NewTask, refusal: Exception | None) -> asyncio.Future[Created]:
        """Store a new task, likewise, unless there is a refusal. `created` is told of it when it is done, well or not."""
        answer: asyncio.Future[Created] = self._loop.create_future()
        if refusal is None:
            self._ask(_Ask(new, answer))
        else:
            answer.set_exception(refusal)
        return answer

    async def close(self) -> None:
        """Finish what was asked and let the connection go."""
        self._hand_over()
        self._queue.put(None)
        await self._ended
        self._thread.join()
        self._connection.close()

    def _ask(self, ask: _Ask[_T]) -> None:
        if not self._coming:
            # At the end of this turn of the loop: all that was asked in it goes over together.
            self._loop.call_soon(self._hand_over)
        self._coming.append(ask)  # type: ignore[arg-type]  # each answer is of its own change's type

    def _hand_over(self) -> None:
        if self._coming:
            self._queue.put(self._coming)
            self._coming = []

    def _answer(self, asks: list[_Ask[object]], results: list[object]) -> None:
        for ask, result in zip(asks, results, strict=True):
            if ask.answer.done():  # who asked was canceled; it has happened all the same
                continue
            if isinstance(result, Exception):
                ask.answer.set_exception(result)
            else:
                ask.answer.set_result(result)
        if news := [ask.change for ask in asks if isinstance(ask.change, NewTask)]:
            self._created(news)

    # -- in the thread ---------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        closing = False
        while not closing:
            asks: list[_Ask[object]] = []
            more = self._queue.get()
            try:
                while more is not None:
                    asks += more
                    if len(asks) >= _BATCH:
                        break
                    more = self._queue.get_nowait()
            except Empty:
                pass
            closing = more is None
            if asks:
                self._loop.call_soon_threadsafe(self._answer, asks, self._results(asks))
        self._loop.call_soon_threadsafe(self._ended.set_result, None)

    def _results(self, asks: list[_Ask[object]]) -> list[object]:
        try:
            results = self._transaction(asks)
        except sqlite3.OperationalError as error:
            # A full disk, a lock that another program keeps: nothing of the batch happened.
            return [_unavailable(error) for _ in asks]
        except Exception as error:  # noqa: BLE001  the loop that must live: others wait for this thread
            if len(asks) > 1:
                # One of them is bad; it must not take the others down.
                return [result for ask in asks for result in self._results([ask])]
            return [_unavailable(error) if isinstance(error, sqlite3.Error) else error]
        self._committed(len(asks))
        return results

    def _transaction(self, asks: list[_Ask[object]]) -> list[object]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            results: list[object] = [None] * len(asks)
            news = [(place, ask.change) for place, ask in enumerate(asks) if isinstance(ask.change, NewTask)]
            if news:
                for (place, _), created in zip(news, self._create(connection, [new for _, new in news]), strict=True):
                    results[place] = created
            for place, ask in enumerate(asks):
                if not isinstance(ask.change, NewTask):
                    results[place] = _run(ask.change, connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return results


def _run(change: Change[object], connection: sqlite3.Connection) -> object:
    try:
        return change(connection)
    except TeskError as error:  # an answer like any other: nothing was written before it
        return error


def _unavailable(error: sqlite3.Error) -> Unavailable:
    return Unavailable(f"the database cannot be written: {error}", retry_after_seconds=5)
