"""The world of `drs:`: a small DRS server whose bundles are folders, and whose bytes come over HTTP."""

import contextlib
import posixpath
from collections.abc import Iterator
from pathlib import Path

from fakes import drs_server
from fakes.worlds import World
from tesk.settings import DrsHost
from tesk.storage.drs.scheme import DrsScheme
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience

ONCE = Patience(1)


@contextlib.contextmanager
def bundles(folder: Path) -> Iterator[World]:
    with drs_server.serve() as server, scheme(DrsHost(host=server.authority, plain=True)) as made:
        parts: dict[str, dict[str, None]] = {"top": {}}

        def plant(name: str, data: bytes) -> None:
            id_ = f"top/{name}"
            server.add(id_, data)
            while id_ != "top":
                above = posixpath.dirname(id_)
                parts.setdefault(above, {})[id_] = None
                server.bundle(above, *((posixpath.basename(part), part) for part in parts[above]))
                id_ = above

        yield World(made, f"{server.url}/top", plant, lambda name: None, folders=False)


@contextlib.contextmanager
def scheme(*known: DrsHost, patience: Patience = ONCE) -> Iterator[DrsScheme]:
    """A scheme of one who has these credentials, over plain HTTP."""
    with (
        contextlib.closing(HttpScheme(private=True, patience=patience)) as http,
        contextlib.closing(DrsScheme(known, (), lambda url, **_: http, private=True, patience=patience)) as made,
    ):
        yield made
