"""A proxy of HTTP between us and the servers of the web: which hosts are called through it, and the way through."""

import re
import socket
from base64 import b64encode
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tesk.errors import TransferRefused
from tesk.settings import StorageSettings
from tesk.storage import address
from tesk.storage.answer import Answer
from tesk.storage.patience import Again
from tesk.storage.site import Place, Site

_URL = re.compile(r"(?i)http://(?:([^/?#@]*)@)?(\[[^\]/?#@]+\]|[^:/?#@\[\]\x00-\x20\x7f]+):(\d{1,5})/?")
_HERE = ("localhost", "*.localhost", "127.0.0.0/8", "::1")


class Proxy(NamedTuple):
    """`authorization` is the value of a header, or ""; `direct` names hosts that are called without it, as `Hosts` does."""

    url: str
    host: str
    port: int
    authorization: str
    direct: tuple[str, ...] = ()

    def leads_to(self, host: str) -> bool:
        """Say whether a host is called through it. This machine never is."""
        return address.Hosts(denied=(*_HERE, *self.direct)).refusal(host) is None

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy is told, and nobody else."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}

    def connect(self, site: Site, *, timeout_seconds: float) -> socket.socket:
        """Connect to the proxy, and where the server speaks TLS through it to the server.

        It is named by the settings, so it may be in a private network; the server's addresses are its own business.
        Raises TransferRefused, Again, OSError.
        """
        line = address.connect(self.host, self.port, private=True, timeout_seconds=timeout_seconds)
        if site.tls:
            try:
                self._tunnel(line, site)
            except BaseException:
                line.close()
                raise
        return line

    def _tunnel(self, line: socket.socket, site: Site) -> None:
        said = {"Host": site.authority, **self.headers}
        lines = [f"CONNECT {site.authority} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
        line.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = Answer(line, "CONNECT", Place(site, "", None))
        answer.begin()
        if answer.status == 200:
            return
        words = f"{site.host}: the proxy answers {answer.status} {answer.reason}".rstrip()
        if answer.status in {408, 425, 429} or answer.status >= 500:
            raise Again(words)
        raise TransferRefused(f"{words} (setting storage.http_proxy)")


def check_url(url: str, proxy: Proxy | None, *, private: bool, hosts: address.Hosts) -> str:
    """Check the server of a URL that a library calls by itself, as `address.check_url` does; return the proxy that it shall use."""
    host = urlsplit(url).hostname or ""
    if proxy is None or not proxy.leads_to(host):
        address.check_url(url, private=private, hosts=hosts)
        return ""
    address.check_name(host, private=private, hosts=hosts)
    return proxy.url


def proxy_of(settings: StorageSettings) -> Proxy | None:
    """Return the proxy of the settings, if they name one. Raises TransferRefused for what is none."""
    if not settings.http_proxy:
        return None
    found = _URL.fullmatch(settings.http_proxy)
    if found is None:
        raise TransferRefused("storage.http_proxy is no address of a proxy; write http://HOST:PORT")
    login = b64encode(unquote(found[1]).encode()).decode() if found[1] else ""
    return Proxy(
        settings.http_proxy,
        found[2].strip("[]").lower(),
        int(found[3]),
        f"Basic {login}" if login else "",
        settings.no_proxy,
    )
