"""Take a task's outputs out: find what its executors left, then store it. Links are followed below the task's own root only."""

import itertools
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator

from msgspec import Struct

from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.inside import Found, Inside, kind
from tesk.stager.globs import matcher, parts, pruned
from tesk.stager.meter import Meter
from tesk.stager.parallel import Stop, each
from tesk.stager.report import TooMany, moved, named, report, told
from tesk.storage.scheme import Buckets, Modes
from tesk.storage.schemes import Schemes
from tesk.storage.url import below, shown
from tesk.tes.patterns import has_wildcards, literal
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Moved, TransferReport

_PATH_MAX_BYTES = 4096


class Piece(Struct, frozen=True, gc=False):
    """One file (or, with `folder`, an empty folder) of the task's, and where it goes."""

    index: int
    path: str
    url: str
    folder: bool
    size_bytes: int = 0


class Folder(Struct, frozen=True, gc=False):
    """One folder of the task's, and where it goes."""

    url: str
    mode: int


class Survey:
    """What the executors left of what the task names. `folders` are all, parents first, those that are pieces, too."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pieces: list[Piece] = []
        self.folders: list[Folder] = []
        self.types: dict[int, FileType] = {}
        self.warnings: list[str] = []
        self.errors: list[TransferError] = []

    def check(self, more: int = 0) -> None:
        """Raise TooMany above the limit."""
        if len(self.pieces) + more > self.limit:
            raise TooMany(f"the outputs are more than {self.limit} files (setting storage.files_limit)")

    def entries(self, inside: Inside, folder: str) -> list[Found]:
        """Return what is in a folder, sorted; not more than may be moved are looked at."""
        entries = list(itertools.islice(inside.list(folder), self.limit + 1))
        self.check(len(entries))
        return sorted(entries)


def look(outputs: Iterable[Deliver], schemes: Schemes, stop: Stop) -> None:
    """Ask whether the buckets of outputs are there, before anybody computes for them. Raises TransferError."""
    seen: set[str] = set()
    for output in outputs:
        bucket = "/".join(output.url.split("/", 3)[:3])
        if output.in_bucket and bucket not in seen:
            seen.add(bucket)
            stop.advance(0)
            with named(f"outputs[{output.index}].url"):
                scheme = schemes.of(output.url)
                assert isinstance(scheme, Buckets)
                scheme.check_bucket(output.url)


def survey(outputs: Iterable[Deliver], inside: Inside, *, limit: int, stop: Stop) -> Survey:
    """Look at what is there. Raises TooMany above `limit`, TransferError when stopped."""
    found = Survey(limit)
    for output in outputs:
        folders = len(found.folders)
        try:
            for piece in _pieces(output, inside, found):
                stop.advance(0)
                found.pieces.append(piece)
                found.check()
        except TooMany:
            raise
        except TransferError as error:
            stop.advance(0)
            del found.folders[folders:]
            found.errors.append(error)
        except OSError as error:
            del found.folders[folders:]
            found.errors.append(told(error, str(error.filename or output.path)))
    return found


def move(
    found: Survey,
    schemes: Schemes,
    inside: Inside,
    *,
    threads: int,
    stop: Stop,
    meter: Meter,
    began: float,
) -> TransferReport:
    """Make folders where they have modes, then store every piece. One that fails does not keep the others."""
    _make_folders(found.folders, schemes, stop)

    def store(piece: Piece) -> Moved | None:
        with named(f"outputs[{piece.index}].url"):
            scheme = schemes.of(piece.url)
            if piece.folder:
                scheme.make_directory(piece.url)
                return None
        try:
            source = inside.open(piece.path)
        except OSError as error:
            raise told(error, piece.path) from error
        try:
            with meter.one(os.fstat(source).st_size) as one:
                with named(f"outputs[{piece.index}].url"):
                    size = scheme.put(source, piece.url, one.advance).size_bytes
                one.done(size)
        finally:
            os.close(source)
        return moved(piece.index, piece.url, piece.path, size)

    files, errors = each(
        store,
        found.pieces,
        threads=threads,
        stop=stop,
        keep_going=True,
        size_bytes=lambda piece: piece.size_bytes,
    )
    stored = [file for file in files if file is not None]
    return report(stored, found.types, found.warnings, [*found.errors, *errors], began)


def _make_folders(folders: Iterable[Folder], schemes: Schemes, stop: Stop) -> None:
    """Make them, one after the other, as each may be the parent of the next. What goes wrong goes wrong again with a piece."""
    for folder in folders:
        if stop.asked:
            return
        try:
            scheme = schemes.of(folder.url)
            if isinstance(scheme, Modes):
                scheme.make_directory_as(folder.url, folder.mode)
        except TransferRefused:
            continue
        except TransferFailed:
            return  # it took its time, and would take it again for each of them


def _pieces(output: Deliver, inside: Inside, found: Survey) -> Iterator[Piece]:
    """All that one output stands for."""
    if has_wildcards(output.path):
        yield from _matching(output, inside, found)
        return
    path = posixpath.normpath(literal(output.path))
    there = inside.stat(path)
    if there is None:
        link = inside.stat(path, follow=False)
        why = "it is a link that leads to nothing in the task's own folders" if link else "no executor has made it"
        raise TransferRefused(f"output {shown(path)} does not exist: {why}")
    is_what = _type(there)
    if is_what is None:
        raise TransferRefused(f"output {shown(path)} is {kind(there.st_mode)}, which cannot be stored")
    if output.type is None:
        found.types[output.index] = is_what
    elif output.type is not is_what:
        raise TransferRefused(
            f"output {shown(path)} is {kind(there.st_mode)}, but the task says that it is a {output.type}"
        )
    yield from _whole(
        Piece(output.index, path, output.url, folder=False, size_bytes=there.st_size), there, inside, found
    )


def _matching(output: Deliver, inside: Inside, found: Survey) -> Iterator[Piece]:
    """What a pattern matches: files and folders, or only those of the type that the output names."""
    seen: set[FileType] = set()
    for path in sorted(_expand(inside, parts(output.path), found)):
        there = inside.stat(path)
        is_what = _type(there) if there else None
        if there is None or is_what is None:
            found.warnings.append(_left_out(path, there))
            continue
        if output.type in {None, is_what}:
            seen.add(is_what)
            url = below(output.url, pruned(path, output.path_prefix))
            yield from _whole(
                Piece(output.index, path, url, folder=False, size_bytes=there.st_size), there, inside, found
            )
    if not seen:
        found.warnings.append(f"output {shown(output.path)}: nothing matches")
    if output.type is None:
        found.types[output.index] = FileType.DIRECTORY if seen == {FileType.DIRECTORY} else FileType.FILE


def _expand(inside: Inside, pattern: tuple[str, ...], found: Survey) -> list[str]:
    """The paths that match, without their links resolved."""
    paths = [""]
    for part in pattern:
        if not has_wildcards(part):
            paths = [f"{path}/{literal(part)}" for path in paths]
            continue
        expression = matcher(part)
        matched = []
        for path in paths:
            there = inside.stat(path or "/")
            if there is not None and stat.S_ISDIR(there.st_mode):
                matched += [
                    f"{path}/{entry.name}"
                    for entry in found.entries(inside, path or "/")
                    if expression.fullmatch(entry.name)
                ]
        paths = matched
    return [path for path in paths if inside.stat(path, follow=False) is not None] if pattern else []


def _whole(piece: Piece, there: os.stat_result, inside: Inside, found: Survey) -> Iterator[Piece]:
    """A file, or a folder with all that lies below it."""
    if stat.S_ISREG(there.st_mode):
        yield piece
        return
    pending: list[tuple[str, str, os.stat_result, tuple[tuple[int, int], ...]]] = [
        (piece.path, piece.url, there, ((there.st_dev, there.st_ino),))
    ]
    while pending:
        folder, folder_url, itself, above = pending.pop()
        if len(os.fsencode(folder)) > _PATH_MAX_BYTES:
            raise TransferRefused(
                f"output {shown(piece.path)}: its folders lie deeper in each other than a path can say"
            )
        found.folders.append(Folder(folder_url, stat.S_IMODE(itself.st_mode)))
        entries = found.entries(inside, folder)
        if not entries:
            yield Piece(piece.index, folder, folder_url, folder=True)
        for name, entry in entries:
            inner = posixpath.join(folder, name)
            target = inside.stat(inner) if stat.S_ISLNK(entry.st_mode) else entry
            identity = (target.st_dev, target.st_ino) if target else (0, 0)
            if target is None or _type(target) is None or identity in above:
                found.warnings.append(_left_out(inner, target))
            elif stat.S_ISDIR(target.st_mode):
                pending.append((inner, below(folder_url, name), target, (*above, identity)))
            else:
                yield Piece(piece.index, inner, below(folder_url, name), folder=False, size_bytes=target.st_size)


def _left_out(path: str, there: os.stat_result | None) -> str:
    if there is None:
        return f"output {shown(path)} was left out: it is a link that leads to nothing in the task's own folders"
    if stat.S_ISDIR(there.st_mode):
        return f"output {shown(path)} was left out: it is a link that leads back to a folder above it"
    return f"output {shown(path)} was left out: it is {kind(there.st_mode)}, which cannot be stored"


def _type(there: os.stat_result) -> FileType | None:
    if stat.S_ISREG(there.st_mode):
        return FileType.FILE
    return FileType.DIRECTORY if stat.S_ISDIR(there.st_mode) else None
