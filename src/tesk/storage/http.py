"""`http://` and `https://`: files of web servers, in."""

import ssl
from collections.abc import Iterator
from typing import ClassVar, NoReturn

from tesk.errors import TransferRefused
from tesk.settings import HttpCredential, StorageSettings
from tesk.storage.address import EVERYWHERE, Hosts
from tesk.storage.download import download
from tesk.storage.patience import Patience
from tesk.storage.scheme import Advance, Arrived, Entry
from tesk.storage.url import shown
from tesk.storage.wire import Wire, authorization, check
from tesk.tes.task import FileType


def for_caller(settings: StorageSettings, caller: str) -> "HttpScheme":
    """Build the scheme that `caller` gets."""
    return HttpScheme(
        tuple(known for known in settings.http if not known.callers or caller in known.callers),
        patience=Patience(settings.tries),
        connections_per_host=settings.connections_per_host,
        timeout_seconds=settings.timeout_seconds,
        private=settings.private_addresses is True,
        hosts=Hosts(settings.hosts_allowed, settings.hosts_denied),
    )


class HttpScheme:
    """Files of web servers. `credentials` are the caller's own; `private`: loopback and private networks may be called.

    A silence of `timeout_seconds` is a broken line.
    """

    has_folders: ClassVar[bool] = False

    def __init__(
        self,
        credentials: tuple[HttpCredential, ...] = (),
        *,
        patience: Patience | None = None,
        connections_per_host: int = 8,
        timeout_seconds: float = 60.0,
        private: bool = False,
        hosts: Hosts = EVERYWHERE,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._wire = Wire(
            {one.host: authorization(user=one.user, password=one.password, token=one.token) for one in credentials},
            connections_per_host=connections_per_host,
            timeout_seconds=timeout_seconds,
            private=private,
            hosts=hosts,
            context=context,
        )

    def close(self) -> None:
        """Close the connections that wait for more work."""
        self._wire.close()

    def stat(self, url: str) -> Entry | None:
        def look() -> Entry | None:
            with self._wire.ask(url, "HEAD") as answer:
                check(answer, url, fine=frozenset({200, 404, 410}))
                if answer.status != 200:
                    return None
                length = answer.header("Content-Length")
                size = int(length) if length.isdecimal() else None
                return Entry(url=url, name="", type=FileType.FILE, size_bytes=size)

        return self._patience.act(url, look)

    def list(self, url: str) -> Iterator[Entry]:
        raise TransferRefused(f"{shown(url)}: HTTP has no folders; name each file as an input of its own")

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        return Arrived(size_bytes=download(self._wire, self._patience, url, target, advance))

    def put(self, source: int, url: str, advance: Advance) -> NoReturn:  # noqa: ARG002  names of the Protocol
        raise TransferRefused(f"{shown(url)}: this version brings data in over HTTP, but cannot store outputs there")

    def make_directory(self, url: str) -> None:
        raise TransferRefused(f"{shown(url)}: HTTP has no folders")
