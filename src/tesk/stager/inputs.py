"""Bring a task's inputs in: first find out what there is and whether it fits together, then move it."""

import os
import posixpath
from collections.abc import Container, Iterable

from msgspec import Struct, structs

from tesk.errors import TransferError, TransferRefused
from tesk.inside import Inside
from tesk.stager.meter import Meter
from tesk.stager.parallel import Stop, each
from tesk.stager.report import TooMany, moved, named, report, told
from tesk.storage.scheme import Entry, Scheme, Streams
from tesk.storage.schemes import Schemes
from tesk.storage.url import shown
from tesk.tes.task import FileType
from tesk.transfer import Fetch, Moved, TransferReport


class Piece(Struct, frozen=True, gc=False):
    """One file or folder that is to be made at `path`. `mode` is the source's, where it has one. `pipe`: it is read later."""

    index: int
    path: str
    folder: bool
    url: str = ""
    content: bytes | None = None
    size_bytes: int | None = None
    mode: int | None = None
    pipe: bool = False


class Survey(Struct, frozen=True):
    """All pieces, folders before what lies in them, and the types that were found out."""

    pieces: list[Piece]
    types: dict[int, FileType]


def survey(
    inputs: Iterable[Fetch], schemes: Schemes, *, pipes: Container[int] = (), limit: int, threads: int, stop: Stop
) -> Survey:
    """Ask the sources what there is. Raises TransferError for the first thing that can never be, TooMany above `limit`.

    `pipes`: the inputs, by index, that become named pipes if their scheme can give a file in order.
    """
    types: dict[int, FileType] = {}
    listed = 0

    def look(fetch: Fetch) -> list[Piece]:
        path = _clean(fetch.path)
        if not fetch.far:
            data = (fetch.content or "").encode()
            if fetch.type is None:
                types[fetch.index] = FileType.FILE
            return [Piece(fetch.index, path, folder=False, content=data, size_bytes=len(data))]
        with named(f"inputs[{fetch.index}].url"):
            return find(fetch, path)

    def find(fetch: Fetch, path: str) -> list[Piece]:
        nonlocal listed
        url = fetch.url or ""
        scheme = schemes.of(url)
        if fetch.index in pipes and isinstance(scheme, Streams) and not url.endswith("/"):
            if fetch.type is None:
                types[fetch.index] = FileType.FILE
            return [Piece(fetch.index, path, folder=False, url=url, size_bytes=0, pipe=True)]
        entry = _source(fetch, url, scheme)
        if fetch.type is None:
            types[fetch.index] = entry.type
        if entry.type is FileType.FILE:
            return [Piece(fetch.index, path, folder=False, url=url, size_bytes=entry.size_bytes, mode=entry.mode)]
        pieces = [Piece(fetch.index, path, folder=True, mode=entry.mode)]
        for one in scheme.list(url):
            stop.advance(0)
            if not _is_below(one.name):
                raise TransferRefused(
                    f"{shown(url)}: lists {shown(one.name)!r}, which is no name of anything that lies in it"
                )
            inner = posixpath.join(path, one.name)
            folder = one.type is FileType.DIRECTORY
            pieces.append(
                Piece(fetch.index, inner, folder=folder, url=one.url, size_bytes=one.size_bytes, mode=one.mode)
            )
            listed += 1
            # Of all inputs together: each may be as large as all may be. A count lost between threads is no harm.
            if len(pieces) > limit or listed > limit:
                break
        return pieces

    done, errors = each(look, list(inputs), threads=threads, stop=stop, keep_going=False)
    if errors:
        raise errors[0]
    pieces = sorted(
        (piece for some in done for piece in some), key=lambda piece: (piece.path.count("/"), piece.path, piece.index)
    )
    if len(pieces) > limit:
        raise TooMany(f"the inputs are more than {limit} files (setting storage.files_limit)")
    _fit_together(pieces)
    return Survey(pieces, types)


def move(
    found: Survey,
    schemes: Schemes,
    inside: Inside,
    *,
    owner: tuple[int, int] | None,
    anybody: bool,
    everything: bool,
    in_place: Container[str],
    threads: int,
    stop: Stop,
    meter: Meter,
    began: float,
) -> TransferReport:
    """Make all folders, then all files. They belong to `owner`, who may change them; the sources stay as they are.

    `anybody`: others may read them, and go through the folders; with `everything` they may also write. `in_place`: the
    paths of files that are there, and stay the same ones.
    """

    def bring_one(piece: Piece) -> Moved:
        try:
            with (
                inside.rewritten(piece.path) if piece.path in in_place else inside.new_file(piece.path) as target,
                meter.one(piece.size_bytes, lambda: os.fstat(target).st_size) as one,
            ):
                if piece.content is not None:
                    size, mode = _write(target, piece.content), None
                else:
                    with named(f"inputs[{piece.index}].url"):
                        arrived = schemes.of(piece.url).get(piece.url, target, one.advance)
                    size, mode = arrived.size_bytes, arrived.mode
                one.done(size)
                if (mode := _rights(mode, 0o600, anybody=anybody, everything=everything)) is not None:
                    os.fchmod(target, mode)
                if owner is not None:
                    os.fchown(target, *owner)
        except OSError as error:
            raise told(error, piece.path) from error
        return moved(piece.index, piece.url, piece.path, size)

    files: list[Moved] = []
    errors: list[TransferError] = []
    try:
        made: set[str] = set()
        for piece in found.pieces:
            stop.advance(0)
            folder = piece.path if piece.folder else posixpath.dirname(piece.path)
            if folder not in made:
                inside.make_folders(folder, owner=owner)
                made.add(folder)
            if piece.pipe:
                inside.remove(piece.path)  # by one who was killed
                os.close(inside.make_pipe(piece.path, owner, mode=0o644 if anybody else 0o600))
            elif (
                piece.folder
                and (mode := _rights(piece.mode, 0o700, anybody=anybody, everything=everything)) is not None
            ):
                inside.chmod(piece.path, mode)
    except TransferError as error:
        errors.append(error)
    except OSError as error:
        errors.append(told(error, str(error.filename)))
    if not errors:
        pieces = [piece for piece in found.pieces if not piece.folder and not piece.pipe]
        files, errors = each(
            bring_one,
            pieces,
            threads=threads,
            stop=stop,
            keep_going=False,
            size_bytes=lambda piece: piece.size_bytes or 0,
        )
    pipes = tuple(sorted(piece.index for piece in found.pieces if piece.pipe))
    return structs.replace(report(files, found.types, [], errors, began), pipes=pipes)


def _rights(mode: int | None, least: int, *, anybody: bool, everything: bool) -> int | None:
    """Return the mode of a copy of what has this one, None where nobody says anything about it.

    Its owner may change the copy, whatever the source allowed; no copy gains the rights of a set bit.
    """
    if mode is None and not anybody:
        return None
    mode = (mode or 0) & 0o777 | least
    others = (mode >> 6) * 0o11 & (0o077 if everything else 0o055)  # as the owner may
    return mode | others if anybody else mode


def _source(fetch: Fetch, url: str, scheme: Scheme) -> Entry:
    """What lies at the URL of an input, asked only as far as the task leaves it open."""
    if not scheme.has_folders:
        kind = FileType.DIRECTORY if url.endswith("/") and fetch.type is None else fetch.type or FileType.FILE
        return Entry(url=url, name="", type=kind)
    entry = scheme.stat(url)
    if entry is None:
        raise TransferRefused(f"{shown(url)}: there is no such file")
    wanted = FileType.DIRECTORY if fetch.type is None and url.endswith("/") else fetch.type or entry.type
    if entry.type is not wanted:
        is_what = "a folder" if entry.type is FileType.DIRECTORY else "a file"
        raise TransferRefused(
            f"{shown(url)}: is {is_what}, so the type of input {fetch.path} must be {entry.type}, not {wanted}"
        )
    return entry


def _is_below(name: str) -> bool:
    """Say whether a listed name leads to a place in its folder and nowhere else, whatever its source makes up."""
    return "\0" not in name and not {"", ".", ".."} & {*name.split("/")}


def _clean(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise TransferRefused(f"{shown(path)}: the path of an input must be absolute and without '..'")
    return "/" + posixpath.normpath(path).lstrip("/")


def _fit_together(pieces: list[Piece]) -> None:
    """Refuse two files, or a file and a folder, at one place, and anything below a file. Pieces are sorted by depth."""
    there: dict[str, Piece] = {}
    for piece in pieces:
        other = there.get(piece.path)
        if other is not None and not (other.folder and piece.folder):
            raise TransferRefused(f"{shown(piece.path)}: inputs {other.index} and {piece.index} both want to be here")
        above = piece.path
        while above != "/":
            above = posixpath.dirname(above)
            over = there.get(above)
            if over is not None:
                if not over.folder:
                    raise TransferRefused(
                        f"{shown(piece.path)}: input {piece.index} lies below {shown(above)}, which input {over.index} makes a file"
                    )
                break
        there.setdefault(piece.path, piece)


def _write(target: int, data: bytes) -> int:
    written = 0
    while written < len(data):
        written += os.write(target, memoryview(data)[written:])
    return written
