"""Old FTP servers that are broken, or odd, in one way each."""

import socket
import struct

from fakes.ftp_old import Old


class Cuts(Old):
    """Sends this share of what is missing and hangs up, both lines; the fourth time all."""

    share = 0.5

    def send(self, whole: bytes, offset: int) -> bool | None:
        if self.count("RETR") > 3:
            return super().send(whole, offset)
        with self.data() as data:
            data.sendall(whole[offset : offset + int((len(whole) - offset) * self.share)])
        return True


class CutsEarly(Cuts):
    share = 0.1


class CutsLate(Cuts):
    share = 0.99


class CutsAndChanges(Cuts):
    """Has another file of the same size from the second time on."""

    def do_MDTM(self, path: bytes) -> None:
        if self.count("RETR"):
            self.changed = b"20210101000000"
            self.server.files[self.at(path)] = self.server.files[b"/second"]
        super().do_MDTM(path)


class CutsAndBeginsAnew(Cuts):
    """Knows no REST."""

    def do_REST(self, offset: bytes) -> None:
        self.say(b"502 Not known")


class Stalls(Old):
    """Sends ten bytes and then nothing, until the client goes away."""

    def send(self, whole: bytes, offset: int) -> bool | None:
        with self.data() as data:
            data.sendall(whole[:10])
            data.recv(1)
        return True


class Forgets(Old):
    """Forgets the data connection: says 150, accepts it, and sends neither data nor a word. The third time it remembers."""

    def send(self, whole: bytes, offset: int) -> bool | None:
        if self.count("RETR") < 3:
            with self.data():
                self.rfile.read(1)
            return True
        return super().send(whole, offset)


class NeverOpens(Old):
    """Cannot open the data connection, twice."""

    def send(self, whole: bytes, offset: int) -> bool | None:
        if self.count("RETR") < 3:
            self.say(b"425 Cannot open data connection")
            return None
        return super().send(whole, offset)


class HasNoLastWord(Old):
    """Sends all and keeps silent on how it went."""

    def send(self, whole: bytes, offset: int) -> bool | None:
        with self.data() as data:
            data.sendall(whole[offset:])
        self.rfile.read(1)
        return True


class SendsLess(Old):
    def send(self, whole: bytes, offset: int) -> bool | None:
        return super().send(whole[:-1], offset)


class SendsMore(Old):
    def send(self, whole: bytes, offset: int) -> bool | None:
        return super().send(whole + b"more", offset)


class IsFull(Old):
    """Lets in nobody for the first three times."""

    word = b"421 Too many connections"

    def do_PASS(self, word: bytes) -> None:
        self.say(b"230 Come in" if self.count("PASS") > 3 else self.word)


class IsFullFor530(IsFull):
    word = b"530 Sorry, the maximum number of clients (5) from your host are already connected."


class LetsNobodyIn(Old):
    def do_PASS(self, word: bytes) -> None:
        self.say(b"530 Login incorrect.")


class KeepsLess(Old):
    """Stores a byte less than it was given, twice."""

    def do_STOR(self, path: bytes) -> None:
        super().do_STOR(path)
        if self.count("STOR") < 3:
            self.server.files[self.at(path)] = self.server.files[self.at(path)][:-1]


class HasNoRoom(Old):
    """Takes the data, and then says that it has no room for them. What came lies there."""

    def do_STOR(self, path: bytes) -> None:
        with self.data() as data:
            self.server.files[self.at(path)] = data.recv(65536)
        self.say(b"552 Disk quota exceeded")


class HasNoRoomInTheMiddle(HasNoRoom):
    """Hangs up on the data before it says so."""

    def do_STOR(self, path: bytes) -> None:
        with self.data() as data:
            self.server.files[self.at(path)] = data.recv(65536)
            data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.say(b"552 Disk quota exceeded")


class RenamesOntoNothing(Old):
    def do_RNTO(self, path: bytes) -> None:
        if self.at(path) in self.server.files:
            self.say(b"553 File exists")
        else:
            super().do_RNTO(path)


class KeepsNames(Old):
    """Lets nobody give a file the name `/x`, but the one that is there."""

    def do_RNTO(self, path: bytes) -> None:
        if self.at(path) == b"/x" and self.server.files.get(self.renamed) != b"old":
            self.say(b"550 Not allowed")
        else:
            super().do_RNTO(path)


class IsBusyAtTheEnd(RenamesOntoNothing):
    """Lets nobody rename a new file at all, for now."""

    def do_RNTO(self, path: bytes) -> None:
        if self.at(path) == b"/x" and self.server.files.get(self.renamed) != b"old" and b"/x" not in self.server.files:
            self.say(b"450 Busy")
        else:
            super().do_RNTO(path)


class KnowsNoSize(Old):
    """Has neither FEAT nor SIZE: only its lists say what there is."""

    def do_FEAT(self, nothing: bytes) -> None:
        self.say(b"500 Not known")

    do_SIZE = do_MDTM = do_FEAT


class ListsNothingBelow(Old):
    """Lets us into folders, and lists none of them but the top."""

    def do_LIST(self, argument: bytes) -> None:
        if self.here == b"/":
            super().do_LIST(argument)
        else:
            self.say(b"550 Not for you")


class StartsElsewhere(Old):
    """Has a folder for who logs in."""

    def do_PASS(self, word: bytes) -> None:
        self.here = b"/home"
        super().do_PASS(word)


class KnowsEpsvOnly(Old):
    def do_PASV(self, nothing: bytes) -> None:
        self.say(b"502 Not known")

    def do_EPSV(self, nothing: bytes) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.say(b"229 Extended (|||%d|)" % self.listening.getsockname()[1])
