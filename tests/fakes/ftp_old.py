"""An FTP server as they were long ago: SIZE, REST and LIST, no MLSD."""

import contextlib
import posixpath
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator


class Old(socketserver.StreamRequestHandler):
    """What a good old server does with `files` and `folders` of its server, by absolute path. Anybody may do all."""

    disable_nagle_algorithm = True
    server: "Server"
    features: tuple[str, ...] = ("SIZE", "MDTM", "REST STREAM")
    changed = b"20200101000000"

    def handle(self) -> None:
        self.here, self.offset, self.renamed = b"/", 0, b""
        self.listening: socket.socket | None = None
        self.say(b"220 Hello")
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                command, _, argument = line.rstrip(b"\r\n").partition(b" ")
                name = command.decode().upper()
                self.server.commands.append(f"{name} {argument.decode('latin-1')}".rstrip())
                act = getattr(self, f"do_{name}", None)
                if act is None:
                    self.say(b"502 Not known")
                elif act(argument) is True:
                    break
        if self.listening is not None:
            self.listening.close()

    def say(self, line: bytes) -> None:
        self.wfile.write(line + b"\r\n")

    def at(self, path: bytes) -> bytes:
        return posixpath.normpath(posixpath.join(self.here, path))

    def count(self, command: str) -> int:
        return sum(line.startswith(command) for line in self.server.commands)

    def do_USER(self, name: bytes) -> None:
        self.say(b"331 Password?")

    def do_PASS(self, word: bytes) -> None:
        self.say(b"230 Come in")

    def do_TYPE(self, kind: bytes) -> None:
        self.say(b"200 Fine")

    def do_FEAT(self, nothing: bytes) -> None:
        self.say(b"\r\n ".join([b"211-Features", *(name.encode() for name in self.features)]) + b"\r\n211 End")

    def do_PWD(self, nothing: bytes) -> None:
        self.say(b'257 "%b"' % self.here)

    def do_CWD(self, path: bytes) -> None:
        if self.at(path) in self.server.folders:
            self.here = self.at(path)
            self.say(b"250 There")
        else:
            self.say(b"550 No such folder")

    def do_SIZE(self, path: bytes) -> None:
        data = self.server.files.get(self.at(path))
        self.say(b"550 No such file" if data is None else b"213 %d" % len(data))

    def do_MDTM(self, path: bytes) -> None:
        self.say(b"213 " + self.changed)

    def do_PASV(self, nothing: bytes) -> None:
        if self.listening is not None:
            self.listening.close()
        self.listening = socket.create_server(("127.0.0.1", 0))
        port = self.listening.getsockname()[1]
        # Who believed this address would call a stranger.
        self.say(b"227 Entering Passive Mode (192,0,2,1,%d,%d)" % divmod(port, 256))

    def do_REST(self, offset: bytes) -> None:
        self.offset = int(offset)
        self.say(b"350 Go on")

    @contextlib.contextmanager
    def data(self) -> Iterator[socket.socket]:
        assert self.listening is not None
        with self.listening:
            self.say(b"150 Here it comes")
            accepted, _ = self.listening.accept()
        self.listening = None
        with self.safe(accepted) as safe:
            yield safe

    def safe(self, data: socket.socket) -> socket.socket:
        return data

    def do_LIST(self, argument: bytes) -> None:
        with self.data() as data:
            data.sendall(self.server.listings.get(self.here, b""))
        self.say(b"226 Done")

    def do_RETR(self, path: bytes) -> bool | None:
        whole = self.server.files.get(self.at(path))
        if whole is None:
            self.say(b"550 No such file")
            return None
        offset, self.offset = self.offset, 0
        return self.send(whole, offset)

    def send(self, whole: bytes, offset: int) -> bool | None:
        with self.data() as data:
            data.sendall(whole[offset:])
        self.say(b"226 Done")
        return None

    def do_STOR(self, path: bytes) -> None:
        if posixpath.dirname(self.at(path)) not in self.server.folders:
            self.say(b"553 No such folder")
            return
        kept = bytearray()
        with self.data() as data:
            while piece := data.recv(65536):
                kept += piece
        self.server.files[self.at(path)] = bytes(kept)
        self.say(b"226 Done")

    def do_MKD(self, path: bytes) -> None:
        self.server.folders.add(self.at(path))
        self.say(b'257 "made"')

    def do_DELE(self, path: bytes) -> None:
        self.say(b"550 No such file" if self.server.files.pop(self.at(path), None) is None else b"250 Gone")

    def do_RNFR(self, path: bytes) -> None:
        self.renamed = self.at(path)
        self.say(b"350 To what?")

    def do_RNTO(self, path: bytes) -> None:
        self.server.files[self.at(path)] = self.server.files.pop(self.renamed)
        self.say(b"250 Done")


class Safe(Old):
    """Speaks TLS, and takes data connections of the same session only, as vsftpd and ProFTPD do."""

    def do_AUTH(self, kind: bytes) -> None:
        self.say(b"234 Begin")
        self.wrap()

    def wrap(self) -> None:
        assert self.server.tls is not None
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)

    def do_PBSZ(self, size: bytes) -> None:
        self.say(b"200 Fine")

    do_PROT = do_PBSZ

    def safe(self, data: socket.socket) -> socket.socket:
        assert self.server.tls is not None
        wrapped = self.server.tls.wrap_socket(data, server_side=True)
        if not wrapped.session_reused:
            self.say(b"522 SSL connection failed: session reuse required")
            wrapped.close()
            raise OSError
        return wrapped

    def finish(self) -> None:
        super().finish()
        self.connection.close()


class SafeFromTheStart(Safe):
    def setup(self) -> None:
        super().setup()
        self.wrap()


class Server(socketserver.ThreadingTCPServer):
    """`commands` are all that came; `listings` what LIST says, by folder."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 50

    def __init__(self, handler: type[Old], tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.tls = tls
        self.files: dict[bytes, bytes] = {}
        self.folders = {b"/"}
        self.listings: dict[bytes, bytes] = {}
        self.commands: list[str] = []
        self.url = f"ftp{'s' * (tls is not None)}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news here."""


@contextlib.contextmanager
def serve(
    handler: type[Old] = Old, files: dict[str, bytes] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """Serve until the end of the block."""
    with Server(handler, tls) as server:
        server.files.update({name.encode(): data for name, data in (files or {}).items()})
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
