"""What went wrong as sentences for the owner of a task, and the report that is made of them."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.storage.url import printable, reported, shown
from tesk.tes.task import FileType
from tesk.transfer import Moved, TransferReport


class TooMuch(TransferRefused):
    """More than one task may move, of all its data together."""


class TooMany(TooMuch):
    """More files than that."""


def told(error: OSError, path: str) -> TransferError:
    """Turn an error of the task's own folder into a sentence about `path`."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return TransferFailed(f"{shown(path)}: the disk of the task's folder is full ({error.strerror})")
    if error.errno == errno.ENAMETOOLONG:
        return TransferRefused(f"{shown(path)}: the name is longer than the file system takes")
    return TransferRefused(f"{shown(path)}: {error.strerror}")


@contextmanager
def named(place: str) -> Iterator[None]:
    """Say of which part of the task an error of the block is: its sentence may tell of a host alone."""
    try:
        yield
    except TooMuch:
        raise
    except TransferError as error:
        raise type(error)(f"{place}: {error}") from error


def moved(index: int, url: str, path: str, size_bytes: int) -> Moved:
    """Return a line of the report, in text that JSON can carry. Two paths that look alike have URLs that do not."""
    return Moved(index=index, url=reported(url), path=printable(path), size_bytes=size_bytes)


def report(
    files: list[Moved],
    types: dict[int, FileType],
    warnings: list[str],
    errors: list[TransferError],
    began: float,
) -> TransferReport:
    """Return the whole report on work that `began` (monotonic seconds). Another attempt may help only if none of the errors is for good."""
    error = None
    if errors:
        # What is for good is said first: nobody should wait for the other.
        errors = sorted(errors, key=lambda one: isinstance(one, TransferFailed))
        error = str(errors[0]) + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "")
    return TransferReport(
        files=tuple(sorted(files, key=lambda one: (one.path, one.index, one.url))),
        types=types,
        warnings=tuple(warnings),
        error=error,
        retry=bool(errors) and all(isinstance(one, TransferFailed) for one in errors),
        size_bytes=sum(one.size_bytes for one in files),
        seconds=time.monotonic() - began,
    )
