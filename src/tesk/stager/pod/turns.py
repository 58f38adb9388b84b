"""Whose turn it is, and what an executor's end means. Pure."""

from tesk.pod import ExecutorEnd, PodExecutor, ShimStatus

SENTENCE_CHARACTERS = 4096
# A program may have written its status itself.
_LATEST = 32503680000.0  # the year 3000
_MOST_BYTES = 1 << 60


def stops(end: ExecutorEnd, executor: PodExecutor) -> bool:
    """Say whether no executor runs after this one. What is no failure of its program stops all, whatever the task says."""
    if end.exit_code is None and not end.killed:
        return True
    return end.exit_code != 0 and not executor.ignore_error


def read_end(
    index: int, status: ShimStatus | None, began: float | None, now: float, *, stdout: str, stderr: str
) -> ExecutorEnd:
    """Say how an executor ended whose shim is gone: by its status, else by whether its program began (seconds since the epoch)."""
    if status is None:
        gone = "its container ended before its program began" if began is None else None
        return ExecutorEnd(
            index=index,
            started=_sane(began),
            ended=now if began is not None else None,
            stdout=stdout,
            stderr=stderr,
            error=gone,
            killed=began is not None,
            lost=began is None,
        )
    error = status.error[:SENTENCE_CHARACTERS] if status.error else None
    if status.exit_code is None and error is None:
        error = "it was told to skip its turn" if status.skipped else "its shim does not say how it ended"
    return ExecutorEnd(
        index=index,
        exit_code=status.exit_code,
        started=_sane(status.started),
        ended=_sane(status.ended),
        stdout=stdout,
        stderr=stderr,
        error=error,
        told=status.told,
        stdout_bytes=_size(status.stdout_bytes),
        stderr_bytes=_size(status.stderr_bytes),
    )


def _size(size_bytes: int) -> int:
    return min(max(0, size_bytes), _MOST_BYTES)


def _sane(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= _LATEST else None
