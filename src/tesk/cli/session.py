"""The server that a command speaks to: from flags and variables, and what ids stand for there."""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence

from tesk.client.address import parse
from tesk.client.answers import Document, text_of
from tesk.client.calls import Call, Calls, T
from tesk.client.patience import Patience
from tesk.client.sent import Sent
from tesk.client.sockets import Sockets
from tesk.client.subscription import Subscription
from tesk.errors import NotFound, Unreachable

DEFAULT_SERVER = "http://127.0.0.1:8000"
LATEST = "@latest"
PAGE = 256


def add_server_argument(parser: argparse.ArgumentParser) -> None:
    """Take `--server`. A token comes by TESK_TOKEN alone: what is typed can be read by everybody on the machine."""
    parser.add_argument(
        "--server", metavar="URL", help=f"the TES server (TESK_SERVER, else {DEFAULT_SERVER}); any that speaks TES 1.1"
    )


def add_ids_argument(parser: argparse.ArgumentParser) -> None:
    """Take ids of tasks."""
    parser.add_argument("ids", nargs="+", metavar="ID", help="id of a task; @latest is the newest of yours")


class Session:
    """One server, for one command."""

    def __init__(self, args: argparse.Namespace, patience: Patience | None = None) -> None:
        self._args = args
        named = args.server or os.environ.get("TESK_SERVER")
        self._named = bool(named)
        address = parse(named or DEFAULT_SERVER, os.environ.get("TESK_TOKEN"))
        # A person would rather hear at once that nothing listens there.
        self.calls = Calls(address, patience or Patience(busy=60, gone=0))
        self.origin = address.origin
        self._sockets = Sockets(address.origin)

    def can(self, ability: str) -> bool:
        """Say whether the server, where it is ours, has an ability beside TES; asked once."""
        return bool(self.abilities().get(ability))

    def abilities(self) -> Document:
        """Return what the server says that it can do beside TES, nothing where it is another's; asked once."""
        return self.ask(self.calls.abilities())

    def follow(self, subscription: Subscription, ticks: Callable[[], float]) -> Iterator[Sent | None]:
        """As `Sockets.follow`."""
        return self._sockets.follow(subscription, ticks)

    def patient(self, patience: Patience) -> "Session":
        """Return a session with the same server that tries for longer."""
        session = Session(self._args, patience)
        session.calls.known = self.calls.known
        return session

    def ask(self, call: Call[T]) -> T:
        """Run a call to its end."""
        try:
            return self._sockets.drive(call)
        except Unreachable as error:
            if error.sent or self._named:
                raise
            hint = "start a server with `tesk serve`, or say where one is with --server or TESK_SERVER"
            raise Unreachable(f"{error}; {hint}", sent=False) from error

    def ids(self, typed: Sequence[str]) -> list[str]:
        """Return ids, `@latest` replaced by that of the newest task."""
        return [self._latest() if each == LATEST else each for each in typed]

    def tasks(
        self, *, view: str, limit: int, state: str | None, name_prefix: str | None, tags: tuple[tuple[str, str], ...]
    ) -> Iterator[list[Document]]:
        """Yield pages of tasks, newest first, `limit` in all (0: all); the last item is empty where more would come."""
        token, left = None, limit
        while True:
            page, token = self.ask(
                self.calls.page(
                    view=view,
                    page_size=min(left, PAGE) if limit else PAGE,
                    page_token=token,
                    state=state,
                    name_prefix=name_prefix,
                    tags=tags,
                )
            )
            if limit:
                page = page[:left]
                left -= len(page)
            if page:
                yield page
            if token is None:
                return
            if limit and not left:
                yield []
                return

    def _latest(self) -> str:
        for page in self.tasks(view="MINIMAL", limit=1, state=None, name_prefix=None, tags=()):
            if page and (task_id := text_of(page[0], "id")):
                return task_id
        raise NotFound("there is no task yet, so none is @latest")
