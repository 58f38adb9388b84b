"""The worlds of `http:` and `https:`: WebDAV, and a plain server that takes files and knows no folders."""

import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fakes import web, webdav
from fakes.worlds import World, planting, reading
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience


@contextlib.contextmanager
def over_webdav(folder: Path) -> Iterator[World]:
    with web.serve(webdav.over(folder)) as server, _scheme() as scheme:
        yield World(scheme, f"{server.url}/top", planting(folder / "top"), reading(folder / "top"))


@contextlib.contextmanager
def over_tls(folder: Path) -> Iterator[World]:
    served = folder / "served"
    served.mkdir()
    server_side, trusting = certificate(folder)
    with web.serve(webdav.over(served), tls=server_side) as server, _scheme(trusting) as scheme:
        yield World(scheme, f"{server.url}/top", planting(served / "top"), reading(served / "top"))


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[World]:
    with web.serve(webdav.over(folder, webdav.NoFolders)) as server, _scheme() as scheme:
        yield World(scheme, server.url, planting(folder), reading(folder), folders=False, lists=False)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for 127.0.0.1; return what serves with it, and what trusts it (`both.pem` in the folder)."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, ssl.create_default_context(cafile=str(both))


@contextlib.contextmanager
def _scheme(context: ssl.SSLContext | None = None) -> Iterator[HttpScheme]:
    scheme = HttpScheme(private=True, patience=Patience(1), timeout_seconds=20, context=context)
    try:
        yield scheme
    finally:
        scheme.close()
