"""A thin client of a Kubernetes API server: a few verbs over one aiohttp session, typed answers, patience. Acts.

What is busy or resets is asked again, with growing pauses, until a deadline; then Unanswered says why in a sentence. What
the server refuses is raised at once, as one of `refusals`. A create is sent again only where the server cannot have
done it: whose create got no answer asks whether it is there (AlreadyExists says so, too).
"""

import asyncio
import contextlib
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from tesk import __version__
from tesk.compute.kubernetes.credentials import Access, Proof
from tesk.compute.kubernetes.objects import Line, Page, Rule, Status, WatchEvent, rule_of
from tesk.compute.kubernetes.refusals import (
    AlreadyExists,
    Conflict,
    Gone,
    Refused,
    Unanswered,
    Unauthorized,
    refusal,
    status_of,
)
from tesk.errors import StartError

try:
    import aiohttp
    from multidict import CIMultiDict
except ModuleNotFoundError as error:
    raise StartError("Kubernetes wants one package more: pip install 'tesk[kubernetes]'") from error

T = TypeVar("T")
Body = bytes | Mapping[str, object] | Sequence[Mapping[str, object]]
Listed = tuple[list[T], str]
"""All objects, and the version that they are of."""
PatchKind = Literal["merge", "strategic", "json", "apply"]

AGENT = f"tesk/{__version__}"
_MANAGER = "tesk"
_PATCHES: dict[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_REQUEST_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 150.0
"""How long a watch may be silent: bookmarks come each minute."""
_AT_ONCE = 32
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_LINE_BYTES = 32 * 1024 * 1024
_PAGES_AGAIN = 2
_BUSY = frozenset({429, 500, 502, 503, 504})
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6))


@dataclass(frozen=True, slots=True)
class _Request:
    """One call. `again`: to do it twice is to do it once. `streamed`: the answer comes bit by bit."""

    method: str
    verb: str
    path: str
    _: KW_ONLY
    data: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    content: str = "application/json"
    again: bool = True
    read_seconds: float | None = None
    streamed: bool = False


class Api:
    """An API server, as `access` reaches it. An async context: the session is open within.

    `calls` counts the requests that were sent, by what had to be allowed for them. Every verb raises Refused or
    Unanswered (a BackendUnavailable).
    """

    def __init__(
        self, access: Access, *, request_seconds: float = _REQUEST_SECONDS, idle_seconds: float = _IDLE_SECONDS
    ) -> None:
        self.access = access
        self.namespace = access.namespace
        self.calls: Counter[Rule] = Counter()
        self._request_seconds = request_seconds
        self._idle_seconds = idle_seconds
        self._session: aiohttp.ClientSession | None = None
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        headers = [
            ("User-Agent", AGENT),
            ("Accept", "application/json"),
            # Within a cluster the network is quicker than gzip, on either side.
            ("Accept-Encoding", "identity" if self.access.inside else "gzip"),
            *self.access.headers,
        ]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, socket_factory=_socket),
            headers=CIMultiDict(headers),  # several may have one name: the groups of who is impersonated
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; twice is once."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, shape: type[T]) -> T:
        """Return what is at `path`."""
        return await self._call("GET", "get", path, shape)

    async def create(self, path: str, body: Body, shape: type[T], *, dry_run: bool = False, strict: bool = False) -> T:
        """Make an object in the collection `path`; return it as the server has it.

        `dry_run`: nothing is made. `strict`: fields that the server does not know are Invalid. Raises AlreadyExists where
        one of its name is there. Unanswered may mean that it was made.
        """
        query = {"fieldManager": _MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        if strict:
            query["fieldValidation"] = "Strict"
        return await self._call("POST", "create", path, shape, body=body, query=query, again=dry_run)

    async def delete(
        self, path: str, *, grace_seconds: float | None = None, uid: str | None = None, propagation: str | None = None
    ) -> None:
        """Ask for an end. Raises NotFound, or Conflict where the object of that name has another uid."""
        options: dict[str, object] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = int(grace_seconds)
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        await self._call("DELETE", "delete", path, msgspec.Raw, body=options)

    async def patch(self, path: str, body: Body, shape: type[T], *, kind: PatchKind = "merge") -> T:
        """Change an object; return it. `apply` is by the server's side, as the field manager `tesk`, which wins."""
        query = {"fieldManager": _MANAGER}
        if kind == "apply":
            query["force"] = "true"
        return await self._call(
            "PATCH", "patch", path, shape, body=body, query=query, content=_PATCHES[kind], again=kind != "json"
        )

    async def list(
        self, path: str, shape: type[T], *, selector: str = "", fields: str = "", limit: int = 500
    ) -> Listed[T]:
        """Return all that a collection holds, as of one version, and that version, to watch on from it.

        Asked for in pages of `limit`. Where a page comes too late to be of that version, it is begun again with larger
        pages, in the end with a single one.
        """
        query = {"labelSelector": selector, "fieldSelector": fields}
        for attempt in range(_PAGES_AGAIN + 1):
            size = limit * 4**attempt if attempt < _PAGES_AGAIN else 0
            try:
                return await self._pages(path, shape, {**query, "limit": str(size) if size else ""})
            except Gone:
                if not size:
                    raise
        raise AssertionError("the last of them returns or raises")

    async def _pages(self, path: str, shape: type[T], query: dict[str, str]) -> Listed[T]:
        items: list[T] = []
        go_on = ""
        while True:
            page = await self._call("GET", "list", path, Page[shape], query={**query, "continue": go_on})  # type: ignore[valid-type]  # a type made at run time
            items += page.items or ()
            go_on = page.metadata.go_on
            if not go_on:
                return items, page.metadata.resource_version

    async def watch(
        self,
        path: str,
        shape: type[T],
        *,
        selector: str = "",
        resource_version: str = "",
        lasts_seconds: float | None = None,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Yield what changes after `resource_version`, until the server ends it (a return) or it breaks (Unanswered).

        Bookmarks are among it. Raises Gone where that version is too old: list again. One that is silent for longer than
        bookmarks may be is taken for broken. `lasts_seconds`: when the server is to end it, by half a minute to an hour
        if not told.
        """
        lasts = lasts_seconds if lasts_seconds is not None else random.uniform(1800, 3600)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(lasts))),
        }
        decode = _decoder(shape).decode
        async with self._stream("watch", path, query, self._idle_seconds) as response:
            async for text in self._lines(response):
                try:
                    line = _LINE.decode(text)
                    if line.type == "ERROR":
                        status = msgspec.json.decode(line.object, type=Status)
                        raise _no(status.code, status, None)
                    event = WatchEvent(line.type, decode(line.object))
                except msgspec.MsgspecError as error:
                    raise Unanswered(
                        f"the API server of the cluster said in a watch what is no event: {error}"
                    ) from None
                yield event

    async def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        since: float | None = None,
        timestamps: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """Yield what a container printed; with `follow`, on to its end. Raises Invalid where it has not started.

        `since`: seconds since the epoch. `timestamps`: each line begins with its time, to go on from it later.
        """
        query = {
            "container": container,
            "follow": "true" if follow else "",
            "tailLines": "" if tail_lines is None else str(tail_lines),
            "limitBytes": "" if limit_bytes is None else str(limit_bytes),
            "sinceTime": "" if since is None else datetime.fromtimestamp(since, UTC).isoformat().replace("+00:00", "Z"),
            "timestamps": "true" if timestamps else "",
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        async with self._stream("get", path, query, None if follow else self._request_seconds) as response:
            async for piece in self._pieces(response):
                yield piece

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        rest = b""
        async for piece in self._pieces(response):
            *lines, rest = (rest + piece).split(b"\n") if b"\n" in piece else (rest + piece,)
            if len(rest) > _LINE_BYTES:
                raise Unanswered("the API server of the cluster sent a line without an end")
            for line in lines:
                if line:
                    yield line

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for piece in response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unanswered(self._silent(error)) from None

    @contextlib.asynccontextmanager
    async def _stream(
        self, verb: str, path: str, query: Mapping[str, str], idle_seconds: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open an answer that comes bit by bit. What goes wrong before its first bit is tried again as with other calls."""
        request = _Request("GET", verb, path, query=query, read_seconds=idle_seconds, streamed=True)
        response = await self._patiently(request)
        assert isinstance(response, aiohttp.ClientResponse)
        try:
            yield response
        finally:
            response.close()

    async def _call(
        self,
        method: str,
        verb: str,
        path: str,
        shape: type[T],
        *,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
        again: bool = True,
    ) -> T:
        request = _Request(
            method,
            verb,
            path,
            data=body if isinstance(body, bytes) or body is None else msgspec.json.encode(body),
            query=query or {},
            content=content,
            again=again,
            # Time for a second try over another connection, where the first is only half there.
            read_seconds=self._request_seconds / 2 if again else None,
        )
        async with self._places:
            answer = await self._patiently(request)
        assert isinstance(answer, bytes)
        try:
            found: T = _decoder(shape).decode(answer)
        except msgspec.MsgspecError as error:
            raise Unanswered(f"the API server of the cluster answered what cannot be read: {error}") from None
        return found

    async def _patiently(self, request: "_Request") -> bytes | aiohttp.ClientResponse:
        """Ask until there is an answer, at most for the seconds of a request."""
        rule = rule_of(request.verb, request.path)
        until = time.monotonic() + self._request_seconds
        pause = _FIRST_PAUSE_SECONDS
        refused: Proof | None = None
        trouble: Unanswered | None = None
        while True:
            proof = await self.access.proof(refused)
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    self.calls[rule] += 1
                    return await self._once(request, proof)
            except TimeoutError as late:
                raise trouble or Unanswered(self._silent(late), maybe_done=True) from None
            except Unauthorized:
                if refused is not None or await self.access.proof(proof) is proof:
                    raise
                refused = proof
                continue
            except Conflict as conflict:
                # Not of that name: two creates met at the quota of the namespace, and nothing was made.
                if isinstance(conflict, AlreadyExists) or request.verb != "create":
                    raise
                trouble = Unanswered(str(conflict))
            except Unanswered as unanswered:
                trouble = unanswered
            wait = max(pause, trouble.retry_after_seconds or 0.0) * random.uniform(1.0, 1.3)
            if (trouble.maybe_done and not request.again) or time.monotonic() + wait >= until:
                raise trouble
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _once(self, request: "_Request", proof: Proof) -> bytes | aiohttp.ClientResponse:
        """Ask once. Returns the answer, or where it is to come bit by bit, what it comes from."""
        try:
            response = await self._send(request, proof)
            async with contextlib.AsyncExitStack() as opened:
                opened.callback(response.close)
                if response.status >= 300:
                    status = status_of(await response.read())
                    raise _no(response.status, status, _seconds(response.headers.get("Retry-After"), status))
                answer = response if request.streamed else await response.read()
                opened.pop_all()
                return answer
        except aiohttp.ClientConnectorError as error:
            raise Unanswered(self._silent(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(self._silent(error), maybe_done=True) from None

    async def _send(self, request: "_Request", proof: Proof) -> aiohttp.ClientResponse:
        if self._session is None:
            raise Unanswered("the connections to the API server of the cluster are closed")
        headers: dict[str, str] = {}
        if proof.token:
            headers["Authorization"] = f"Bearer {proof.token}"
        if request.data is not None:
            headers["Content-Type"] = request.content
        return await self._session.request(
            request.method,
            self.access.server + request.path,
            params={name: value for name, value in request.query.items() if value},
            data=request.data,
            headers=headers,
            ssl=proof.context or True,
            server_hostname=self.access.server_hostname,
            proxy=self.access.proxy,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=request.read_seconds),
            allow_redirects=False,  # the token is for this server only
        )

    def _silent(self, error: BaseException) -> str:
        """Say that there was no answer, and why, without what stands in headers or in the URL of a proxy."""
        if isinstance(error, TimeoutError):
            why = "it took too long"
        elif isinstance(error, aiohttp.ClientConnectorCertificateError):
            why = f"its certificate is not good: {error.certificate_error}"
        elif isinstance(error, aiohttp.ClientHttpProxyError):
            why = f"its proxy answered {error.status}"
        elif isinstance(error, OSError) and error.strerror:
            why = error.strerror
        else:
            why = str(error) if isinstance(error, aiohttp.ServerDisconnectedError) else type(error).__name__
        return f"the API server of the cluster ({self.access.server}) does not answer: {why}"


_LINE = msgspec.json.Decoder(Line)


_DECODERS: dict[object, msgspec.json.Decoder[Any]] = {}


def _decoder(shape: type[T]) -> msgspec.json.Decoder[T]:
    found = _DECODERS.get(shape)
    if found is None:
        found = _DECODERS[shape] = msgspec.json.Decoder(shape)
    return found


def _no(code: int, status: Status, after_seconds: float | None) -> Refused | Unanswered:
    """Return what an answer of HTTP status `code` is raised as. What is busy (429) has done nothing."""
    if code not in _BUSY:
        return refusal(code, status)
    said = f"{code}: {status.message}" if status.message else str(code)
    return Unanswered(
        f"the API server of the cluster is busy, it answers {said}", after_seconds, maybe_done=code != 429
    )


def _seconds(header: str | None, status: Status) -> float | None:
    """How long a server wants to be left alone."""
    if header is not None and header.isdecimal():
        return float(header)
    return float(status.details.retry_after_seconds) if status.details and status.details.retry_after_seconds else None


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket that finds out by itself that the other end is gone: who follows a log may hear nothing for hours."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
