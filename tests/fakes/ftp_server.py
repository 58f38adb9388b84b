"""A real FTP server, pyftpdlib, on a folder and a free port of loopback or another address; with TLS where it is given a certificate."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it stands on asyncore, which Python has up to 3.11
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
    from pyftpdlib.handlers.ftp.control import asynchat
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

USER, PASSWORD = "ann", "s3cret"
_ALL = "elradfmwMT"


@dataclass
class Ftp:
    """`commands` are all that were sent; `connections` how many there were in all; `ended` that one of them was left."""

    port: int = 0
    address: str = "127.0.0.1"
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"://{self.address}:{self.port}"


@contextlib.contextmanager
def serve(folder: Path, *, certificate: Path | None = None, address: str = "127.0.0.1", **asked: Any) -> Iterator[Ftp]:
    """Serve until the end of the block: `ann` may do all, who is anonymous may read. `asked`: attributes of the handler."""
    users = DummyAuthorizer()
    users.add_user(USER, PASSWORD, str(folder), perm=_ALL)
    users.add_anonymous(str(folder))
    told = Ftp(address=address)

    class Handler(TLS_FTPHandler if certificate else FTPHandler):  # type: ignore[misc]  # a class by what is asked
        def on_connect(self) -> None:
            told.connections += 1

        def on_disconnect(self) -> None:
            told.ended.set()

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            told.commands.append(line)
            super().pre_process_command(line, cmd, arg)

        def push(self, data: str) -> None:
            asynchat.async_chat.push(self, data.encode(errors="surrogateescape"))

        def log(self, *args: object, **named: object) -> None:
            """Say nothing."""

        logline = log_exception = log

    Handler.authorizer = users
    Handler.auth_failed_timeout = 0
    Handler.unicode_errors = "surrogateescape"  # names are bytes, as the file system's are
    if certificate:
        Handler.certfile = str(certificate)
        Handler.tls_control_required = Handler.tls_data_required = True
    for name, value in asked.items():
        setattr(Handler, name, value)
    server = FTPServer((address, 0), Handler, ioloop=IOLoop())
    told.port = server.address[1]
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            server.ioloop.loop(0.02, blocking=False)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()
        server.close_all()
