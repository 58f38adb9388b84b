"""`Client` and `AsyncClient`: one TES server, typed. Both drive the same calls."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, Unpack

import msgspec

from tesk.client.address import parse
from tesk.client.answers import Document
from tesk.client.asked import Followed, Listed, Matched
from tesk.client.bulk import Canceled, Place, Which, cancel_matching, submit_many
from tesk.client.calls import Call, Calls
from tesk.client.hearing import Many, One, Told, event_of
from tesk.client.patience import Patience
from tesk.client.results import ServedTask, ServiceInfo, TaskEvent, served_task, service_info
from tesk.client.sockets import Sockets
from tesk.client.streams import Find, Streams
from tesk.client.subscription import TROUBLES
from tesk.tes.state import State
from tesk.tes.task import Task
from tesk.tes.view import View


class Client:
    """A TES 1.1 server, asked from plain code. Safe from many threads.

    `url` is `http://host:8000`, with or without `/ga4gh/tes/v1`; a name and password in it are sent as Basic, `token` as
    Bearer. Every verb raises Unreachable where no answer comes, StrangeAnswer where it is not TES, and the RequestError
    of the status (BadRequest with all `problems`, NotFound, ...) where the server says no.

        with Client("http://127.0.0.1:8000") as tes:
            task_id = tes.create(Task(executors=(Executor(image="debian", command=("echo", "hello")),)))
            tes.wait(task_id)
            print(tes.get(task_id, View.FULL).logs[-1].logs[0].stdout)
    """

    def __init__(
        self, url: str, *, token: str | None = None, patience: Patience | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        address = parse(url, token)
        self._calls = Calls(address, patience)
        self._sockets = Sockets(address.origin, tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._sockets.close()

    def service_info(self) -> ServiceInfo:
        """Return what the server says of itself."""
        return self._sockets.drive(_service_info(self._calls))

    def create(self, task: Task | Mapping[str, object]) -> str:
        """Submit a task; return its id. Sent again after a break only where that cannot run it twice."""
        return self._sockets.drive(self._calls.create(msgspec.json.encode(task)))

    def submit_many(self, tasks: Iterable[Task | Mapping[str, object]]) -> Sequence[Place]:
        """Submit tasks; return for each its id, or why it is not stored (behind Unreachable or StrangeAnswer it may be).

        By one request for thousands where the server is TESK; elsewhere one after the other. What may pass by itself
        (429, 503) is tried again first, and nothing is stored twice.
        """
        return self._sockets.drive(submit_many(self._calls, [msgspec.json.encode(task) for task in tasks]))

    def cancel_matching(self, **which: Unpack[Matched]) -> Canceled:
        """Ask for the end of what fits all that is given (`ids`: without name and tags); with `dry_run` count it only.

        No `states`: those from which a task can be canceled. A tag with the value "" matches any value. `everything` says
        that nothing else is given on purpose.
        """
        return self._sockets.drive(_cancel_matching(self._calls, **which))

    def get(self, task_id: str, view: View = View.MINIMAL) -> ServedTask:
        """Return a task as it stands."""
        return self._sockets.drive(_get(self._calls, task_id, view))

    def list(self, **which: Unpack[Listed]) -> Iterator[ServedTask]:
        """Yield tasks, newest first, asking for pages as they are wanted.

        Which, by `state`, `name_prefix` and `tags`: a tag with the value "" matches any value.
        """
        for page in _pages(self._calls, **which):
            yield from self._sockets.drive(page)

    def cancel(self, task_id: str) -> None:
        """Ask for the end of a task; one that has ended stays as it is."""
        self._sockets.drive(self._calls.cancel(task_id))

    def wait(
        self, task_id: str, *, timeout_seconds: float | None = None, told: Told = lambda _state: None
    ) -> ServedTask:
        """Return the task (BASIC) once it has ended; `told` hears each state. Raises NotEnded at the timeout.

        A server with events is asked for them; another one by the long poll, or now and then.
        """
        one = One(task_id, timeout_seconds, told)
        if (stream := self._sockets.drive(self._calls.moves_of(task_id))) is not None:
            try:
                with contextlib.closing(self._sockets.follow(stream, one.left)) as news:
                    for sent in news:
                        one.heard(sent)
            except TROUBLES as error:
                one.broke(stream, error)
        return self._sockets.drive(one.ended(self._calls))

    def events(self, **which: Unpack[Followed]) -> Iterator[TaskEvent]:
        """Yield moves as they happen, for ever, each once, over connections that break. A server that is TESK has them.

        `after` is the `position` of an event, to go on behind it; "0": from the beginning, "": from now on. Of which, by
        `tasks`, `states`, `tags`, `name_prefix`; what is not given filters nothing. Raises NotFound where the server has no
        events, EventsMissed where some behind a position are not kept, Unreachable when it is gone for too long.
        """
        with contextlib.closing(self._sockets.follow(self._calls.events(**which))) as stream:
            for sent in stream:
                if sent is not None and (event := event_of(sent)) is not None:
                    yield event

    def ended(self, tasks: Sequence[str]) -> Iterator[TaskEvent]:
        """Yield the last event of each task as it ends, on one connection; those that have ended come at once.

        At most 10,000 tasks. Raises what `events` raises but EventsMissed, and NotFound for a task that is not there.
        """
        many = Many(self._calls, tasks)
        if not tasks:
            return
        with contextlib.closing(self._sockets.follow(self._calls.events(tasks=tasks, after="0"))) as stream:
            for sent in stream:
                yield from self._sockets.drive(many.heard(sent)) if sent is not None else ()
                if many.over:
                    return


class AsyncClient:
    """A TES 1.1 server, asked from asyncio: what `Client` does, for one event loop.

    For servers that somebody else has named: `find` and `answer_most_bytes` are those of `Streams`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        patience: Patience | None = None,
        tls: ssl.SSLContext | None = None,
        find: Find | None = None,
        answer_most_bytes: int | None = None,
    ) -> None:
        address = parse(url, token)
        self._calls = Calls(address, patience)
        self._streams = Streams(address.origin, tls, find=find, answer_most_bytes=answer_most_bytes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._streams.close()

    async def service_info(self) -> ServiceInfo:
        """As `Client.service_info`."""
        return await self._streams.drive(_service_info(self._calls))

    async def create(self, task: Task | Mapping[str, object]) -> str:
        """As `Client.create`."""
        return await self._streams.drive(self._calls.create(msgspec.json.encode(task)))

    async def submit_many(self, tasks: Iterable[Task | Mapping[str, object]]) -> Sequence[Place]:
        """As `Client.submit_many`."""
        return await self._streams.drive(submit_many(self._calls, [msgspec.json.encode(task) for task in tasks]))

    async def cancel_matching(self, **which: Unpack[Matched]) -> Canceled:
        """As `Client.cancel_matching`."""
        return await self._streams.drive(_cancel_matching(self._calls, **which))

    async def get(self, task_id: str, view: View = View.MINIMAL) -> ServedTask:
        """As `Client.get`."""
        return await self._streams.drive(_get(self._calls, task_id, view))

    async def list(self, **which: Unpack[Listed]) -> AsyncIterator[ServedTask]:
        """As `Client.list`."""
        for page in _pages(self._calls, **which):
            for task in await self._streams.drive(page):
                yield task

    async def cancel(self, task_id: str) -> None:
        """As `Client.cancel`."""
        await self._streams.drive(self._calls.cancel(task_id))

    async def wait(
        self, task_id: str, *, timeout_seconds: float | None = None, told: Told = lambda _state: None
    ) -> ServedTask:
        """As `Client.wait`."""
        one = One(task_id, timeout_seconds, told)
        if (stream := await self._streams.drive(self._calls.moves_of(task_id))) is not None:
            try:
                async with asyncio.timeout(one.rest()), contextlib.aclosing(self._streams.follow(stream)) as news:
                    async for sent in news:
                        one.heard(sent)
            except TimeoutError:
                raise one.late() from None
            except TROUBLES as error:
                one.broke(stream, error)
        return await self._streams.drive(one.ended(self._calls))

    async def events(self, **which: Unpack[Followed]) -> AsyncGenerator[TaskEvent]:
        """As `Client.events`."""
        async with contextlib.aclosing(self._streams.follow(self._calls.events(**which))) as stream:
            async for sent in stream:
                if (event := event_of(sent)) is not None:
                    yield event

    async def ended(self, tasks: Sequence[str]) -> AsyncGenerator[TaskEvent]:
        """As `Client.ended`."""
        many = Many(self._calls, tasks)
        if not tasks:
            return
        async with contextlib.aclosing(self._streams.follow(self._calls.events(tasks=tasks, after="0"))) as stream:
            async for sent in stream:
                for event in await self._streams.drive(many.heard(sent)):
                    yield event
                if many.over:
                    return


def _service_info(calls: Calls) -> Call[ServiceInfo]:
    return service_info((yield from calls.service_info()))


def _get(calls: Calls, task_id: str, view: View) -> Call[ServedTask]:
    return served_task((yield from calls.get(task_id, view)))


def _cancel_matching(
    calls: Calls,
    *,
    states: Sequence[State] = (),
    name_prefix: str = "",
    tags: Mapping[str, str] | None = None,
    ids: Sequence[str] | None = None,
    everything: bool = False,
    dry_run: bool = False,
) -> Call[Canceled]:
    which = Which(states, name_prefix, tuple((tags or {}).items()), ids, everything)
    return (yield from cancel_matching(calls, which, dry_run=dry_run))


def _pages(
    calls: Calls,
    *,
    view: View = View.MINIMAL,
    state: State | None = None,
    name_prefix: str | None = None,
    tags: Mapping[str, str] | None = None,
    page_size: int | None = None,
) -> Iterator[Call[list[ServedTask]]]:
    """Yield a call for each page; the one for the next is there once the one before has been driven."""
    token: str | None = None
    more = True

    def page() -> Call[list[ServedTask]]:
        nonlocal token, more
        documents: list[Document]
        documents, token = yield from calls.page(
            view=view,
            state=state,
            name_prefix=name_prefix,
            tags=tuple((tags or {}).items()),
            page_size=page_size,
            page_token=token,
        )
        more = token is not None
        return [served_task(document) for document in documents]

    while more:
        yield page()
