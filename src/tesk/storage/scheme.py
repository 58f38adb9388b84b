"""The seam to a place where data lies: four verbs, each with its promise."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol, runtime_checkable

from msgspec import Struct

from tesk.tes.task import FileType


class Entry(Struct, frozen=True, kw_only=True):
    """What lies at a URL. `name` is relative to the listed directory, `/` between its parts ("" for the thing itself)."""

    url: str
    name: str
    type: FileType
    size_bytes: int | None = None
    mode: int | None = None
    """Permission bits, where the source has them."""


class Arrived(Struct, frozen=True, kw_only=True):
    """What `get` or `put` moved."""

    size_bytes: int
    mode: int | None = None
    """Permission bits of the source, where it has them."""


Advance = Callable[[int], None]
"""Told of bytes as they move, and of a negative number where so many are to be moved again. Raises to stop the transfer
(a cancel, a limit): then nothing readable is left."""


class Scheme(Protocol):
    """One kind of URL. Plain blocking calls, safe from many threads. Raises TransferRefused or TransferFailed only.

    `has_folders` False: a URL says itself whether it is a folder's (a slash at its end), so nobody need ask what it is.
    """

    has_folders: ClassVar[bool]

    def stat(self, url: str) -> Entry | None:
        """Return what is at `url`, or None where there is nothing."""

    def list(self, url: str) -> Iterator[Entry]:
        """Yield every file and every folder, also empty ones, below a directory URL, parents before children."""

    def get(self, url: str, target: int, advance: Advance) -> Arrived:
        """Bring a file into the empty regular file `target` (a descriptor open for reading and writing), size verified.

        The caller names the file only when this has returned, so a reader sees it whole or not at all.
        """

    def put(self, source: int, url: str, advance: Advance) -> Arrived:
        """Store the open regular file `source` (a descriptor) at `url`: whole, or raise and leave nothing readable there."""

    def make_directory(self, url: str) -> None:
        """Make a directory at `url` with its parents, where the scheme has such a thing; one that is there is fine."""

    def close(self) -> None:
        """Let go of connections. Nothing else is called afterwards."""


Take = Callable[[bytes | memoryview], None]
"""Is given bytes, in order, each once; none, now and then, to be asked whether they are wanted. Raises TransferError to end it."""


@runtime_checkable
class Streams(Protocol):
    """What a Scheme may know beside: to give a file in order, for a program that begins before all of it is here."""

    def stream(self, url: str, take: Take) -> int:
        """Give the bytes at `url` to `take` and return how many, size verified.

        What was given cannot be taken back: a failure in the middle is TransferFailed.
        """


@runtime_checkable
class Modes(Protocol):
    """What a Scheme may know beside: folders that have modes."""

    def make_directory_as(self, url: str, mode: int) -> None:
        """Make a directory as `make_directory` does, with these permission bits as far as the place has them.

        Its owner may always use it; one that is there stays as it is.
        """


@runtime_checkable
class Rooted(Protocol):
    """What a Scheme may know beside: where tasks never read or write, before there is anything to move."""

    def check_root(self, url: str, *, write: bool) -> None:
        """Raise TransferRefused where neither `url` nor anything below it may be read, or written. Looks at nothing."""


@runtime_checkable
class Calls(Protocol):
    """What a Scheme may know beside: which servers it would never call, before there is anything to move."""

    def check_server(self, url: str) -> None:
        """Raise TransferRefused where the server of `url` may not be called, as far as URL and settings tell. Calls nobody."""


@runtime_checkable
class Buckets(Protocol):
    """What a Scheme may know beside: buckets, which must be there before there is anything to store."""

    def check_bucket(self, url: str) -> None:
        """Ask whether the bucket of `url` is there. Raises TransferRefused where it is not, TransferFailed without an answer.

        Who may store need not be allowed to ask: that says nothing.
        """
