"""More web servers that are broken in one way each, for large files, for checksums, and as often as a test likes."""

import base64
import hashlib
import re
import threading

from fakes.web import Files

MIB = 1 << 20


def cuts_at(share: float) -> type[Files]:
    """Return a server that ends the first two answers after `share` of what they should hold."""

    class Cuts(Files):
        def answer(self, *, head: bool = False) -> None:
            if len(self.server.requests) > 2:
                super().answer()
                return
            data, start = self.server.files[self.path], self.start()
            self.headed(206 if start else 200, data, start)
            self.wfile.write(data[start : start + int((len(data) - start) * share)])
            self.close_connection = True

    return Cuts


def answers(*statuses: int, **headers: str) -> type[Files]:
    """Return a server that answers so first, and then as it should."""

    class Answers(Files):
        def answer(self, *, head: bool = False) -> None:
            if len(self.server.requests) > len(statuses):
                super().answer()
            else:
                self.plain(statuses[len(self.server.requests) - 1], **headers)

    return Answers


def stalls(first: int) -> type[Files]:
    """Return a server that sends a third, and then nothing, in the first so many answers."""

    class Stalls(Files):
        def answer(self, *, head: bool = False) -> None:
            if len(self.server.requests) > first:
                super().answer()
                return
            data, start = self.server.files[self.path], self.start()
            self.headed(206 if start else 200, data, start)
            self.wfile.write(data[start : start + (len(data) - start) // 3])
            self.wfile.flush()
            self.rfile.read(1)
            self.close_connection = True

    return Stalls


class TooMuch(Files):
    """Sends more than it said, and hangs on to the connection."""

    def answer(self, *, head: bool = False) -> None:
        data = self.server.files[self.path]
        self.headed(200, data)
        self.wfile.write(data + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")


class Sums(Files):
    """Names a checksum in the way of `field`; the first `wrong` answers hold something else."""

    field = "Repr-Digest"
    algorithm = "sha-256"
    wrong = 0

    def headed(self, status: int, data: bytes, start: int = 0) -> None:
        self.send_response(status)
        value = hashlib.new(self.algorithm.replace("-", ""), data).digest()
        text = base64.b64encode(value).decode()
        if self.field in {"Repr-Digest", "Content-Digest"}:
            text = f"{self.algorithm}=:{text}:"
        elif self.field == "Digest":
            text = f"{self.algorithm.upper()}={text}"
        self.send_header(self.field, text)
        self.send_header("ETag", f'"{hashlib.md5(b"something else").hexdigest()}"')
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()

    def answer(self, *, head: bool = False) -> None:
        data = self.server.files[self.path]
        self.headed(200, data)
        wrong = len(self.server.requests) <= self.wrong
        self.wfile.write(data[:-1] + b"?" if wrong else data)


def sums(field: str, algorithm: str, wrong: int) -> type[Sums]:
    return type("Sums", (Sums,), {"field": field, "algorithm": algorithm, "wrong": wrong})


class Slow(Files):
    """Serves ranges over a line that lets each connection have so much a second. `versions`: what lies there, in turn."""

    bytes_per_second = 40 * MIB
    versions: tuple[bytes, ...] = ()
    never = threading.Event()

    def version(self) -> int:
        return 0

    def answer(self, *, head: bool = False) -> None:
        number = self.version()
        data, tag = self.versions[number], f'"v{number}"'
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = 0, len(data)
        part = wanted and self.headers.get("If-Range") == tag
        if wanted and part:
            start, end = int(wanted[1]), int(wanted[2] or len(data) - 1) + 1
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        self.end_headers()
        self.body(memoryview(data)[start:end])

    def body(self, data: memoryview) -> None:
        for at in range(0, len(data), MIB):
            self.wfile.write(data[at : at + MIB])
            self.never.wait(MIB / self.bytes_per_second)


class SlowAndBroken(Slow):
    """Every second connection breaks after some MiB."""

    def body(self, data: memoryview) -> None:
        if len(self.server.requests) % 2 == 0 and len(self.server.requests) < 7:
            super().body(data[: 3 * MIB])
            self.reset()
        else:
            super().body(data)


class SlowAndChanging(Slow):
    """Has another version from the second request on."""

    def version(self) -> int:
        return int(len(self.server.requests) > 1)


def slow(kind: type[Slow], *versions: bytes) -> type[Slow]:
    return type(kind.__name__, (kind,), {"versions": versions})
