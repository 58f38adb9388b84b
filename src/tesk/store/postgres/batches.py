"""Gather what is asked at the same time, so that it shares a statement and a commit."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Ask(NamedTuple, Generic[Asked, Answer]):
    asked: Asked
    answer: asyncio.Future[Answer]


class Batches(Generic[Asked, Answer]):
    """Runs batches, `parallel` at a time. What has the same key never shares a batch nor overtakes: it goes in order."""

    def __init__(
        self,
        run: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer | Exception]]],
        key: Callable[[Asked], Hashable],
        *,
        size: int = 256,
        parallel: int = 2,
    ) -> None:
        self._run = run
        self._key = key
        self._size = size
        self._parallel = parallel
        self._waiting: list[_Ask[Asked, Answer]] = []
        self._busy: set[Hashable] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._scheduled = False

    def ask(self, asked: Asked) -> asyncio.Future[Answer]:
        """Ask one thing; the future is its answer."""
        loop = asyncio.get_running_loop()
        ask = _Ask[Asked, Answer](asked, loop.create_future())
        self._waiting.append(ask)
        if not self._scheduled:
            # At the end of this turn of the loop: all that is asked in it goes together.
            self._scheduled = True
            loop.call_soon(self._start)
        return ask.answer

    async def close(self) -> None:
        """Return when all that was asked is answered."""
        self._start()
        while self._running:
            await asyncio.wait(self._running)

    def _start(self) -> None:
        self._scheduled = False
        while len(self._running) < self._parallel and (batch := self._take()):
            task = asyncio.create_task(self._answer(batch))
            self._running.add(task)
            task.add_done_callback(lambda task, batch=batch: self._ended(task, batch))  # type: ignore[misc]  # a lambda with a default

    def _take(self) -> list[_Ask[Asked, Answer]]:
        batch: list[_Ask[Asked, Answer]] = []
        later: list[_Ask[Asked, Answer]] = []
        for ask in self._waiting:
            key = self._key(ask.asked)
            if len(batch) < self._size and key not in self._busy:
                self._busy.add(key)
                batch.append(ask)
            else:
                later.append(ask)
        self._waiting = later
        return batch

    async def _answer(self, batch: list[_Ask[Asked, Answer]]) -> None:
        for ask, answer in zip(batch, await self._run([ask.asked for ask in batch]), strict=True):
            if ask.answer.done():  # who asked was canceled; it has happened all the same
                continue
            if isinstance(answer, Exception):
                ask.answer.set_exception(answer)
            else:
                ask.answer.set_result(answer)

    def _ended(self, task: asyncio.Task[None], batch: list[_Ask[Asked, Answer]]) -> None:
        self._running.discard(task)
        self._busy.difference_update(self._key(ask.asked) for ask in batch)
        error = None if task.cancelled() else task.exception()
        for ask in batch:
            if not ask.answer.done():
                if error is None:
                    ask.answer.cancel()
                else:
                    ask.answer.set_exception(error)
        self._start()
