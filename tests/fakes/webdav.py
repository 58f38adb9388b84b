"""A small WebDAV server (RFC 4918) on loopback over a folder of this machine, as bytes; and some with one fault each."""

import os
import shutil
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes
from xml.sax.saxutils import escape

from fakes import web

SPEC = "HTTP/1.1 200 OK"


class Dav(web.Files):
    """What a good server does. `files` is not used: `folder` of the server holds all."""

    folder: Path

    def parse_request(self) -> bool:
        good = super().parse_request()
        if good:
            self.noted()
        return good

    def noted(self) -> None:
        self.server.requests.append(dict(self.headers.items()) | {"path": self.path, "method": self.command})

    @property
    def place(self) -> bytes:
        return os.fsencode(self.folder) + unquote_to_bytes(self.path.partition("?")[0]).rstrip(b"/")

    def do_GET(self) -> None:
        self.answer()

    def answer(self, *, head: bool = False) -> None:
        if not os.path.isfile(self.place):
            self.plain(405 if os.path.isdir(self.place) else 404)
            return
        data = Path(os.fsdecode(self.place)).read_bytes()
        start = self.start()
        self.headed(206 if start else 200, data, start)
        if not head:
            self.wfile.write(data[start:])

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def do_PUT(self) -> None:
        if os.path.isdir(self.place) or self.path.endswith("/"):
            self.body()
            self.plain(405)
        elif not os.path.isdir(os.path.dirname(self.place)):
            self.body()
            self.plain(409)
        else:
            status, data = 204 if os.path.exists(self.place) else 201, self.body()
            if len(data) < int(self.headers["Content-Length"]):
                self.close_connection = True
                return
            with open(self.place + b".new", "wb") as file:
                file.write(data)
            os.rename(self.place + b".new", self.place)
            self.plain(status)

    def do_DELETE(self) -> None:
        if not os.path.exists(self.place):
            self.plain(404)
            return
        if os.path.isdir(self.place):
            shutil.rmtree(self.place)
        else:
            os.unlink(self.place)
        self.plain(204)

    def do_MKCOL(self) -> None:
        try:
            os.mkdir(self.place)
        except FileExistsError:
            self.plain(405)
        except (FileNotFoundError, NotADirectoryError):
            self.plain(409)
        else:
            self.plain(201)

    def do_PROPFIND(self) -> None:
        self.body()
        if not os.path.exists(self.place):
            self.plain(404)
            return
        names = [b""]
        if self.headers["Depth"] == "1" and os.path.isdir(self.place):
            names += [b"/" + name for name in sorted(os.listdir(self.place))]
        self.listed("".join(self.described(self.place + name) for name in names))

    def described(self, path: bytes) -> str:
        folder = os.path.isdir(path)
        href = escape(quote_from_bytes(path[len(os.fsencode(self.folder)) :]) + "/" * folder)
        what = "<D:collection/>" if folder else ""
        size = "" if folder else f"<D:getcontentlength>{os.path.getsize(path)}</D:getcontentlength>"
        return (
            f"<D:response><D:href>{href}</D:href><D:propstat><D:prop><D:resourcetype>{what}</D:resourcetype>{size}</D:prop>"
            f"<D:status>{SPEC}</D:status></D:propstat></D:response>"
        )

    def listed(self, responses: str, before: str = "") -> None:
        data = (
            f'<?xml version="1.0" encoding="utf-8"?>{before}<D:multistatus xmlns:D="DAV:">{responses}</D:multistatus>'
        )
        self.send_response(207)
        self.send_header("Content-Type", "application/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(data.encode())))
        self.end_headers()
        self.wfile.write(data.encode())


def over(folder: Path, handler: type[Dav] = Dav) -> type[Dav]:
    """Return the handler that serves `folder`."""
    return type(handler.__name__, (handler,), {"folder": folder})


class CutsPuts(Dav):
    """Reads a third of what is sent, keeps it where everybody can see it, and hangs up; the third time it is good."""

    cuts = 2

    def do_PUT(self) -> None:
        if sum(request["method"] == "PUT" for request in self.server.requests) > self.cuts:
            super().do_PUT()
            return
        self.handle_expect_100() if self.headers.get("Expect") else None
        data = self.rfile.read(int(self.headers["Content-Length"]) // 3)
        Path(os.fsdecode(self.place)).write_bytes(data)
        self.reset()


class AlwaysCutsPuts(CutsPuts):
    cuts = 1000


class Full(Dav):
    """Has no room left, and says so when it has seen a part of a file that it then forgets to take away."""

    def do_PUT(self) -> None:
        Path(os.fsdecode(self.place)).write_bytes(self.body()[:10])
        self.plain(507)


class Declines(Dav):
    """Wants no file, and says so before it has seen one."""

    def handle_expect_100(self) -> bool:
        self.noted()
        self.plain(403)
        self.close_connection = True
        return False


class SaysNothingBefore(Dav):
    """Does not know Expect: takes what comes."""

    def handle_expect_100(self) -> bool:
        return True


class NoFolders(Dav):
    """A plain server that takes files under any name and knows no folders."""

    def do_PUT(self) -> None:
        os.makedirs(os.path.dirname(self.place), exist_ok=True)
        super().do_PUT()

    def do_MKCOL(self) -> None:
        self.plain(405)

    def do_PROPFIND(self) -> None:
        self.body()
        self.plain(405)


class Hostile(Dav):
    """Lists what `hrefs` say in the place of what is there; `before` stands ahead of the document."""

    hrefs: tuple[str, ...] = ()
    before = ""

    def do_PROPFIND(self) -> None:
        self.body()
        good = self.described(self.place).replace("</D:href>", "</D:href>", 1)
        more = "".join(
            f"<D:response><D:href>{escape(href)}</D:href><D:propstat><D:prop><D:resourcetype/></D:prop>"
            f"<D:status>{SPEC}</D:status></D:propstat></D:response>"
            for href in self.hrefs
        )
        self.listed(good + more, self.before)


class Endless(Dav):
    """Each folder holds a folder."""

    name = "again"

    def do_PROPFIND(self) -> None:
        self.body()
        here = self.path.rstrip("/") + "/"
        both = "".join(
            f"<D:response><D:href>{href}</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>"
            f"</D:prop><D:status>{SPEC}</D:status></D:propstat></D:response>"
            for href in (here, f"{here}{self.name}/")
        )
        self.listed(both)


class KeepsHalves(Dav):
    """Stores what comes where everybody can see it, and what came before the end of the line, too."""

    def do_PUT(self) -> None:
        data = self.body()
        Path(os.fsdecode(self.place)).write_bytes(data)
        self.plain(201)
