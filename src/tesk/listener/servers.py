"""The TES servers that are asked: which of them may be, how, and which are left alone for a while."""

import time
from collections import OrderedDict
from collections.abc import Iterable

from tesk.client.address import Address, parse
from tesk.client.client import AsyncClient
from tesk.client.http1 import Origin
from tesk.client.patience import Patience
from tesk.errors import BadDocument, BadRequest, Problem
from tesk.http.lookup import Lookup, Unfound
from tesk.http.target import LOOPBACK, MOST_URL, PORTS, Forbidden, Named, Rules

_SETTING = "setting listener.servers"
_LOOKUP_SECONDS = 5.0
_ANSWER_MOST_BYTES = 1024 * 1024
"""A task in its MINIMAL view has an id and a state."""
_CLIENTS_MOST = 100
_REMEMBERED_MOST = 1000
_DOWN_SECONDS = 60.0
FARTHEST_SECONDS = 300.0
"""So long a server that did not answer is left alone, first and at most: others wait for their turn."""
_SLOW_SECONDS = 1.0
_SLOW_SHARE = 9.0
"""One that takes longer is left alone so many times as long: it gets a tenth of the time."""
_IMPATIENT = Patience(busy=0.0, gone=0.0)
"""The next look is the next try."""


class Servers:
    """Clients of TES servers. `named` are those that the settings or the program name: they are asked wherever they are.

    All others are named by who makes a subscription. They may be asked at public addresses and, by a listener of the user who
    names them (`at_home`), on this machine; where `allowed` says anything, at what it says instead.
    """

    def __init__(self, named: Iterable[str], allowed: tuple[str, ...], *, at_home: bool) -> None:
        self._named = {_place(parse(url)) for url in named if url}
        some = tuple(each for each in allowed if each != "*")
        self._rules = Rules(
            hosts=allowed,
            allow=some if allowed else LOOPBACK if at_home else (),
            ports=PORTS,
            named=Named(_SETTING, _SETTING, "80, 443 and those from 1024 on"),
        )
        self._lookup = Lookup()
        self._clients: OrderedDict[tuple[str, str], AsyncClient] = OrderedDict()
        self._left: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Until when those that did not answer are left alone, by a clock that nobody sets, and how often that was so."""

    async def check(self, server: str, token: str) -> None:
        """Raise BadRequest where a server that a subscription names is none, or must not be asked."""
        if max(len(server), len(token)) > MOST_URL:
            raise BadRequest(f"server, server_token: may have {MOST_URL} characters each")
        try:
            address = parse(server, token or None)
            if _place(address) not in self._named:
                await self._addresses(address.origin)
        except (BadDocument, Forbidden) as error:
            raise BadRequest(f"server: {error}", (Problem("server", str(error)),)) from error
        except Unfound:
            pass  # it may have an address by the time that it is asked

    async def client(self, server: str, token: str) -> AsyncClient:
        """Return the client of a server. Raises BadDocument for what is none."""
        client = self._clients.pop((server, token), None)
        if client is None:
            guarded = _place(parse(server)) not in self._named
            client = AsyncClient(
                server,
                token=token or None,
                patience=_IMPATIENT,
                find=self._find if guarded else None,
                answer_most_bytes=_ANSWER_MOST_BYTES,
            )
        self._clients[server, token] = client
        if len(self._clients) > _CLIENTS_MOST:
            _, oldest = self._clients.popitem(last=False)
            await oldest.close()
        return client

    def left_alone_seconds(self, server: str) -> float:
        """Return for how long yet a server is to be left alone, 0 where it may be asked."""
        return max(0.0, self._left.get(server, (0.0, 0))[0] - time.monotonic())

    def note(self, server: str, took_seconds: float, *, answered: bool) -> None:
        """Learn from a question what it says of the server."""
        now = time.monotonic()
        until, failures = self._left.pop(server, (0.0, 0))
        if answered and took_seconds < _SLOW_SECONDS:
            return
        if answered:
            self._left[server] = (now + _SLOW_SHARE * took_seconds, 0)
        elif until > now:
            # What was under way when it was found out says no more than what found it out.
            self._left[server] = (until, failures)
        else:
            alone = min(FARTHEST_SECONDS, _DOWN_SECONDS * 2.0**failures)
            self._left[server] = (now + alone, min(failures + 1, 10))
        if len(self._left) > _REMEMBERED_MOST:
            self._left.popitem(last=False)

    async def close(self) -> None:
        """Close all connections."""
        self._lookup.close()
        for client in self._clients.values():
            await client.close()

    async def _find(self, origin: Origin) -> list[str]:
        """What was checked is what is connected to, each time anew. Raises OSError."""
        try:
            return await self._addresses(origin)
        except (Forbidden, Unfound) as error:
            raise OSError(str(error)) from error

    async def _addresses(self, origin: Origin) -> list[str]:
        self._rules.check(f"{origin}/")
        found = await self._lookup.addresses(origin.host, origin.port, seconds=_LOOKUP_SECONDS)
        return self._rules.allowed(origin.host, found)


def _place(address: Address) -> tuple[Origin, str]:
    return address.origin, address.root
