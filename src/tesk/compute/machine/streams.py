"""What an executor reads and writes: files that the task names, and the tails that go into its log."""

import os

from msgspec import Struct

from tesk.tes.tails import text

_PIECE = 64 * 1024  # what a pipe holds


class Written(Struct, frozen=True):
    """The end of what a program wrote to one stream, and how much it was in all, in bytes."""

    tail: bytes
    size_bytes: int

    @property
    def cut(self) -> bool:
        """Say whether `tail` is not all."""
        return len(self.tail) < self.size_bytes

    def text(self) -> str:
        """Return the tail as text, begun with a whole character; what is no UTF-8 is replaced."""
        return text(self.tail, cut=self.cut)


class Pipe:
    """A stream that the task names no file for: read as it comes, kept only as far as the log wants it."""

    def __init__(self, keep_bytes: int) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_fd, False)
        self._keep_bytes = keep_bytes
        self._kept = bytearray()
        self._size_bytes = 0
        self.open = True

    def started(self) -> None:
        """The program has its end; ours of it goes."""
        os.close(self.write_fd)

    def read(self) -> bool:
        """Take what is there, one piece; False where there is no more, now or (`open` says it) for ever."""
        try:
            piece = os.read(self.read_fd, _PIECE)
        except BlockingIOError:
            return False
        self.open = bool(piece)
        self._kept += piece
        self._size_bytes += len(piece)
        if len(self._kept) > 2 * self._keep_bytes + _PIECE:
            del self._kept[: -self._keep_bytes or None]
        return self.open

    def close(self) -> None:
        """Let go of both ends, where nothing was started."""
        os.close(self.read_fd)
        os.close(self.write_fd)

    def written(self) -> Written:
        """Return what was written so far."""
        return Written(bytes(self._kept[-self._keep_bytes :]) if self._keep_bytes else b"", self._size_bytes)


class File:
    """A stream that the task names a file for: the program writes it itself; `fd` may be read as well."""

    def __init__(self, fd: int, keep_bytes: int) -> None:
        self.write_fd = fd
        self._keep_bytes = keep_bytes
        self._last: Written | None = None

    def started(self) -> None:
        """The program has a copy; ours is kept to read the end by."""

    def written(self) -> Written:
        """Return what the file holds. The program may have made it shorter again."""
        if self._last is not None:
            return self._last
        size = os.fstat(self.write_fd).st_size
        keep = min(size, self._keep_bytes)
        return Written(os.pread(self.write_fd, keep, size - keep), size)

    def close(self) -> None:
        """Let go of the file; what it held is remembered."""
        self._last = self.written()
        os.close(self.write_fd)
