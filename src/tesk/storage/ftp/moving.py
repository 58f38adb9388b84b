"""Files and lists on their way over data connections: how far one is, and the moving of its bytes. It tries once."""

import os
import socket
import time

from tesk.errors import TransferRefused
from tesk.storage.ftp.line import Line
from tesk.storage.ftp.listing import Listed
from tesk.storage.pace import Pace
from tesk.storage.patience import Again
from tesk.storage.pour import send
from tesk.storage.scheme import Advance
from tesk.storage.url import shown

_BLOCK_BYTES = 256 * 1024
_LISTING_BYTES = 128 * 1024 * 1024
MOVED = "the file changed while it was read"


class Upload:
    """How far one file is, over all tries."""

    def __init__(self, file: int, advance: Advance) -> None:
        self.file = file
        self.advance = advance
        self.done = 0

    def moved(self, count: int) -> None:
        """Hear of bytes."""
        self.done += count
        self.advance(count)

    def restart(self) -> None:
        """Begin anew."""
        done, self.done = self.done, 0
        self.advance(-done)


class Download(Upload):
    """How far one file is, and what the server said about it: `told` before anybody asked for it."""

    told: Listed | None = None
    version: tuple[int | None, str] = (None, "")
    mode: int | None = None

    def restart(self) -> None:
        os.ftruncate(self.file, 0)
        super().restart()


def receive(data: socket.socket, download: Download, size: int | None) -> None:
    """Write what comes to the file, where it stands; no more than one byte beyond `size`."""
    left = _BLOCK_BYTES if size is None else size - download.done + 1
    buffer = memoryview(bytearray(min(_BLOCK_BYTES, left)))
    pace, since = Pace(data.gettimeout()), time.monotonic()
    while count := data.recv_into(buffer):
        pace.moved(count, since)
        written = 0
        while written < count:
            written += os.write(download.file, buffer[written:count])
        download.moved(count)
        if size is not None and download.done > size:
            return
        since = time.monotonic()


def whole(line: Line, command: str, url: str) -> bytes:
    """Return all that a data connection brings."""
    said = bytearray()
    with line.data(command) as data:
        pace, since = Pace(data.gettimeout()), time.monotonic()
        while piece := data.recv(_BLOCK_BYTES):
            pace.moved(len(piece), since)
            since = time.monotonic()
            said += piece
            if len(said) > _LISTING_BYTES:
                raise TransferRefused(f"{shown(url)}: the list of one folder is longer than {_LISTING_BYTES} bytes")
    return bytes(said)


def send_all(line: Line, path: str, upload: Upload) -> None:
    """Send the file, from its start."""
    upload.restart()
    size = os.fstat(upload.file).st_size
    with line.data(f"STOR {path}") as data:
        sent = send(data, upload.file, 0, size, upload.moved, timeout_seconds=line.timeout_seconds)
    if sent != size:
        raise Again(MOVED)
