"""Files of FTP servers: resumed when a line breaks, stored under a name beside and then renamed, in trees of any server's kind."""

import contextlib
import ftplib
import os
import posixpath
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import ClassVar, TypeVar

from tesk.errors import TransferError, TransferRefused
from tesk.settings import FtpCredential, StorageSettings
from tesk.storage import address
from tesk.storage.calling import calling
from tesk.storage.ftp.line import Line
from tesk.storage.ftp.lines import Lines
from tesk.storage.ftp.listing import Listed, read
from tesk.storage.ftp.moving import MOVED, Download, Upload, receive, send_all, whole
from tesk.storage.ftp.place import Place, Site, place_of, wire
from tesk.storage.patience import Again, Patience, wanted
from tesk.storage.scheme import Advance, Arrived, Entry
from tesk.storage.url import below, heard, shown
from tesk.tes.task import FileType

T = TypeVar("T")

_RESUMED_BYTES = 1024 * 1024
"""A smaller file begins anew when its line breaks, so nobody need ask which version of it this is."""
_DEPTH_MAX = 100
_TOLD_MOST = 10_000
_PASSED_ON = 0o755
"""Of a mode, so much is told a server: nobody but its owner shall write where others are, whatever its umask would take."""
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
"""What servers give by themselves, or something stricter: nothing is said for that."""
_FULL_HOUSE = re.compile(r"(?i)too many|maximum|limit")
_HELP = {
    "530": "it does not let us in; user and password of a host are set in storage.ftp",
    "534": "it speaks only with TLS: ftps://",
    "550": "there is no such file, or this login may not do that with it",
    "552": "no room is left there",
    "553": "it does not take this name",
}


def for_caller(settings: StorageSettings, caller: str) -> "FtpScheme":
    """Build the scheme that `caller` gets."""
    return FtpScheme(
        tuple(known for known in settings.ftp if not known.callers or caller in known.callers),
        **calling(settings),
    )


class FtpScheme:
    """Files of FTP servers. `credentials` are the caller's own; `private`, `hosts`: see `address`."""

    has_folders: ClassVar[bool] = True

    def __init__(
        self,
        credentials: tuple[FtpCredential, ...] = (),
        *,
        patience: Patience = Patience(),  # noqa: B008  a frozen value
        connections_per_host: int = 8,
        timeout_seconds: float = 60.0,
        private: bool = False,
        hosts: address.Hosts = address.EVERYWHERE,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._patience = patience
        self._lines = Lines(
            credentials,
            connections_per_host=connections_per_host,
            timeout_seconds=timeout_seconds,
            private=private,
            hosts=hosts,
            context=context,
        )
        self._folders: set[tuple[Site, str]] = set()
        self._told: dict[str, Listed] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        self._lines.close()

    def check_server(self, url: str) -> None:
        self._lines.check_site(place_of(url).site)

    def stat(self, url: str) -> Entry | None:
        place = place_of(url)
        listed = self._act(url, lambda: self._lines.act(place, lambda line: self._look(line, place, url)))
        return None if listed is None else self._entry(url, "", listed)

    def list(self, url: str) -> Iterator[Entry]:
        place = place_of(url)
        pending: list[tuple[str, tuple[str, ...]]] = [("", ())]
        while pending:
            inner, above = pending.pop()
            if len(above) > _DEPTH_MAX:
                raise TransferRefused(
                    f"{shown(url)}: folders lie deeper in each other than {_DEPTH_MAX}: {shown(inner)}"
                )
            for listed in self._entries(place._replace(path=posixpath.join(place.path, inner)), url):
                name = posixpath.join(inner, listed.name)
                if listed.kind == "folder":
                    if listed.unique and listed.unique in above:
                        raise TransferRefused(f"{shown(url)}: the link {shown(name)} leads back to a folder above it")
                    pending.append((name, (*above, listed.unique)))
                yield self._entry(below(url, name), name, listed)

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        place, download = place_of(url), Download(target, advance)
        with self._lock:
            download.told = self._told.pop(url, None)
        self._act(
            url,
            lambda: self._lines.act(place, lambda line: self._continue(line, place, url, download)),
            advance=advance,
            done=lambda: download.done,
        )
        return Arrived(size_bytes=download.done, mode=download.mode)

    def put(self, source: int, url: str, advance: Advance) -> Arrived:
        place = place_of(url)
        if not posixpath.basename(place.path):
            raise TransferRefused(f"{shown(url)}: names no file")
        upload = Upload(source, advance)
        self._act(url, lambda: self._store(place, url, upload), advance=advance)
        return Arrived(size_bytes=upload.done)

    def make_directory(self, url: str) -> None:
        place = place_of(url)

        def make(line: Line) -> None:
            said = self._make_folders(line, place, place.path, url)
            if place.path and not line.enter(wire(place.path, url)):
                raise TransferRefused(f"{shown(url)}: the server does not let us make this folder ({said})")
            line.leave()

        self._act(url, lambda: self._lines.act(place, make))

    def make_directory_as(self, url: str, mode: int) -> None:
        place = place_of(url)

        def make(line: Line) -> None:
            if place.path and (place.site, place.path) not in self._folders:
                said = self._make_folders(line, place, place.path, url)
                mode_there = mode & _PASSED_ON | 0o700
                if not said and mode_there != _FOLDER_MODE:
                    line.chmod(wire(place.path, url), mode_there)

        self._act(url, lambda: self._lines.act(place, make))

    def _entry(self, url: str, name: str, listed: Listed) -> Entry:
        """What was listed, which is remembered: a file that is fetched next need not be asked for again."""
        kind = FileType.DIRECTORY if listed.kind == "folder" else FileType.FILE
        if kind is FileType.FILE:
            with self._lock:
                if len(self._told) < _TOLD_MOST:
                    self._told[url] = listed
        return Entry(url=url, name=name, type=kind, size_bytes=listed.size_bytes, mode=listed.mode)

    def _look(self, line: Line, place: Place, url: str) -> Listed | None:
        """What is at a place; of a server that knows neither MLST nor SIZE, by the list of the folder above."""
        found = line.look(wire(place.path, url))
        if found is None and not line.features & {"MLST", "SIZE"} and posixpath.basename(place.path):
            folder, name = posixpath.split(place.path)
            if line.enter(wire(folder, url)):
                line.leave()
                return next((one for one in self._listed(line, folder, url) if one.name == name), None)
        return found

    def _entries(self, place: Place, url: str) -> tuple[Listed, ...]:
        """What a folder holds, links as what they lead to."""

        def follow(line: Line, listed: Listed) -> Listed:
            if listed.kind == "link":
                there = line.look(wire(posixpath.join(place.path, listed.name), url))
                if there is None:
                    raise TransferRefused(f"{shown(url)}: the link {shown(listed.name)} leads nowhere")
                return there._replace(name=listed.name)
            if listed.kind == "other":
                raise TransferRefused(f"{shown(url)}: {shown(listed.name)} is neither a file nor a folder")
            return listed

        def ask(line: Line) -> tuple[Listed, ...]:
            followed = (follow(line, listed) for listed in self._listed(line, place.path, url))
            return tuple(sorted(followed, key=lambda listed: listed.name))

        return self._act(url, lambda: self._lines.act(place, ask))

    def _listed(self, line: Line, path: str, url: str) -> tuple[Listed, ...]:
        if "MLST" in line.features:  # and with it MLSD: RFC 3659, 7.8
            said = whole(line, f"MLSD {wire(path, url)}" if path else "MLSD", url)
            return tuple(read(said, url, machine=True))
        # A path after LIST may be taken for options or a pattern, so we go there. With -a the list of Unix holds `.`, at least.
        if not line.enter(wire(path, url)):
            raise TransferRefused(f"{shown(url)}: there is no such folder")
        try:
            said = whole(line, "LIST -a", url)
        except ftplib.error_perm:
            said = b""
        said = said or whole(line, "LIST", url)
        line.leave()
        return tuple(read(said, url, machine=False))

    def _continue(self, line: Line, place: Place, url: str, download: Download) -> None:
        """One try at what is still missing of a file."""
        path = wire(place.path, url)
        seen, download.told = download.told, None
        if seen is None:
            seen = line.look(path) if "MLST" in line.features else Listed("", "file", line.size_of(path))
        if seen is None:
            raise TransferRefused(f"{shown(url)}: there is no such file")
        if seen.kind == "folder":
            raise TransferRefused(f"{shown(url)}: is a folder, not a file; its type is DIRECTORY")
        size = seen.size_bytes
        if not seen.version and (size or 0) > _RESUMED_BYTES:
            seen = seen._replace(version=line.changed(path))
        if download.done and (download.version != (size, seen.version) or not seen.version):
            download.restart()
        download.version = (size, seen.version)
        if seen.mode is not None:
            download.mode = seen.mode
        if download.done and download.done == size:
            return
        os.lseek(download.file, download.done, os.SEEK_SET)
        try:
            with line.data(f"RETR {path}", download.done) as data:
                receive(data, download, size)
        except ftplib.error_perm as error:
            if not download.done or str(error)[:3] == "550":
                raise
            download.restart()
            raise Again("the server does not go on in the middle of a file") from error
        except (OSError, EOFError):
            # All is here; what is missing is only the server's last word, which some forget.
            if size is None or download.done != size:
                raise
        if size is not None and download.done != size:
            if download.done > size:
                got = download.done
                download.restart()
                raise Again(f"{MOVED}, or the server sends more than it said ({size} bytes expected, {got} got)")
            raise Again(f"the line broke after {download.done} of {size} bytes")

    def _store(self, place: Place, url: str, upload: Upload) -> None:
        """One try at storing a file: beside, then under its name."""
        folder = posixpath.dirname(place.path)
        part = posixpath.join(folder, f".tesk-{os.urandom(8).hex()}.part")
        mode = os.fstat(upload.file).st_mode & _PASSED_ON | 0o600
        begun = False

        def store(line: Line) -> None:
            nonlocal begun
            begun = True
            try:
                send_all(line, wire(part, url), upload)
            except ftplib.error_perm:
                if not folder or (place.site, folder) in self._folders:
                    raise
                self._make_folders(line, place, folder, url)
                send_all(line, wire(part, url), upload)
            there = line.size_of(wire(part, url))
            if there is not None and there != upload.done:
                raise Again(f"the server has {there} of {upload.done} bytes")
            if mode != _FILE_MODE:
                line.chmod(wire(part, url), mode)
            line.replace(wire(part, url), wire(place.path, url))

        try:
            self._lines.act(place, store)
        except (OSError, EOFError, TransferError, Again, ftplib.Error):
            if begun:
                with contextlib.suppress(OSError, EOFError, TransferError, Again, ftplib.Error):
                    self._lines.act(place, lambda line: line.delete(wire(part, url)))
            raise

    def _make_folders(self, line: Line, place: Place, folder: str, url: str) -> str:
        """Make a folder and those above it; return the refusal of the last, which may only mean that it is there already."""
        said = ""
        path = "/" if folder.startswith("/") else ""
        for name in filter(None, folder.split("/")):
            path = posixpath.join(path, name)
            if (place.site, path) not in self._folders:
                said = ""
                try:
                    line.mkd(wire(path, url))
                except ftplib.error_perm as error:
                    said = _words(error)
                self._folders.add((place.site, path))
        return said

    def _act(
        self,
        url: str,
        act: Callable[[], T],
        *,
        advance: Advance = wanted,
        done: Callable[[], int] = lambda: 0,
    ) -> T:
        """Act with patience, and say what ftplib raises in words."""

        def once() -> T:
            try:
                return act()
            except ftplib.error_perm as error:
                raise _refused(error, url) from error
            except ftplib.error_temp as error:
                raise Again(f"the server answers {_words(error)}") from error
            except EOFError as error:
                raise Again("the line broke") from error
            except OSError:
                raise  # a certificate that is not trusted is a ValueError, too
            except (ftplib.Error, ValueError) as error:
                raise Again(f"the server does not speak FTP as it should: {_words(error)}") from error

        return self._patience.act(url, once, advance=advance, done=done)


def _words(error: Exception) -> str:
    return heard(os.fsdecode(str(error).encode("latin-1", "replace"))) or type(error).__name__


def _refused(error: ftplib.error_perm, url: str) -> TransferRefused | Again:
    said = _words(error)
    if said.startswith("530") and _FULL_HOUSE.search(said):
        return Again(f"the server answers {said}")
    help_ = _HELP.get(said[:3])
    return TransferRefused(f"{shown(url)}: the server answers {said.rstrip('.')}" + (f": {help_}" if help_ else ""))
