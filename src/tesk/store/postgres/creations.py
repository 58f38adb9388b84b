"""How tasks come into a PostgreSQL database: those of one moment in one commit, each key once."""

import asyncio
from collections.abc import Callable, Hashable, Sequence

import asyncpg

from tesk.errors import Unprocessable
from tesk.store.idempotency import REUSED
from tesk.store.pending import Pending
from tesk.store.postgres import asked, statements
from tesk.store.postgres.batches import Batches
from tesk.store.postgres.database import Database, fetch
from tesk.store.postgres.keys import keep
from tesk.store.rows import Created, NewTask
from tesk.store.signals import Signals


class Creations:
    """Creates tasks, as `Store` promises it. `committed` is told how many changes shared a commit."""

    def __init__(
        self, database: Database, pending: Pending, signals: Signals, committed: Callable[[int], None]
    ) -> None:
        self._database = database
        self._pending = pending
        self._signals = signals
        self._committed = committed
        self._batches = Batches(self._create_batch, _key_of)

    async def close(self) -> None:
        """Return when all that was asked is answered."""
        await self._batches.close()

    def create(self, new: NewTask) -> asyncio.Future[Created]:
        """As `Store.create`."""
        if (refusal := self._pending.enter(new)) is None:
            return self._batches.ask(new)
        refused: asyncio.Future[Created] = asyncio.get_running_loop().create_future()
        refused.set_exception(refusal)
        return refused

    async def _create_batch(self, news: Sequence[NewTask]) -> Sequence[Created | Exception]:
        try:
            return await self._create(news)
        finally:
            self._pending.leave(news)
            self._signals.work()

    async def _create(self, news: Sequence[NewTask]) -> Sequence[Created | Exception]:
        try:
            answers = await self._create_all(news)
        except asyncpg.UniqueViolationError:
            # One of them repeats a creation that has happened.
            if len(news) > 1:
                return [answer for new in news for answer in await self._create((new,))]
            return [Created(id=news[0].id, repeated=True)]
        self._committed(len(news))
        return answers

    async def _create_all(self, news: Sequence[NewTask]) -> Sequence[Created | Exception]:
        keyed = sorted(
            ((new.owner, new.idempotency_key, new) for new in news if new.idempotency_key is not None),
            key=lambda one: one[:2],
        )
        if not keyed:
            await self._database.rows(statements.CREATE, asked.creates(news))
            return [Created(id=new.id, repeated=False) for new in news]
        async with self._database.transaction() as connection:
            known = await keep(
                connection,
                [(owner, key, new.body_hash, new.id, new.created) for owner, key, new in keyed],
            )
            stored = [
                new for new in news if new.idempotency_key is None or (new.owner, new.idempotency_key) not in known
            ]
            if stored:
                await fetch(connection, statements.CREATE, asked.creates(stored))
        answers: list[Created | Exception] = []
        for new in news:
            found = None if new.idempotency_key is None else known.get((new.owner, new.idempotency_key))
            if found is None:
                answers.append(Created(id=new.id, repeated=False))
            elif found[0] == new.body_hash:
                answers.append(Created(id=found[1], repeated=True))
            else:
                answers.append(Unprocessable(REUSED))
        return answers

    async def create_all(self, news: Sequence[NewTask]) -> Sequence[Created]:
        """As `Store.create_all`."""
        if (refusal := self._pending.enter_all(news)) is not None:
            raise refusal
        try:
            # It takes a while to put so many together.
            await self._database.rows(statements.CREATE, await asyncio.to_thread(asked.creates, news))
        except asyncpg.UniqueViolationError:
            return [Created(id=new.id, repeated=True) for new in news]
        finally:
            self._pending.leave(news)
            self._signals.work()
        self._committed(len(news))
        return [Created(id=new.id, repeated=False) for new in news]


def _key_of(new: NewTask) -> Hashable:
    return new.id if new.idempotency_key is None else (new.owner, new.idempotency_key)
