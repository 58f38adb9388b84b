"""CreateTask over HTTP: what is asked most at once, so those that come again and again on one connection go a short way."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from tesk import operations
from tesk.caller import LOCAL, Caller
from tesk.errors import BadRequest, Overloaded, Problem, RequestError, Unavailable, UnsupportedMedia
from tesk.http.deadline import Deadlines
from tesk.http.exchange import BUG, JSON, Answer, Exchange, body_in_time, refusal
from tesk.settings import Settings
from tesk.store.rows import Callback, Created
from tesk.store.store import Store
from tesk.telemetry.metrics import Metrics
from tesk.telemetry.rush import Rush
from tesk.tes import messages
from tesk.tes.document import bad_task
from tesk.tes.ids import Ids
from tesk.tes.validation import Accepted, accept

LABEL = "/tasks"
PATIENCE_SECONDS = 4.0
"""How long the store may take to write: after 10 s clients send a task again, to three paths."""
_CLOSED_SECONDS = 5.0
"""How long nothing new is taken after the store took longer."""
_KEY_LENGTH = 255
LARGE_BYTES = 256 * 1024
"""A larger body is read beside the loop: a strange one of 8 MiB takes seconds, in which others are to be served."""


Check = Callable[[Accepted, Caller], Sequence[Problem]]
"""Says what a caller asks of the backend and may not, or can never have."""
Subscribe = Callable[[str, Caller], Callback]
"""Judges a callback's URL. Raises BadRequest where it must not be called."""
URL_HEADER = b"tesk-callback-url"


class Create:
    """Takes tasks into one store."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        parameters: Sequence[str],
        metrics: Metrics,
        check: Check | None = None,
        subscribe: Subscribe | None = None,
        rush: Rush | None = None,
    ) -> None:
        self.deadlines = Deadlines()
        self._rush = rush or Rush()
        self._store = store
        self._settings = settings
        self._short_bytes = min(LARGE_BYTES, settings.server.body_limit_bytes)
        self._metrics = metrics
        self._check = check
        self._subscribe = subscribe
        self._supported = frozenset(parameter.lower() for parameter in parameters)
        self._ids: Ids | None = None
        self._closed_until = 0.0

    async def create(self, exchange: Exchange) -> None:
        """Answer 429 before anything is read, or stored, where too much is under way."""
        if self.is_closed():
            raise Overloaded("the server takes no more tasks right now: send this one again", retry_after_seconds=2)
        self._rush.begin()
        try:
            await self._create(exchange)
        finally:
            self._rush.end()

    async def _create(self, exchange: Exchange) -> None:
        headers = exchange.headers
        require_json(headers.get(b"content-type"), headers.get(b"content-encoding"))
        raw = await self._body(exchange)
        caller = exchange.caller or LOCAL
        accept_it = partial(self.accept, raw, caller)
        accepted = accept_it() if len(raw) < LARGE_BYTES else await asyncio.to_thread(accept_it)
        header = headers.get(URL_HEADER)
        callback = self.callback(accepted, header, caller)
        key = idempotency_key(headers.get(b"idempotency-key"))
        ids = await self.ids()
        try:
            with self.deadlines.within(PATIENCE_SECONDS):
                created = await operations.create_task(
                    self._store,
                    ids,
                    self._settings.defaults,
                    caller,
                    accepted,
                    now=time.time(),
                    idempotency_key=key,
                    body_hash=b"" if key is None else hashlib.sha256(raw + (header or b"")).digest(),
                    callback=callback,
                )
        except TimeoutError:
            raise self.too_slow() from None
        if not created.repeated:
            self._metrics.submitted()
        await exchange.answer(200, messages.create_task(created.id))
        if key is None:
            exchange.goes_again(partial(self._again, caller, header))

    def _again(self, caller: Caller, header: bytes | None, body: bytes, _: tuple[bytes, ...], answer: Answer) -> bool:
        """Take a task whose head is that of one that was taken before. False: it is not plain, and goes the long way."""
        if self._ids is None or len(body) > self._short_bytes or self.is_closed():
            return False
        began = time.perf_counter()
        try:
            accepted = self.accept(body, caller)
            callback = self.callback(accepted, header, caller)
        except RequestError:
            return False  # the long way says what is wrong
        future = operations.create_task(
            self._store, self._ids, self._settings.defaults, caller, accepted, now=time.time(), callback=callback
        )
        self._rush.begin()
        _Submission(self, future, answer, began)
        return True

    def ended(self, status: int, seconds: float) -> None:
        """Count a submission that went the short way."""
        self._rush.end()
        if status == 200:
            self._metrics.submitted()
        self._metrics.request(LABEL, "POST", status, seconds)

    def too_slow(self) -> Unavailable:
        """Take nothing new for a while; return what is answered to who has waited."""
        self._closed_until = time.monotonic() + _CLOSED_SECONDS
        return slow("the task may have been stored, or not")

    def is_closed(self) -> bool:
        """Say whether too much is under way."""
        return self._rush.under_way >= self._settings.server.pending_limit or time.monotonic() < self._closed_until

    def accept(self, raw: bytes, caller: Caller) -> Accepted:
        """Return a good task. Raises BadRequest with all that is wrong with it, here too."""
        limit = self._settings.limits.content_bytes
        accepted = accept(raw, parameters=self._supported, content_limit_bytes=limit)
        if self._check is not None and (problems := self._check(accepted, caller)):
            raise bad_task(problems)
        return accepted

    def callback(self, accepted: Accepted, header: bytes | None, caller: Caller) -> Callback | None:
        """Return where the task's moves are told: the header is for clients that can send no unknown field."""
        url = accepted.callback_url or (header.decode("latin-1").strip() if header else None)
        if url is None or self._subscribe is None:
            return None
        return self._subscribe(url, caller)

    async def _body(self, exchange: Exchange) -> bytes:
        return await body_in_time(self.deadlines, exchange, self._settings.server.body_limit_bytes)

    async def ids(self) -> Ids:
        """Return what makes the ids of tasks."""
        if self._ids is None:
            newest = await self._store.newest_id()
            self._ids = self._ids or Ids(newest)
        return self._ids


class _Submission:
    """One task on the short way: no coroutine, no task of the loop, only what is called at its end. See `Deadlines`."""

    __slots__ = ("_answer", "_began", "_create", "_future", "end")

    def __init__(self, create: Create, future: asyncio.Future[Created], answer: Answer, began: float) -> None:
        self._create = create
        self._future = future
        self._answer = answer
        self._began = began
        future.add_done_callback(self._done)
        self.end = create.deadlines.start(self) + PATIENCE_SECONDS

    def expire(self) -> None:
        """Wait no longer; it may be stored all the same."""
        self._future.cancel()

    def _done(self, future: asyncio.Future[Created]) -> None:
        self._create.deadlines.stop(self)
        status, headers, body = refusal(BUG)
        try:
            status, headers, body = 200, JSON, messages.create_task(future.result().id)
        except RequestError as error:
            status, headers, body = refusal(error)
        except asyncio.CancelledError:
            status, headers, body = refusal(self._create.too_slow())
        finally:
            self._create.ended(status, time.perf_counter() - self._began)
            self._answer(status, headers, body)


def slow(what: str) -> Unavailable:
    """Return what is answered to who has waited for the store."""
    return Unavailable(f"the database takes too long; {what}", retry_after_seconds=int(_CLOSED_SECONDS))


def require_json(
    content_type: bytes | None, encoding: bytes | None, *, what: str = "a task is", also: Collection[bytes] = ()
) -> bytes:
    """Refuse what a form of a web page could send, and what we cannot read; return the kind, `application/json` say."""
    kind = (content_type or b"").partition(b";")[0].strip().lower()
    plain = kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))
    if not plain and kind not in also:
        said = "no Content-Type" if content_type is None else f"Content-Type {kind[:80].decode('latin-1')!r}"
        kinds = " or ".join(each.decode() for each in (b"application/json", *also))
        raise UnsupportedMedia(f"{what} sent with Content-Type {kinds}; this came with {said}")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedMedia(f"{what} sent as it is, without Content-Encoding")
    return b"application/json" if plain else kind


def idempotency_key(given: bytes | None) -> str | None:
    """Return an Idempotency-Key. Raises BadRequest for one that is none."""
    if given is None:
        return None
    key = given.decode("latin-1").strip()
    if not key or len(key) > _KEY_LENGTH or not (key.isascii() and key.isprintable()):
        wrong = f"must be 1 to {_KEY_LENGTH} printable characters of ASCII"
        raise BadRequest(f"Idempotency-Key {wrong}", (Problem("Idempotency-Key", wrong),))
    return key
