"""The connections to an API server: one session, who we are, and patience. Acts.

What is busy or breaks is asked again, with growing pauses, until a deadline; then Unanswered says why in a sentence. What
may have been done is done again only where twice is once (`Call.again`).
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from email.utils import parsedate_to_datetime

from tesk import __version__
from tesk.compute.kubernetes.credentials import Access, Proof
from tesk.compute.kubernetes.objects import Rule, Status, rule_of
from tesk.compute.kubernetes.refusals import AlreadyExists, Conflict, Unanswered, Unauthorized, no, status_of
from tesk.errors import BackendUnavailable, StartError

try:
    import aiohttp
    from multidict import CIMultiDict
except ModuleNotFoundError as error:
    raise StartError("Kubernetes wants one package more: pip install 'tesk[kubernetes]'") from error

_log = logging.getLogger(__name__)

AGENT = f"tesk/{__version__}"
_CONNECT_SECONDS = 10.0
_KEPT_SECONDS = 30.0
"""Shorter than a load balancer keeps a connection that is not used."""
_BREATH_SECONDS = 5.0
"""Times in answers are whole seconds, and answers take their time."""
_AT_ONCE = 32
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_TAKEN = "is used by transport"
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6))


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `again`: to do it twice is to do it once. `read_seconds`: how long the server may be silent.

    `waits`: there is no deadline for the beginning of its answer.
    """

    method: str
    verb: str
    path: str
    _: KW_ONLY
    data: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    content: str = "application/json"
    again: bool = True
    read_seconds: float | None = None
    waits: bool = False


class Wire:
    """The way to one API server. Raises Refused and Unanswered. `calls` counts each try by what must be allowed for it.

    `ahead_seconds`: how far the server's clock is ahead of ours by its last answer; 0 where they agree but for a breath.
    """

    def __init__(self, access: Access, request_seconds: float) -> None:
        self.calls: Counter[Rule] = Counter()
        self.ahead_seconds = 0.0
        self._access = access
        self._request_seconds = request_seconds
        self._session: aiohttp.ClientSession | None = None
        self._places = asyncio.Semaphore(_AT_ONCE)

    def open(self) -> None:
        """Get ready to connect."""
        headers = [
            ("User-Agent", AGENT),
            ("Accept", "application/json"),
            # Within a cluster the network is quicker than gzip, on either side.
            ("Accept-Encoding", "identity" if self._access.inside else "gzip"),
            *self._access.headers,
        ]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS, socket_factory=_socket),
            headers=CIMultiDict(headers),  # several may have one name: the groups of who is impersonated
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections; twice is once."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, call: Call) -> bytes:
        """Return the whole answer. Only so many are under way at once; streams are not counted."""
        answer = await self._patiently(call, streamed=False)
        assert isinstance(answer, bytes)
        return answer

    @contextlib.asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give an answer bit by bit. What goes wrong before its first bit is tried again as with other calls."""
        response = await self._patiently(call, streamed=True)
        assert isinstance(response, aiohttp.ClientResponse)
        try:
            yield self._pieces(response)
        finally:
            if response.connection is not None and response.connection.transport is not None:
                # Not with a word of TLS, for whose answer it would linger.
                response.connection.transport.abort()
            response.close()

    def _compare(self, said: str | None) -> None:
        """Compare clocks, by what an answer says of its time."""
        try:
            ahead = parsedate_to_datetime(said or "").timestamp() - time.time()
        except ValueError:
            return
        ahead = ahead if abs(ahead) > _BREATH_SECONDS else 0.0
        if ahead and not self.ahead_seconds:
            _log.warning("The clock of the cluster is %+.0f s from ours; times of pods are read by it", ahead)
        self.ahead_seconds = ahead

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for piece in response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(self._silent(error)) from None

    async def _patiently(self, call: Call, *, streamed: bool) -> bytes | aiohttp.ClientResponse:
        """Ask until there is an answer, at most for the seconds of a call."""
        rule = rule_of(call.verb, call.path)
        clock = asyncio.get_running_loop().time
        until = clock() + self._request_seconds
        pause = _FIRST_PAUSE_SECONDS
        refused: Proof | None = None
        trouble: Unanswered | None = None
        while True:
            proof = await self._access.proof(refused)
            sent = False
            try:
                # A place is held while something is under way, not in a pause: others may have better luck.
                place = contextlib.nullcontext() if streamed else self._places
                async with asyncio.timeout_at(None if call.waits else until), place:
                    sent = True
                    self.calls[rule] += 1
                    return await self._once(call, proof, streamed=streamed)
            except TimeoutError as late:
                sentence = str(trouble) if trouble is not None else self._silent(late)
                raise Unanswered(sentence, maybe_done=sent or (trouble is not None and trouble.maybe_done)) from None
            except Unauthorized:
                if refused is not None or await self._access.proof(proof) is proof:
                    raise
                refused = proof
                continue
            except Conflict as conflict:
                # Not of that name: two creates met at the quota of the namespace, and nothing was made.
                if isinstance(conflict, AlreadyExists) or call.verb != "create":
                    raise
                trouble = Unanswered(str(conflict))
            except Unanswered as unanswered:
                trouble = unanswered
            wait = max(pause, trouble.retry_after_seconds or 0.0) * random.uniform(1.0, 1.3)
            if (trouble.maybe_done and not call.again) or clock() + wait >= until:
                raise trouble
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _once(self, call: Call, proof: Proof, *, streamed: bool) -> bytes | aiohttp.ClientResponse:
        """Ask once. Returns the answer, or where it is to come bit by bit, what it comes from."""
        try:
            response = await self._send(call, proof)
            async with contextlib.AsyncExitStack() as opened:
                opened.callback(response.close)
                self._compare(response.headers.get("Date"))
                if response.status >= 300:
                    status = status_of(await response.read())
                    raise no(response.status, status, _seconds(response.headers.get("Retry-After"), status))
                answer = response if streamed else await response.read()
                opened.pop_all()
                return answer
        except aiohttp.ClientConnectorCertificateError as error:
            raise BackendUnavailable(self._silent(error)) from None  # no patience helps
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unanswered(self._silent(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(self._silent(error), maybe_done=True) from None
        except RuntimeError as error:
            # uvloop, of a socket with the number of one that broke a moment ago: it was not even connected.
            if _TAKEN not in str(error):
                raise
            raise Unanswered(self._silent(error)) from None

    async def _send(self, call: Call, proof: Proof) -> aiohttp.ClientResponse:
        if self._session is None:
            raise Unanswered("the connections to the API server of the cluster are closed")
        headers: dict[str, str] = {}
        if proof.token:
            headers["Authorization"] = f"Bearer {proof.token}"
        if call.data is not None:
            headers["Content-Type"] = call.content
        return await self._session.request(
            call.method,
            self._access.server + call.path,
            params={name: value for name, value in call.query.items() if value},
            data=call.data,
            headers=headers,
            ssl=proof.context or True,
            server_hostname=self._access.server_hostname,
            proxy=self._access.proxy,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=call.read_seconds),
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
            # The loop of asyncio says in other words that nobody listens.
            why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        else:
            broken = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError)
            why = "it closed the connection" if broken else type(error).__name__
        return f"the API server of the cluster ({self._access.server}) does not answer: {why}"


def _seconds(header: str | None, status: Status) -> float | None:
    """How long a server wants to be left alone."""
    if header is not None and header.isdecimal():
        return float(header)
    return float(status.details.retry_after_seconds) if status.details and status.details.retry_after_seconds else None


class Socket(socket.socket):
    """Is closed by whoever is told to, and not when it is swept up.

    A connection that breaks before TLS is agreed upon is closed by uvloop by its number, and the socket is not told: swept
    up later it would close whatever has that number by then, a database perhaps.
    """

    def __del__(self) -> None:
        """Leave the number alone."""


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket that finds out by itself that the other end is gone: who follows a log may hear nothing for hours."""
    family, kind, protocol, _, _ = address
    made = Socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
