"""HTTP/1.1 as values: a request to bytes, bytes to a response. No socket."""

from collections.abc import Callable
from dataclasses import dataclass, field

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tesk.errors import StrangeAnswer, Unreachable


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the server that the transport belongs to. `timeout_seconds`: longest silence before the answer.

    `heard` is given each piece of a good answer's body as it comes, which then has none.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    timeout_seconds: float = 60.0
    heard: Callable[[bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. Names of headers are lower case; of a repeated one the last counts."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom to connect to. `host` has no brackets."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """As `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def render(origin: Origin, request: Request) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {origin.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if request.body or request.method == "POST":
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body


@dataclass(slots=True)
class Reader:
    """Reads one response from bytes as they come."""

    origin: Origin
    heard: Callable[[bytes], None] | None = None
    most_bytes: int | None = None
    """Of all that comes; None: no bound."""
    done: bool = False
    reusable: bool = False
    """Whether the connection can carry another request."""
    _headers: dict[str, str] = field(default_factory=dict)
    _body: bytearray = field(default_factory=bytearray)
    _begun: bool = False
    _bytes: int = 0
    _parser: HttpResponseParser = field(init=False)

    def __post_init__(self) -> None:
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take more bytes; b"" is the end of the stream. Raises Unreachable where it ends too early."""
        self._bytes += len(data)
        if self.most_bytes is not None and self._bytes > self.most_bytes:
            raise StrangeAnswer(f"{self.origin} answered with more than {self.most_bytes} bytes")
        if data:
            try:
                self._parser.feed_data(data)
            except (HttpParserError, HttpParserUpgrade) as error:
                raise StrangeAnswer(f"{self.origin} does not speak HTTP/1.1: {error}") from error
        elif self._begun and not {"content-length", "transfer-encoding"} & self._headers.keys():
            self.done = True  # a body that ends with the connection
        else:
            raise Unreachable(f"{self.origin} broke the connection before it had answered", sent=True)

    @property
    def begun(self) -> bool:
        """Whether the head of the answer is there."""
        return self._begun

    def response(self) -> Response:
        """Return the whole answer, once `done`."""
        return Response(self._parser.get_status_code(), self._headers, bytes(self._body))

    # What the parser calls, by names that it has chosen.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Keep in mind that a status is there."""
        self._begun = True

    def on_body(self, data: bytes) -> None:
        """Keep a piece, or hand it on."""
        if self.heard is not None and self._parser.get_status_code() < 300:
            self.heard(data)
        else:
            self._body += data

    def on_message_complete(self) -> None:
        """Note the end, but for an interim answer (1xx)."""
        if self._parser.get_status_code() < 200:
            self._headers.clear()
            self._begun = False
            return
        self.done = True
        self.reusable = self._parser.should_keep_alive()
