"""One S3 bucket: where it is, how a request to it is signed, and what its answers mean."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from socket import gaierror, socket
from urllib.parse import quote

from tesk.errors import TransferFailed, TransferRefused
from tesk.storage.answer import Answer
from tesk.storage.objects.credentials import Credentials
from tesk.storage.objects.keys import quoted
from tesk.storage.objects.listing import complaint
from tesk.storage.objects.signature import NO_BODY, Request, signed
from tesk.storage.patience import Again
from tesk.storage.site import place_of
from tesk.storage.url import shown
from tesk.storage.wire import Wire

_ERROR_BYTES = 256 * 1024
_FINE = frozenset({200, 204, 206})
_AGAIN = frozenset(
    {
        "BadDigest",  # the file changed between reading it for the checksum and sending it, or the line garbled it
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "XAmzContentSHA256Mismatch",
    }
)


class Changed(Again):
    """The object is no longer what it was when its first bytes were read."""


class Bucket:
    """A bucket by its name. `endpoint` "": Amazon's for the region, which Amazon may correct."""

    def __init__(
        self, name: str, wire: Wire, credentials: Credentials, *, endpoint: str, region: str, virtual_host: bool
    ) -> None:
        self.name = name
        self._wire = wire
        self._credentials = credentials
        self._endpoint = endpoint
        self._region = region
        self._virtual_host = virtual_host
        self._where = self._find()

    @property
    def timeout_seconds(self) -> float:
        """The longest silence of the server."""
        return self._wire.timeout_seconds

    @property
    def is_private_line(self) -> bool:
        """Say whether TLS protects what is sent."""
        return not self._endpoint.lower().startswith("http:")

    def check_server(self) -> None:
        """Raise TransferRefused where it is at a server that must not be called. Calls nobody."""
        tls, host, _ = self._where
        self._wire.check_site(place_of(f"http{'s' * tls}://{host}").site)

    @contextlib.contextmanager
    def ask(
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        amz: Mapping[str, str] | None = None,
        body: bytes = b"",
        body_sha256: str = NO_BODY,
        send: Callable[[socket], None] | None = None,
        expects: bool = False,
    ) -> Iterator[Answer]:
        """Ask for an object, or with no `key` for the bucket. `amz` are headers of S3's own, in lower case.

        Raises TransferRefused, Again and OSError; what the answer says is for `check`.
        """
        tls, host, base = self._where
        path = base + quoted(key)
        asked = (
            "&".join(f"{name}={quote(value, safe='-._~')}" for name, value in sorted(query.items())) if query else ""
        )
        keys = self._credentials.keys()
        own: dict[str, str] = dict(amz or {})
        if keys is not None:
            named = host.removesuffix(f":{443 if tls else 80}")
            request = Request(method, named, path, asked, own, body_sha256)
            own = signed(request, keys, region=self._region, at=time.time())
        url = f"http{'s' * tls}://{host}{path}{'?' * bool(asked)}{asked}"
        try:
            with self._wire.ask(url, method, headers, own=own, body=body, send=send, expects=expects) as answer:
                yield answer
        except gaierror as error:
            if self._endpoint:
                raise
            # The first thing that goes wrong for who has an S3 of their own.
            raise Again(
                f"{host} cannot be looked up ({error.strerror}); if bucket {self.name} is at another server than Amazon's, "
                f"say so in storage.s3, an entry with bucket = '{self.name}' and its endpoint"
            ) from error

    def check(self, answer: Answer, url: str) -> None:
        """Raise unless the answer is fine: Again for what may pass by, TransferRefused or TransferFailed for the rest."""
        if answer.status in _FINE:
            return
        said = complaint(answer.said or answer.read_at_most(_ERROR_BYTES))
        region = answer.header("x-amz-bucket-region")
        if region and region != self._region and not self._endpoint and answer.status in {301, 400}:
            self._region = region
            self._where = self._find()
            raise Again(f"the bucket is in the region {region}", after_seconds=0.0)
        words = f"the server answers {answer.status} {answer.reason}".rstrip() + (f" ({said})" if said.code else "")
        if answer.status in {412, 416}:
            raise Changed(f"the object changed while it was read; {words}")
        if said.code in _AGAIN or answer.status in {408, 425, 429} or (answer.status >= 500 and answer.status != 501):
            after = answer.header("Retry-After")
            raise Again(words, float(after) if after.isdecimal() else None)
        if said.code == "NoSuchUpload":
            raise TransferFailed(f"{shown(url)}: the server no longer knows the upload; {words}")
        raise TransferRefused(f"{shown(url)}: {self._why(answer.status, said.code)}{words}")

    def _find(self) -> tuple[bool, str, str]:
        """Whether by TLS, at which host and port, and what comes before a key."""
        site, base, _ = place_of(self._endpoint or _amazon(self._region))
        base = base.rstrip("/")
        if self._virtual_host:
            return site.tls, f"{self.name}.{site.authority}", f"{base}/"
        return site.tls, site.authority, f"{base}/{self.name}/"

    def _why(self, status: int, code: str) -> str:
        if code == "NoSuchBucket":
            return f"there is no bucket {self.name}; "
        if status == 404:
            return "there is no such file; "
        if status in {401, 403} and self._credentials.keys() is None:
            return f"no credentials for s3 bucket {self.name}: set storage.s3, an entry with bucket = '{self.name}'; "
        if status in {401, 403}:
            return f"the credentials that storage.s3 has for bucket {self.name} do not allow it; "
        if status == 301:
            return f"the bucket {self.name} is elsewhere: set region or endpoint in storage.s3; "
        return ""


def _amazon(region: str) -> str:
    return f"https://s3.{region}.amazonaws.com{'.cn' * region.startswith('cn-')}"
