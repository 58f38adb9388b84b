"""The worlds of `ftp:` and `ftps:`: pyftpdlib, in the open and with TLS asked for on both connections."""

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

from fakes import ftp_server
from fakes.worlds import World, planting, reading
from fakes.worlds_web import certificate
from tesk.settings import FtpCredential
from tesk.storage.ftp.scheme import FtpScheme
from tesk.storage.patience import Patience


@contextlib.contextmanager
def in_the_open(folder: Path) -> Iterator[World]:
    with ftp_server.serve(folder) as server, scheme() as made:
        yield World(made, f"ftp{server.url}", planting(folder), reading(folder), lines_in_names=False)


@contextlib.contextmanager
def over_tls(folder: Path) -> Iterator[World]:
    keys, served = folder / "keys", folder / "served"
    keys.mkdir()
    served.mkdir()
    _, trusting = certificate(keys)
    with ftp_server.serve(served, certificate=keys / "both.pem") as server, scheme(context=trusting) as made:
        yield World(made, f"ftps{server.url}", planting(served), reading(served), lines_in_names=False)


@contextlib.contextmanager
def scheme(
    *, context: ssl.SSLContext | None = None, tries: int = 1, timeout_seconds: float = 20.0
) -> Iterator[FtpScheme]:
    """A scheme that logs in as the one who may write."""
    known = FtpCredential(host="127.0.0.1", user=ftp_server.USER, password=ftp_server.PASSWORD)
    patience = Patience(tries, wait=lambda seconds, advance: None)
    made = FtpScheme((known,), private=True, patience=patience, context=context, timeout_seconds=timeout_seconds)
    try:
        yield made
    finally:
        made.close()
