"""Bind the addresses of a host, and serve an application there until told to end."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from tesk.errors import StartError
from tesk.http.protocol import Protocol

_LOOK_TICKS = 50
"""How often connections are looked at, in uvicorn's tenths of a second."""
_BACKLOG = 4096


def listen(host: str, port: int, *, setting: str, strangers: str) -> list[socket.socket]:
    """Bind every address of a host, or raise StartError with what helps. Port 0 takes a free one, the same for all.

    `setting` names the host in the settings. `strangers` says what lets others than programs of this machine in, where nothing does
    yet; "" where they may come.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise StartError(f"{setting}: {host} has no address: {said}") from error
    strange = [where[0] for *_, where in found if strangers and not is_loopback(where[0])]
    if strange:
        raise StartError(
            f"Without authentication only a loopback address is served, and {strange[0]} is none: {strangers}"
        )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, (address, *rest) in found:
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # With port 0 the first address takes a free one; the others are to have the same.
            listening.bind((address, port or sockets[0].getsockname()[1], *rest[1:]))
    except OSError as error:
        for each in sockets:
            each.close()
        raise StartError(f"Cannot listen on {host} port {port}: {error.strerror}") from error
    return sockets


def is_loopback(address: object) -> bool:
    """Say whether only programs of this machine reach an address."""
    return ipaddress.ip_address(str(address).partition("%")[0]).is_loopback


def authority(bound: socket.socket) -> str:
    """Return `host:port` as a URL has it."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Http(uvicorn.Server):
    """uvicorn inside our loop, without ideas of its own about signals, logs and proxies."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                access_log=False,
                # A client must not say from where it comes: that decides whether it is let in.
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=2,
            )
        )
        self.accepting = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % _LOOK_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in [*self.server_state.connections]:
                if isinstance(connection, Protocol):
                    connection.look(now)
        return await super().on_tick(counter)
