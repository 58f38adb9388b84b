"""How a task ended: what it printed, and the exit code that stands for it. Pure but for the printing."""

import sys
from typing import BinaryIO

from tesk.cli.dispatch import INTERRUPTED, SYSTEM
from tesk.cli.output import printable, talk
from tesk.client.answers import Document, list_of, text_of, words_of

STREAMS = ("stdout", "stderr")


def exit_code(task: Document) -> int:
    """Return the exit code for a task that has ended: its own, 125 for a system error, 130 where it was canceled."""
    match text_of(task, "state"):
        case "COMPLETE":
            return 0
        case "CANCELED":
            return INTERRUPTED
        case "EXECUTOR_ERROR":
            codes = [text_of(log, "exit_code") for log in list_of(_last_attempt(task), "logs")]
            code = int(codes[-1]) if codes and codes[-1].lstrip("-").isdecimal() else 1
            return code if 0 < code < 256 else 1
        case _:
            return SYSTEM


def explain(task: Document) -> None:
    """Say why a task did not do what was wanted, where it is not plain from what it printed."""
    state = text_of(task, "state")
    if state == "COMPLETE":
        return
    sentences = words_of(_last_attempt(task), "system_logs")
    # Why it ended stands last in the log, behind what held all the time; or it is said of an executor.
    sentences = [*sentences[-1:], *sentences[:-1]]
    if state == "EXECUTOR_ERROR":
        sentences.sort(key=lambda each: not each.startswith("executors["))
    talk(f"task {text_of(task, 'id')} ended {state}" + ("".join(f"\n  {printable(each)}" for each in sentences)))


def explain_executors(task: Document) -> None:
    """Say what the server knows of how executors ended that their exit codes do not say: out of memory, no such program."""
    for each in words_of(_last_attempt(task), "system_logs"):
        if each.startswith("executors["):
            talk(f"tesk: {printable(each)}")


def print_streams(
    task: Document, *, attempt: int | None = None, executor: int | None = None, streams: tuple[str, ...] = STREAMS
) -> None:
    """Print what executors wrote, stdout to stdout and stderr to stderr, in order; say where the beginning is cut off.

    `attempt` counts from 1; None is the last. `executor` counts from 0; None is all.
    """
    attempts = list_of(task, "logs")
    log = attempts[attempt - 1] if attempt else _last_attempt(task)
    for index, one in enumerate(list_of(log, "logs")):
        if executor not in (None, index):
            continue
        for stream in streams:
            _write(sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer, text_of(one, stream))
            size = text_of(log, "metadata", f"executors.{index}.{stream}_size_bytes")
            kept = len(text_of(one, stream).encode(errors="replace"))
            if size.isdecimal() and kept < int(size):
                talk(f"tesk: executor {index} wrote {size} bytes to {stream}; the server kept the last {kept}")


def _write(stream: BinaryIO, text: str) -> None:
    stream.write(text.encode("utf-8", "replace"))
    stream.flush()


def _last_attempt(task: Document) -> Document:
    return (list_of(task, "logs") or [{}])[-1]
