"""`http://` and `https://`, in only: resumed when the line breaks, tried again with patience, moved by the kernel where it can be."""

import contextlib
import email.utils
import errno
import fcntl
import http.client
import itertools
import os
import random
import re
import select
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote, unquote, urljoin

from tesk import __version__
from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import HttpCredential, StorageSettings
from tesk.storage import address
from tesk.storage.scheme import Advance, Arrived, Entry
from tesk.storage.url import shown
from tesk.tes.task import FileType

T = TypeVar("T")

_REDIRECTS_MAX = 10
_WAIT_MAX_SECONDS = 60.0
_RETRY_AFTER_MAX_SECONDS = 300.0
_PIPE_BYTES = 1024 * 1024
_PROGRESS_BYTES = 1024 * 1024
"""After so many new bytes a broken line counts as the first one again: a long download over a poor line ends at last."""
_SAFE = "%/:=&?~+!$,;'@()*[]|"
_URL = re.compile(
    r"(?i)(https?)://(?:([^/?#]*)@)?(\[[^\]/?#@]+\]|[^:/?#@\[\]\x00-\x20\x7f]+)(?::(\d{1,5}))?([/?][^#]*)?(?:#.*)?",
    re.DOTALL,
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HELP = {
    401: "it wants credentials (setting storage.http)",
    403: "it does not let us have this; other credentials may help (setting storage.http)",
    404: "it has no such file",
    410: "it no longer has this file",
}


class Site(NamedTuple):
    """One server, as connections are kept for it."""

    tls: bool
    host: str
    port: int


class Place(NamedTuple):
    """A URL taken apart: what is asked of which server."""

    site: Site
    target: str
    userinfo: str | None


class _Again(Exception):  # noqa: N818  a word between two loops, no error that anybody sees
    """One try failed in a way that another may not. `after_seconds`: what the server asked for."""

    def __init__(self, reason: str, after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


class _Download:
    """How far one file is, over all tries. `validator` is what If-Range takes, so that two versions are never mixed."""

    def __init__(self, target: int, advance: Advance) -> None:
        self.target = target
        self.advance = advance
        self.done = 0
        self.validator: str | None = None

    def moved(self, count: int) -> None:
        self.done += count
        self.advance(count)

    def restart(self) -> None:
        os.ftruncate(self.target, 0)
        self.done = 0


def for_caller(settings: StorageSettings, caller: str) -> "HttpScheme":
    """Build the scheme that `caller` gets."""
    return HttpScheme(
        tuple(known for known in settings.http if not known.callers or caller in known.callers),
        tries=settings.tries,
        timeout_seconds=settings.timeout_seconds,
        private=settings.private_addresses is True,
    )


class HttpScheme:
    """Files of web servers. `credentials` are the caller's own; `private`: loopback and private networks may be called.

    A silence of `timeout_seconds` is a broken line. `wait` sleeps between tries.
    """

    has_folders: ClassVar[bool] = False

    def __init__(
        self,
        credentials: tuple[HttpCredential, ...] = (),
        *,
        tries: int = 5,
        timeout_seconds: float = 60.0,
        private: bool = False,
        context: ssl.SSLContext | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._credentials = {credential.host.lower(): credential for credential in credentials}
        self._tries = tries
        self._timeout_seconds = timeout_seconds
        self._private = private
        self._context = context
        self._wait = wait
        self._idle: dict[tuple[Site, bool], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections that wait for more work."""
        with self._lock:
            for connection in itertools.chain(*self._idle.values()):
                connection.close()
            self._idle.clear()

    def stat(self, url: str) -> Entry | None:
        def look() -> Entry | None:
            with self._answer(url, "HEAD", {}) as (answer, _):
                if answer.status in {404, 410}:
                    return None
                _check(answer, url)
                answer.read()
                length = answer.getheader("Content-Length", "")
                return Entry(
                    url=url, name="", type=FileType.FILE, size_bytes=int(length) if length.isdecimal() else None
                )

        return self._patiently(url, look, lambda: 0)

    def list(self, url: str) -> Iterator[Entry]:
        raise TransferRefused(f"{shown(url)}: HTTP has no folders; name each file as an input of its own")

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        download = _Download(target, advance)
        self._patiently(url, lambda: self._continue(url, download), lambda: download.done)
        return Arrived(size_bytes=download.done)

    def put(self, source: int, url: str, advance: Advance) -> NoReturn:  # noqa: ARG002  names of the Protocol
        raise TransferRefused(f"{shown(url)}: this version brings data in over HTTP, but cannot store outputs there")

    def make_directory(self, url: str) -> None:
        raise TransferRefused(f"{shown(url)}: HTTP has no folders")

    def _patiently(self, url: str, act: Callable[[], T], done: Callable[[], int]) -> T:
        """Act until it works, or fails for good, or has failed too often."""
        failures = best = 0
        began = time.monotonic()
        while True:
            after_seconds = None
            try:
                return act()
            except _Again as again:
                reason, after_seconds = str(again), again.after_seconds
            except ssl.SSLCertVerificationError as error:
                raise TransferRefused(
                    f"{shown(url)}: its certificate is not trusted here ({error.verify_message})"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise TransferFailed(f"{shown(url)}: the disk is full here ({error.strerror})") from error
                reason = _words(error)
            if done() >= best + _PROGRESS_BYTES:
                best, failures = done(), 0
            failures += 1
            if failures >= self._tries:
                tried = f"tried {failures} times in {time.monotonic() - began:.0f} s"
                raise TransferFailed(
                    f"{shown(url)}: {reason}; {tried}. Is the server up, and can this machine reach it?"
                )
            # Full jitter: many tasks that lose the same server do not come back to it in step.
            jittered = random.uniform(0, min(_WAIT_MAX_SECONDS, 0.5 * 2**failures))
            self._wait(
                jittered if after_seconds is None else min(after_seconds, _RETRY_AFTER_MAX_SECONDS) + jittered / 10
            )

    def _continue(self, url: str, download: _Download) -> None:
        """One try at what is still missing of a file."""
        headers = {}
        if download.done and download.validator:
            headers = {"Range": f"bytes={download.done}-", "If-Range": download.validator}
        with self._answer(url, "GET", headers) as (answer, line):
            if answer.status == 416 and download.done:
                download.restart()
                raise _Again("the file became shorter while it was read")
            _check(answer, url)
            total: int | None = None
            if answer.status == 206:
                part = _CONTENT_RANGE.match(answer.getheader("Content-Range", ""))
                if part is None or int(part[1]) != download.done:
                    download.restart()
                    raise _Again("the server sent another part than was asked for")
                total = int(part[2]) if part[2] != "*" else None
            elif download.done:
                download.restart()
            tag = answer.getheader("ETag", "")
            download.validator = tag if tag.startswith('"') else answer.getheader("Last-Modified")
            if total is None and answer.length is not None:
                total = download.done + answer.length
            os.lseek(download.target, download.done, os.SEEK_SET)
            if answer.length is not None and not isinstance(line, ssl.SSLSocket):
                _splice(answer, line, download, self._timeout_seconds)
            else:
                _read(answer, download)
            if total is not None and download.done != total:
                raise _Again(f"the line broke after {download.done} of {total} bytes")

    @contextlib.contextmanager
    def _answer(
        self, url: str, method: str, headers: dict[str, str]
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """Ask, through redirects, and give the answer with its connection, which is kept if the answer was read whole."""
        place = _place(url)
        first, authorization = place.site, self._authorization(place)
        sent = {"User-Agent": f"tesk/{__version__}", "Accept-Encoding": "identity", **headers}
        private = self._private
        for _ in range(_REDIRECTS_MAX + 1):
            # Credentials are for the server that the URL names, not for one that it points to.
            known = {"Authorization": authorization} if authorization and place.site == first else {}
            connection = self._connection(place.site, private)
            kept = False
            try:
                connection.request(method, place.target, headers={**sent, **known})
                line = connection.sock
                peer = line.getpeername()[0]
                answer = connection.getresponse()
                onward = answer.getheader("Location")
                if answer.status not in _REDIRECTS or onward is None:
                    yield answer, line
                    if answer.isclosed() and not answer.will_close:
                        with self._lock:
                            self._idle.setdefault((place.site, private), []).append(connection)
                        kept = True
                    return
                private = private and address.may_lead_to_private(peer)
            finally:
                if not kept:
                    connection.close()
            here = f"http{'s' * place.site.tls}://{_authority(place.site)}{place.target}"
            place = _place(urljoin(here, quote(onward, safe=_SAFE + "#", encoding="latin-1")))
            if first.tls and not place.site.tls:
                raise TransferRefused(f"{shown(url)}: is redirected from https to http, which nobody could trust")
        raise TransferRefused(f"{shown(url)}: is redirected more than {_REDIRECTS_MAX} times")

    def _connection(self, site: Site, private: bool) -> http.client.HTTPConnection:
        """A connection that waits for work, or a new one."""
        while True:
            with self._lock:
                idle = self._idle.get((site, private))
                connection = idle.pop() if idle else None
            if connection is None:
                return _Connection(site, lambda site: self._connect(site, private))
            if not _readable(connection.sock, 0):
                return connection
            connection.close()  # what waits to be read is its end

    def _connect(self, site: Site, private: bool) -> socket.socket:
        line = address.connect(site.host, site.port, private=private, timeout_seconds=self._timeout_seconds)
        if not site.tls:
            return line
        try:
            with self._lock:
                self._context = self._context or ssl.create_default_context()
            return self._context.wrap_socket(line, server_hostname=site.host)
        except OSError:
            line.close()
            raise

    def _authorization(self, place: Place) -> str | None:
        if place.userinfo is not None:
            return _basic(unquote(place.userinfo))
        known = self._credentials.get(_authority(place.site)) or self._credentials.get(place.site.host)
        if known is None:
            return None
        return f"Bearer {known.token}" if known.token else _basic(f"{known.user}:{known.password}")


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a line that somebody else opens (who checks whom it may call)."""

    def __init__(self, site: Site, connect: Callable[[Site], socket.socket]) -> None:
        super().__init__(site.host, site.port)
        self.default_port = 443 if site.tls else 80
        self._site = site
        self._open_line = connect

    def connect(self) -> None:
        self.sock = self._open_line(self._site)


def _splice(answer: http.client.HTTPResponse, line: socket.socket, download: _Download, timeout_seconds: float) -> None:
    """Move a body of known length from the socket to the file inside the kernel, through a pipe."""
    left = answer.length or 0
    if left:
        early = answer.read1(_PIPE_BYTES)  # what came with the headers lies in Python's buffer; this empties it
        _write(download.target, early)
        download.moved(len(early))
        left -= len(early)
    out, into = os.pipe2(os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a user may have too many large pipes
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        while left:
            try:
                count = os.splice(line.fileno(), into, min(left, _PIPE_BYTES))
            except BlockingIOError:
                if not _readable(line, timeout_seconds):
                    raise _Again(f"the server was silent for {timeout_seconds:.0f} s") from None
                continue
            if count == 0:
                return
            waiting = count
            while waiting:
                waiting -= os.splice(out, download.target, waiting)
            left -= count
            download.moved(count)
    finally:
        os.close(out)
        os.close(into)
    answer.close()


def _read(answer: http.client.HTTPResponse, download: _Download) -> None:
    buffer = memoryview(bytearray(_PIPE_BYTES))
    while count := answer.readinto(buffer):
        _write(download.target, buffer[:count])
        download.moved(count)


def _write(target: int, data: bytes | memoryview) -> None:
    written = 0
    while written < len(data):
        written += os.write(target, data[written:])


def _readable(line: socket.socket, timeout_seconds: float) -> bool:
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(timeout_seconds * 1000))


def _check(answer: http.client.HTTPResponse, url: str) -> None:
    """Raise unless the answer holds (a part of) the file."""
    if answer.status in {200, 206}:
        return
    said = f"the server answers {answer.status} {answer.reason}".rstrip()
    if answer.status in {408, 425, 429} or answer.status >= 500:
        raise _Again(said, _after_seconds(answer.getheader("Retry-After", "")))
    raise TransferRefused(": ".join(filter(None, (shown(url), said, _HELP.get(answer.status)))))


def _after_seconds(text: str) -> float | None:
    """RFC 9110, 10.2.3: seconds, or a date."""
    try:
        if text.isdigit():
            return float(text)
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _place(url: str) -> Place:
    parts = _URL.fullmatch(url)
    if parts is None or int(parts[4] or 0) > 65535:
        raise TransferRefused(f"{shown(url)}: is no proper http URL")
    host = parts[3].strip("[]").lower()
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise TransferRefused(f"{shown(url)}: is no proper http URL (no host can have this name)") from error
    tls = parts[1].lower() == "https"
    target = parts[5] or "/"
    if target.startswith("?"):
        target = "/" + target
    site = Site(tls, host, int(parts[4] or (443 if tls else 80)))
    return Place(site, quote(target, safe=_SAFE, errors="surrogateescape"), parts[2])


def _authority(site: Site) -> str:
    return f"[{site.host}]:{site.port}" if ":" in site.host else f"{site.host}:{site.port}"


def _basic(pair: str) -> str:
    return f"Basic {b64encode(pair.encode()).decode()}"


def _words(error: OSError | http.client.HTTPException) -> str:
    match error:
        case socket.gaierror():
            return f"its host name cannot be looked up ({error.strerror})"
        case TimeoutError():
            return "the server is silent"
        case http.client.IncompleteRead() | http.client.RemoteDisconnected() | ConnectionResetError():
            return "the line broke"
        case OSError():
            return error.strerror or str(error)
        case _:
            return f"the server does not speak HTTP as it should ({type(error).__name__})"
