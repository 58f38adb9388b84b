"""What a client does with a TES server, as generators: they yield requests and pauses, and are sent answers. No socket, no loop.

A transport drives them (`tesk.client.sockets`, `tesk.client.streams`), so that waiting, trying again and finding the API
are written once. Documents stay as the server sent them; `tesk.client.client` gives them types.
"""

import json
import os
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from tesk import __version__
from tesk.client.address import Address
from tesk.client.answers import Document, document_of, error_of, places_of
from tesk.client.http1 import Request, Response
from tesk.client.patience import Patience
from tesk.client.subscription import PASSING, Subscription, Told, untold
from tesk.errors import (
    BadRequest,
    NotEnded,
    NotFound,
    Overloaded,
    RequestError,
    StrangeAnswer,
    Unavailable,
    Unreachable,
)
from tesk.tes.state import TERMINAL

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before going on."""

    seconds: float


Call: TypeAlias = Generator[Request | Pause, Response | None, T]
"""Yields a Request and is sent its Response (or thrown Unreachable), or yields a Pause and is sent None; returns a T."""

LONG_POLL_SECONDS = 30.0
FIRST_POLL_SECONDS = 0.2
LAST_POLL_SECONDS = 10.0
_RESTART_SECONDS = 10.0
"""A server that is away for less is only begun anew."""

_LONG_SECONDS = 300.0
"""How long an answer about thousands of tasks may take."""


class Calls:
    """The operations of one server. Holds no connection, but remembers where the API was found, and what the server can do."""

    def __init__(self, address: Address, patience: Patience | None = None) -> None:
        self._address = address
        self._patience = patience or Patience()
        self._bases = address.bases
        self._headers: tuple[tuple[str, str], ...] = (
            ("Accept", "application/json"),
            ("User-Agent", f"tesk/{__version__}"),
        )
        self.known: Document | None = None
        """What the server can do, once it was asked."""
        if address.authorization:
            self._headers += (("Authorization", address.authorization),)

    # -- operations of TES ---------------------------------------------------------------------------------------------

    def service_info(self) -> Call[Document]:
        """GetServiceInfo."""
        return document_of((yield from self._ask("GET", "/service-info")))

    def create(self, body: bytes) -> Call[str]:
        """CreateTask; return the id. `body` is a task as JSON.

        Sent with an Idempotency-Key. A connection that breaks after the task was sent is tried again only where the
        server knows the key (ours); elsewhere it might run the task twice, so Unreachable is raised.
        """
        key = os.urandom(16).hex()
        headers = (("Content-Type", "application/json"), ("Idempotency-Key", key))
        answer = document_of((yield from self._ask("POST", "/tasks", headers=headers, body=body)))
        task_id = answer.get("id")
        if not isinstance(task_id, str):
            raise StrangeAnswer(f"{self._address.origin} took the task and gave no id")
        return task_id

    def get(self, task_id: str, view: str) -> Call[Document]:
        """GetTask."""
        return document_of((yield from self._ask("GET", f"/tasks/{quote(task_id, safe='')}?view={view}")))

    def page(
        self,
        *,
        view: str,
        page_size: int | None = None,
        page_token: str | None = None,
        name_prefix: str | None = None,
        state: str | None = None,
        tags: tuple[tuple[str, str], ...] = (),
    ) -> Call[tuple[list[Document], str | None]]:
        """ListTasks: one page, and the token of the next one. A tag with the value "" matches any value."""
        query = [("view", view)]
        query += [("page_size", str(page_size))] if page_size else []
        query += [("page_token", page_token)] if page_token else []
        query += [("name_prefix", name_prefix)] if name_prefix else []
        query += [("state", state)] if state else []
        query += [pair for key, value in tags for pair in (("tag_key", key), ("tag_value", value))]
        answer = document_of((yield from self._ask("GET", "/tasks?" + urlencode(query))))
        tasks, token = answer.get("tasks") or [], answer.get("next_page_token")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise StrangeAnswer(f"{self._address.origin}: `tasks` is no list of tasks")
        if token and token == page_token:
            raise StrangeAnswer(f"{self._address.origin} says of a page that it is the next one to itself")
        return tasks, token if isinstance(token, str) and token else None

    def cancel(self, task_id: str) -> Call[None]:
        """CancelTask."""
        headers = (("Content-Type", "application/json"),)
        yield from self._ask("POST", f"/tasks/{quote(task_id, safe='')}:cancel", headers=headers, body=b"{}")

    def wait(
        self,
        task_id: str,
        *,
        clock: Callable[[], float],
        timeout_seconds: float | None = None,
        told: Callable[[str], None] = lambda _state: None,
    ) -> Call[str]:
        """Return the state in which a task ended; `told` hears of each state seen. Raises NotEnded at the timeout.

        A server whose ETag is the state knows `?wait` (ours) and is asked to answer when it changes. Others are polled,
        at growing intervals.
        """
        began = clock()
        target = f"/tasks/{quote(task_id, safe='')}?view=MINIMAL"
        seen, tag, pause = "", "", FIRST_POLL_SECONDS
        while True:
            left = LAST_POLL_SECONDS if timeout_seconds is None else began + timeout_seconds - clock()
            if left <= 0:
                raise NotEnded(f"task {task_id} is still {seen or 'not seen'} after {timeout_seconds:g} s")
            asked = clock()
            if tag:
                hold = LONG_POLL_SECONDS if timeout_seconds is None else max(1.0, min(LONG_POLL_SECONDS, left))
                answer = yield from self._ask(
                    "GET", f"{target}&wait={hold:.0f}", headers=(("If-None-Match", tag),), silence_seconds=hold + 30
                )
            else:
                answer = yield from self._ask("GET", target)
            if answer.status != 304:
                state = document_of(answer).get("state")
                if not isinstance(state, str):
                    raise StrangeAnswer(f"{self._address.origin}: task {task_id} has no state")
                if state != seen:
                    told(state)
                    seen, pause = state, FIRST_POLL_SECONDS
                if state in TERMINAL:
                    return state
                tag = _tag_of_state(answer, state)
            if not tag or (answer.status == 304 and clock() - asked < 0.5):
                # Jitter, so that many who wait do not ask in step.
                yield Pause(min(pause * random.uniform(0.8, 1.2), max(0.01, left)))
                pause = min(pause * 1.5, LAST_POLL_SECONDS)

    # -- what is ours alone ------------------------------------------------------------------------------------------------

    def extension(self, target: str, *, method: str = "GET", body: bytes = b"") -> Call[Document]:
        """Ask for something below `/tesk/v1` of a server that is TESK. What is posted, as JSON, must do no harm twice."""
        headers = (("Content-Type", "application/json"),) if body else ()
        request = self._request(
            method, f"{self._address.root}/tesk/v1{target}", headers, body, _LONG_SECONDS if body else 60.0
        )
        return document_of((yield from self._retried(request)))

    def batch(self, bodies: Sequence[bytes]) -> Call[list[str | RequestError]]:
        """Submit many tasks, each JSON in one line, to a server that is TESK; return for each its id, or why it is not stored.

        What may pass by itself is tried again, by the same key: nothing is stored twice. See `tesk.client.bulk`.
        """
        headers = (("Content-Type", "application/x-ndjson"), ("Idempotency-Key", os.urandom(16).hex()))
        target = f"{self._address.root}/tesk/v1/tasks:batch"
        request = self._request("POST", target, headers, b"\n".join(bodies), _LONG_SECONDS)
        paused, pause = 0.0, 0.5
        while True:
            answer = yield from self._retried(request, taken=BadRequest.status)
            places = places_of(self._address.origin, answer)
            if len(places) != len(bodies):
                raise StrangeAnswer(f"{self._address.origin} answered {len(places)} of {len(bodies)} tasks")
            if paused >= self._patience.busy or not any(isinstance(each, Overloaded | Unavailable) for each in places):
                return places
            yield Pause(pause)
            paused, pause = paused + pause, min(pause * 2, 10.0)

    def cancel_matching(self, which: Document, *, everything: bool, dry_run: bool) -> Call[tuple[int, int]]:
        """Cancel what fits a filter of a server that is TESK; return how many fit, and how many were canceled now."""
        asked = {"filter": which, "dry_run": dry_run} | ({"all": True} if everything else {})
        answer = yield from self.extension("/tasks:cancel", method="POST", body=json.dumps(asked).encode())
        matched, canceled = answer.get("matched"), answer.get("canceled")
        if not isinstance(matched, int) or not isinstance(canceled, int):
            raise StrangeAnswer(f"{self._address.origin} did not say how many tasks it has canceled")
        return matched, canceled

    def abilities(self) -> Call[Document]:
        """Return what a server that is TESK can do, {} where it is another's; asked once."""
        if self.known is None:
            try:
                self.known = yield from self.extension("/service-info")
            except (RequestError, StrangeAnswer) as error:
                if isinstance(error, RequestError) and error.status in PASSING:
                    return {}  # it may be ours all the same
                self.known = {}
        return self.known

    def details(self, task_id: str) -> Call[Document]:
        """Return what a server that is TESK knows of a task beside TES."""
        return (yield from self.extension(f"/tasks/{quote(task_id, safe='')}"))

    def logs(
        self, task_id: str, *, executor: int | None = None, stream: str = "combined", told: Told = untold
    ) -> Subscription:
        """Return what executors of a server that is TESK write, as events, to their end."""
        query = urlencode({"follow": "1", "stream": stream} | ({} if executor is None else {"executor": str(executor)}))
        target = f"{self._address.root}/tesk/v1/tasks/{quote(task_id, safe='')}/logs?{query}"
        request = self._request("GET", target)
        return Subscription(self._address.origin, request, self._patience, told=told)

    def moves_of(self, task_id: str) -> Call[Subscription | None]:
        """Return the moves of one task from its first, as events until its end; None where the server has none to tell."""
        if not (yield from self.abilities()).get("events"):
            return None
        request = self._request("GET", f"{self._address.root}/tesk/v1/tasks/{quote(task_id, safe='')}/events")
        return Subscription(self._address.origin, request, self._patience)

    def events(
        self,
        *,
        tasks: Sequence[str] = (),
        states: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        name_prefix: str = "",
        after: str = "",
        told: Told = untold,
    ) -> Subscription:
        """Return the moves of tasks of a server that is TESK, as events, for ever; see docs/stop-polling.md.

        `after` "0": from the beginning; "": from now on. What is not given filters nothing.
        """
        asked = {"tasks": list(tasks), "states": list(states), "tags": dict(tags or {}), "name_prefix": name_prefix}
        body = body_of({name: value for name, value in (asked | {"after": after}).items() if value})
        headers = (("Content-Type", "application/json"),)
        request = self._request("POST", f"{self._address.root}/tesk/v1/events", headers, body)
        return Subscription(self._address.origin, request, self._patience, told=told, told_after=_RESTART_SECONDS)

    # -- below them ----------------------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        target: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        silence_seconds: float = 60.0,
    ) -> Call[Response]:
        """Return a good answer, looking for the API in each place where it may be; raise RequestError for a bad one."""
        first: RequestError | None = None
        for base in self._bases:
            request = self._request(method, base + target, headers, body, silence_seconds)
            try:
                answer = yield from self._retried(request)
            except NotFound as error:
                # It may be the task that is not there, or the API: the first place's answer is the one to show.
                first = first or error
                continue
            self._bases = (base,)
            return answer
        assert first is not None
        raise first

    def _request(
        self,
        method: str,
        target: str,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        silence_seconds: float = 60.0,
    ) -> Request:
        return Request(method, target, (*self._headers, *headers), body, silence_seconds)

    def _retried(self, request: Request, *, taken: int = 0) -> Call[Response]:
        """Return a good answer, or one with the status `taken`, or raise; what may pass by itself is tried again as long as patience lasts."""
        paused, tries = 0.0, 0
        while True:
            tries += 1
            wanted = min(0.1 * 2**tries, 10.0) * random.uniform(0.5, 1.0)
            try:
                answer = yield request
            except Unreachable as error:
                limit = self._patience.busy if error.sent else self._patience.gone
                if paused + wanted > limit or (error.sent and not (yield from self._may_repeat(request))):
                    raise
            else:
                assert answer is not None
                if answer.status < 300 or answer.status in (304, taken):
                    return answer
                error_answer = error_of(self._address.origin, answer)
                passing = answer.status in (429, 503) or (answer.status in (502, 504) and request.method == "GET")
                wanted = max(wanted, error_answer.retry_after_seconds or 0)
                if not passing or paused + wanted > self._patience.busy:
                    raise error_answer
            yield Pause(wanted)
            paused += wanted

    def _may_repeat(self, request: Request) -> Call[bool]:
        """Say whether a request that may have arrived can be sent again. A second GET or cancel changes nothing."""
        if request.method != "POST" or request.target.endswith(":cancel"):
            return True
        for pause in (0.2, 1.0, 3.0):
            try:
                answer = yield self._request("GET", f"{self._address.root}/tesk/v1/service-info")
            except Unreachable:
                yield Pause(pause)
                continue
            return answer is not None and answer.status == 200
        return False


def _tag_of_state(answer: Response, state: str) -> str:
    """Return the ETag where it is one of the state; others' ETags are of the whole answer, and say nothing of `?wait`."""
    tag = answer.headers.get("etag", "")
    return tag if state in tag else ""


def body_of(document: Document) -> bytes:
    """Return a task as JSON."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
