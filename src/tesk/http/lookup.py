"""The addresses of hosts that somebody else has named, looked up in threads of their own."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

_THREADS = 8


class Unfound(Exception):  # noqa: N818  it is the host that is
    """A host without an address, or nobody says so in time; the message says which."""


class Lookup:
    """Looks names up. Those that nobody answers for hold threads up: its own, not those of the loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "tesk-lookup")

    def close(self) -> None:
        """Wait for nothing that is under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, host: str, port: int, *, seconds: float) -> list[str]:
        """Return all addresses of a host. Raises Unfound."""
        lookup = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(seconds):
                found = await asyncio.get_running_loop().run_in_executor(self._threads, lookup)
        except TimeoutError:
            raise Unfound(f"no address of {host} within {seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise Unfound(f"no address of {host}: {why}") from error
        return list(dict.fromkeys(str(place[0]) for *_, place in found))
