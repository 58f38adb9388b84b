"""One line to an FTP server: logged in, made safe, with its data connections. It tries once and knows no files of ours."""

import contextlib
import ftplib
import socket
import ssl
import time
from collections.abc import Iterator

from tesk.storage import address
from tesk.storage.ftp.listing import Listed, from_mlsd
from tesk.storage.ftp.place import Site, unwired
from tesk.storage.pace import Pace
from tesk.storage.wire import readable

_ANSWER_LINES = 1000
_PIECE_BYTES = 4096
_LAST_WORD_SECONDS = 5.0
_UNKNOWN = frozenset({"500", "501", "502", "504"})
_FACTS = "type;size;modify;UNIX.mode;unique;"


class Line(ftplib.FTP):
    """A control connection. Names are given as `place.wire` makes them. Not for two threads at once.

    Raises what ftplib does (error_perm for 5xx, error_temp for 4xx), EOFError, OSError.
    """

    def __init__(self, control: socket.socket, site: Site, *, private: bool, timeout_seconds: float) -> None:
        # One letter for each byte: names in whatever encoding come and go as they are.
        super().__init__(timeout=timeout_seconds, encoding="latin-1")
        self._site = site
        self._private = private
        self.timeout_seconds = timeout_seconds
        self._pace = Pace(timeout_seconds)
        self._context: ssl.SSLContext | None = None
        self._home: str | None = None
        self._held = b""
        self.away = False
        self._extended = control.family != socket.AF_INET
        self.features: frozenset[str] = frozenset()
        self._has_modes = True  # until it says that it has not
        self.control = control
        self.host = site.host

    def open(self, user: str, password: str, context: ssl.SSLContext | None) -> None:
        """Greet, make safe with `context`, log in, and find out what the server can do."""
        self._context = context
        self._speak(safe=self._site.tls == "implicit")
        self.welcome = self.getresp()
        if self._site.tls == "explicit":
            try:
                self.sendcmd("AUTH TLS")
            except ftplib.error_perm as error:
                raise ftplib.error_perm(f"{error} (to AUTH TLS: it does not speak TLS)") from error
            self._speak(safe=True)
        self.login(user, password)
        if self._context is not None:
            self.sendcmd("PBSZ 0")
            self.sendcmd("PROT P")
        # What a server lacks it says with 5xx; it is asked all the same, so that files come byte for byte.
        said = self._if_known("FEAT") or ""
        self.features = frozenset(line.split()[0].upper() for line in said.splitlines()[1:-1] if line.split())
        if "UTF8" in self.features:
            self._if_known("OPTS UTF8 ON")
        if "MLST" in self.features:
            self._if_known(f"OPTS MLST {_FACTS}")
        self.voidcmd("TYPE I")

    @property
    def unasked(self) -> bool:
        """Say whether the server has said something that nobody asked for: most often that it hangs up."""
        return bool(self._held) or readable(self.control, 0)

    def getline(self) -> str:
        """Read one line of an answer. Raises EOFError at the end, Again for a server that says it too slowly."""
        while (at := self._held.find(b"\n")) < 0:
            if len(self._held) > self.maxline:
                raise ftplib.error_proto("a line without an end")
            since = time.monotonic()
            piece = self.control.recv(_PIECE_BYTES)
            self._pace.moved(len(piece), since)
            if not piece:
                raise EOFError
            self._held += piece
        line, self._held = self._held[:at], self._held[at + 1 :]
        return line.rstrip(b"\r").decode(self.encoding)

    def getmultiline(self) -> str:
        """Read an answer, as ftplib does, but none that has no end, or only after years."""
        self._pace = Pace(self.timeout_seconds)
        lines = [self.getline()]
        if lines[0][3:4] == "-":
            end = lines[0][:3] + " "
            while not lines[-1].startswith(end) and lines[-1] != end.rstrip():
                lines.append(self.getline())
                if len(lines) > _ANSWER_LINES:
                    raise ftplib.error_proto("an answer without an end")
        return "\n".join(lines)

    @contextlib.contextmanager
    def data(self, command: str, offset: int = 0) -> Iterator[socket.socket]:
        """Have a data connection for one command, beginning at `offset`; at its end the server must say that it was fine."""
        # Where the server says that we shall call is not believed, but for the port: it might name somebody else.
        peer = self.control.getpeername()[0]
        data = address.connect(peer, self._passive(), private=self._private, timeout_seconds=self.timeout_seconds)
        try:
            if offset:
                self.sendcmd(f"REST {offset}")
            answer = self.sendcmd(command)
            if answer[0] == "2":  # some say this before the 1xx
                answer = self.getresp()
            if answer[0] != "1":
                raise ftplib.error_reply(answer)
            if self._context is not None:
                # Servers ask for the session of the control connection: only who has it can be the same client.
                safe = self.control
                assert isinstance(safe, ssl.SSLSocket)
                data = self._context.wrap_socket(data, server_hostname=self._site.host, session=safe.session)
            try:
                yield data
            except ConnectionError:
                # A server that has seen enough hangs up, and says why on the other line.
                if readable(self.control, _LAST_WORD_SECONDS):
                    self.voidresp()
                raise
            if isinstance(data, ssl.SSLSocket):
                data.settimeout(_LAST_WORD_SECONDS)
                with contextlib.suppress(OSError):
                    data = data.unwrap()
        finally:
            data.close()
        self.voidresp()

    def look(self, path: str) -> Listed | None:
        """Say what is at a path (its name is left empty), or None where there is nothing."""
        if "MLST" in self.features:
            said = self._if_there(f"MLST {path}")
            listed = _fact_line(said) if said is not None else None
            if said is None or (listed is not None and listed.kind in {"file", "folder"}):
                return listed
        if self.enter(path):
            self.leave()
            return Listed("", "folder")
        size = self.size_of(path)
        return Listed("", "file", size) if size is not None else None

    def size_of(self, path: str) -> int | None:
        """Return the size of a file, or None where there is none, or the server does not say."""
        said = self._if_there(f"SIZE {path}") or ""
        digits = said[4:].strip()
        return int(digits) if said.startswith("213") and digits.isdecimal() else None

    def changed(self, path: str) -> str:
        """Return when a file was last changed, "" where the server does not say. Only to be compared."""
        return self._if_there(f"MDTM {path}") or "" if "MDTM" in self.features else ""

    def chmod(self, path: str, mode: int) -> None:
        """Give a file or folder a mode, where the server can: no standard has it, and none but some on Unix do."""
        if self._has_modes:
            try:
                self.sendcmd(f"SITE CHMOD {mode:03o} {path}")
            except (ftplib.error_perm, ftplib.error_temp) as error:
                self._has_modes = str(error)[:3] not in _UNKNOWN

    def replace(self, old: str, new: str) -> None:
        """Rename a file, also onto one that is there, which stays as it was where that may not be."""
        try:
            self.rename(old, new)
        except ftplib.error_perm as error:
            # Some never rename onto a file that is there. It goes aside, and comes back where that was not the reason.
            if self.enter(new):
                self.leave()
                raise
            aside = f"{old}.old"
            try:
                self.rename(new, aside)
            except ftplib.error_perm:
                raise error from None
            try:
                self.rename(old, new)
            except (ftplib.error_perm, ftplib.error_temp):
                self.rename(aside, new)
                raise
            self.delete(aside)

    def enter(self, path: str) -> bool:
        """Go to a folder, if it is one. Until `leave`, paths count from there: the line is `away`."""
        if self._home is None:
            self._home = self.pwd()
        if path and self._if_there(f"CWD {path}") is None:
            return False
        self.away = bool(path)
        return True

    def leave(self) -> None:
        """Go back to the folder of the login, from which paths count. A line that cannot stays `away`."""
        if self.away and self._home:
            self.voidcmd(f"CWD {self._home}")
            self.away = False

    def _passive(self) -> int:
        """The port that the server opens for us."""
        if not self._extended:
            try:
                return ftplib.parse227(self.sendcmd("PASV"))[1]
            except ftplib.error_perm as error:
                if str(error)[:3] not in _UNKNOWN | {"522"}:
                    raise
                self._extended = True
        return int(ftplib.parse229(self.sendcmd("EPSV"), self.control.getpeername())[1])

    def _speak(self, *, safe: bool) -> None:
        if safe:
            assert self._context is not None
            self.control = self._context.wrap_socket(self.control, server_hostname=self._site.host)
        self.sock = self.control
        self._held = b""  # what came before it was safe might be anybody's

    def _if_known(self, command: str) -> str | None:
        try:
            return self.sendcmd(command)
        except ftplib.error_perm:
            return None

    def _if_there(self, command: str) -> str | None:
        """The answer to a question about a file, or None where there is no such file or question."""
        try:
            return self.sendcmd(command)
        except ftplib.error_perm as error:
            if str(error)[:3] in _UNKNOWN | {"550", "553"}:
                return None
            raise


def _fact_line(answer: str) -> Listed | None:
    """The line of facts in an answer to MLST: the one that begins with a space."""
    for text in answer.splitlines()[1:]:
        if text.startswith(" "):
            return from_mlsd(unwired(text[1:]))
    return None
