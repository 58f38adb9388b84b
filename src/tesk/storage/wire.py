"""Talk HTTP with the servers that may be called: connections, redirects, credentials, TLS. It knows no files and tries once.

Who speaks HTTP makes one `Wire` for one caller, closes it at the end, and asks through it, from any thread:

    wire = Wire({"example.org": authorization(token="...")}, connections_per_host=8, timeout_seconds=60, private=False)
    with wire.ask("https://example.org/x", "GET", {"Accept": "application/json"}) as answer:
        check(answer, url)                  # TransferRefused or Again for what is no success
        document = answer.read_at_most(1 << 20)

- A connection is kept for the next request if the answer was read to its end (the short body of a refusal is read for
  you). `connections_per_host` bounds those in use and those kept, together. A thread that has one may not ask for a second
  one to the same host: it might wait for ever.
- Credentials go to the host (and port, where the key names one) that the URL itself names, and nowhere that it leads to;
  user and password in the URL win over those of the settings. `own` headers are treated likewise.
- Redirects are followed with the method as it is, never from https to http, and from a public server to a public one only.
- Raises TransferRefused for what nobody should try again; lets `Again` and OSError out for `Patience`.
"""

import contextlib
import select
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import unquote

from tesk import __version__
from tesk.errors import TransferFailed, TransferRefused
from tesk.storage import address
from tesk.storage.answer import Answer
from tesk.storage.patience import Again
from tesk.storage.proxy import Proxy
from tesk.storage.site import Place, Site, onward, place_of
from tesk.storage.url import shown

_REDIRECTS_MAX = 10
_SMALL_BYTES = 64 * 1024
_EXPECT_SECONDS = 1.0
"""So long a server may take to say that it wants a body; many never say it."""
_HANG_UP_SECONDS = 0.5
_BARE = frozenset({"HEAD", "PUT", "DELETE", "MKCOL"})
"""What is answered by a status; a body is for people."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HELP = {
    401: "it wants credentials (setting storage.http, host = '{}')",
    403: "it does not let us have this; other credentials may help (setting storage.http)",
    404: "it has no such file",
    407: "the proxy wants user and password (setting storage.http_proxy)",
    410: "it no longer has this file",
}


class _Host:
    """The connections to one host: how many more there may be, and those that wait for work."""

    def __init__(self, most: int) -> None:
        self.free = threading.Semaphore(most)
        self.busy = 0
        self.idle: list[tuple[Site, bool, socket.socket]] = []


class Wire:
    """HTTP for one caller. `authorizations`: header values by `https://host:port`, `host:port` or `host`, whatever its port.

    `private`, `hosts`: see `address`. `proxy`: hosts that it leads to are known by their names alone.

    A silence of `timeout_seconds` is a TimeoutError.
    """

    def __init__(
        self,
        authorizations: Mapping[str, str] | None = None,
        *,
        connections_per_host: int = 8,
        timeout_seconds: float = 60.0,
        private: bool = False,
        hosts: address.Hosts = address.EVERYWHERE,
        context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._authorizations = {host.lower(): value for host, value in (authorizations or {}).items()}
        self._private = private
        self._allowed = hosts
        self._context = context
        self._proxy = proxy
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()
        self.connections_per_host = connections_per_host
        self.timeout_seconds = timeout_seconds

    def close(self) -> None:
        """Close the connections that wait for more work."""
        with self._lock:
            for host in self._hosts.values():
                for _, _, line in host.idle:
                    line.close()
                host.idle.clear()

    def check_site(self, site: Site) -> None:
        """Raise TransferRefused for a server that must not be called, as far as its name tells."""
        address.check_name(site.host, private=self._private, hosts=self._allowed)

    @contextlib.contextmanager
    def ask(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        *,
        own: Mapping[str, str] | None = None,
        body: bytes = b"",
        send: Callable[[socket.socket], None] | None = None,
        expects: bool = False,
        at_once: bool = False,
        onward_too: bool = True,
    ) -> Iterator[Answer]:
        """Ask, through redirects, and give the answer.

        `own` headers go to the URL's own server only. `body` is sent with its length; `send` writes a body of the length
        that `headers` name; after a redirect it is called again, to begin anew. `expects`: `headers` ask whether it is
        wanted (Expect: 100-continue). `at_once`: raise Again where all connections that there may be are in use.
        `onward_too` False: what is sent is for this server alone, so it may not send us elsewhere.
        """
        place = place_of(url)
        first, secret = place.site, dict(own or {})
        known_here = self._authorization(place)
        if known_here is not None:
            secret.setdefault("Authorization", known_here)
        sent = {"User-Agent": f"tesk/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
        if body:
            sent["Content-Length"] = str(len(body))
        private = self._private
        for _ in range(_REDIRECTS_MAX + 1):
            # Credentials are for the server that the URL names, not for one that it points to.
            known = {**sent, **secret} if place.site == first else sent
            proxy = self._through(place.site)
            if proxy is not None and not place.site.tls:  # the proxy reads it, and is told of which server it is
                head = _head(method, place._replace(target=place.url), {**known, **proxy.headers}, url)
            else:
                head = _head(method, place, known, url)
            with self._host(place.site.host, at_once=at_once) as host:
                kept_as = (place.site, private)
                line = self._line(host, place.site, private)
                answer, whole = Answer(line, method, place), False
                try:
                    whole = _exchange(answer, head + body, send, expects=expects)
                    leads = answer.header("Location") if answer.status in _REDIRECTS else ""
                    bare = answer.status >= 300 or method in _BARE
                    if bare and answer.length is not None and answer.length < _SMALL_BYTES:
                        answer.said = answer.read_at_most(_SMALL_BYTES)  # now the connection can be used again
                    if leads:
                        private = private and not self.is_public(answer)
                    else:
                        yield answer
                finally:
                    if whole and answer.clean:
                        with self._lock:
                            host.idle.append((*kept_as, line))
                    else:
                        line.close()
            if not leads:
                return
            if answer.status == 303 and method not in {"GET", "HEAD"}:
                raise TransferRefused(f"{shown(url)}: the server answers {method} with a page to look at (303)")
            if not onward_too:
                raise TransferRefused(f"{shown(url)}: the server sends us elsewhere with what is for it alone")
            was_tls = place.site.tls
            place = onward(place, leads)
            if was_tls and not place.site.tls:
                raise TransferRefused(f"{shown(url)}: is redirected from https to http, which nobody could trust")
        raise TransferRefused(f"{shown(url)}: is redirected more than {_REDIRECTS_MAX} times")

    @contextlib.contextmanager
    def _host(self, name: str, *, at_once: bool) -> Iterator[_Host]:
        """Wait until one more connection to this host may be used."""
        with self._lock:
            host = self._hosts.setdefault(name, _Host(self.connections_per_host))
        if not host.free.acquire(blocking=not at_once):
            raise Again("all connections to this host are in use")
        with self._lock:
            host.busy += 1
        try:
            yield host
        finally:
            with self._lock:
                host.busy -= 1
            host.free.release()

    def _line(self, host: _Host, site: Site, private: bool) -> socket.socket:
        """A connection that waits for work, or a new one in place of one that waits for other work."""
        while True:
            with self._lock:
                found = next((one for one in reversed(host.idle) if one[:2] == (site, private)), None)
                if found is not None:
                    host.idle.remove(found)
                elif host.idle and len(host.idle) + host.busy > self.connections_per_host:
                    host.idle.pop(0)[2].close()
            if found is None:
                return self._connect(site, private)
            if not readable(found[2], 0):
                return found[2]
            found[2].close()  # what waits to be read is its end

    def is_public(self, answer: Answer) -> bool:
        """Say whether who answers is no neighbour of ours, and so may not send us to one."""
        through = self._through(answer.place.site)
        return through is not None or not address.may_lead_to_private(answer.line.getpeername()[0])

    def _through(self, site: Site) -> Proxy | None:
        return self._proxy if self._proxy is not None and self._proxy.leads_to(site.host) else None

    def _connect(self, site: Site, private: bool) -> socket.socket:
        proxy = self._through(site)
        if proxy is not None:
            address.check_name(site.host, private=private, hosts=self._allowed)
            line = proxy.connect(site, timeout_seconds=self.timeout_seconds)
        else:
            line = address.connect(
                site.host, site.port, private=private, timeout_seconds=self.timeout_seconds, hosts=self._allowed
            )
        if not site.tls:
            return line
        try:
            with self._lock:
                self._context = self._context or ssl.create_default_context()
                # Some Pythons take any end of a line for one that the server has made.
                self._context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
            # RFC 9112, 9.8: where only its end says how long a body is, an end that anybody between could make is none.
            return self._context.wrap_socket(line, server_hostname=site.host, suppress_ragged_eofs=False)
        except OSError:
            line.close()
            raise

    def _authorization(self, place: Place) -> str | None:
        if place.userinfo is not None:
            user, _, password = unquote(place.userinfo).partition(":")
            return authorization(user=user, password=password)
        site = place.site
        found = (self._authorizations.get(name) for name in (site.origin, site.authority, site.host))
        return next(filter(None, found), None)


def authorization(*, user: str = "", password: str = "", token: str = "") -> str:
    """Return the value of an Authorization header: Bearer where there is a token, else Basic."""
    return f"Bearer {token}" if token else f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def check(
    answer: Answer, url: str, *, fine: frozenset[int] = frozenset({200, 206}), words: Mapping[int, str] = _HELP
) -> None:
    """Raise unless the status is fine: Again for what may pass by, TransferRefused (in `words`) for the rest."""
    if answer.status in fine:
        return
    said = f"the server answers {answer.status} {answer.reason}".rstrip()
    if answer.status in {408, 425, 429} or (answer.status >= 500 and answer.status not in {501, 505, 507}):
        raise Again(said, _after_seconds(answer.header("Retry-After")))
    help_ = words.get(answer.status, "").format(answer.place.site.entry)
    message = ": ".join(filter(None, (shown(url), said, help_)))
    raise TransferFailed(message) if answer.status == 507 else TransferRefused(message)


def readable(line: socket.socket, timeout_seconds: float) -> bool:
    """Say whether there is something to read (or the end) within a time."""
    if isinstance(line, ssl.SSLSocket) and line.pending():
        return True
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(timeout_seconds * 1000))


def hang_up(line: socket.socket) -> None:
    """Say that no more comes, and give the server a moment to see to it: what is asked next shall not overtake that."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(line, socket.SHUT_WR)  # that of TLS would say nothing to a server that is in a request
        readable(line, _HANG_UP_SECONDS)


def _head(method: str, place: Place, headers: Mapping[str, str], url: str) -> bytes:
    host = place.site.authority
    if place.site.port == (443 if place.site.tls else 80):
        host = host.rpartition(":")[0]
    lines = [f"{method} {place.target} HTTP/1.1", f"Host: {host}", *(f"{name}: {headers[name]}" for name in headers)]
    if any("\r" in line or "\n" in line for line in lines):
        raise TransferRefused(f"{shown(url)}: a header for it has more than one line")
    try:
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    except UnicodeEncodeError as error:
        raise TransferRefused(f"{shown(url)}: a header for it has letters that HTTP does not know") from error


def _exchange(answer: Answer, head: bytes, send: Callable[[socket.socket], None] | None, *, expects: bool) -> bool:
    """Send a request, its body only if the server does not decline it first, and begin its answer; say whether all was sent."""
    answer.line.sendall(head)
    whole = True
    if send is not None:
        if expects and readable(answer.line, _EXPECT_SECONDS):
            # An answer to the head alone. `begin` below passes over the one that says "go on".
            whole = answer.goes_on()
        if whole:
            try:
                send(answer.line)
            except OSError:
                # A server that has seen enough says why and hangs up: what it says is of more use than that it did.
                if not readable(answer.line, 0):
                    raise
                whole = False
    answer.begin()
    return whole


def _after_seconds(text: str) -> float | None:
    """RFC 9110, 10.2.3: seconds, or a date, which all servers write in one way."""
    try:
        if text.isdigit():
            return float(text)
        until = datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        return max(0.0, until.timestamp() - time.time())
    except ValueError:
        return None
