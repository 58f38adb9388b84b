"""Which image a `trs://` URI of a task stands for, as GA4GH tool registries (TRS 2) say. Looked up when an attempt begins."""

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import quote, unquote

from msgspec import DecodeError, Struct, json

from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import StorageSettings, TrsHost
from tesk.storage.address import Hosts
from tesk.storage.patience import Patience
from tesk.storage.proxy import proxy_of
from tesk.storage.url import shown
from tesk.storage.wire import Wire, authorization, check

_DOCUMENT_BYTES = 4 * 1024 * 1024
_KNOWN_SECONDS = 300.0
"""How long an answer counts: a workflow of a thousand tasks asks for its tool once."""
_KNOWN_MOST = 1000
_THREADS = 4
_LONGEST_SECONDS = 120.0
"""How long one look-up may keep a thread from others, tries and waits included."""
_URI = re.compile(r"(?i)trs://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?/([^\s]+)")
_LONG = re.compile(r"(.+)/versions/([^/]+)/?")
_SHORT = re.compile(r"(.+)/([^/]+)/?")
_DOCKER_HUB = frozenset({"registry.hub.docker.com", "hub.docker.com", "index.docker.io", "registry-1.docker.io"})
_NOT_THERE = frozenset({404, 410})
_DENIED = frozenset({401, 403})


class Image(Struct, frozen=True):
    """TRS 2, `ImageData`."""

    image_name: str = ""
    registry_host: str | None = None
    image_type: str | None = None


class Version(Struct, frozen=True):
    """TRS 2, `ToolVersion`."""

    images: tuple[Image, ...] | None = None


class Tool(NamedTuple):
    """One version of a tool: the authority of its registry, its id and its version there, nothing in them encoded."""

    authority: str
    id: str
    version: str


class Tools:
    """Looks tools up for backends that run their images. `settings` are in force. Close it at the end."""

    def __init__(self, settings: StorageSettings) -> None:
        self._hosts = settings.trs
        self._patience = Patience(settings.tries)
        self._wire = Wire(
            {},
            connections_per_host=_THREADS,
            timeout_seconds=settings.timeout_seconds,
            private=settings.private_addresses is True,
            hosts=Hosts(settings.hosts_allowed, settings.hosts_denied),
            proxy=proxy_of(settings),
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tools")
        self._said: dict[tuple[str, TrsHost], tuple[float, str]] = {}
        self._locks: dict[tuple[str, TrsHost], asyncio.Lock] = {}

    def close(self) -> None:
        """Let go of connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._wire.close()

    async def image(self, name: str, caller: str) -> str:
        """Return the name that an image registry knows; one that is no `trs://` URI is returned as it is.

        `caller` decides which settings count: what one may not look up is not told from another's look-up. Raises TransferRefused for what will never be found, TransferFailed where the server does not answer.
        """
        if not is_tool(name):
            return name
        tool = tool_of(name)
        host = self._host(tool, caller)
        lock = self._locks.setdefault((name, host), asyncio.Lock())
        try:
            async with lock:
                at, said = self._said.get((name, host), (0.0, ""))
                if not said or time.monotonic() - at > _KNOWN_SECONDS:
                    said = await self._look_up(name, tool, host)
                    if len(self._said) >= _KNOWN_MOST:
                        self._said.clear()
                    self._said[name, host] = (time.monotonic(), said)
                return said
        finally:
            if not lock.locked():
                self._locks.pop((name, host), None)

    def _host(self, tool: Tool, caller: str) -> TrsHost:
        """What the settings say to this caller of a registry: of host and port, or else of the host."""
        theirs = [host for host in self._hosts if not host.callers or caller in host.callers]
        named = {tool.authority: 0, tool.authority.rpartition(":")[0]: 1}
        found = sorted(
            (host for host in theirs if host.host.lower() in named), key=lambda host: named[host.host.lower()]
        )
        return found[0] if found else TrsHost(host=tool.authority)

    async def _look_up(self, uri: str, tool: Tool, host: TrsHost) -> str:
        unwanted, until = threading.Event(), time.monotonic() + _LONGEST_SECONDS

        def advance(size_bytes: int) -> None:  # noqa: ARG001  an Advance is told of bytes
            if unwanted.is_set():
                raise TransferFailed(f"{shown(uri)}: nobody wants it any more")
            if time.monotonic() > until:
                raise TransferFailed(f"{shown(uri)}: the TRS server takes longer than {_LONGEST_SECONDS:g} s")

        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: self._patience.act(uri, lambda: self._ask(tool, host, uri), advance=advance)
            )
        except asyncio.CancelledError:
            unwanted.set()
            raise

    def _ask(self, tool: Tool, host: TrsHost, uri: str) -> str:
        base = f"http{'' if host.plain else 's'}://{tool.authority}/{host.path.strip('/')}"
        url = f"{base}/tools/{quote(tool.id, safe='')}/versions/{quote(tool.version, safe='')}"
        own = {"Authorization": authorization(token=host.token)} if host.token else {}
        with self._wire.ask(url, "GET", {"Accept": "application/json"}, own=own) as answer:
            if answer.status in _NOT_THERE:
                raise TransferRefused(
                    f"{shown(uri)}: {tool.authority} knows no version {shown(tool.version)} of a tool {shown(tool.id)} "
                    f"(asked at {shown(url)}; where its TRS is, is set in storage.trs)"
                )
            if answer.status in _DENIED:
                raise TransferRefused(
                    f"{shown(uri)}: the TRS server answers {answer.status} {answer.reason}: it wants another token "
                    "(setting storage.trs)"
                )
            check(answer, uri)
            data = answer.read_at_most(_DOCUMENT_BYTES)
        try:
            version = json.decode(data, type=Version)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TransferRefused(f"{shown(uri)}: the server's answer is no version of a tool ({error})") from error
        return docker_image(version, uri)


def is_tool(name: str) -> bool:
    """Say whether an image is named by a TRS URI."""
    return name[:6].lower() == "trs://"


def tool_of(uri: str) -> Tool:
    """Take a URI apart: `trs://HOST/ID/versions/VERSION`, or `trs://HOST/ID/VERSION` as TRS itself has them."""
    parts = _URI.fullmatch(uri)
    inner = (_LONG.fullmatch(parts[3]) or _SHORT.fullmatch(parts[3])) if parts is not None else None
    if parts is None or inner is None:
        raise TransferRefused(f"{shown(uri)}: is no proper TRS URI (trs://HOST/ID/versions/VERSION)")
    return Tool((parts[1] + (parts[2] or "")).lower(), unquote(inner[1]), unquote(inner[2]))


def docker_image(version: Version, uri: str) -> str:
    """Return the first image that a container engine can run, with its registry. Raises TransferRefused where there is none."""
    for image in version.images or ():
        if image.image_name and (image.image_type or "Docker").lower() == "docker":
            return _whole(image)
    types = ", ".join(sorted({image.image_type or "?" for image in version.images or ()})) or "none"
    raise TransferRefused(
        f"{shown(uri)}: this version of the tool names no Docker image (its images: {shown(types)}); "
        "none is built from a container file"
    )


def _whole(image: Image) -> str:
    first, slash, _ = image.image_name.partition("/")
    registry = re.sub(r"(?i)^https?://", "", image.registry_host or "").strip("/")
    if not registry or (slash and ("." in first or ":" in first or first == "localhost")):
        return image.image_name
    return f"{'docker.io' if registry.lower() in _DOCKER_HUB else registry}/{image.image_name}"
