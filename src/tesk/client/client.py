"""`Client` and `AsyncClient`: one TES server, typed. Both drive the same calls."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from types import TracebackType
from typing import Self

import msgspec

from tesk.client.address import parse
from tesk.client.answers import Document, text_of
from tesk.client.bulk import Canceled, Place, Which, cancel_matching, submit_many
from tesk.client.calls import Call, Calls
from tesk.client.ends import Ends, moved
from tesk.client.patience import Patience
from tesk.client.results import ServedTask, ServiceInfo, TaskEvent, served_task, service_info, task_event
from tesk.client.sent import Sent
from tesk.client.sockets import Sockets
from tesk.client.streams import Streams
from tesk.errors import NotEnded, RequestError, StrangeAnswer, Unreachable
from tesk.tes.state import State
from tesk.tes.task import Task
from tesk.tes.view import View

Told = Callable[[str], None]


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
        """Submit tasks; return for each its id, or why it is not stored.

        By one request for thousands where the server is TESK; elsewhere one after the other. What may pass by itself
        (429, 503) is tried again first, and nothing is stored twice.
        """
        return self._sockets.drive(submit_many(self._calls, [msgspec.json.encode(task) for task in tasks]))

    def cancel_matching(
        self,
        *,
        states: Sequence[State] = (),
        name_prefix: str = "",
        tags: Mapping[str, str] | None = None,
        ids: Sequence[str] | None = None,
        everything: bool = False,
        dry_run: bool = False,
    ) -> Canceled:
        """Ask for the end of what fits all that is given (`ids`: without name and tags); with `dry_run` count it only.

        No `states`: those from which a task can be canceled. A tag with the value "" matches any value. `everything` says
        that nothing else is given on purpose.
        """
        which = Which(states, name_prefix, tuple((tags or {}).items()), ids, everything)
        return self._sockets.drive(cancel_matching(self._calls, which, dry_run=dry_run))

    def get(self, task_id: str, view: View = View.MINIMAL) -> ServedTask:
        """Return a task as it stands."""
        return self._sockets.drive(_get(self._calls, task_id, view))

    def list(
        self,
        *,
        view: View = View.MINIMAL,
        state: State | None = None,
        name_prefix: str | None = None,
        tags: Mapping[str, str] | None = None,
        page_size: int | None = None,
    ) -> Iterator[ServedTask]:
        """Yield tasks, newest first, asking for pages as they are wanted. A tag with the value "" matches any value."""
        for page in _pages(
            self._calls, view=view, state=state, name_prefix=name_prefix, tags=tags, page_size=page_size
        ):
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
        hearing = _Hearing(task_id, timeout_seconds, told)
        stream = self._sockets.drive(self._calls.moves_of(task_id))
        try:
            for sent in self._sockets.follow(stream, hearing.left) if stream is not None else ():
                hearing.heard(sent)
        except (RequestError, Unreachable, StrangeAnswer):
            if stream is None or not stream.is_kept_back:
                raise
            stream, timeout_seconds = None, hearing.rest()
        if stream is not None:
            return self.get(task_id, View.BASIC)
        return self._sockets.drive(_wait(self._calls, task_id, timeout_seconds, told))

    def events(
        self,
        *,
        tasks: Sequence[str] = (),
        states: Sequence[State] = (),
        tags: Mapping[str, str] | None = None,
        name_prefix: str = "",
        after: str = "",
    ) -> Iterator[TaskEvent]:
        """Yield moves as they happen, for ever, each once, over connections that break. A server that is TESK has them.

        `after` is the `position` of an event, to go on behind it; "0": from the beginning, "": from now on. What is not
        given filters nothing. Raises NotFound where the server has no events, Unreachable when it is gone for too long.
        """
        subscription = self._calls.events(tasks=tasks, states=states, tags=tags, name_prefix=name_prefix, after=after)
        for sent in self._sockets.follow(subscription):
            if sent is not None and (event := _event(sent)) is not None:
                yield event

    def ended(self, tasks: Sequence[str]) -> Iterator[TaskEvent]:
        """Yield the last event of each task as it ends, on one connection; those that have ended come at once.

        Raises what `events` raises.
        """
        left = set(tasks)
        for event in self.events(tasks=tasks, after="0") if left else ():
            if event.ended and event.id in left:
                left.discard(event.id)
                yield event
                if not left:
                    return


class AsyncClient:
    """A TES 1.1 server, asked from asyncio: what `Client` does, for one event loop."""

    def __init__(
        self, url: str, *, token: str | None = None, patience: Patience | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        address = parse(url, token)
        self._calls = Calls(address, patience)
        self._streams = Streams(address.origin, tls)

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

    async def cancel_matching(
        self,
        *,
        states: Sequence[State] = (),
        name_prefix: str = "",
        tags: Mapping[str, str] | None = None,
        ids: Sequence[str] | None = None,
        everything: bool = False,
        dry_run: bool = False,
    ) -> Canceled:
        """As `Client.cancel_matching`."""
        which = Which(states, name_prefix, tuple((tags or {}).items()), ids, everything)
        return await self._streams.drive(cancel_matching(self._calls, which, dry_run=dry_run))

    async def get(self, task_id: str, view: View = View.MINIMAL) -> ServedTask:
        """As `Client.get`."""
        return await self._streams.drive(_get(self._calls, task_id, view))

    async def list(
        self,
        *,
        view: View = View.MINIMAL,
        state: State | None = None,
        name_prefix: str | None = None,
        tags: Mapping[str, str] | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[ServedTask]:
        """As `Client.list`."""
        for page in _pages(
            self._calls, view=view, state=state, name_prefix=name_prefix, tags=tags, page_size=page_size
        ):
            for task in await self._streams.drive(page):
                yield task

    async def cancel(self, task_id: str) -> None:
        """As `Client.cancel`."""
        await self._streams.drive(self._calls.cancel(task_id))

    async def wait(
        self, task_id: str, *, timeout_seconds: float | None = None, told: Told = lambda _state: None
    ) -> ServedTask:
        """As `Client.wait`."""
        hearing = _Hearing(task_id, timeout_seconds, told)
        stream = await self._streams.drive(self._calls.moves_of(task_id))
        try:
            if stream is not None:
                async with asyncio.timeout(hearing.rest()), contextlib.aclosing(self._streams.follow(stream)) as news:
                    async for sent in news:
                        hearing.heard(sent)
        except TimeoutError:
            hearing.heard(None)
        except (RequestError, Unreachable, StrangeAnswer):
            if stream is None or not stream.is_kept_back:
                raise
            stream, timeout_seconds = None, hearing.rest()
        if stream is not None:
            return await self.get(task_id, View.BASIC)
        return await self._streams.drive(_wait(self._calls, task_id, timeout_seconds, told))

    async def events(
        self,
        *,
        tasks: Sequence[str] = (),
        states: Sequence[State] = (),
        tags: Mapping[str, str] | None = None,
        name_prefix: str = "",
        after: str = "",
    ) -> AsyncGenerator[TaskEvent]:
        """As `Client.events`."""
        subscription = self._calls.events(tasks=tasks, states=states, tags=tags, name_prefix=name_prefix, after=after)
        async with contextlib.aclosing(self._streams.follow(subscription)) as stream:
            async for sent in stream:
                if (event := _event(sent)) is not None:
                    yield event

    async def ended(self, tasks: Sequence[str]) -> AsyncGenerator[TaskEvent]:
        """As `Client.ended`."""
        left = set(tasks)
        if not left:
            return
        async with contextlib.aclosing(self.events(tasks=tasks, after="0")) as events:
            async for event in events:
                if event.ended and event.id in left:
                    left.discard(event.id)
                    yield event
                    if not left:
                        return


class _Hearing:
    """What was heard of one task that is waited for, and for how long yet."""

    def __init__(self, task_id: str, timeout_seconds: float | None, told: Told) -> None:
        self._ends = Ends((task_id,))
        self._timeout_seconds = timeout_seconds
        self._until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._told = told

    def left(self) -> float:
        """Return how many seconds are left."""
        return inf if self._until is None else max(0.0, self._until - time.monotonic())

    def rest(self) -> float | None:
        """Return the same, None for ever."""
        return None if self._until is None else self.left()

    def heard(self, sent: Sent | None) -> None:
        """Hear an event, or that none came. Raises NotEnded at the timeout."""
        move = {} if sent is None else moved(sent)
        if move and self._ends.told(text_of(move, "id"), text_of(move, "state")):
            self._told(text_of(move, "state"))
        if not self._ends.over and not self.left():
            task_id, state = self._ends.still()
            raise NotEnded(f"task {task_id} is still {state or 'not seen'} after {self._timeout_seconds:g} s")


def _event(sent: Sent) -> TaskEvent | None:
    move = moved(sent)
    return task_event(sent.id, move) if move else None


def _service_info(calls: Calls) -> Call[ServiceInfo]:
    return service_info((yield from calls.service_info()))


def _get(calls: Calls, task_id: str, view: View) -> Call[ServedTask]:
    return served_task((yield from calls.get(task_id, view)))


def _pages(
    calls: Calls,
    *,
    view: View,
    state: State | None,
    name_prefix: str | None,
    tags: Mapping[str, str] | None,
    page_size: int | None,
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


def _wait(calls: Calls, task_id: str, timeout_seconds: float | None, told: Told) -> Call[ServedTask]:
    yield from calls.wait(task_id, clock=time.monotonic, timeout_seconds=timeout_seconds, told=told)
    return served_task((yield from calls.get(task_id, View.BASIC)))
