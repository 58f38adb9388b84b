"""An attempt's report as a line of a log, and cut short for a termination message: written and read. Pure."""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator

from msgspec import DecodeError, json
from msgspec.structs import replace

from tesk.pod import (
    REPORT_BYTES,
    SUMMARIES_BYTES,
    SUMMARY_BYTES,
    AttemptReport,
    ExecutorEnd,
    PackedReport,
)
from tesk.transfer import TransferReport

PLAIN_BYTES = 64 * 1024
"""A report that is no longer than this stays readable for people."""
_UNPACKED_BYTES = 64 * 1024 * 1024
"""Nobody must have more memory than this for a report, however small it was packed."""
_UNCOUNTED = 3
"""An init container of ours, and two that somebody else may put into a pod."""
_LATER = 1
"""A container that somebody adds for a look."""

_decoder: json.Decoder[AttemptReport | PackedReport] = json.Decoder(AttemptReport | PackedReport)


def line(report: AttemptReport, limit_bytes: int = REPORT_BYTES) -> bytes:
    """Return a report as one line without its end: readable where it is small, packed where it is large, cut beyond that."""
    whole = _line(report, limit_bytes)
    if whole is not None:
        return whole
    return next(short for one in _ever_shorter(report) if (short := _line(one, limit_bytes)) is not None)


def summary(report: AttemptReport, limit_bytes: int = SUMMARY_BYTES) -> bytes:
    """Return a report as JSON of at most so many bytes (256 or more): whole, or cut until it fits.

    How the executors ended is kept longest, the last ones before the first ones.
    """
    whole = json.encode(report)
    if len(whole) <= limit_bytes:
        return whole
    short = b""
    for one in _ever_shorter(report):
        short = json.encode(one)
        if len(short) <= limit_bytes:
            break
    return short


def room(executors: int, containers: int = 0) -> int:
    """Return how many bytes the summary of a pod may have; the kubelet cuts what is longer, in the middle of a word.

    `containers`: how many the pod had when it was made, init containers included; 0: not known.
    """
    count = containers + _LATER if containers else executors + 2 + _UNCOUNTED
    return min(SUMMARY_BYTES, SUMMARIES_BYTES // count)


def read_report(line: bytes) -> AttemptReport | None:
    """Read what `line` or `summary` wrote; None where it is neither, or only a part of it.

    An executor that was left out between two that are there ended with 0.
    """
    try:
        read = _decoder.decode(line)
        if isinstance(read, PackedReport):
            unpacking = zlib.decompressobj()
            line = unpacking.decompress(b64decode(read.data, validate=True), _UNPACKED_BYTES)
            if not unpacking.eof:
                return None
            read = json.decode(line, type=AttemptReport)
    except (DecodeError, ValueError, RecursionError, zlib.error):
        return None
    return replace(read, executors=_filled(read.executors)) if read.cut else read


def _line(report: AttemptReport, limit_bytes: int) -> bytes | None:
    plain = json.encode(report)
    if len(plain) <= min(PLAIN_BYTES, limit_bytes):
        return plain
    if len(plain) > _UNPACKED_BYTES:
        return None
    packed = json.encode(PackedReport(data=b64encode(zlib.compress(plain)).decode()))
    return packed if len(packed) <= limit_bytes else None


def _ever_shorter(report: AttemptReport) -> Iterator[AttemptReport]:
    """Yield a report with ever more left out, what matters least first. The last one is next to nothing."""
    report = replace(report, cut=True)
    for size in (65536, 16384, 4096, 1024, 256):
        report = _with_tails(report, size)
        yield report
    report = _with_texts(report, 1024, warnings=100)
    yield report
    while report.outputs and report.outputs.files:
        files = report.outputs.files
        report = replace(report, outputs=replace(report.outputs, files=files[: len(files) // 2]))
        yield report
    for size, warnings in ((512, 3), (256, 0), (128, 0)):
        report = _with_texts(_with_tails(report, 0), size, warnings=warnings)
        yield report
    report = replace(report, executors=tuple(replace(end, started=None, ended=None) for end in report.executors))
    yield report
    report = replace(report, executors=_without_zeros(report.executors))
    yield report
    report = _with_texts(report, 64, warnings=0)
    yield report
    while report.executors:
        report = replace(report, executors=report.executors[len(report.executors) // 2 + 1 :])
        yield report
    yield AttemptReport(pod=report.pod, attempt=report.attempt, cut=True)


def _with_tails(report: AttemptReport, size: int) -> AttemptReport:
    return replace(
        report,
        executors=tuple(
            replace(end, stdout=end.stdout[-size:] if size else "", stderr=end.stderr[-size:] if size else "")
            for end in report.executors
        ),
    )


def _with_texts(report: AttemptReport, size: int, *, warnings: int) -> AttemptReport:
    return replace(
        report,
        error=_shortened(report.error, size),
        inputs=_with_words(report.inputs, size, warnings),
        outputs=_with_words(report.outputs, size, warnings),
        executors=tuple(replace(end, error=_shortened(end.error, size)) for end in report.executors),
    )


def _with_words(report: TransferReport | None, size: int, warnings: int) -> TransferReport | None:
    return report and replace(
        report,
        error=_shortened(report.error, size),
        warnings=tuple(_shortened(one, size) or "" for one in report.warnings[:warnings]),
        types=report.types if warnings else {},
    )


def _shortened(text: str | None, size: int) -> str | None:
    """Leave out the middle: a sentence begins with what it is about, and ends with why."""
    if text is None or len(text) <= size:
        return text
    return f"{text[: size // 2]} ... {text[len(text) - size // 2 :]}"


def _without_zeros(executors: tuple[ExecutorEnd, ...]) -> tuple[ExecutorEnd, ...]:
    """Leave out those that ended with 0 and nothing to say; the first and the last one say between which they were."""
    ends = {0, len(executors) - 1}
    return tuple(
        end for place, end in enumerate(executors) if place in ends or end.exit_code != 0 or end.error is not None
    )


def _filled(executors: tuple[ExecutorEnd, ...]) -> tuple[ExecutorEnd, ...]:
    there = {end.index: end for end in executors}
    if not there:
        return ()
    return tuple(
        there.get(index) or ExecutorEnd(index=index, exit_code=0) for index in range(min(there), max(there) + 1)
    )
