"""The lines to FTP servers: kept for the next file, so many for each host, each with the login of its URL or of the settings."""

import ftplib
import ssl
import threading
from collections.abc import Callable
from typing import TypeVar

from tesk.settings import FtpCredential
from tesk.storage import address
from tesk.storage.ftp.line import Line
from tesk.storage.ftp.place import Place, Site, wire

T = TypeVar("T")


class _Host:
    """The lines to one host: those that wait for work, by their login, and how many more may be in use."""

    def __init__(self, most: int) -> None:
        self.free = threading.Semaphore(most)
        self.busy = 0
        self.idle: list[tuple[Site, tuple[str, str], Line]] = []


class Lines:
    """Gives each piece of work a line of its own, of a bounded number to each host."""

    def __init__(
        self,
        credentials: tuple[FtpCredential, ...],
        *,
        connections_per_host: int,
        timeout_seconds: float,
        private: bool,
        hosts: address.Hosts,
        context: ssl.SSLContext | None,
    ) -> None:
        self._credentials = {credential.host.lower(): credential for credential in credentials}
        self._most = connections_per_host
        self._timeout_seconds = timeout_seconds
        self._private = private
        self._allowed = hosts
        self._context = context
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the lines that wait for more work."""
        with self._lock:
            for host in self._hosts.values():
                for *_, line in host.idle:
                    line.close()
                host.idle.clear()

    def check_site(self, site: Site) -> None:
        """Raise TransferRefused for a server that must not be called, as far as its name tells."""
        address.check_name(site.host, private=self._private, hosts=self._allowed)

    def act(self, place: Place, act: Callable[[Line], T]) -> T:
        """Act on a line to a place's server, one of a bounded number, which is kept where nothing is left open on it."""
        login = self._login(place)
        with self._lock:
            host = self._hosts.setdefault(place.site.host, _Host(self._most))
        with host.free:
            with self._lock:
                host.busy += 1
            line, keep = None, False
            try:
                line = self._line(host, place.site, login)
                try:
                    answer = act(line)
                except ftplib.error_perm:
                    keep = True
                    raise
                keep = True
                return answer
            finally:
                with self._lock:
                    host.busy -= 1
                    keep = keep and line is not None and not line.away
                    if line is not None and keep:
                        host.idle.append((place.site, login, line))
                if line is not None and not keep:
                    line.close()

    def _line(self, host: _Host, site: Site, login: tuple[str, str]) -> Line:
        """A line that waits for work, or a new one in place of one that waits for other work."""
        while True:
            with self._lock:
                found = next((one for one in reversed(host.idle) if one[:2] == (site, login)), None)
                if found is not None:
                    host.idle.remove(found)
                elif host.idle and len(host.idle) + host.busy > self._most:
                    host.idle.pop(0)[2].close()
            if found is None:
                return self._open(site, *login)
            if not found[2].unasked:
                return found[2]
            found[2].close()

    def _open(self, site: Site, user: str, password: str) -> Line:
        control = address.connect(
            site.host, site.port, private=self._private, timeout_seconds=self._timeout_seconds, hosts=self._allowed
        )
        line = Line(control, site, private=self._private, timeout_seconds=self._timeout_seconds)
        try:
            if site.tls:
                with self._lock:
                    self._context = self._context or ssl.create_default_context()
            line.open(user, password, self._context if site.tls else None)
        except BaseException:
            line.close()
            control.close()
            raise
        return line

    def _login(self, place: Place) -> tuple[str, str]:
        """User and password, as they go over the line."""
        user, password = place.user or "anonymous", place.password
        if place.user is None:
            known = self._credentials.get(place.site.authority) or self._credentials.get(place.site.host)
            if known is not None:
                user, password = known.user, known.password
        return wire(user, f"ftp://{place.site.authority}"), wire(password, f"ftp://{place.site.authority}")
